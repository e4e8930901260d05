"""Submissions as the challenges take them: text, a header line, columns divided by blanks."""

import os

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.score.challenge import Challenge
from pipeline.score.sdc1 import Sdc1
from pipeline.score.sdc2 import Sdc2


def write_sdc1(table: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write an SDC1 submission from a table (n, column) that has the official columns `Sdc1.columns`.

    Numbers are written so that they come back exactly. Ids that are no integers are numbered from 1, since the
    official scorer takes numbers only; size and class are written as integers.

    Raises
    ------
    UserError : a column is missing, size or class are not whole numbers, or the file cannot be written.
    """
    _write(table, path, Sdc1)


def write_sdc2(table: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write an SDC2 submission from a table (n, column) with the official columns `Sdc2.columns`; see `write_sdc1`."""
    _write(table, path, Sdc2)


def _write(table: pd.DataFrame, path: str | os.PathLike, challenge: type[Challenge]) -> None:
    missing = [name for name in challenge.names() if name not in table]
    if missing:
        remedy = f"give the columns of {challenge.name}: {', '.join(challenge.names())}"
        raise UserError(path, f"the table has no column {', '.join(missing)}", remedy)
    columns = {column.name: table[column.name].reset_index(drop=True) for column in challenge.columns}
    if not pd.api.types.is_integer_dtype(columns["id"]):
        columns["id"] = pd.Series(range(1, len(table) + 1), dtype="int64")
    for column in challenge.columns:
        if column.choices:
            values = columns[column.name]
            if not values.isin(column.choices).all():
                allowed = ", ".join(map(str, column.choices))
                raise UserError(path, f"{column.name} has other values than {allowed}", "give official codes")
            columns[column.name] = values.astype("int64")
    with atomic(path) as beside:
        pd.DataFrame(columns).to_csv(beside, sep=" ", index=False, na_rep="nan")
