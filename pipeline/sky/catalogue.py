"""Catalogues: astropy tables with units, UCDs, descriptions and provenance, in the formats that astronomers read."""

import gzip
import os
import warnings
import zlib
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits, votable
from astropy.io.ascii import InconsistentTableError
from astropy.table import Column, QTable, Table
from astropy.utils.exceptions import AstropyWarning
from astropy.utils.masked import Masked

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.sky.archive import check_file
from pipeline.sky.fitsrows import write_table
from pipeline.sky.provenance import from_cards, from_text, to_cards, to_text

FORMATS = {".fits": "fits", ".fit": "fits", ".ecsv": "ecsv", ".vot": "votable", ".xml": "votable", ".csv": "csv"}
_FLAWS = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, UnicodeError, zlib.error,
    InconsistentTableError, fits.VerifyError,
)  # fmt: skip
_SKY = {"ra", "dec"}


def catalogue_format(path: str | os.PathLike, fmt: str | None = None) -> str:
    """The format that `fmt` or the suffix of `path` names: "fits", "ecsv", "votable" or "csv"; UserError otherwise."""
    suffix = Path(str(path).lower().removesuffix(".gz")).suffix
    chosen = fmt or FORMATS.get(suffix)
    if chosen not in FORMATS.values():
        what = f'"{fmt or suffix}" is not a catalogue format'
        raise UserError(path, what, "end the name with .fits, .ecsv, .vot, .xml or .csv")
    return chosen


def write_catalogue(table: Table, path: str | os.PathLike, fmt: str | None = None) -> None:
    """Write a table `(n rows)`, n >= 0, whole or not at all; the same table gives the same bytes.

    Units, `column.info.description`, `column.info.meta["ucd"]` and `table.meta` (provenance) are kept: in FITS as
    TUNITn, TCOMMn, TUCDn and header cards, in VOTable as FIELD attributes, COOSYS (ICRS) and INFO, in ECSV as they
    are. CSV holds names and values only.

    Raises
    ------
    UserError : an unknown suffix, a column that the format cannot hold, or the file cannot be written.
    """
    chosen = catalogue_format(path, fmt)
    plain = _plain(table, path)
    with atomic(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            _WRITERS[chosen](plain, beside)
        except (UnicodeError, ValueError, TypeError, RuntimeError, AssertionError) as error:
            what = f"this table cannot be written as {chosen} ({_first_line(error)})"
            raise UserError(path, what, "write it as .ecsv or change the column") from error


def read_catalogue(path: str | os.PathLike, fmt: str | None = None) -> QTable:
    """Read what `write_catalogue` wrote, or any table of these formats, plain or .gz.

    Units, descriptions, UCDs (`column.info.meta["ucd"]`) and provenance (`meta`) come back; a CSV has none.

    Raises
    ------
    UserError : absent, empty, an unknown suffix, or not a table of its format.
    """
    chosen = catalogue_format(path, fmt)
    check_file(Path(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            return _settle(_READERS[chosen](Path(path)))
        except UserError:
            raise
        except _FLAWS as error:
            what = f"is not a readable {chosen} table ({_first_line(error)})"
            raise UserError(path, what, "write or fetch it again") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:100].rstrip(".") if lines else type(error).__name__


def _plain(table: Table, path: object) -> QTable:
    """A copy whose text columns are numpy text, which every format can hold."""
    result = QTable(table, copy=True)
    for name in result.colnames:
        part = result[name]
        if getattr(part, "dtype", np.dtype(float)).kind not in "OSU" or isinstance(part, u.Quantity):
            continue
        values = ["" if item is None or item is np.ma.masked else item for item in part.tolist()]
        values = [item.decode() if isinstance(item, bytes) else item for item in values]
        if not all(isinstance(item, (str, list)) for item in values):
            raise UserError(
                path, f'its column "{name}" mixes text with other things', "make it all text or all numbers"
            )
        texts = np.array(values, dtype=str) if values else np.zeros(part.shape, "U1")
        if texts.dtype.itemsize == 0:
            texts = texts.astype("U1")
        info = part.info
        result.replace_column(name, Column(texts, description=info.description, meta=dict(info.meta or {})))
    return result


def _write_fits(table: QTable, path: Path) -> None:
    cards = []
    for at, name in enumerate(table.colnames, 1):
        info = table[name].info
        ucd = (info.meta or {}).get("ucd")
        if ucd:
            cards.append((f"TUCD{at}", ucd, f"TFORM{at}"))
        if info.description:
            cards.append((f"TCOMM{at}", info.description, f"TFORM{at}"))
    write_table(table, path, cards, list(to_cards(table.meta)))


def _read_fits(path: Path) -> QTable:
    with fits.open(path, memmap=False) as hdus:
        found = next((hdu for hdu in hdus if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU))), None)
        if found is None:
            raise UserError(path, "holds no table", "give a file with a table")
        header = found.header.copy()
        table = QTable.read(found, mask_invalid=False, character_as_bytes=False)
    for at, name in enumerate(table.colnames, 1):
        info = table[name].info
        info.description = header.get(f"TCOMM{at}", info.description)
        if header.get(f"TUCD{at}"):
            info.meta = {**(info.meta or {}), "ucd": header[f"TUCD{at}"]}
    table.meta = from_cards(header)
    return table


def _write_ecsv(table: QTable, path: Path) -> None:
    table.write(path, format="ascii.ecsv")


def _read_ecsv(path: Path) -> QTable:
    return QTable.read(path, format="ascii.ecsv")


def _write_csv(table: QTable, path: Path) -> None:
    if any(table[name].ndim > 1 for name in table.colnames):
        raise ValueError("a column of vectors has no place in CSV")
    table.write(path, format="ascii.csv")


def _read_csv(path: Path) -> QTable:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        if b"\0" in stream.read(4096):
            raise ValueError("it is not text")
    table = QTable.read(path, format="ascii.csv", guess=False)
    for name in table.colnames:
        part = table[name]
        if part.dtype.kind == "U" and len(part) and set(part.tolist()) <= {"True", "False"}:
            table[name] = np.asarray(part) == "True"
        elif np.all(getattr(part, "mask", False)) and len(part):
            table[name] = np.full(len(part), "")
    return table


def _write_votable(table: QTable, path: Path) -> None:
    tree = votable.from_table(Table(table))
    resource = tree.resources[0]
    written = resource.tables[0]
    sky = [name for name in table.colnames if name.lower() in _SKY]
    if len(sky) == 2:
        resource.coordinate_systems.append(votable.tree.CooSys(ID="icrs", system="ICRS"))
    for part in written.fields:
        info = table[part.name].info
        part.description = info.description
        part.ucd = (info.meta or {}).get("ucd")
        if len(sky) == 2 and part.name in sky:
            part.ref = "icrs"
    written.infos.clear()
    written.infos.extend(votable.tree.Info(name=key, value=text) for key, text in to_text(table.meta))
    tree.set_all_tables_format("binary2")
    with open(path, "wb") as stream:
        tree.to_xml(stream)


def _read_votable(path: Path) -> QTable:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        tree = votable.parse(stream)
    if not any(True for _ in tree.iter_tables()):
        raise UserError(path, "holds no table", "give a file with a table")
    source = tree.get_first_table()
    table = QTable(source.to_table(use_names_over_ids=True))
    for part in source.fields:
        table[part.name].info.meta = {"ucd": str(part.ucd)} if part.ucd else {}
        table[part.name].info.description = str(part.description) if part.description else None
    table.meta = from_text((info.name, info.value) for info in source.infos)
    return table


def _settle(table: QTable) -> QTable:
    """The same columns whatever the format: native byte order, NaN and empty text where a value is missing."""
    for name in table.colnames:
        part = table[name]
        description, meta = part.info.description, dict(part.info.meta or {})
        table.replace_column(name, _settled(part))
        table[name].info.description, table[name].info.meta = description, meta
    return table


def _settled(part):
    kind = part.dtype.kind
    missing = np.any(getattr(part, "mask", False))
    if kind in "OSU":
        values = part.filled("") if isinstance(part, np.ma.MaskedArray) else part
        texts = np.array(
            [item.decode() if isinstance(item, bytes) else str(item) for item in values.tolist()], dtype=str
        )
        return Column(texts if len(texts) else np.zeros(0, "U1"))
    native = part.dtype.newbyteorder("=")
    if isinstance(part, u.Quantity):
        plain = part.filled(np.nan) if isinstance(part, Masked) and kind == "f" else part
        return plain.astype(native, copy=False)
    if missing and kind != "f":
        return part
    values = part.filled(np.nan) if missing else np.asarray(part)
    return Column(np.asarray(values).astype(native, copy=False), unit=part.unit)


_WRITERS = {"fits": _write_fits, "ecsv": _write_ecsv, "votable": _write_votable, "csv": _write_csv}
_READERS = {"fits": _read_fits, "ecsv": _read_ecsv, "votable": _read_votable, "csv": _read_csv}
