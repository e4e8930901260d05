"""What a challenge's score is made of: columns, cleaning, candidates, match distance and scores of a match."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Column:
    """A column of the official tables.

    Parameters
    ----------
    name : official name.
    unit : astropy unit text, "" where it has none.
    low, high : the range of plausible values, both ends included; outside it the table is refused.
    aliases : other names, in the order of preference; a unit behind a name (`flux_jy`) is understood anyway.
    choices : the only values allowed, empty where it is a measure.
    hint : the remedy when values are outside the range, an imperative; "" for a wrong order of columns.
    """

    name: str
    unit: str = ""
    low: float = -np.inf
    high: float = np.inf
    aliases: tuple[str, ...] = ()
    choices: tuple[int, ...] = ()
    hint: str = ""


class Rows:
    """Some rows of a table, column by column: `rows["flux"]` is (n,), gathered when it is asked for."""

    def __init__(self, columns: Mapping[str, np.ndarray], index: np.ndarray):
        self._columns, self.index = columns, index

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name][self.index]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: np.ndarray) -> "Rows":
        """The rows (m,) of these rows."""
        return Rows(self._columns, self.index[index])


class Challenge(ABC):
    """A score by definition; `pipeline.score.match.score` does what all definitions share.

    A new challenge is a subclass of this and an entry in `pipeline.score.definition.CHALLENGES`.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    parameters: ClassVar[tuple[str, ...]]
    """Names of the scores of a match, in the order of the columns that `scores` returns."""
    flux: ClassVar[str]
    """The column whose unit is most often wrong."""
    named: ClassVar[bool]
    """Whether the official scorer reads the names in the header; otherwise it takes the columns by position."""
    extra: ClassVar[tuple[int, ...]] = ()
    """Numbers of columns that official truth files have beside the official one; the first columns count."""
    limit: ClassVar[float] = 5.0
    """A best pair matches when its distance is below this."""
    shared: ClassVar[bool] = False
    """Whether submissions of one truth source all match and share its score, or only the nearest one matches."""
    floor: ClassVar[bool] = False
    """Whether a submission without any match scores 0 rather than minus its number of detections."""

    @abstractmethod
    def clean(self, rows: Rows) -> Rows:
        """The rows (k,) of (n,) that count as detections, or as truth, in the official scorer."""

    def search(self, rows: Rows) -> Rows:
        """Of the rows that count, those that may match."""
        return rows

    @abstractmethod
    def points(self, rows: Rows) -> np.ndarray:
        """Where the search for candidates takes place: (n, k)."""

    @abstractmethod
    def radius(self, rows: Rows) -> np.ndarray:
        """Search radius (n,) of submission rows, in the unit of `points`."""

    @abstractmethod
    def distance(self, submission: Rows, truth: Rows) -> np.ndarray:
        """Match distance D (m,) of m pairs; NaN where the pair is no candidate after all."""

    @abstractmethod
    def scores(self, submission: Rows, truth: Rows) -> np.ndarray:
        """Scores (m, parameter) of m matches, each in [0, 1]; NaN where it is 0/0, which adds nothing."""

    @abstractmethod
    def errors(self, submission: Rows, truth: Rows) -> dict[str, np.ndarray]:
        """Signed errors (m,) in plain units that the score hardly sees; NaN where one is undefined."""

    @abstractmethod
    def settings(self) -> dict:
        """The settings for the JSON file."""

    def check(self, table: pd.DataFrame) -> list[tuple[str, str]]:
        """What is suspicious in a table as a whole beyond single columns: (what, remedy) a problem."""
        return []

    @classmethod
    def names(cls) -> list[str]:
        return [column.name for column in cls.columns]


def finite_rows(rows: Rows, names: list[str]) -> Rows:
    """The rows without NaN; infinities stay, as in pandas' dropna."""
    keep = np.ones(len(rows), bool)
    for name in names:
        values = rows[name]
        if values.dtype.kind == "f":
            keep &= ~np.isnan(values)
    return rows.take(np.flatnonzero(keep))


def separation(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> np.ndarray:
    """Great-circle separation in degrees of positions in degrees, all (n,), by the formula of Vincenty (1975)."""
    east = np.radians(ra2 - ra1)
    south, north = np.radians(dec1), np.radians(dec2)
    across = np.hypot(
        np.cos(north) * np.sin(east),
        np.cos(south) * np.sin(north) - np.sin(south) * np.cos(north) * np.cos(east),
    )
    along = np.sin(south) * np.sin(north) + np.cos(south) * np.cos(north) * np.cos(east)
    return np.degrees(np.arctan2(across, along))


def capped(error: np.ndarray, threshold: float) -> np.ndarray:
    """min(1, threshold / error); 1 where the error is 0, NaN where it is NaN."""
    with np.errstate(divide="ignore"):
        return np.minimum(1.0, threshold / error)


def relative(value: np.ndarray, true: np.ndarray) -> np.ndarray:
    """|value - true| / true; NaN where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(value - true) / true
