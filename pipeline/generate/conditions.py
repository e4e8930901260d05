"""What a generative model can be told: catalogue parameters and classes as a vector in which zeros say nothing."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.data.store import Store
from pipeline.errors import FlemingWarning, UserError, UserErrors

CLASS = "class"
_DECADE = 5.0  # columns of positive values whose extremes differ by more than this factor are told as logarithms
_FEW = 0.1  # share of a column: more values of 0 or less than this are no mistake
_MOST_PROBLEMS = 10


class OutsideRangeWarning(FlemingWarning):
    """A condition is asked for that no training stamp comes near to."""


class LinearConditionWarning(FlemingWarning):
    """A condition would be told as a logarithm, but for a few values that have none."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a model and how they are written as numbers.

    The vector holds, for every numeric column, its standardised value and a 1, or 0 and 0 where it is not told; then
    one number a class, 1 for the class that is told. A vector of zeros tells nothing: the unconditional model of
    classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, section 3.2).

    Attributes
    ----------
    names : numeric columns, such as ("flux", "size"); none is "class".
    logarithmic : whether the logarithm (base 10) of the column is standardised.
    mean, spread : of the values, or of their logarithms, in the training set.
    low, high : extremes of the training set, in the column's own unit.
    units : of the columns, "" where dimensionless.
    classes : names of the classes, none when they are not told.
    """

    names: tuple[str, ...] = ()
    logarithmic: tuple[bool, ...] = ()
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers in the vector of one sample."""
        return 2 * len(self.names) + len(self.classes)

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        names: Sequence[str],
        units: Sequence[str] | None = None,
        classes: Sequence[str] = (),
    ) -> "Conditions":
        """Take the constants from the training rows `table`; NaN cells take no part.

        A column is told as a logarithm where all its values are positive and differ by more than a factor of 5.

        Raises
        ------
        UserError : a column is absent, holds no number, or holds an infinite one; or a numeric column is "class".

        Warns
        -----
        LinearConditionWarning : a few values of a column alone are why it is not told as a logarithm.
        """
        if CLASS in names:
            raise UserError("conditions", 'name "class", which is no number', "name the column of classes in labels")
        columns = [_column(table, name) for name in names]
        logarithmic = tuple(bool(known.min() > 0 and known.max() / known.min() > _DECADE) for known in columns)
        for name, known in zip(names, columns, strict=True):
            _warn_of_few(name, known)
        scaled = [np.log10(known) if log else known for known, log in zip(columns, logarithmic, strict=True)]
        return cls(
            names=tuple(names),
            logarithmic=logarithmic,
            mean=tuple(float(values.mean()) for values in scaled),
            # a constant column tells nothing, and divides by nothing
            spread=tuple(float(values.std()) if np.ptp(values) > 0 else 1.0 for values in scaled),
            low=tuple(float(known.min()) for known in columns),
            high=tuple(float(known.max()) for known in columns),
            units=tuple(units) if units is not None else ("",) * len(columns),
            classes=tuple(classes),
        )

    def encode(self, table: pd.DataFrame, rows: Sequence[str] | None = None) -> Tensor:
        """The rows of `table` as float32 `(n, width)`; what is absent, NaN or empty is not told.

        Numeric columns are in the units of `units`; the column "class" holds names. `rows` is how messages name the
        rows, by their number when None.

        Raises
        ------
        UserErrors : infinite values, values of 0 or less under a logarithm, or classes that the model does not know.
        """
        encoded = np.zeros((len(table), self.width), dtype=np.float32)
        rows = [f"row {row}" for row in range(len(table))] if rows is None else rows
        problems: list[UserError] = []
        for k, name in enumerate(self.names):
            if name not in table:
                continue
            values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
            told = ~np.isnan(values)
            allowed = told & np.isfinite(values) & ((values > 0) | (not self.logarithmic[k]))
            problems += [
                self._wrong(f"condition {name}, {rows[row]}", values[row]) for row in np.flatnonzero(told & ~allowed)
            ]
            used = np.log10(values[allowed]) if self.logarithmic[k] else values[allowed]
            encoded[allowed, 2 * k] = (used - self.mean[k]) / self.spread[k]
            encoded[allowed, 2 * k + 1] = 1.0
        if CLASS in table and self.classes:
            for row, text in enumerate(table[CLASS]):
                if pd.isna(text) or text == "":
                    continue
                if text not in self.classes:
                    problems.append(self._unknown_class(rows[row], str(text)))
                    continue
                encoded[row, 2 * len(self.names) + self.classes.index(text)] = 1.0
        if problems:
            raise UserErrors(problems[:_MOST_PROBLEMS])
        return torch.from_numpy(encoded)

    def drop(self, condition: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
        """A copy of `condition` `(n, width)` with some of it not told, so that a model learns to do without.

        Every numeric column, and the class, is dropped independently with probability `share`; everything together
        with `share` / 2 besides. `generator` is on the CPU, so that all devices drop the same.
        """
        parts = len(self.names) + 1
        uniform = torch.rand((len(condition), parts + 1), generator=generator).to(condition.device)
        kept = (uniform[:, :parts] >= share) & (uniform[:, parts:] >= share / 2)  # (n, part)
        columns = kept[:, :-1].repeat_interleave(2, dim=1)
        told = torch.cat([columns, kept[:, -1:].expand(-1, len(self.classes))], dim=1)
        return torch.where(told, condition, 0.0)

    def check(self, asked: Mapping[str, float | str], strict: bool) -> None:
        """Compare what a user asks for with what the model was trained on.

        Raises
        ------
        UserErrors : unknown names or classes, values that are no number or have no logarithm; under `strict` also
            values outside the training range, of which there is otherwise an `OutsideRangeWarning`.
        """
        problems = []
        for name, value in asked.items():
            if name == CLASS and self.classes:
                if value not in self.classes:
                    problems.append(self._unknown_class("condition class", str(value)))
            elif name not in self.names:
                known = ", ".join([*self.names, *([CLASS] if self.classes else [])]) or "nothing"
                what = f"is unknown to this model, which can be told {known}"
                problems.append(UserError(f"condition {name}", what, "correct the name or leave it out"))
            elif (problem := self._problem(name, value, strict)) is not None:
                problems.append(problem)
        if problems:
            raise UserErrors(problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; floats survive the round trip exactly."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Conditions":
        """The inverse of `to_dict`.

        Raises
        ------
        UserError : it was not written by `to_dict`.
        """
        try:
            made = cls(**{name: tuple(value[name]) for name in cls.__dataclass_fields__})
        except (KeyError, TypeError) as error:
            raise UserError("conditions", "are incomplete", "train the model again") from error
        columns = [getattr(made, name) for name in cls.__dataclass_fields__ if name != "classes"]
        if len({len(column) for column in columns}) > 1:
            raise UserError("conditions", "have columns of different lengths", "train the model again")
        return made

    def _problem(self, name: str, value: float | str, strict: bool) -> UserError | None:
        k = self.names.index(name)
        where = f"condition {name}"
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            return UserError(where, f'is "{value}"', "give a finite number")
        if self.logarithmic[k] and number <= 0:
            return self._wrong(where, number)
        if self.low[k] <= number <= self.high[k]:
            return None
        unit = f" {self.units[k]}" if self.units[k] else ""
        what = f"{number:g}{unit} is outside the training range {self.low[k]:g} ... {self.high[k]:g}{unit}"
        if strict:
            return UserError(where, what, "ask for a value within it, or do without --strict")
        warnings.warn(f"{where}: {what}; the samples are an extrapolation.", OutsideRangeWarning, stacklevel=3)
        return None

    def _wrong(self, where: str, value: float) -> UserError:
        if math.isinf(value):
            return UserError(where, "is infinite", "give a finite number, or leave it out")
        return UserError(where, f"is {value:g}, which has no logarithm", "give a positive number, or leave it out")

    def _unknown_class(self, where: str, name: str) -> UserError:
        return UserError(where, f'"{name}" is not a class of this model', f"choose among {', '.join(self.classes)}")


def condition_table(store: Store) -> pd.DataFrame:
    """What is known of the samples of a data set, ``(n, column)``: its numbers, and "class" where it has classes.

    Raises
    ------
    UserError : samples may be of several classes at once.
    """
    table = store.columns.copy()
    if store.classes:
        if store.multilabel:
            what = "says of a sample that it is of several classes"
            raise UserError(store.path, what, "name one column of classes in labels")
        table[CLASS] = np.array([*store.classes, ""], dtype=object)[store.labels]
    return table


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    """The known values of a column ``(m,)``, at least one."""
    if name not in table:
        have = ", ".join(str(column) for column in table) or "none"
        raise UserError("conditions", f'name the column "{name}", and there is only: {have}', "correct conditions")
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float)
    known = values[~np.isnan(values)]
    if not len(known):
        raise UserError("conditions", f'name the column "{name}", which holds no number', "leave it out")
    if not np.isfinite(known).all():
        raise UserError("conditions", f'name the column "{name}", which holds an infinite value', "remove the row")
    return known


def _warn_of_few(name: str, known: np.ndarray) -> None:
    """Say so where a few values keep a column, which else spans decades, from being told as a logarithm."""
    positive = known[known > 0]
    few = len(known) - len(positive)
    if 0 < few <= max(1, _FEW * len(known)) and len(positive) and positive.max() / positive.min() > _DECADE:
        number = f"{few} of its {len(known)} values {'is' if few == 1 else 'are'} not above 0 (down to {known.min():g})"
        warnings.warn(
            f"condition {name}: {number}, so that the model is told the value and not its logarithm, in which the "
            "faint and small hardly differ; mend or remove these rows, or leave it so if the values are right.",
            LinearConditionWarning,
            stacklevel=3,
        )
