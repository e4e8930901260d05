"""A catalogue laid beside the truth of one frame: the same measures of both, and which belong together."""

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.table import Table
from astropy.wcs import WCS

from pipeline.detect.compared import Compared, right_by_box
from pipeline.detect.continuum import CLASSES, gaussian_ellipse
from pipeline.detect.measures import chance_matches
from pipeline.detect.objects import Objects
from pipeline.detect.official import has_signed_angles, official_table
from pipeline.detect.precision import COCO_THRESHOLDS
from pipeline.errors import UserError
from pipeline.score.challenge import Challenge
from pipeline.score.match import score
from pipeline.score.result import Score
from pipeline.sky.geometry import convolve, ellipse_to_pixel, half_widths, pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam

UNITS = {
    "ra": u.deg, "dec": u.deg, "flux": u.Jy, "peak_flux": u.Jy / u.beam, "major": u.arcsec, "minor": u.arcsec,
    "pa": u.deg, "deconvolved_major": u.arcsec, "deconvolved_minor": u.arcsec, "deconvolved_pa": u.deg,
    "core_fraction": None,
}  # fmt: skip
"""The measures of a source in a catalogue and their units; the errors of positions are in arcsec."""
_NEEDED = (*UNITS, *(f"p_{name}" for name in CLASSES))
_PLACE = ("ra", "dec", "flux", "core_fraction")
_INTRINSIC = ("deconvolved_major", "deconvolved_minor", "deconvolved_pa")
LIMITS = (3.0, 5.0)
"""True signal-to-noise ratios above which average precision is measured."""
IOUS = (0.1, 0.3, 0.5, 0.75)
LEVELS = tuple(dict.fromkeys([*IOUS, *COCO_THRESHOLDS]))
# Axes that differ by less are those of a circle.
_ROUND = 1e-9
# The fold of the official score's angle can make a constant pay more than an honest measurement: the middle of what
# angles of 0 to 180, or of -90 to 90 deg, are folded to.
_CONSTANT_ANGLE = {False: 22.5, True: 0.0}
_CONSTANT_CORE = 0.0375
# Shares of the sides of the field by which a catalogue is moved to count matches by chance.
_MOVES = np.array([[0.31, 0.37], [0.43, -0.29], [-0.37, 0.23], [-0.27, -0.41]])


@dataclass(kw_only=True)
class Comparison(Compared):
    """One image: `Compared`, with the "label" of detections and sources.

    constant : the score with one position angle and core fraction in every row.
    """

    constant: Score


def compare(
    catalogue: Table | pd.DataFrame,
    truth: pd.DataFrame,
    objects: Objects,
    wcs: WCS,
    beam: Beam,
    challenge: Challenge,
    attenuation: np.ndarray | float = 1.0,
) -> Comparison:
    """Match a catalogue `(n,)` and a truth `(m,)` of one frame by the rule of the challenge, and by boxes.

    Parameters
    ----------
    catalogue : with the columns of Fleming's detector, or with the official columns of the SDC1 and, where known,
        "probability", "snr" and errors, `<measure>_error`, of the measures in `UNITS`.
    truth : official columns. objects : what the frame shows of these rows, as `ContinuumImage.objects` gives it.
    beam : of the frame [deg].
    attenuation : primary beam at each true source (m,): peak fluxes are those that the frame shows.

    Raises
    ------
    UserError : the catalogue lacks columns.
    """
    signed = has_signed_angles(truth)
    submission, detections = listed(catalogue, wcs, beam, signed)
    sources = measures(truth, wcs, beam).assign(snr=objects.snr, label=objects.label)
    sources["peak_flux"] *= attenuation
    own = score(challenge, submission, truth)
    constant = score(challenge, submission.assign(pa=_CONSTANT_ANGLE[signed], core_frac=_CONSTANT_CORE), truth)
    detections["source"], sources["found"] = -1, False
    detections.loc[own.matches.submission, "source"] = own.matches.truth
    sources.loc[own.matches.truth, "found"] = True
    chance = _by_chance(submission, detections, sources, truth, wcs, challenge)
    by_box = right_by_box(boxes(detections, wcs), detections["rank"].to_numpy(float), objects, LIMITS, LEVELS)
    return Comparison(
        detections=detections, sources=sources, score=own, constant=constant, chance=chance, by_box=by_box
    )


def listed(
    catalogue: Table | pd.DataFrame, wcs: WCS, beam: Beam, signed: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A catalogue `(n,)` as the challenge takes it, official columns, and as its measures with errors, both (n,).

    signed : how position angles are to be counted, as `official_table`; official columns stay as they are.
    Measures that the catalogue does not give are NaN.

    Raises
    ------
    UserError : a column of the measures is missing.
    """
    if "b_maj" in catalogue.columns:
        table = pd.DataFrame({name: np.asarray(catalogue[name]) for name in catalogue.columns})
        submission, found = table, measures(table, wcs, beam).assign(label=table["class"].to_numpy(int) - 1)
    else:
        table = _numbers(catalogue)
        found = table[list(_NEEDED)].copy()
        found["label"] = found[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(1) if len(found) else 0
        found["x"], found["y"] = sky_to_pixel(wcs, found["ra"], found["dec"])
        places, intrinsic = ([found[name].to_numpy(float) for name in names] for names in (_PLACE, _INTRINSIC))
        submission = official_table(*places, intrinsic, found["label"].to_numpy(int), signed=signed)
    for name in (*(f"{name}_error" for name in UNITS), "probability", "snr"):
        found[name] = table[name].to_numpy(float) if name in table else np.nan
    sure = np.isfinite(found["probability"]).all()
    found["rank"] = found["probability" if sure else "flux"].to_numpy()
    return submission, found


def measures(table: pd.DataFrame, wcs: WCS, beam: Beam) -> pd.DataFrame:
    """The measures `(n,)` of rows with the official columns, in `UNITS`, and pixels x and y; sizes as seen with `beam`.

    An angle is NaN where there is none.
    """
    ra, dec = table["ra_cent"].to_numpy(float), table["dec_cent"].to_numpy(float)
    long, short, angle = gaussian_ellipse(table)
    major, minor, pa = convolve(long, short, angle, beam)
    flux = table["flux"].to_numpy(float)
    x, y = sky_to_pixel(wcs, ra, dec)
    return pd.DataFrame(
        {
            "ra": ra,
            "dec": dec,
            "x": x,
            "y": y,
            "flux": flux,
            "peak_flux": flux * 3600**2 * beam.major * beam.minor / (major * minor),
            "major": major,
            "minor": minor,
            "pa": np.where(major > (1 + _ROUND) * minor, pa, np.nan),
            "deconvolved_major": long,
            "deconvolved_minor": short,
            "deconvolved_pa": np.where(long > short, angle, np.nan),
            "core_fraction": table["core_frac"].to_numpy(float),
        }
    )


def ellipses(found: pd.DataFrame, wcs: WCS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major and minor [pixel] and theta [deg] of the fitted ellipses `(n,)`."""
    if not len(found):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    columns = (found[name].to_numpy(float) for name in ("x", "y", "major", "minor"))
    return ellipse_to_pixel(wcs, *columns, np.nan_to_num(found["pa"].to_numpy(float)))


def boxes(found: pd.DataFrame, wcs: WCS) -> np.ndarray:
    """Lower and upper corners (y, x) of the boxes around twice the fitted ellipses, `(n, 2, 2)` [pixel]."""
    half = half_widths(*(np.asarray(part) for part in ellipses(found, wcs))) * 2
    centre = found[["y", "x"]].to_numpy(float)
    return np.stack([centre - half, centre + half], axis=1)


def check_columns(catalogue: Table | pd.DataFrame, where: object) -> None:
    """Refuse a catalogue without one of the measures or of the classes' probabilities.

    Raises
    ------
    UserError : a column is missing; `where` is how the message names the catalogue.
    """
    absent = [name for name in _NEEDED if name not in catalogue.columns]
    if absent:
        raise UserError(where, f"has no column {', '.join(absent)}", "write it with fleming detect")


def _numbers(catalogue: Table | pd.DataFrame) -> pd.DataFrame:
    check_columns(catalogue, "catalogue")
    columns = {}
    for name in (*_NEEDED, *(f"{name}_error" for name in UNITS), "probability", "snr"):
        if name in catalogue.columns:
            part, measure = catalogue[name], name.removesuffix("_error")
            unit = u.arcsec if name in ("ra_error", "dec_error") else UNITS.get(measure)
            values = part.to_value(unit) if isinstance(part, u.Quantity) and unit is not None else part
            columns[name] = np.asarray(values, float)
    return pd.DataFrame(columns)


def _by_chance(submission, detections, sources, truth, wcs, challenge) -> dict[str, Any]:
    """Matches of the catalogue moved within the box that detections and sources span."""
    places = np.concatenate([part[["x", "y"]].to_numpy(float) for part in (detections, sources)])
    low, high = (reduce(places, axis=0, initial=side) for reduce, side in ((np.min, np.inf), (np.max, -np.inf)))
    if not (len(detections) and (high > low).all()):
        return {"count": [], "mean": None, "scatter": None, "fraction": None}

    def count(moved: np.ndarray) -> int:
        ra, dec = pixel_to_sky(wcs, moved[:, 0], moved[:, 1])
        there = submission.assign(ra_core=ra, dec_core=dec, ra_cent=ra, dec_cent=dec)
        return score(challenge, there, truth).n_match

    return chance_matches(count, detections[["x", "y"]].to_numpy(float), _MOVES * (high - low), low, high)
