"""Text tables as challenges hand them out: with a header line, without one, or with a page of prose above."""

import gzip
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.sky.archive import check_file

_LOOK = 1000
_CHUNK = 500_000
_WRONG_COUNT = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


@dataclass(frozen=True)
class Layout:
    """What the head of a text table tells.

    Parameters
    ----------
    header : the words of the last line above the rows, None where there is none.
    skip : number of lines above the first row.
    width : number of columns of the first row; of the header where there is no row.
    rows : whether there is any row.
    comma : whether commas divide the columns, not blanks.
    """

    header: tuple[str, ...] | None
    skip: int
    width: int
    rows: bool
    comma: bool


def look(path: str | os.PathLike) -> Layout:
    """Find header and first row by what is in the lines: a row is a line of which most words are numbers.

    Raises
    ------
    UserError : absent, empty, not text, or without any row among its first lines and longer than these.
    """
    check_file(Path(path))
    try:
        with _open(path) as stream:
            lines = list(islice(stream, _LOOK))
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    if any("\0" in line for line in lines):
        raise UserError(path, "is not a text table", "name it .fits, .ecsv or .vot if it is one of these")
    header, comma = None, False
    for number, line in enumerate(lines):
        comma = "," in line
        words = tuple(word.strip().strip('"') for word in (line.split(",") if comma else line.split()))
        if 2 * sum(map(_is_number, words)) > len(words):
            return Layout(header, number, len(words), True, comma)
        if any(words):
            header = words[1:] if words[0] == "#" else (words[0].lstrip("#"), *words[1:])
    if header is None or len(lines) == _LOOK:
        raise UserError(path, "holds no row of numbers", "give a table of numbers, one source a line")
    return Layout(header, len(lines), len(header), False, "," in lines[-1])


def read_columns(
    path: str | os.PathLike, layout: Layout, positions: Sequence[int], names: Sequence[str]
) -> pd.DataFrame:
    """The columns at `positions` under `names`; columns with anything but numbers are of type object.

    Raises
    ------
    UserError : a row has more values than the first one, or the file is damaged.
    """
    if not layout.rows:
        return pd.DataFrame({name: pd.Series(dtype="int64" if name == "id" else "float64") for name in names})
    # In chunks, and put together column by column, five million rows take little more memory than their numbers.
    parts = {position: [] for position in positions}
    try:
        with pd.read_csv(
            path,
            sep="," if layout.comma else r"\s+",
            header=None,
            skiprows=layout.skip,
            chunksize=_CHUNK,
            encoding_errors="replace",
        ) as reader:
            for chunk in reader:
                for position, values in parts.items():
                    values.append(chunk[position].to_numpy(copy=True))
    except pd.errors.ParserError as error:
        raise _ragged(path, layout, error) from error
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    whole = {position: np.concatenate(parts.pop(position)) for position in list(parts)}
    return pd.DataFrame({name: whole[at] for name, at in zip(names, positions, strict=True)}, copy=False)


def _open(path: str | os.PathLike):
    opener = gzip.open if str(path).endswith(".gz") else open
    return opener(path, "rt", encoding="utf-8", errors="replace")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    return UserError(path, f"cannot be read to its end ({type(error).__name__})", "fetch or write it again")


def _ragged(path: str | os.PathLike, layout: Layout, error: Exception) -> UserError:
    found = _WRONG_COUNT.search(str(error))
    what = f"line {found[2]} has {found[3]} values, not {found[1]}" if found else "a line cannot be read"
    return UserError(path, what, f"give every line {layout.width} values")
