"""Spectra in files that are not images: binary tables and columns of text."""

import io
import re

import numpy as np
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.sky.spectra import has_coefficients, header_wavelength, to_angstrom, wavelength_unit

_WAVES = ("wavelength", "wave", "lambda", "lam", "wl", "angstrom", "wavelengths")
_LOG_WAVES = ("loglam", "loglambda", "log_lambda", "log_wave", "logwave")
_FLUXES = ("flux", "spec", "spectrum", "intensity", "flux_density", "fluxes", "flux_reduced", "normalized_flux")
_IVARS = ("ivar", "inverse_variance", "invvar")
_ERRORS = ("error", "err", "sigma", "flux_error", "flux_err", "eflux", "uncertainty", "err_reduced")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?|[-+]?(nan|inf)", re.IGNORECASE)
_SPLIT = re.compile(r"[\s,;|]+")
_BRACKET = r"\[[^\]]*\]|\((?:[^()]|\([^()]*\))*\)"
_NAME = re.compile(rf"(?:{_BRACKET}|[^\s,;|\[(])(?:\s*(?:{_BRACKET})|[^\s,;|])*")
_SUFFIX = re.compile(r"(?:^|_)(nm|um|microns?|nanomet(?:er|re)s?|angstroms?|ang|aa|[kmg]?hz|k?ev)$")
_REMARKS = {"", "air", "vac", "vacuum"}  # in the brackets after a name, where a unit would be


def column(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The first of `names` that is one of `wanted`, whatever its case and the unit written after it."""
    lower = {_split_unit(name)[0]: name for name in reversed(names)}
    return next((lower[name] for name in wanted if name in lower), None)


def _split_unit(name: str) -> tuple[str, str]:
    """The bare name of a column in small letters, and its unit: `Wave [nm]`, `wave(nm)` and `wave_nm` have one."""
    whole = name.strip()
    bare = re.sub(r"[\s\[(].*$", "", whole, flags=re.DOTALL).lower()
    bracket = re.search(r"[\[(](.*?)[\])]*$", whole, re.DOTALL)
    if bracket:
        unit = re.sub(r"(?i)^\s*(?:log(?:10)?|dex)\s*\(?", "", bracket.group(1)).strip()
        return bare, "" if unit.lower() in _REMARKS else unit
    suffix = _SUFFIX.search(bare)
    return (bare[: suffix.start()] or bare, suffix.group(1)) if suffix else (bare, "")


def is_spectrum_table(columns: fits.ColDefs) -> bool:
    """Whether the columns of a table hold spectra: a flux a row needs a wavelength a row beside it."""
    flux = column(columns.names, _FLUXES)
    if flux is None:
        return False
    return _is_vector(columns[flux]) or column(columns.names, _WAVES + _LOG_WAVES) is not None


def _is_vector(part: fits.Column) -> bool:
    count = re.match(r"\d*", part.format).group()
    return part.format.lstrip("0123456789")[:1] in {"P", "Q"} or int(count or 1) > 1


def read_table(hdu: fits.BinTableHDU, row: int | None, where: object) -> dict:
    """A spectrum from a binary table: one pixel a row, or one spectrum a row in vector columns.

    Returns wavelength [angstrom] or None, flux, ivar or None, each `(pixel,)`, and unit (text).

    Raises
    ------
    UserError : no such row, several spectra and no row, or columns of different lengths.
    """
    names = list(hdu.columns.names)
    flux = column(names, _FLUXES)
    if not is_spectrum_table(hdu.columns):
        raise UserError(where, "its table has no columns of wavelength and flux", "choose another HDU")
    vector = _is_vector(hdu.columns[flux])
    count = len(hdu.data)
    if not vector and row not in (None, 0):
        raise UserError(where, f"holds one spectrum, so row {row} does not exist", "leave the row out")
    if vector and row is None and count > 1:
        raise UserError(where, f"holds {count} spectra", "choose one by its row")
    if vector and not 0 <= (row or 0) < count:
        raise UserError(
            where, f"holds {count} spectra, so row {row} does not exist", f"choose a row from 0 to {count - 1}"
        )

    def take(name: str | None) -> np.ndarray | None:
        if name is None:
            return None
        return np.atleast_1d(np.asarray(hdu.data[name][row or 0] if vector else hdu.data[name], np.float64)).ravel()

    pixels = take(flux)
    log_name, name = column(names, _LOG_WAVES), column(names, _WAVES)
    if name is not None:
        unit = wavelength_unit(hdu.columns[name].unit or _split_unit(name)[1], where)
        wavelength = to_angstrom(take(name), unit, where)
    elif log_name is not None:
        wavelength = 10.0 ** take(log_name)
    else:
        wavelength = header_wavelength(hdu.header, len(pixels), where=where) if has_coefficients(hdu.header) else None
    ivar, error = take(column(names, _IVARS)), take(column(names, _ERRORS))
    if ivar is None and error is not None:
        ivar = inverse_variance(error)
    for what, array in (("wavelength", wavelength), ("ivar", ivar)):
        if array is not None and len(array) != len(pixels):
            raise UserError(where, f"has {len(pixels)} flux values and {len(array)} of {what}", "correct the table")
    return {"wavelength": wavelength, "flux": pixels, "ivar": ivar, "unit": hdu.columns[flux].unit or ""}


def inverse_variance(error: np.ndarray) -> np.ndarray:
    """1 / error^2, zero where the error is not a positive number; same shape."""
    good = np.isfinite(error) & (error > 0)
    with np.errstate(over="ignore"):
        return np.where(good, (1.0 / np.where(good, error, 1.0)) ** 2, 0.0)


def read_text(content: bytes, where: object) -> dict:
    """A spectrum from text: wavelength [angstrom], flux and, when there is a third column, its error.

    Columns are parted by blanks, commas, semicolons or tabs; lines that begin with `#`, `%`, `;` or `!` are
    comments; a first line of names, which may be a comment, tells which column is which and the unit of the
    wavelengths, as in `wavelength [nm], flux`. No unit means angstrom. Returns as `read_table`.

    Raises
    ------
    UserError : not text, a line that is not numbers, fewer than two columns, or an unknown unit of wavelength.
    """
    if b"\0" in content:
        raise UserError(where, "is neither FITS, PNG, JPEG nor text", "give a file of one of these kinds")
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    kept = [(k, line.strip()) for k, line in enumerate(lines, 1) if line.strip() and line.strip()[0] not in "#%;!"]
    names: list[str] = []
    if kept and not _NUMBER.fullmatch(_SPLIT.split(kept[0][1])[0].strip("\"'")):
        names = _names(kept.pop(0)[1])
    if not kept:
        raise UserError(where, "holds no numbers", "give two columns, wavelength and flux")
    width = len(_fields(kept[0][1]))
    if width < 2:
        raise UserError(where, "has one column", "give two columns, wavelength and flux")
    names = names or _commented_names(lines[: kept[0][0] - 1], width)
    table = _numbers(kept, width, where)
    wave, log_wave = column(names, _WAVES), column(names, _LOG_WAVES)
    flux, error, ivar = column(names, _FLUXES), column(names, _ERRORS), column(names, _IVARS)
    if flux is not None and (wave or log_wave) is not None and len(names) == width:
        picked = [wave or log_wave, flux, error, ivar]
        positions = [None if name is None else names.index(name) for name in picked]
    elif width <= 3:
        log_wave, positions = None, [0, 1, 2 if width == 3 else None, None]
    else:
        raise UserError(where, f"has {width} columns, none of them named wavelength and flux", "name them or keep two")
    first, flux, error, ivar = (None if at is None else table[:, at] for at in positions)
    if ivar is None and error is not None:
        ivar = inverse_variance(error)
    if log_wave and not wave:
        first = 10.0**first
    text = _split_unit(names[positions[0]])[1] if names else ""
    wavelength = to_angstrom(first, wavelength_unit(text, where), where) if text else first
    return {"wavelength": wavelength, "flux": flux, "ivar": ivar, "unit": ""}


def _names(line: str) -> list[str]:
    """The names of columns in a line; a unit in brackets belongs to the name before it."""
    return _NAME.findall(re.sub("[\"']", "", line))


def _commented_names(lines: list[str], width: int) -> list[str]:
    """The names of `width` columns in the last of the comment `lines`, none where that line is anything else."""
    filled = [line for line in lines if line.strip()]
    names = _names(filled[-1].strip().lstrip("#%;!")) if filled else []
    named = len(names) == width and column(names, _FLUXES) and column(names, _WAVES + _LOG_WAVES)
    return names if named else []


def _fields(line: str) -> list[str]:
    return [field for field in _SPLIT.split(line) if field]


def _numbers(kept: list[tuple[int, str]], width: int, where: object) -> np.ndarray:
    plain = "\n".join(re.sub(r"[,;|\t]", " ", line) for _, line in kept)
    try:
        table = np.loadtxt(io.StringIO(plain), ndmin=2, comments=None)
        if table.shape[1] == width:
            return table
    except ValueError:
        pass
    rows = []
    for at, line in kept:
        fields = _fields(line)
        if len(fields) != width or not all(_NUMBER.fullmatch(field) for field in fields):
            raise UserError(where, f'line {at} is not {width} numbers ("{line[:40]}")', "correct the line")
        rows.append(
            [float(re.sub("[dD]", "e", field)) if "n" not in field.lower() else float(field) for field in fields]
        )
    return np.array(rows)
