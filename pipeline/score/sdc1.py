"""The score of SKA Science Data Challenge 1 (Bonaldi et al. 2021, MNRAS 500, 3821), equal to ska-sdc 2.0.0."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.score.challenge import Challenge, Column, Rows, capped, finite_rows, relative, separation
from pipeline.score.match import score
from pipeline.score.result import Score

LAS, GAUSSIAN, EXPONENTIAL = 1, 2, 3
FWHM = np.array([np.nan, 2.355 / 5, 1.0, np.sqrt(2.0)])
"""Gaussian-equivalent FWHM of a unit size by size code: largest angular size, Gaussian FWHM, exponential scale."""
TRAINING = {
    560: (-0.6723, 0.0, -29.9400, -29.4061),
    1400: (-0.2688, 0.0, -29.9400, -29.7265),
    9200: (-0.04092, 0.0, -29.9400, -29.9074),
}
"""Training area by frequency in MHz: lowest and highest RA, lowest and highest Dec, in degrees, ends excluded."""
# Restoring beam of the images over the beam of the score: 1.5 / 0.625, 0.6 / 0.25, 0.0913 / 0.0380.
_BEAMS = 2.4


@dataclass(frozen=True)
class Sdc1(Challenge):
    """SDC1: radio continuum sources in one image.

    Parameters
    ----------
    frequency : 560, 1400 or 9200 [MHz].
    mode : which positions find candidates, "core" or "centroid".
    area : "train" keeps the training area, "outside" the rest (the challenge), "all" everything.
    width : the beam of the score [arcsec] for images that are none of the challenge's; None takes the frequency's.

    Raises
    ------
    UserError : another frequency, mode or area.
    """

    frequency: int
    mode: Literal["core", "centroid"] = "core"
    area: Literal["all", "train", "outside"] = "all"
    width: float | None = None

    name: ClassVar[str] = "sdc1"
    flux: ClassVar[str] = "flux"
    named: ClassVar[bool] = False
    extra: ClassVar[tuple[int, ...]] = (15,)
    floor: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("position", "flux", "b_maj", "b_min", "pa", "core_frac", "class")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("id"),
        Column("ra_core", "deg", -180, 360, ("ra_cent", "ra")),
        Column("dec_core", "deg", -90, 90, ("dec_cent", "dec")),
        Column("ra_cent", "deg", -180, 360, ("ra_core", "ra")),
        Column("dec_cent", "deg", -90, 90, ("dec_core", "dec")),
        Column("flux", "Jy", 0),
        Column("core_frac", "", 0),
        Column("b_maj", "arcsec", 0),
        Column("b_min", "arcsec", 0),
        Column("pa", "deg", -720, 720),
        Column("size", aliases=("size_class",), choices=(LAS, GAUSSIAN, EXPONENTIAL)),
        Column("class", aliases=("source_class",), choices=(1, 2, 3)),
    )

    def __post_init__(self):
        for key, allowed in (("frequency", tuple(TRAINING)), ("mode", ("core", "centroid")), ("area", _AREAS)):
            if getattr(self, key) not in allowed:
                what = f"sdc1 has no {key} {getattr(self, key)!r}"
                raise UserError(key, what, f"give one of {', '.join(map(str, allowed))}")
        object.__setattr__(self, "frequency", int(self.frequency))

    @property
    def beam(self) -> float:
        """The beam of the score in arcsec; not the restoring beam of the image."""
        return 0.25 * 1400.0 / self.frequency if self.width is None else self.width

    def for_beam(self, fwhm: float) -> "Sdc1":
        """The same rule for an image whose restoring beam has this FWHM [arcsec].

        Positions must agree within a share of the beam: in the challenge's images it is 2.4 times the score's.
        """
        return replace(self, width=fwhm / _BEAMS)

    def clean(self, rows: Rows) -> Rows:
        rows = finite_rows(rows, self.names())
        for name in ("flux", "core_frac", "b_min", "b_maj"):
            values = rows[name]
            # One negative value makes the official scorer drop the zeros of that column too.
            if (values < 0).any():
                rows = rows.take(np.flatnonzero(values > 0))
        if self.area == "all":
            return rows
        west, east, south, north = TRAINING[self.frequency]
        ra, dec = _wrapped(rows["ra_core"]), rows["dec_core"]
        inside = (ra > west) & (ra < east) & (dec > south) & (dec < north)
        return rows.take(np.flatnonzero(inside if self.area == "train" else ~inside))

    def points(self, rows: Rows) -> np.ndarray:
        ra, dec = _position(rows, self._end)
        return np.stack([ra, dec], axis=1)

    def radius(self, rows: Rows) -> np.ndarray:
        return self._width(rows) / 3600.0

    def distance(self, submission: Rows, truth: Rows) -> np.ndarray:
        width = self._width(truth)
        place = 3600.0 * separation(*_position(submission, self._end), *_position(truth, self._end)) / width
        size = np.abs(_fwhm(truth) - _fwhm(submission)) / width
        return np.sqrt(
            (place / 0.93) ** 2 + (relative(submission["flux"], truth["flux"]) / 0.36) ** 2 + (size / 4.38) ** 2
        )

    def scores(self, submission: Rows, truth: Rows) -> np.ndarray:
        apart = np.minimum(
            *(separation(*_position(submission, end), *_position(truth, end)) for end in ("core", "cent"))
        )
        mean = (truth["b_maj"] + truth["b_min"]) / 2
        place = 3600.0 * apart / np.sqrt(4 * self.beam**2 + mean**2)
        # A submitted size is first brought to the size type of its truth.
        factor = _unit(submission) / _unit(truth)
        major, minor = (capped(relative(factor * submission[axis], truth[axis]), 0.3) for axis in ("b_maj", "b_min"))
        angle = capped(np.abs(_folded(submission["pa"]) - _folded(truth["pa"])), 10.0)
        fraction = capped(np.abs(submission["core_frac"] - truth["core_frac"]) / 0.75, 0.05)
        extended = truth["size"] == LAS
        columns = (
            capped(place, 0.3),
            capped(relative(submission["flux"], truth["flux"]), 0.1),
            major,
            np.where(extended, 1.0, minor),
            np.where(extended, 1.0, angle),
            fraction,
            (submission["class"] == truth["class"]).astype(float),
        )
        return np.stack(columns, axis=1)

    def errors(self, submission: Rows, truth: Rows) -> dict[str, np.ndarray]:
        """Axial PA error in degrees where the truth has an axis; size errors in arcsec of Gaussian-equivalent FWHM."""
        ours, theirs = _unit(submission), _unit(truth)
        angle = (submission["pa"] - truth["pa"] + 90.0) % 180.0 - 90.0
        return {
            "pa_error_deg": np.where(truth["b_maj"] > truth["b_min"], angle, np.nan),
            "b_maj_error_arcsec": ours * submission["b_maj"] - theirs * truth["b_maj"],
            "b_min_error_arcsec": ours * submission["b_min"] - theirs * truth["b_min"],
        }

    def settings(self) -> dict:
        return {
            "freq": self.frequency,
            "mode": ("core", "centroid").index(self.mode),
            "mode_name": self.mode,
            "area": self.area,
            "train": {"train": True, "outside": False, "all": None}[self.area],
        }

    def check(self, table: pd.DataFrame) -> list[tuple[str, str]]:
        order = f"write the columns in the order {', '.join(self.names())}"
        ends = table.loc[:, ["ra_core", "dec_core", "ra_cent", "dec_cent"]].head(10_000)
        apart = separation(*(ends[name].to_numpy(float) for name in ends))
        if len(table) and np.median(apart) > 1.0:
            return [(f"core and centroid are {np.median(apart):.3g} degrees apart in half of its rows", order)]
        if len(table) >= 10 and (table["b_min"] > table["b_maj"]).all():
            return [("b_min is larger than b_maj in every row", order)]
        return []

    @property
    def _end(self) -> str:
        return "core" if self.mode == "core" else "cent"

    def _width(self, rows: Rows) -> np.ndarray:
        """Gaussian-equivalent size convolved with the beam, in arcsec."""
        largest = np.maximum(rows["b_maj"], rows["b_min"])
        return np.sqrt((_unit(rows) * largest) ** 2 + self.beam**2)


_AREAS = ("all", "train", "outside")


def score_sdc1(
    submission: pd.DataFrame,
    truth: pd.DataFrame,
    frequency: int,
    mode: Literal["core", "centroid"] = "core",
    area: Literal["all", "train", "outside"] = "all",
) -> Score:
    """Score tables with the official SDC1 columns (`Sdc1.columns`); official cleaning, no validation.

    `area` "outside" is the challenge (official train=False), "train" the training area (train=True).
    """
    return score(Sdc1(frequency, mode, area), submission, truth)


def _wrapped(ra: np.ndarray) -> np.ndarray:
    return np.where(ra > 180.0, ra - 360.0, ra)


def _position(rows: Rows, end: str) -> tuple[np.ndarray, np.ndarray]:
    return _wrapped(rows[f"ra_{end}"]), rows[f"dec_{end}"]


def _unit(rows: Rows) -> np.ndarray:
    """Gaussian-equivalent FWHM of a unit size; NaN for a code that does not exist."""
    codes = rows["size"]
    known = (codes >= LAS) & (codes <= EXPONENTIAL)
    return FWHM[np.where(known, codes, 0).astype(int)]


def _fwhm(rows: Rows) -> np.ndarray:
    return _unit(rows) * (rows["b_maj"] + rows["b_min"]) / 2


def _folded(angle: np.ndarray) -> np.ndarray:
    """The official fold of angles in degrees: not axial, since it makes 45 and 90 degrees look like 0."""
    for above, step in ((180.0, 180.0), (90.0, 90.0), (45.0, 45.0)):
        angle = np.where(angle > above, angle - step, angle)
    return np.where(angle < -45.0, angle + 45.0, angle)
