"""Synthetic stamps as a FITS file: the stamps, how they were made, and a table of what they are."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from pipeline.errors import UserError
from pipeline.sky.headers import COLOURS

TABLE = "TRUTH"
_NEEDED = ("METHOD", "KIND", "SAMPLER", "GUIDANCE")
_WHEN = "of the file as written"
_FLAWS = (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError)
Card = tuple[str, Any, str]


def write_samples(path: Path, stamps: np.ndarray, cards: Sequence[Card], table: QTable) -> None:
    """Write stamps `(n, channel, *axes)` and their table to `path`; the same ones give the same bytes.

    The image is ``(n, *axes)``, or ``(n, channel, *axes)`` where there are several channels; the table is its first
    extension, of the name TRUTH. `path` is the temporary file of `pipeline.files.atomic`.

    cards : keyword, value and comment of what the header says; a value of None is left out.
    """
    image = fits.PrimaryHDU(np.ascontiguousarray(stamps[:, 0] if stamps.shape[1] == 1 else stamps, dtype=">f4"))
    if stamps.shape[1] > 1:
        image.header[f"CTYPE{stamps.ndim - 1}"] = (COLOURS, "images of several colours; no spectrum")
    for keyword, value, comment in cards:
        if value is not None:
            image.header[keyword] = (value, comment)
    hdus = fits.HDUList([image, table_hdu(table)])
    for hdu in hdus:
        hdu.add_checksum(when=_WHEN)
    hdus.writeto(path)


def table_hdu(table: QTable) -> fits.BinTableHDU:
    """The table with units, UCDs and descriptions as cards of its columns."""
    bare = QTable(table, copy=False)
    bare.meta = {}
    hdu = fits.table_to_hdu(bare, character_as_bytes=False)
    hdu.name = TABLE
    for at, name in enumerate(table.colnames, 1):
        info = table[name].info
        ucd = (info.meta or {}).get("ucd")
        if ucd:
            hdu.header.set(f"TUCD{at}", ucd, after=f"TFORM{at}")
        if info.description:
            hdu.header.set(f"TCOMM{at}", info.description, after=f"TFORM{at}")
    return hdu


def read_samples(path: str | os.PathLike, ndim: int) -> tuple[np.ndarray, fits.Header, QTable]:
    """Stamps `(n, channel, *axes)` of `ndim` axes, the header and the table of a file of `write_samples`.

    Raises
    ------
    UserError : the file is absent, is not one of these, or holds no stamp or one that is not finite.
    """
    remedy = "give a file that fleming sample wrote"
    try:
        with fits.open(path, memmap=False) as hdus:
            stamps, header = np.asarray(hdus[0].data, dtype=np.float32), hdus[0].header.copy()
            table = QTable.read(hdus[TABLE], mask_invalid=False, character_as_bytes=False)
    except FileNotFoundError as error:
        raise UserError(path, "does not exist", remedy) from error
    except _FLAWS as error:
        raise UserError(path, "is no file of synthetic stamps", remedy) from error
    if stamps.ndim == ndim + 1:
        stamps = stamps[:, None]
    if stamps.ndim != ndim + 2 or len(stamps) != len(table) or not all(key in header for key in _NEEDED):
        what = f"holds {len(table)} rows for an array of the shape {stamps.shape}, or was not made by fleming sample"
        raise UserError(path, what, remedy)
    if not len(stamps):
        raise UserError(path, "holds no stamp", remedy)
    bad = ~np.isfinite(stamps.reshape(len(stamps), -1)).all(axis=1)
    if bad.any():
        raise UserError(path, f"has NaN or infinite pixels in stamp {int(np.argmax(bad))}", "sample again")
    return stamps, header, table
