"""The beams of the channels of a cube, in a table that CASA writes beside the pixels."""

import os
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.sky.archive import open_source
from pipeline.sky.fitsfile import open_fits
from pipeline.sky.headers import Beam, number, value


def channel_beams(source: str | os.PathLike, header: fits.Header, length: int) -> np.ndarray | None:
    """Major, minor and position angle [deg] of the beam of each channel, float64 (length, 3); None without a table.

    The table is the extension BEAMS, with columns BMAJ, BMIN (arcsec unless it says another unit), BPA and CHAN, that
    CASA announces by CASAMBM; it is looked for also where the header has no BMAJ. Of several polarisations the first
    counts. NaN where a channel has no beam, as CASA's blank channels.

    Raises
    ------
    UserError : the table is damaged, has no such columns, or is of another number of channels.
    """
    announced = value(header, "CASAMBM") in (True, "T", 1)
    if not announced and number(header, "BMAJ") is not None:
        return None
    content: Path | bytes = open_source(source)
    with open_fits(content, source) as hdus:
        table = next((hdu for hdu in hdus if hdu.name == "BEAMS" and isinstance(hdu, fits.BinTableHDU)), None)
        if table is None:
            return None
        names = {name.upper(): name for name in table.columns.names}
        if missing := [name for name in ("BMAJ", "BMIN", "BPA") if name not in names]:
            raise UserError(source, f"has a table BEAMS without {', '.join(missing)}", "give its beam")
        angles = [_degrees(table, names[name], source) for name in ("BMAJ", "BMIN", "BPA")]
        channel = np.asarray(table.data[names["CHAN"]]) if "CHAN" in names else np.arange(len(angles[0]))
        first = np.ones(len(channel), bool)
        if "POL" in names and len(channel):
            planes = np.asarray(table.data[names["POL"]])
            first = planes == planes.min()
    rows = np.stack(angles, -1)[first]
    channel = channel[first].astype(int)
    if sorted(channel) != list(range(length)):
        what = f"has a table BEAMS of {len(channel)} rows for {length} channels"
        raise UserError(source, what, "give its beam, or correct the table")
    beams = np.empty((length, 3))
    beams[channel] = rows
    with np.errstate(invalid="ignore"):
        beams[~(np.isfinite(beams).all(1) & (beams[:, 1] > 0) & (beams[:, 0] >= beams[:, 1]))] = np.nan
    return beams


def _degrees(table: fits.BinTableHDU, name: str, source: object) -> np.ndarray:
    text = table.columns[name].unit or ("deg" if name.upper() == "BPA" else "arcsec")
    unit = u.Unit(text, parse_strict="silent")
    if not unit.is_equivalent(u.deg):
        raise UserError(source, f"has a table BEAMS with {name} in {text!r}, which is no angle", "correct its TUNIT")
    return np.asarray(table.data[name], np.float64) * unit.to(u.deg)


def median_beam(beams: np.ndarray) -> Beam | None:
    """The beam of median area among those of the channels (n, 3), None when none has one."""
    valid = beams[np.isfinite(beams).all(1)]
    if not len(valid):
        return None
    order = np.argsort(valid[:, 0] * valid[:, 1], kind="stable")
    major, minor, angle = valid[order[(len(valid) - 1) // 2]]
    return Beam(float(major), float(minor), float(angle) % 180.0)
