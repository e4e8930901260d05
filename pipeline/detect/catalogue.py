"""The catalogue of a continuum image: from detections in its pixels to sources on the sky, with units and errors."""

import json
import os

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import QTable
from scipy.spatial import cKDTree

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
from pipeline.detect.continuum import VALUES, PixelBeam, smear
from pipeline.detect.directions import COSINE, SINE
from pipeline.detect.image import TILE, ContinuumImage
from pipeline.detect.model import Model
from pipeline.detect.official import official_table
from pipeline.detect.resample import SLACK, Sampling, choose_sampling, miss
from pipeline.score.write import write_sdc1
from pipeline.sky.catalogue import write_catalogue
from pipeline.sky.geometry import ellipse_axes, jacobian, pixel_to_sky
from pipeline.sky.regions import write_regions

EDGE, BLENDED, INVALID, OUTSIDE, UNSEEN = 1, 2, 4, 8, 16
FLAGS = {
    EDGE: "within half the field of the network of the border",
    BLENDED: "another detection within one FWHM of the beam",
    INVALID: "invalid pixels (NaN) within two FWHM of the beam",
    OUTSIDE: "beam, flux or size outside what the model was trained on",
    UNSEEN: "beyond the primary beam: its attenuation is below 0.1 or unknown",
}
LEAST_ATTENUATION = 0.1
# Values this many spreads of the training objects from their mean are outside what was learnt.
_SPREADS = 5.0
_JY_BEAM = u.Jy / u.beam
_WIDEST = 20.0
_POINT = PixelBeam(0.0, 0.0, 0.0)
# The error of an angle that may be anything within 90 degrees to either side [deg].
_UNKNOWN = ONE_SIGMA * 90.0
_OTHER = {"sdc2": "cannot be a submission of SDC2, which wants line widths and inclinations of galaxies in a cube"}


def make_catalogue(
    calibrated: Calibrated, image: ContinuumImage, model: Model, *, first: int = 1, name: str | None = None
) -> QTable:
    """The sources of an image, one row a detection, in the pixels and the beam of that image.

    Parameters
    ----------
    calibrated : n >= 0 detections, their values in the order of `continuum.VALUES`.
    first : the first id; the others count on from it.
    name : of the image, for a column of its own.

    Errors are one sigma, propagated to first order over an interval of plus and minus one error.
    """
    found = calibrated.detections
    sky, errors = image.reader.wcs, calibrated.errors
    y, x = found.centre.T
    value = dict(zip(VALUES, found.values.T, strict=True))
    error = dict(zip(("y", "x", *VALUES), errors.T, strict=True))
    ra, dec = pixel_to_sky(sky, x, y)
    attenuation = image.attenuation_at(ra, dec)
    with np.errstate(divide="ignore", invalid="ignore"):
        flux = np.where(attenuation > 0, np.exp(value["ln_flux"]) * found.rms / attenuation, np.nan)
    peak = np.exp(value["ln_peak"]) * found.rms
    turn = jacobian(sky, x, y)
    east, north = (np.hypot(turn[:, side, 0] * error["x"], turn[:, side, 1] * error["y"]) for side in (0, 1))
    deconvolved, deconvolved_error = _axes(calibrated, image.beam.mean, turn, _POINT)
    fitted, fitted_error = _axes(calibrated, image.beam.mean, turn, image.beam)
    classes = model.detector.names.classes
    chance = _softmax(found.classes)
    best = chance.argmax(1)
    table = QTable()
    add = Adder(table)
    add("id", first + np.arange(len(found)), "meta.id;meta.main", "number of the source")
    if name is not None:
        add("image", np.full(len(found), name, dtype=f"U{max(len(name), 1)}"), "meta.dataset", "image it was found in")
    add("ra", ra * u.deg, "pos.eq.ra;meta.main", "right ascension, ICRS")
    add("dec", dec * u.deg, "pos.eq.dec;meta.main", "declination, ICRS")
    add("ra_error", east * u.arcsec, "stat.error;pos.eq.ra", "error along right ascension, on the sky")
    add("dec_error", north * u.arcsec, "stat.error;pos.eq.dec", "error along declination")
    add("x", x * u.pix, "pos.cartesian.x", "along the first FITS axis, first pixel 0")
    add("y", y * u.pix, "pos.cartesian.y", "along the second FITS axis, first pixel 0")
    corrected = "" if image.attenuation is None else ", corrected for the primary beam"
    add("flux", flux * u.Jy, "phot.flux.density;em.radio", f"integrated flux density{corrected}")
    add("flux_error", flux * error["ln_flux"] * u.Jy, "stat.error;phot.flux.density;em.radio", "its error")
    add("peak_flux", peak * _JY_BEAM, "phot.flux.density;em.radio;stat.max", "peak brightness as in the image")
    add("peak_flux_error", peak * error["ln_peak"] * _JY_BEAM, "stat.error;phot.flux.density;em.radio", "its error")
    for prefix, text, axes, axis_errors in (
        ("", "as seen with the beam", fitted, fitted_error),
        ("deconvolved_", "without the beam", deconvolved, deconvolved_error),
    ):
        for at, (part, ucd, unit, what) in enumerate(_SHAPE):
            add(prefix + part, axes[at] * unit, ucd, f"{what}, {text}")
            add(f"{prefix}{part}_error", axis_errors[at] * unit, f"stat.error;{ucd}", f"error of {prefix}{part}")
    for at, kind in enumerate(classes):
        add(f"p_{kind}", chance[:, at], "stat.probability", f"probability of being {kind.replace('_', ' ')}")
    add("class", np.array(classes)[best], "src.class", "most probable class")
    add("core_fraction", np.clip(value["core_fraction"], 0, 1), "arith.ratio;phot.flux", "share of flux in the core")
    add("core_fraction_error", error["core_fraction"], "stat.error;arith.ratio;phot.flux", "its error")
    add("probability", calibrated.probability, "stat.probability", "calibrated probability of being a source")
    add("snr", np.exp(value["ln_peak"]), "stat.snr", "peak_flux / local_rms")
    add("local_rms", found.rms * _JY_BEAM, "instr.det.noise;em.radio", "noise of the image at the source")
    flags = _flags(calibrated, image, model, attenuation)
    add("flags", flags, "meta.code", "sum of " + flags_text(FLAGS, " "))
    told = {"CLASSES": json.dumps(list(classes), ensure_ascii=True), "FLAGS": flags_text(FLAGS)}
    table.meta = catalogue_meta(model) | told
    return table


_SHAPE = (
    ("major", "phys.angSize.smajAxis", u.arcsec, "FWHM of the major axis"),
    ("minor", "phys.angSize.sminAxis", u.arcsec, "FWHM of the minor axis"),
    ("pa", "pos.posAng", u.deg, "position angle of the major axis, east of north"),
)


def to_sdc1(table: QTable, signed: bool = True) -> pd.DataFrame:
    """The official SDC1 columns of a catalogue; sources without a position or a flux are left out.

    signed : how position angles are counted, as `official_table`.
    """
    ra, dec, flux = (table[name].value for name in ("ra", "dec", "flux"))
    chance = np.stack([np.asarray(table[name]) for name in table.colnames if name.startswith("p_")], axis=1)
    intrinsic = tuple(table[f"deconvolved_{name}"].value for name in ("major", "minor", "pa"))
    core, number = (np.asarray(table[name]) for name in ("core_fraction", "id"))
    rows = official_table(ra, dec, flux, core, intrinsic, chance.argmax(1), number, signed)
    return rows[np.isfinite(ra) & np.isfinite(dec) & np.isfinite(flux)].reset_index(drop=True)


def detection_format(path: str | os.PathLike, fmt: str | None = None) -> str:
    """The format that `fmt` or the suffix of `path` names: fits, ecsv, votable, csv, sdc1 or regions.

    Raises
    ------
    UserError : another one, or the submission of SDC2.
    """
    return chosen_format(path, fmt, "sdc1", _OTHER)


def write_detections(table: QTable, path: str | os.PathLike, fmt: str | None = None) -> None:
    """Write a catalogue, whole or not at all, as `detection_format` says.

    Raises
    ------
    UserError : an unknown format, or the file cannot be written.
    """
    chosen = detection_format(path, fmt)
    if chosen == "sdc1":
        write_sdc1(to_sdc1(table), path)
    elif chosen == "regions":
        columns = (table[name].value for name in ("ra", "dec", "major", "minor", "pa"))
        write_regions(path, *columns, label=table["id"].tolist())
    else:
        write_catalogue(table, path, chosen)


def _axes(calibrated: Calibrated, unit: float, turn: np.ndarray, beam: PixelBeam):
    """Major, minor [arcsec] and position angle [deg], and their errors: two tuples of three (n,) arrays.

    An error is half of what moving each parameter from one error below to one above makes of them, in quadrature.

    Parameters
    ----------
    unit : of the sizes [pixel]. turn : pixels to arcsec (n, 2, 2), as `jacobian`. beam : that they are seen with.
    """
    at = {name: index for index, name in enumerate(VALUES)}
    values, errors = calibrated.detections.values, calibrated.errors[:, 2:]
    # The longer axis is the major one, whichever the network meant.
    order = np.argsort(-values[:, [at["ln_major"], at["ln_minor"]]], axis=1, kind="stable")
    widths, width_errors = (
        np.take_along_axis(part[:, [at["ln_major"], at["ln_minor"]]], order, 1).T for part in (values, errors)
    )
    theta, theta_error = _angle(*(part[:, [at[COSINE], at[SINE]]].T for part in (values, errors)))

    def measured(major, minor, angle):
        # Errors may be so large that nothing is known: the numbers stay finite.
        major, minor = (unit * np.exp(np.clip(part, -_WIDEST, _WIDEST)) for part in (major, minor))
        square = smear(major, minor, angle, beam)
        major, minor, north = ellipse_axes(turn @ square @ np.swapaxes(turn, -1, -2))
        return major, minor, (90.0 - north) % 180.0

    middle = np.stack(measured(*widths, theta))
    # Moving an angle by 90 degrees either way changes nothing, so that a larger error is extrapolated.
    steps = (*width_errors, np.minimum(theta_error, 45.0))
    stretch = (1.0, 1.0, theta_error / np.maximum(steps[2], 1e-30))
    squares = np.zeros((3, len(theta)))
    for which, step in enumerate(steps):
        up, down = (
            np.stack(measured(*(part + sign * step * (which == k) for k, part in enumerate((*widths, theta)))))
            for sign in (1, -1)
        )
        change = up - down
        change[2] = (change[2] + 90.0) % 180.0 - 90.0
        squares += (stretch[which] * change / 2) ** 2
    spread = np.sqrt(squares)
    spread[2] = np.minimum(spread[2] if beam.mean else theta_error, _UNKNOWN)
    return tuple(middle), tuple(spread)


def _angle(vector: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """theta and its error [deg], from (cos, sin) of twice it and their errors (2, n)."""
    twice, error = vector_angle(vector, errors)
    return twice / 2 % 180.0, error / 2


def _softmax(logits: np.ndarray) -> np.ndarray:
    share = np.exp(np.asarray(logits, float) - np.max(logits, axis=1, keepdims=True, initial=-np.inf))
    return share / share.sum(1, keepdims=True)


def _flags(calibrated: Calibrated, image: ContinuumImage, model: Model, attenuation: np.ndarray) -> np.ndarray:
    found = calibrated.detections
    sampling = sampling_of(image, model)
    reach = np.array(model.detector.network.field) * sampling.step / 2
    last = np.array(image.shape) - 1
    edge = ((found.centre < reach) | (found.centre > last - reach)).any(1)
    blended = np.zeros(len(found), bool)
    if len(found) > 1:
        distance, _ = cKDTree(found.centre).query(found.centre, k=2)
        blended = distance[:, 1] < image.beam.mean
    with np.errstate(invalid="ignore"):
        unseen = ~(attenuation >= LEAST_ATTENUATION)
    reach = [int(np.ceil(2 * image.beam.mean))] * 2
    invalid = near_invalid(image.reader.read, image.shape, found.centre, reach, TILE)
    parts = (edge, blended, invalid, _outside(calibrated, image, model), unseen)
    return sum(np.where(part, bit, 0) for bit, part in zip(FLAGS, parts, strict=True)).astype(np.int32)


def sampling_of(image: ContinuumImage, model: Model) -> Sampling:
    """The pixels in which the model is to see the image: its own, unless its beam is not one that it knows."""
    return choose_sampling(image.beam, *model.trained["beam"])


def _outside(calibrated: Calibrated, image: ContinuumImage, model: Model) -> np.ndarray:
    """Which detections (n,) are not of the kind that the model learnt."""
    seen = sampling_of(image, model).beam(image.beam)
    if miss(seen, *model.trained["beam"]) > SLACK:
        return np.ones(len(calibrated.probability), bool)
    layout = model.detector.layout
    used = [at for at, name in enumerate(VALUES) if name.startswith("ln_")]
    mean, spread = (np.array(part)[layout.ndim :][used] for part in (layout.mean, layout.spread))
    return (np.abs(calibrated.detections.values[:, used] - mean) > _SPREADS * spread).any(1)
