"""The files of single galaxies: cubelet, mask, maps of the line's flux and velocity, and spectrum."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.utils.exceptions import AstropyWarning

from pipeline.data.background import Background
from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.hi.cutout import LEAST_SNR, Cutout, cut_out
from pipeline.hi.lines import velocity_km_s

if TYPE_CHECKING:
    from pipeline.sky.cube import CubeReader

FILES = {
    "cubelet.fits": "the voxels about the galaxy as in the cube, in Jy/beam, frequency ascending",
    "mask.fits": "1 in the voxels that the maps sum: in the predicted ellipse and line width, and significant",
    "moment0.fits": "the flux of the line in the mask, in Jy/beam Hz; KMSFACT turns it into Jy/beam km/s",
    "moment1.fits": "the mean optical velocity in the mask, in km/s",
    "spectrum.fits": "flux density within the predicted ellipse in every channel, and its error",
}


def write_products(
    table: QTable,
    cube: "CubeReader",
    noise: Background,
    folder: str | os.PathLike,
    ids: Iterable[int] | None = None,
) -> list[Path]:
    """Write the `FILES` of galaxies of a catalogue into folders of their own, named by their ids; returns these.

    Parameters
    ----------
    table : of this cube, from `make_catalogue`. ids : of the galaxies; None takes all.

    Raises
    ------
    UserError : an id that the catalogue has not, or a file that cannot be written.
    """
    made = []
    for row in rows_of(table, ids, folder):
        cut, place = cut_out(row, cube, noise), Path(folder) / str(row["id"])
        for name, hdus in _hdus(cut, cube, int(row["id"])).items():
            _write(place / name, hdus)
        made.append(place)
    return made


def rows_of(table: QTable, ids: Iterable[int] | None, where: object) -> QTable:
    """The rows of these ids, in the order asked for, or the table itself where there are none.

    Raises
    ------
    UserError : an id that the table has not.
    """
    if ids is None:
        return table
    known = {int(number): at for at, number in enumerate(table["id"])}
    wanted = [int(number) for number in ids]
    absent = [str(number) for number in wanted if number not in known]
    if absent:
        what = f"the catalogue has no galaxy {', '.join(absent[:10])}"
        raise UserError(where, what, f"name ids of it, which has {len(table)} galaxies")
    return table[[known[number] for number in wanted]]


def _hdus(cut: Cutout, cube: "CubeReader", number: int) -> dict[str, list]:
    header = _header(cut, cube, number)
    flat = _sky_cards(header)
    mask, maps = header.copy(), flat.copy()
    maps["MASKED"] = (
        "snr" if cut.significant else "region",
        f"smoothed above {LEAST_SNR:g} rms" if cut.significant else "faint: all of the predicted ellipse and line",
    )
    mask.remove("BUNIT")
    zero, one = (_united(maps, unit) for unit in ("Jy beam-1 Hz", "km s-1"))
    zero["KMSFACT"] = (cut.km_s_per_hz, "[km/s/Hz] times it gives Jy/beam km/s")
    zero["NOISE"] = (cut.line_map_error, "[Jy/beam Hz] rms of the sum over the line")
    one["VELDEF"] = ("optical", "c times redshift")
    return {
        "cubelet.fits": [fits.PrimaryHDU(cut.data.astype(np.float32), header)],
        "mask.fits": [fits.PrimaryHDU(cut.mask.astype(np.uint8), mask)],
        "moment0.fits": [fits.PrimaryHDU(cut.moment0.astype(np.float32), zero)],
        "moment1.fits": [fits.PrimaryHDU(cut.moment1.astype(np.float32), one)],
        "spectrum.fits": [fits.PrimaryHDU(), _spectrum(cut, number)],
    }


def _header(cut: Cutout, cube: "CubeReader", number: int) -> fits.Header:
    """Of the cubelet: the sky of the cube moved to its corner, and a spectral axis of its own."""
    header = fits.Header()
    header.extend(cube.wcs.celestial.to_header(relax=True), update=True)
    for axis, start in ((1, cut.start[2]), (2, cut.start[1])):
        header[f"CRPIX{axis}"] = float(header.get(f"CRPIX{axis}", 0.0)) - start
    header["WCSAXES"] = 3
    for key, value, text in _spectral_cards(cut):
        header[key] = (value, text)
    header["RESTFRQ"] = (cut.rest, "[Hz]")
    header.remove("SPECSYS", ignore_missing=True)
    if cube.axis.frame:
        header["SPECSYS"] = cube.axis.frame
    header["BUNIT"] = "Jy/beam"
    header["BMAJ"], header["BMIN"], header["BPA"] = cube.beam.major, cube.beam.minor, cube.beam.pa
    header["GALAXY"] = (number, "id in the catalogue")
    return header


def _spectral_cards(cut: Cutout) -> list[tuple[str, object, str]]:
    """An axis of frequencies or of optical velocities, whichever the channels are more regular in."""
    pixel = np.arange(len(cut.frequency))
    axes = {"FREQ": (cut.frequency, "Hz"), "VOPT": (1e3 * velocity_km_s(cut.frequency, cut.rest), "m/s")}
    best, least = None, np.inf
    for kind, (values, unit) in axes.items():
        step = (values[-1] - values[0]) / max(len(pixel) - 1, 1) if len(pixel) > 1 else _one_step(kind, cut)
        bend = np.abs(values[0] + step * pixel - values).max() / abs(step)
        # Rounding decides nothing.
        if bend < least - 1e-6:
            best, least = (kind, unit, float(values[0]), float(step)), bend
    kind, unit, start, step = best
    return [
        ("CTYPE3", kind, ""), ("CUNIT3", unit, ""), ("CRPIX3", 1.0, ""), ("CRVAL3", start, ""), ("CDELT3", step, ""),
    ]  # fmt: skip


def _one_step(kind: str, cut: Cutout) -> float:
    return cut.channel_hz[0] * (1.0 if kind == "FREQ" else -1e3 * cut.km_s_per_hz)


def _sky_cards(header: fits.Header) -> fits.Header:
    flat = header.copy()
    for key in ("CTYPE3", "CUNIT3", "CRPIX3", "CRVAL3", "CDELT3"):
        flat.remove(key)
    flat["WCSAXES"] = 2
    return flat


def _united(header: fits.Header, unit: str) -> fits.Header:
    header = header.copy()
    header["BUNIT"] = unit
    return header


def _spectrum(cut: Cutout, number: int) -> fits.BinTableHDU:
    flux, error = cut.spectrum
    columns = [
        fits.Column("frequency", "D", unit="Hz", array=cut.frequency),
        fits.Column("velocity", "D", unit="km s-1", array=cut.velocity),
        fits.Column("flux", "D", unit="Jy", array=flux),
        fits.Column("error", "D", unit="Jy", array=error),
        fits.Column("line", "L", array=cut.line),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    for at, text in enumerate(
        ("of the channel", "optical, c times redshift", "within the ellipse", "one sigma", "in the predicted line"), 1
    ):
        table.header[f"TCOMM{at}"] = text
    table.header["GALAXY"] = (number, "id in the catalogue")
    return table


def _write(path: Path, hdus: list) -> None:
    for part in hdus:
        part.add_checksum(when="of the file as written")
    with atomic(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        fits.HDUList(hdus).writeto(beside)
