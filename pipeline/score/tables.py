"""Catalogues of any format as tables with the official columns of a challenge."""

import os
import re
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd

from pipeline.errors import UserError, UserErrors
from pipeline.score.challenge import Challenge, Column
from pipeline.score.text import Layout, look, read_columns
from pipeline.sky.catalogue import FORMATS, read_catalogue

_UNIT_BEHIND = re.compile(r"_(deg|arcsec|jy|jy_hz|hz|km_s|kms)$")


def read_table(
    path: str | os.PathLike, challenge: type[Challenge] | Challenge, *, truth: bool = False, official: bool = False
) -> pd.DataFrame:
    """Read a catalogue (n, column) with the official column names of the challenge, in the official order.

    FITS, ECSV and VOTable are read by column name, official or Fleming's, and converted by their units. Everything
    else is text divided by blanks or commas. A submission divided by blanks must have the official columns in the
    official order, because the official scorer would not look; a truth, or a table divided by commas, may have any
    order and further columns if its header names them.

    Parameters
    ----------
    truth : the table is a truth: the official files with more columns are understood, their first ones count.
    official : take columns by position where the official scorer does, whatever the header says.

    Raises
    ------
    UserError, UserErrors : absent, not a table, columns missing, too many or in another order, text among numbers, a
        unit that cannot be converted.
    """
    if FORMATS.get(Path(str(path).lower().removesuffix(".gz")).suffix, "csv") != "csv":
        table = _read_rich(path, challenge)
    else:
        layout = look(path)
        positions = _positions(path, layout, challenge, truth, official)
        table = read_columns(path, layout, positions, challenge.names())
    return _numbers(path, table, challenge)


def _read_rich(path: str | os.PathLike, challenge: type[Challenge] | Challenge) -> pd.DataFrame:
    source = read_catalogue(path)
    positions = _by_name(path, source.colnames, challenge)
    columns, problems = {}, []
    for column, position in zip(challenge.columns, positions, strict=True):
        part = source.columns[position]
        try:
            columns[column.name] = _plain(part, column)
        except u.UnitConversionError:
            what = f'its column "{part.info.name}" is in {part.unit}, which is no unit of {column.name}'
            problems.append(UserError(path, what, f"give it in {column.unit or 'no unit'}"))
    if problems:
        raise UserErrors(problems)
    return pd.DataFrame(columns)


def _plain(part, column: Column) -> np.ndarray:
    if isinstance(part, u.Quantity):
        return np.asarray(part.to_value(u.Unit(column.unit)))
    return part.filled(np.nan) if isinstance(part, np.ma.MaskedArray) and part.dtype.kind == "f" else np.asarray(part)


def _positions(
    path: str | os.PathLike, layout: Layout, challenge: type[Challenge] | Challenge, truth: bool, official: bool
) -> list[int]:
    """Where the official columns are in the text table."""
    names = challenge.names()
    in_order = list(range(len(names)))
    header = layout.header if layout.header is not None and len(layout.header) == layout.width else None
    # Prose above the rows can have as many words as there are columns.
    known = header is not None and sum(_plain_name(word) in names for word in header) >= len(names) / 2
    right_width = layout.width == len(names) or (truth and layout.width in challenge.extra)
    if official and not challenge.named and right_width:
        return in_order
    if known and (truth or layout.comma):
        return _by_name(path, header, challenge)
    if known and not right_width and layout.width < len(names):
        return _by_name(path, header, challenge)
    order = f"write the {len(names)} columns {', '.join(names)} in this order"
    if not right_width:
        raise UserError(path, f"has {layout.width} columns, not the {len(names)} of {challenge.name}", order)
    if challenge.named and list(header or ()) != names:
        lead = "its header line is not the official one" if known else "it has no header line with the column names"
        raise UserError(path, lead, f'write "{" ".join(names)}" as its first line')
    if known:
        for at, word in enumerate(header[: len(names)]):
            if _plain_name(word) in names and _plain_name(word) != names[at]:
                what = f'its column {at + 1} is named "{word}" where {challenge.name} takes {names[at]}'
                raise UserError(path, what, order)
    return in_order


def _by_name(path: str | os.PathLike, header: list[str] | tuple[str, ...], challenge) -> list[int]:
    exact = {word.strip().lower(): at for at, word in reversed(list(enumerate(header)))}
    plain = {_plain_name(word): at for at, word in reversed(list(enumerate(header)))}
    found = []
    for column in challenge.columns:
        candidates = (places.get(name) for name in (column.name, *column.aliases) for places in (exact, plain))
        found.append(next((at for at in candidates if at is not None), None))
    missing = [column.name for column, at in zip(challenge.columns, found, strict=True) if at is None]
    if missing:
        what = f"has no column {', '.join(missing)}"
        raise UserError(path, what, f"give the columns of {challenge.name}: {', '.join(challenge.names())}")
    return found


def _plain_name(word: str) -> str:
    return _UNIT_BEHIND.sub("", word.strip().lower())


def _numbers(path: str | os.PathLike, table: pd.DataFrame, challenge: type[Challenge] | Challenge) -> pd.DataFrame:
    """Refuse text where numbers belong; ids may be text."""
    problems = []
    for column in challenge.columns:
        values = table[column.name]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            if column.choices and pd.api.types.is_integer_dtype(values):
                table[column.name] = pd.to_numeric(values, downcast="integer")
            continue
        if column.name == "id":
            table["id"] = values.astype(str)
            continue
        wrong = pd.to_numeric(values, errors="coerce").isna() & values.notna()
        if not wrong.any():
            table[column.name] = pd.to_numeric(values)
            continue
        row = int(np.flatnonzero(wrong)[0])
        what = f'has "{str(values.iloc[row])[:30]}" in {column.name}{others(int(wrong.sum()))}'
        problems.append(UserError(row_name(path, table, row), what, "write a number"))
    if problems:
        raise UserErrors(problems)
    return table


def row_name(path: object, table: pd.DataFrame, row: int) -> str:
    """How a message names a row: the first one is row 1."""
    return f"{path}, row {row + 1} (id {table['id'].iloc[row]})"


def others(count: int) -> str:
    """ "", or how many further rows have the same problem."""
    return f", as have {count - 1} further rows" if count > 1 else ""
