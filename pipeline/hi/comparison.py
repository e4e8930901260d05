"""A catalogue of HI galaxies laid beside the truth of a cube: the same measures of both, and which belong together."""

from dataclasses import dataclass, replace

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.table import Table

from pipeline.detect.compared import Compared, right_by_box
from pipeline.detect.measures import chance_matches
from pipeline.detect.objects import Objects
from pipeline.errors import UserError
from pipeline.hi.galaxies import Cube, box_sides, challenge_of
from pipeline.hi.lines import width_hz
from pipeline.score.match import score
from pipeline.score.result import Score
from pipeline.score.sdc2 import Sdc2
from pipeline.sky.geometry import ARCSEC

MEASURES = {
    "ra": (u.deg, "ra"), "dec": (u.deg, "dec"), "frequency": (u.Hz, "central_freq"),
    "line_flux": (u.Jy * u.Hz, "line_flux_integral"), "hi_size": (u.arcsec, "hi_size"),
    "w20": (u.km / u.s, "w20"), "pa": (u.deg, "pa"), "inclination": (u.deg, "i"),
}  # fmt: skip
"""Columns of a catalogue: their unit and the name that the SDC2 gives them; the errors of positions are in arcsec."""
RANKS = ("probability", "matched_snr")
LIMITS = (3.0, 5.0, 7.0)
"""True signal-to-noise ratios above which average precision is measured."""
LEVELS = (0.1, 0.3, 0.5)
"""IoUs of boxes in three dimensions."""
# Shares of the sides of the cube by which a catalogue is moved to count matches by chance.
_MOVES = np.array([[0.23, 0.31, 0.37], [-0.31, 0.43, -0.29], [0.41, -0.37, 0.23], [-0.17, -0.27, -0.41]])


@dataclass(kw_only=True)
class CubeComparison(Compared):
    """One cube: `Compared`, the detections with "matched_snr" where the catalogue gives it.

    submission, truth : with the official columns. challenge : the rules that they were matched by. shape : of the cube.
    drawn : boxes of the detections (n, 2, 3) [pixel]. objects : what the cube shows of the truth.
    """

    submission: pd.DataFrame
    truth: pd.DataFrame
    challenge: Sdc2
    shape: tuple[int, int, int]
    drawn: np.ndarray
    objects: Objects

    def ranked(self, name: str) -> "CubeComparison":
        """The same detections in falling order of another of their columns; what has no number there is last."""
        rank = self.detections[name].to_numpy(float)
        if np.array_equal(rank, self.detections["rank"], equal_nan=True):
            return self
        by_box = right_by_box(self.drawn, rank, self.objects, LIMITS, LEVELS)
        return replace(self, detections=self.detections.assign(rank=rank), by_box=by_box)

    def scored_of(self, chosen: np.ndarray) -> tuple[Score, np.ndarray]:
        """The score that the detections of a mask `(n,)` alone have, and which sources `(m,)` they find."""
        own = score(self.challenge, self.submission[chosen], self.truth)
        found = np.zeros(len(self.truth), bool)
        found[own.matches.truth] = True
        return own, found


def compare(catalogue: Table | pd.DataFrame, truth: pd.DataFrame, objects: Objects, cube: Cube) -> CubeComparison:
    """Match a catalogue `(n,)` and a truth `(m,)` of one cube by the rule of the SDC2, and by boxes.

    Parameters
    ----------
    catalogue : with the columns of Fleming's detector or the official ones, and, where known, "probability", "snr",
        "matched_snr" and errors, `<measure>_error`, of `MEASURES`.
    truth : official columns. objects : what the cube shows of these rows; rows that it lacks have no SNR and no box.

    Raises
    ------
    UserError : the catalogue lacks columns.
    """
    submission, detections = listed(catalogue, cube)
    truth = truth.reset_index(drop=True)
    sources = measures(truth, cube)
    snr = np.full(len(truth), np.nan)
    snr[objects.row] = objects.snr
    challenge = challenge_of(cube)
    own = score(challenge, submission, truth)
    detections["source"], sources["snr"], sources["found"] = -1, snr, False
    detections.loc[own.matches.submission, "source"] = own.matches.truth
    sources.loc[own.matches.truth, "found"] = True
    drawn = boxes(detections, cube)
    return CubeComparison(
        detections=detections,
        sources=sources,
        score=own,
        chance=_by_chance(challenge, submission, detections, sources, truth, cube),
        by_box=right_by_box(drawn, detections["rank"].to_numpy(float), objects, LIMITS, LEVELS),
        submission=submission,
        truth=truth,
        challenge=challenge,
        shape=tuple(cube.shape),
        drawn=drawn,
        objects=objects,
    )


def listed(catalogue: Table | pd.DataFrame, cube: Cube) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A catalogue `(n,)` as the challenge takes it, official columns, and as its measures with errors, both (n,).

    "rank" is the probability, where all have one, else the flux. What the catalogue does not give is NaN.

    Raises
    ------
    UserError : a column of the measures is missing.
    """
    official = {name: other for name, (_, other) in MEASURES.items()}
    check_columns(catalogue, "catalogue")
    if "central_freq" in catalogue.columns:
        table = pd.DataFrame({name: np.asarray(catalogue[name]) for name in catalogue.columns})
        table = table.rename(columns={other: name for name, other in official.items()})
    else:
        table = _numbers(catalogue)
    submission = pd.DataFrame({"id": np.arange(1, len(table) + 1)})
    for name, other in official.items():
        submission[other] = table[name].to_numpy(float)
    submission = submission[Sdc2.names()]
    found = measures(submission, cube)
    for name in (*(f"{name}_error" for name in MEASURES), "probability", "snr", "matched_snr"):
        found[name] = table[name].to_numpy(float) if name in table else np.nan
    sure = np.isfinite(found["probability"]).all()
    found["rank"] = found["probability" if sure else "line_flux"].to_numpy()
    return submission, found


def measures(table: pd.DataFrame, cube: Cube) -> pd.DataFrame:
    """The measures `(n,)` of rows with the official columns, in `MEASURES`, and pixels z (by frequency), y and x."""
    found = pd.DataFrame({name: table[other].to_numpy(float) for name, (_, other) in MEASURES.items()})
    place = (found[name].to_numpy() for name in ("ra", "dec", "frequency"))
    found["z"], found["y"], found["x"] = cube.from_sky(*place) if len(found) else (np.zeros(0),) * 3
    return found


def boxes(found: pd.DataFrame, cube: Cube) -> np.ndarray:
    """Lower and upper corners (z, y, x) of the boxes around galaxies as the cube shows them, `(n, 2, 3)` [pixel].

    On the sky the box holds the ellipse of the HI disc widened by the beam, along frequency the line of width w20;
    it has a margin on each side. NaN where a place or a size has no number.
    """
    if not len(found):
        return np.zeros((0, 2, 3))
    column = {name: found[name].to_numpy(float) for name in (*MEASURES, "x", "y", "z")}
    beam = ARCSEC * np.sqrt(cube.beam.major * cube.beam.minor)
    major = np.hypot(column["hi_size"], beam)
    minor = np.hypot(column["hi_size"] * np.cos(np.radians(column["inclination"])), beam)
    near = np.clip(np.round(np.nan_to_num(column["z"])), 0, len(cube.channel_hz) - 1).astype(int)
    line = width_hz(column["w20"], column["frequency"], cube.rest_hz) / np.abs(np.asarray(cube.channel_hz))[near]
    half = np.full((len(found), 3), np.nan)
    known = np.isfinite(np.stack([*column.values()])).all(0)
    shape = (part[known] for part in (column["x"], column["y"], major, minor, column["pa"], line))
    half[known] = box_sides(cube.wcs, *shape) / 2
    centre = np.stack([column[name] for name in "zyx"], axis=1)
    return np.stack([centre - half, centre + half], axis=1)


def check_columns(catalogue: Table | pd.DataFrame, where: object) -> None:
    """Refuse a catalogue without one of the measures; official columns will do.

    Raises
    ------
    UserError : a column is missing; `where` is how the message names the catalogue.
    """
    official = "central_freq" in catalogue.columns
    needed = [other if official else name for name, (_, other) in MEASURES.items()]
    absent = [name for name in needed if name not in catalogue.columns]
    if absent:
        raise UserError(where, f"has no column {', '.join(absent)}", "write it with fleming detect")


def _numbers(catalogue: Table | pd.DataFrame) -> pd.DataFrame:
    columns = {}
    for name in (*MEASURES, *(f"{name}_error" for name in MEASURES), "probability", "snr", "matched_snr"):
        if name in catalogue.columns:
            part, (unit, _) = catalogue[name], MEASURES.get(name.removesuffix("_error"), (None, None))
            unit = u.arcsec if name in ("ra_error", "dec_error") else unit
            values = part.to_value(unit) if isinstance(part, u.Quantity) and unit is not None else part
            columns[name] = np.asarray(values, float)
    return pd.DataFrame(columns)


def _by_chance(challenge, submission, detections, sources, truth, cube) -> dict:
    """Matches of the catalogue moved within the box that detections and sources span."""
    places = np.concatenate([part[["z", "y", "x"]].to_numpy(float) for part in (detections, sources)])
    places = places[np.isfinite(places).all(1)]
    low, high = (reduce(places, axis=0, initial=side) for reduce, side in ((np.min, np.inf), (np.max, -np.inf)))
    if not (len(detections) and (high > low).all()):
        return {"count": [], "mean": None, "scatter": None, "fraction": None}

    def count(moved: np.ndarray) -> int:
        ra, dec, frequency = cube.to_sky(*moved.T)
        return score(challenge, submission.assign(ra=ra, dec=dec, central_freq=frequency), truth).n_match

    return chance_matches(count, detections[["z", "y", "x"]].to_numpy(float), _MOVES * (high - low), low, high)
