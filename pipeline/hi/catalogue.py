"""The catalogue of a cube: from detections in its voxels to galaxies on the sky, with units and errors."""

import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import QTable
from scipy.spatial import cKDTree
from scipy.special import ndtr

from pipeline.data.background import Background
from pipeline.detect.calibrate import Calibrated
from pipeline.detect.columns import (
    ONE_SIGMA,
    Adder,
    catalogue_meta,
    chosen_format,
    flags_text,
    near_invalid,
    vector_angle,
)
from pipeline.detect.continuum import PixelBeam
from pipeline.detect.model import Model
from pipeline.detect.resample import SLACK, miss
from pipeline.hi.galaxies import VALUES, effective_snr, from_values
from pipeline.hi.lines import km_s_per_hz, velocity_km_s, width_hz
from pipeline.score.sdc2 import Sdc2
from pipeline.score.write import write_sdc2
from pipeline.sky.catalogue import write_catalogue
from pipeline.sky.geometry import ARCSEC, jacobian
from pipeline.sky.regions import write_regions

if TYPE_CHECKING:
    from pipeline.sky.cube import CubeReader

EDGE, BLENDED, INVALID, OUTSIDE, BLANK = 1, 2, 4, 8, 16
FLAGS = {
    EDGE: "within half the field of the network of the border of the cube",
    BLENDED: "another detection within one FWHM of the beam whose line overlaps in frequency",
    INVALID: "invalid pixels (NaN) within two FWHM of the beam in the channels about the centre",
    OUTSIDE: "beam, flux, size or line width outside what the model was trained on",
    BLANK: "a blank channel within the line or beside it",
}
# Values this many spreads of the training objects from their mean are outside what was learnt.
_SPREADS = 5.0
# Channels about the centre where invalid pixels are looked for, and beside the line where blank channels are.
_AROUND, _BESIDE = 2, 2
_TILE = (128, 256, 256)
_AT_ONCE = 1 << 12
_JY_BEAM = u.Jy / u.beam
_JY_HZ = u.Jy * u.Hz
_JY_KM_S = u.Jy * u.km / u.s
_KM_S = u.km / u.s
_OTHER = {"sdc1": "cannot be a submission of SDC1, which wants continuum sources of an image"}
_OFFICIAL = {
    "id": "id", "ra": "ra", "dec": "dec", "hi_size": "hi_size", "line_flux_integral": "line_flux",
    "central_freq": "frequency", "pa": "pa", "i": "inclination", "w20": "w20",
}  # fmt: skip


def make_catalogue(
    calibrated: Calibrated,
    cube: "CubeReader",
    noise: Background,
    model: Model,
    *,
    matched_snr: np.ndarray | None = None,
    first: int = 1,
    name: str | None = None,
) -> QTable:
    """The galaxies of a cube, one row a detection.

    Parameters
    ----------
    calibrated : n >= 0 detections, their values in the order of `galaxies.VALUES`.
    noise : the rms of the cube anywhere; 0 or NaN in a blank channel.
    matched_snr : of the matched filter at each detection (n,), where it was run.
    first : the first id; the others count on from it.
    name : of the cube, for a column of its own.

    Errors are one sigma, to first order; that of the inclination is half the interval that holds 68 %.
    """
    found, rest = calibrated.detections, cube.rest_hz
    z, y, x = found.centre.T
    error = dict(zip(("z", "y", "x", *VALUES), calibrated.errors.T, strict=True))
    at = {part: index for index, part in enumerate(VALUES)}
    ra, dec, frequency = cube.to_sky(z, y, x)
    channel = _channel_hz(cube, z)
    says = from_values(found.values, found.centre, found.rms, cube)
    flux, size, w20 = says["line_flux_integral"], says["hi_size"], says["w20"]
    channels = width_hz(w20, frequency, rest) / channel
    turn = jacobian(cube.wcs, x, y)
    east, north = (np.hypot(turn[:, side, 0] * error["x"], turn[:, side, 1] * error["y"]) for side in (0, 1))
    to_km_s = km_s_per_hz(frequency, rest)
    _, pa_error = vector_angle(found.values[:, [at["cos_pa"], at["sin_pa"]]].T, [error["cos_pa"], error["sin_pa"]])
    table = QTable()
    add = Adder(table)
    add("id", first + np.arange(len(found)), "meta.id;meta.main", "number of the galaxy")
    if name is not None:
        add("cube", np.full(len(found), name, dtype=f"U{max(len(name), 1)}"), "meta.dataset", "cube it was found in")
    add("ra", ra * u.deg, "pos.eq.ra;meta.main", "right ascension, ICRS")
    add("dec", dec * u.deg, "pos.eq.dec;meta.main", "declination, ICRS")
    add("ra_error", east * u.arcsec, "stat.error;pos.eq.ra", "error along right ascension, on the sky")
    add("dec_error", north * u.arcsec, "stat.error;pos.eq.dec", "error along declination")
    add("frequency", frequency * u.Hz, "em.freq;em.line.HI", "of the middle of the line, as observed")
    add("frequency_error", channel * error["z"] * u.Hz, "stat.error;em.freq", "its error")
    add("redshift", rest / frequency - 1, "src.redshift", "rest frequency / frequency - 1")
    add("velocity", velocity_km_s(frequency, rest) * _KM_S, "spect.dopplerVeloc.opt", "optical velocity, c redshift")
    add("velocity_error", to_km_s * channel * error["z"] * _KM_S, "stat.error;spect.dopplerVeloc.opt", "its error")
    add("x", x * u.pix, "pos.cartesian.x", "along the axis of longitude, first pixel 0")
    add("y", y * u.pix, "pos.cartesian.y", "along the axis of latitude, first pixel 0")
    sense = "falls" if cube.stored_channel(1) < cube.stored_channel(0) else "rises"
    text = f"channel as stored in the file, first 0; the frequency {sense} with it"
    add("z", cube.stored_channel(z) * u.pix, "pos.cartesian.z", text)
    add("line_flux", flux * _JY_HZ, "phot.flux;em.line.HI", "flux density integrated over the line, in frequency")
    add("line_flux_error", flux * error["ln_flux"] * _JY_HZ, "stat.error;phot.flux;em.line.HI", "its error")
    add("line_flux_kms", flux * to_km_s * _JY_KM_S, "phot.flux;em.line.HI", "the same, in optical velocity")
    add("line_flux_kms_error", flux * to_km_s * error["ln_flux"] * _JY_KM_S, "stat.error;phot.flux", "its error")
    add("hi_size", size * u.arcsec, "phys.angSize.smajAxis", "diameter of the major axis at 1 solar mass / pc2")
    add("hi_size_error", size * error["ln_size"] * u.arcsec, "stat.error;phys.angSize.smajAxis", "its error")
    add("w20", w20 * _KM_S, "spect.line.width", "width of the line at 20 % of its peak, in optical velocity")
    add("w20_error", w20 * error["ln_w20"] * _KM_S, "stat.error;spect.line.width", "its error")
    add("pa", says["pa"] * u.deg, "pos.posAng", "position angle of the receding side, east of north, 0 to 360")
    add("pa_error", pa_error * u.deg, "stat.error;pos.posAng", "its error")
    add("inclination", says["i"] * u.deg, "pos.inclination", "0 is face-on, 90 edge-on")
    spread = inclination_error(found.values[:, at["cos_i"]], error["cos_i"])
    add("inclination_error", spread * u.deg, "stat.error;pos.inclination", "its error")
    add("probability", calibrated.probability, "stat.probability", "calibrated probability of being a galaxy")
    cosine = np.cos(np.radians(says["i"]))
    snr = effective_snr(flux / (found.rms * channel), size / _beam_arcsec(cube), channels, cosine)
    add("snr", snr, "stat.snr", "line_flux over the noise of the voxels that the galaxy fills")
    if matched_snr is not None:
        add("matched_snr", np.asarray(matched_snr, float), "stat.snr", "of the best matched filter at the galaxy")
    add("local_rms", found.rms * _JY_BEAM, "instr.det.noise;em.radio", "noise of a channel at the galaxy")
    flags = _flags(calibrated, cube, noise, model, channels)
    add("flags", flags, "meta.code", "sum of " + flags_text(FLAGS, " "))
    table.meta = catalogue_meta(model) | {
        "FLAGS": flags_text(FLAGS),
        "RESTFRQ": float(rest),
        "SPECTRAL": str(cube.convention),
        "VELOCITY": "optical, c times redshift [km/s]; widths and fluxes in km/s likewise",
        "BEAM": float(_beam_arcsec(cube)),
    }
    return table


def to_sdc2(table: QTable) -> pd.DataFrame:
    """The official SDC2 columns of a catalogue; galaxies without a finite number in each are left out."""
    rows = pd.DataFrame({name: np.asarray(getattr(table[own], "value", table[own])) for name, own in _OFFICIAL.items()})
    rows = rows[Sdc2.names()]
    return rows[np.isfinite(rows.to_numpy(float)).all(1)].reset_index(drop=True)


def galaxy_format(path: str | os.PathLike, fmt: str | None = None) -> str:
    """The format that `fmt` or the suffix of `path` names: fits, ecsv, votable, csv, sdc2 or regions.

    Raises
    ------
    UserError : another one, or the submission of SDC1.
    """
    return chosen_format(path, fmt, "sdc2", _OTHER)


def write_galaxies(table: QTable, path: str | os.PathLike, fmt: str | None = None) -> None:
    """Write a catalogue, whole or not at all, as `galaxy_format` says; regions are ellipses seen with the beam.

    Raises
    ------
    UserError : an unknown format, or the file cannot be written.
    """
    chosen = galaxy_format(path, fmt)
    if chosen == "sdc2":
        write_sdc2(to_sdc2(table), path)
    elif chosen == "regions":
        place = [table[name].value for name in ("ra", "dec")]
        axes = seen_axes(table["hi_size"].value, table["inclination"].value, table.meta["BEAM"])
        write_regions(path, *place, *axes, table["pa"].value % 180.0, label=table["id"].tolist())
    else:
        write_catalogue(table, path, chosen)


def seen_axes(size: np.ndarray, inclination: np.ndarray, beam: float) -> tuple[np.ndarray, np.ndarray]:
    """Full axes of thin discs of diameter `size`, inclined by [deg], seen with a round beam, in the unit of both."""
    return np.hypot(size, beam), np.hypot(size * np.cos(np.radians(inclination)), beam)


def inclination_error(cosine: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Half the interval [deg] about the inclination that holds 68 % of the inclinations of normal cosines (n,).

    A cosine beyond 0 or 1 counts as 0 or 1, whether it was said or is within the errors of what was said, so that the
    error is neither infinite for discs seen face-on, where there is no derivative, nor 0.
    """
    error, cosine = np.maximum(error, 1e-12), np.clip(cosine, 0.0, 1.0)
    middle = np.arccos(cosine)
    low, high = np.zeros_like(middle), np.full_like(middle, np.pi / 2)
    for _ in range(50):
        half = (low + high) / 2
        least, most = middle - half, middle + half
        above = np.where(least <= 0, 1.0, ndtr((np.cos(least) - cosine) / error))
        below = np.where(most >= np.pi / 2, 0.0, ndtr((np.cos(most) - cosine) / error))
        enough = above - below >= ONE_SIGMA
        low, high = np.where(enough, low, half), np.where(enough, half, high)
    return np.rad2deg(high)


def _channel_hz(cube: "CubeReader", z: np.ndarray) -> np.ndarray:
    return np.asarray(cube.channel_hz)[np.clip(np.rint(z), 0, cube.shape[0] - 1).astype(int)]


def _beam_arcsec(cube: "CubeReader") -> float:
    return ARCSEC * np.sqrt(cube.beam.major * cube.beam.minor)


def _flags(
    calibrated: Calibrated, cube: "CubeReader", noise: Background, model: Model, channels: np.ndarray
) -> np.ndarray:
    """channels : the widths of the lines (n,) [channel]."""
    centre, shape = calibrated.detections.centre, np.array(cube.shape)
    reach = np.array(model.detector.network.field) / 2
    edge = ((centre < reach) | (centre > shape - 1 - reach)).any(1)
    beam = _beam_arcsec(cube) / (ARCSEC * cube.pixel_scale)
    around = (_AROUND, *[int(np.ceil(2 * beam))] * 2)
    parts = (
        edge,
        _blended(centre, beam, channels),
        near_invalid(cube.read, cube.shape, centre, around, _TILE),
        _outside(calibrated, beam, model),
        _blank(centre, noise, channels, cube.shape),
    )
    return sum(np.where(part, bit, 0) for bit, part in zip(FLAGS, parts, strict=True)).astype(np.int32)


def _blended(centre: np.ndarray, beam: float, channels: np.ndarray) -> np.ndarray:
    """Which galaxies (n,) share voxels with another one."""
    result = np.zeros(len(centre), bool)
    if len(centre) > 1:
        one, other = cKDTree(centre[:, 1:] / beam).query_pairs(1.0, output_type="ndarray").T
        overlap = np.abs(centre[one, 0] - centre[other, 0]) < (channels[one] + channels[other]) / 2
        result[one[overlap]] = result[other[overlap]] = True
    return result


def _outside(calibrated: Calibrated, beam: float, model: Model) -> np.ndarray:
    """Which detections (n,) are not of the kind that the model learnt. beam : FWHM [pixel]."""
    if miss(PixelBeam(beam, beam, 0.0), *model.trained["beam"]) > SLACK:
        return np.ones(len(calibrated.probability), bool)
    layout = model.detector.layout
    used = [at for at, name in enumerate(VALUES) if name.startswith("ln_")]
    mean, spread = (np.array(part)[layout.ndim :][used] for part in (layout.mean, layout.spread))
    return (np.abs(calibrated.detections.values[:, used] - mean) > _SPREADS * spread).any(1)


def _blank(centre: np.ndarray, noise: Background, channels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which galaxies (n,) have a channel without noise, that is without pixels, in their line or next to it."""
    half = channels / 2 + _BESIDE
    low, high = (np.clip(np.rint(centre[:, 0] + side * half), 0, shape[0] - 1).astype(int) for side in (-1, 1))
    result = np.zeros(len(centre), bool)
    for start in range(0, len(centre), _AT_ONCE):
        part = np.arange(start, min(start + _AT_ONCE, len(centre)))
        count = high[part] - low[part] + 1
        owner = np.repeat(part, count)
        z = low[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        _, rms = noise.at_positions(np.column_stack([z, centre[owner, 1:]]))
        np.logical_or.at(result, owner, ~(rms > 0))
    return result
