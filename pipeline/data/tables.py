"""Tables whose rows are the objects: which columns are features, and their numbers."""

import numpy as np
import pandas as pd

from pipeline.data.sheet import Sheet
from pipeline.errors import UserError, UserErrors

_NOT_FEATURES = {"id", "group", "path", "file", "row", "sha256", "split", "ra", "dec", "ra_deg", "dec_deg"}
_MISSING = {"", "nan", "na", "n/a", "none", "null", "?"}


def feature_names(sheet: Sheet, others: set[str]) -> list[str]:
    """The columns of numbers of `sheet` that are not among `others`, nor names, positions or groups.

    Raises
    ------
    UserError : there is none.
    """
    names = [
        name
        for name in sheet.cells
        if name not in others | _NOT_FEATURES and not _wrong(sheet, name)[0].any() and not _blank(sheet, name).all()
    ]
    if not names:
        raise UserError(sheet.path, "has no column of numbers to use as a feature", "name the columns in features")
    return names


def feature_matrix(sheet: Sheet, names: list[str]) -> np.ndarray:
    """The columns `names` as ``(n, feature)`` float32; empty cells are NaN.

    Raises
    ------
    UserErrors : a column is missing, or cells are no finite numbers (all of them).
    """
    return number_columns(sheet, names, "feature").astype(np.float32)


def number_columns(sheet: Sheet, names: list[str], role: str) -> np.ndarray:
    """The columns `names` as ``(n, column)`` float64; empty cells are NaN.

    `role` is what messages call a column, and with an s the key of the config that names them.

    Raises
    ------
    UserErrors : a column is missing, or cells are no finite numbers (all of them).
    """
    for name in names:
        sheet.need(name, f"correct {role}s")
    columns, problems = [], []
    for name in names:
        wrong, values = _wrong(sheet, name)
        for position in np.flatnonzero(wrong):
            what = f'has "{sheet.cells[name].iloc[position][:30]}" in {role} column "{name}"'
            problems.append(UserError(sheet.where(position), what, "write a number, or leave the cell empty"))
        columns.append(values)
    if problems:
        raise UserErrors(problems)
    return np.stack(columns, axis=1) if columns else np.zeros((len(sheet.lines), 0))


def _blank(sheet: Sheet, name: str) -> np.ndarray:
    return np.array([text.lower() in _MISSING for text in sheet.cells[name]])


def _wrong(sheet: Sheet, name: str) -> tuple[np.ndarray, np.ndarray]:
    values = pd.to_numeric(sheet.cells[name], errors="coerce").to_numpy(dtype=float)
    return ~(np.isfinite(values) | _blank(sheet, name)), values
