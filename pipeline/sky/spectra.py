"""One-dimensional spectra: wavelength scales, their order, and resampling to a common grid."""

import re

import astropy.units as u
import numpy as np
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.sky.headers import (
    LOG_COEFFICIENTS,
    axis_type,
    is_celestial,
    linear_scale,
    number,
    value,
    velocity_frequency,
)

_FILLED = 1e-6


def wavelength_unit(text: str, where: object) -> u.UnitBase:
    """The unit that a wavelength axis is written in; empty text means angstrom."""
    plain = text.strip().strip("'\"[]()").lower().rstrip(".")
    known = {
        "": u.AA, "a": u.AA, "ang": u.AA, "angs": u.AA, "angstrom": u.AA, "angstroms": u.AA, "\u00e5": u.AA,
        "0.1 nm": u.AA, "nanometer": u.nm, "nanometers": u.nm, "nanometre": u.nm, "nanometres": u.nm,
        "micron": u.um, "microns": u.um, "um": u.um, "\u00b5m": u.um, "\u03bcm": u.um, "nm": u.nm, "m": u.m, "hz": u.Hz,
        "khz": u.kHz, "mhz": u.MHz, "ghz": u.GHz, "ev": u.eV, "kev": u.keV,
    }  # fmt: skip
    if plain in known:
        return known[plain]
    try:
        return u.Unit(text.strip())
    except ValueError as error:
        raise UserError(
            where, f'"{text.strip()[:30]}" is not a unit of wavelength', 'write "Angstrom", "nm" or "um"'
        ) from error


def to_angstrom(values: np.ndarray, unit: u.UnitBase, where: object) -> np.ndarray:
    """Wavelengths, frequencies, energies or wave numbers in `unit` as wavelengths [angstrom], same shape."""
    values = np.asarray(values, dtype=np.float64)
    try:
        with np.errstate(divide="ignore"):
            return (values * unit).to_value(u.AA, u.spectral())
    except u.UnitConversionError as error:
        raise UserError(where, f"{unit} is not a unit of wavelength", 'write "Angstrom", "nm" or "um"') from error


def has_coefficients(header: fits.Header) -> bool:
    """Whether the header gives a log-linear scale in the manner of SDSS or LAMOST."""
    return log_coefficients(header) is not None


def log_coefficients(header: fits.Header) -> tuple[float, float] | None:
    """log10 wavelength of the first pixel and its step, from COEFF0/COEFF1 or LOGLAM0/DLOGLAM."""
    for first, step in LOG_COEFFICIENTS:
        pair = number(header, first), number(header, step)
        if None not in pair and pair[1] != 0:
            return pair
    return None


def header_wavelength(header: fits.Header, length: int, axis: int = 1, where: object = "spectrum") -> np.ndarray | None:
    """Wavelength [angstrom] of each of `length` pixels along FITS axis `axis`, None when the header has no scale.

    Read are COEFF0/COEFF1 (log10, SDSS), CTYPE with the algorithm code `-LOG`, such as `WAVE-LOG` (natural
    logarithm, Greisen et al. 2006, A&A 446, 747, eq. 5), DC-FLAG = 1 (log10, IRAF), other CTYPE with LOG in it
    (log10), linear scales of wavelength, frequency or energy in CUNIT, and velocities with a rest frequency.
    No unit means angstrom.

    Raises
    ------
    UserError : the unit is unknown or the wavelengths are not positive.
    """
    pair = log_coefficients(header) if axis == 1 else None
    if pair is not None:
        return 10.0 ** (pair[0] + pair[1] * np.arange(length))
    scale = linear_scale(header, axis, length)
    kind = axis_type(header, axis)
    unit_text = str(value(header, f"CUNIT{axis}", "")) or _iraf_unit(header, axis)
    if scale is None or is_celestial(header, axis) or kind in {"PIXEL", "STOKES", "INDEX"}:
        return None
    if not kind and not unit_text.strip() and abs(number(header, f"CRVAL{axis}")) <= 1:
        return None  # the pixel scale that some programs write for an axis without a meaning
    if kind[4:8] == "-LOG":
        reference = number(header, f"CRVAL{axis}")
        if not reference:
            raise UserError(where, f"has a logarithmic axis with CRVAL{axis} = 0", f"correct CRVAL{axis}")
        scale = reference * np.exp((scale - reference) / reference)
    elif (number(header, "DC-FLAG") == 1 or "LOG" in kind) and 2 < scale[0] < 7:
        return 10.0**scale
    if kind.startswith(("VRAD", "VELO", "VOPT", "FELO")):
        try:
            hertz = velocity_frequency(header, axis, scale)
        except ValueError as error:
            raise UserError(where, f'"{unit_text}" is not a unit of velocity', 'write "m/s" or "km/s"') from error
        return None if hertz is None else to_angstrom(hertz, u.Hz, where)
    wavelength = to_angstrom(
        scale, wavelength_unit(unit_text or ("Hz" if kind.startswith("FREQ") else ""), where), where
    )
    if not np.all(wavelength > 0):
        raise UserError(where, "its header gives wavelengths that are not positive", "correct CRVAL, CDELT and CRPIX")
    return wavelength


def _iraf_unit(header: fits.Header, axis: int) -> str:
    found = re.search(r"units=(\w+)", str(value(header, f"WAT{axis}_001", "")), re.IGNORECASE)
    return found.group(1) if found else ""


def order(
    wavelength: np.ndarray, flux: np.ndarray, ivar: np.ndarray | None, where: object
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The three arrays `(pixel,)` by increasing wavelength; pixels without a finite wavelength are dropped.

    Raises
    ------
    UserError : fewer than two pixels, or the wavelengths neither rise nor fall throughout.
    """
    finite = np.isfinite(wavelength)
    wavelength, flux = wavelength[finite], flux[finite]
    ivar = None if ivar is None else ivar[finite]
    if len(wavelength) < 2:
        raise UserError(
            where, f"has {len(wavelength)} point(s) with a wavelength", "give a spectrum of at least 2 points"
        )
    if wavelength[0] > wavelength[-1]:
        wavelength, flux, ivar = wavelength[::-1], flux[::-1], None if ivar is None else ivar[::-1]
    step = np.diff(wavelength)
    if not np.all(step > 0):
        at = int(np.argmin(step > 0))
        raise UserError(
            where,
            f"its wavelengths do not rise throughout ({wavelength[at]:.6g} is followed by {wavelength[at + 1]:.6g})",
            "sort them and remove duplicates",
        )
    return np.ascontiguousarray(wavelength), np.ascontiguousarray(flux), ivar


def resample(wavelength: np.ndarray, flux: np.ndarray, grid: np.ndarray, where: object = "spectrum") -> np.ndarray:
    """Bring a spectrum `(pixel,)` to the wavelengths `grid` `(point,)`, as float32.

    Where a bin of the grid is wider than the pixels there, the mean over the bin of the piecewise constant
    spectrum, which conserves flux (Carnall 2017, arXiv:1705.05165, eq. 1); elsewhere linear interpolation.
    NaN pixels count as absent: bins average what is left, and a gap is bridged by a straight line. Points
    outside the first and last valid pixel are NaN.

    Parameters
    ----------
    wavelength, grid : angstrom, strictly increasing; `grid` has at least two points.

    Raises
    ------
    UserError : no wavelengths, fewer than two valid pixels, or no overlap with the grid.
    """
    if wavelength is None:
        raise UserError(where, "has no wavelength scale", "add CRVAL1, CDELT1 and CUNIT1 to its header")
    wavelength, grid = np.asarray(wavelength, np.float64), np.asarray(grid, np.float64)
    flux = np.asarray(flux, np.float64)
    valid = np.isfinite(flux)
    if valid.sum() < 2:
        raise UserError(where, f"has {valid.sum()} valid point(s)", "give a spectrum of at least 2 points")
    low, high = bin_edges(wavelength)[:-1], bin_edges(wavelength)[1:]
    inside = (grid >= low[valid][0]) & (grid <= high[valid][-1])
    if not inside.any():
        raise UserError(
            where,
            f"covers {wavelength[valid][0]:.6g} to {wavelength[valid][-1]:.6g} angstrom, "
            f"nothing of the grid from {grid[0]:.6g} to {grid[-1]:.6g}",
            "name the unit if it is not angstrom (text: wavelength[nm]), choose a grid that it covers, or leave it out",
        )
    result = np.interp(grid, wavelength[valid], flux[valid])
    edges = bin_edges(grid)
    pixel_edges = bin_edges(wavelength)
    width = np.where(valid, high - low, 0.0)
    integral = np.concatenate([[0.0], np.cumsum(np.where(valid, flux, 0.0) * width)])
    covered = np.concatenate([[0.0], np.cumsum(width)])
    total = np.diff(np.interp(edges, pixel_edges, integral))
    filled = np.diff(np.interp(edges, pixel_edges, covered))
    bin_width = np.diff(edges)
    coarse = bin_width > np.interp(grid, wavelength, high - low) * (1 + _FILLED)
    averaged = coarse & (filled > _FILLED * bin_width)
    result[averaged] = total[averaged] / filled[averaged]
    result[~inside] = np.nan
    return result.astype(np.float32)


def bin_edges(centre: np.ndarray) -> np.ndarray:
    """The `(n + 1,)` edges of bins around `n` increasing centres: midpoints, the end bins symmetric."""
    middle = (centre[1:] + centre[:-1]) / 2
    return np.concatenate([[2 * centre[0] - middle[0]], middle, [2 * centre[-1] - middle[-1]]])
