"""Refuse, before scoring, what the official scorers would score silently as nothing."""

import warnings

import numpy as np
import pandas as pd

from pipeline.errors import FlemingWarning, UserError, UserErrors
from pipeline.score.challenge import Challenge, Column
from pipeline.score.result import Score
from pipeline.score.tables import others, row_name

_WRONG_UNIT = 100.0
_FEW_PAIRS = 3


class EmptyCatalogueWarning(FlemingWarning):
    """A submission without a row scores 0."""


class NoMatchWarning(FlemingWarning):
    """Detections and truth are there, but no detection matches."""


class RepeatedTruthWarning(FlemingWarning):
    """Truth rows share an id; the official scorers take these for one source."""


def check_table(table: pd.DataFrame, challenge: Challenge, where: object, *, truth: bool = False) -> None:
    """Check a table with the official columns, and warn of a repeated id in a truth.

    Parameters
    ----------
    where : how messages name the table, its path.
    truth : the table is a truth; it must have rows, and its ids may repeat.

    Raises
    ------
    UserErrors : every column with values that are not finite, out of range or negative; repeated ids; an order of
        columns that cannot be.
    """
    if not len(table):
        if truth:
            raise UserError(where, "holds no source", "give the truth of the field")
        return
    problems = [problem for column in challenge.columns for problem in _column(table, column, where)]
    problems += _ids(table, where, truth)
    if not problems:
        problems = [UserError(where, what, remedy) for what, remedy in challenge.check(table)]
    if problems:
        raise UserErrors(problems)


def check_units(
    score: Score, submission: pd.DataFrame, truth: pd.DataFrame, challenge: Challenge, where: object
) -> None:
    """Refuse fluxes in another unit than the truth's, seen at the best pairs, matched or not.

    Raises
    ------
    UserError : the median of submitted over true flux is above 100 or below 0.01, or every submitted flux is above
        every true one.
    """
    unit = next(column.unit for column in challenge.columns if column.name == challenge.flux)
    remedy = f"give {challenge.flux} in {unit}, or score with official if it is in that"
    ratio = score.flux_ratio
    if score.n_pairs >= _FEW_PAIRS and not 1 / _WRONG_UNIT <= ratio <= _WRONG_UNIT:
        times = f"{ratio:,.0f}" if ratio > 1 else f"{ratio:.2g}"
        raise UserError(where, f"its fluxes are {times} times those of the truth at their places (median)", remedy)
    if len(submission) and not score.n_match:
        least, most = submission[challenge.flux].min(), truth[challenge.flux].max()
        if least > most:
            raise UserError(where, f"all of its fluxes are above {most:.3g} {unit}, the truth's largest", remedy)


def check_matches(score: Score, submission: pd.DataFrame, where: object) -> None:
    """Warn when there is no row, no row that counts, or no match: a score of 0 must not pass in silence."""
    if not len(submission):
        _warn(EmptyCatalogueWarning, f"{where}: holds no detection; its score is 0.")
    elif not score.n_det:
        _warn(
            NoMatchWarning,
            f"{where}: none of its {len(submission)} rows counts as a detection; "
            "check the area, and that the rows have values.",
        )
    elif not score.n_match:
        _warn(
            NoMatchWarning,
            f"{where}: none of its {score.n_det} detections matches one of the {score.n_truth} truth sources; "
            "check that positions, frequency and area belong together.",
        )


def _column(table: pd.DataFrame, column: Column, where: object) -> list[UserError]:
    values = table[column.name].to_numpy()
    if values.dtype.kind not in "iuf":
        return []
    order = "check the order of the columns"
    rules = [(~np.isfinite(values), "which is not a number", "give every row a value or leave the row out")]
    if column.choices:
        allowed = ", ".join(map(str, column.choices))
        wrong = np.isfinite(values) & ~np.isin(values, column.choices)
        rules.append((wrong, f"which is none of {allowed}", f"{order} and the codes"))
    elif column.low == 0:
        rules.append((values < 0, "which is negative", "leave such rows out"))
        above = values > column.high
        rules.append((above & np.isfinite(values), f"above {column.high:g}", column.hint or order))
    else:
        wrong = np.isfinite(values) & ((values < column.low) | (values > column.high))
        what = f"outside {column.low:g} to {column.high:g}"
        rules.append((wrong, what, column.hint or order))
    problems = []
    for wrong, what, remedy in rules:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            said = f"has {values[row]:g} in {column.name}, {what}{others(int(wrong.sum()))}"
            problems.append(UserError(row_name(where, table, row), said, remedy))
    return problems


def _ids(table: pd.DataFrame, where: object, truth: bool) -> list[UserError]:
    repeated = table["id"].duplicated().to_numpy()
    if not repeated.any():
        return []
    row = int(np.flatnonzero(repeated)[0])
    if truth:
        text = f"the id of an earlier row{others(int(repeated.sum()))}; rows of one id count as one source."
        _warn(RepeatedTruthWarning, f"{row_name(where, table, row)}: has {text}")
        return []
    what = f"has the id of an earlier row{others(int(repeated.sum()))}"
    return [UserError(row_name(where, table, row), what, "give every detection an id of its own")]


def _warn(category: type[FlemingWarning], text: str) -> None:
    warnings.warn(text, category, stacklevel=3)
