"""A manifest as rows of text: CSV or ECSV read with the line number of every row, nothing interpreted."""

import csv
import difflib
import warnings
from dataclasses import dataclass, field

import pandas as pd
from astropy.io import ascii
from astropy.utils.exceptions import AstropyWarning

from pipeline.errors import UserError, UserErrors


@dataclass
class Sheet:
    """The cells of a manifest as stripped text, with where each row came from.

    Attributes
    ----------
    path : what the user calls the file.
    cells : one row an object, every cell text ("" where empty), index 0 ... n - 1.
    lines : ``(n,)`` line numbers in the file, from 1.
    units : of the columns that have one, as text; a CSV file says none, unless it has the header of an ECSV table.
    """

    path: str
    cells: pd.DataFrame
    lines: list[int]
    units: dict[str, str] = field(default_factory=dict)

    def where(self, position: int) -> str:
        """How a message names row `position`."""
        return f"{self.path} row {self.lines[position]}"

    def need(self, column: str, remedy: str | None = None) -> None:
        """Raise UserError unless the sheet has `column`; the message names the nearest that it has."""
        if column not in self.cells.columns:
            raise self.missing(column, remedy)

    def missing(self, column: str, remedy: str | None = None) -> UserError:
        """The error for a column that is not there."""
        names = [str(name) for name in self.cells.columns]
        near = difflib.get_close_matches(column, names, n=1)
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        guess = f'write "{near[0]}", or ' if near else ""
        return UserError(
            self.path, f'has no column "{column}" (it has {shown})', guess + (remedy or f'add a column "{column}"')
        )

    def keep(self, positions: list[int]) -> "Sheet":
        """The sheet with only the rows at `positions`."""
        cells = self.cells.iloc[positions].reset_index(drop=True)
        return Sheet(self.path, cells, [self.lines[position] for position in positions], self.units)


def read_sheet(path: str, content: bytes, columns: list[str] | None = None) -> Sheet:
    """Read the bytes of a CSV or ECSV file; lines that start with ``#`` and blank lines are skipped.

    Parameters
    ----------
    path : what the user calls the file, for messages; a name that ends in .ecsv is read as ECSV.
    content : the file's bytes, UTF-8.
    columns : names of the columns when the CSV has no header line.

    Raises
    ------
    UserError : empty, not text, no rows, doubled column names, or rows of the wrong length (all of them listed).
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(path, "is not UTF-8 text", "save the manifest as CSV in UTF-8") from error
    if "\0" in text:
        raise UserError(path, "is not a text file", "save the manifest as CSV in UTF-8")
    if not text.strip():
        raise UserError(path, "is empty", "write a header line and one row an object")
    if str(path).lower().endswith(".ecsv") or text.startswith("# %ECSV"):
        sheet = _read_ecsv(path, text)
    else:
        sheet = _read_csv(path, text, columns)
    if not len(sheet.cells):
        raise UserError(path, "has no rows", "write one row an object")
    return sheet


def _read_csv(path: str, text: str, columns: list[str] | None) -> Sheet:
    rows, lines, problems = [], [], []
    names = list(columns) if columns else None
    # Comment lines become blank lines, not nothing, so that the reader's own line count stays that of the file.
    kept = ["\n" if line.startswith("#") else line for line in text.splitlines(keepends=True)]
    reader = csv.reader(kept, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            row = [cell.strip() for cell in row]
            if names is None:
                names = row
                _check_names(path, names)
            elif len(row) != len(names):
                problems.append(
                    UserError(
                        f"{path} row {reader.line_num}",
                        f"has {len(row)} cells where {len(names)} are expected",
                        "correct the row, or put a cell that holds a comma in double quotes",
                    )
                )
            else:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path} row {reader.line_num}", f"is not CSV ({error})", "correct the row") from error
    if problems:
        raise UserErrors(problems)
    return Sheet(path, pd.DataFrame(rows, columns=names or [], dtype=object), lines)


def _check_names(path: str, names: list[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(path, f'has the column "{doubled[0]}" twice', "give every column its own name")


def _read_ecsv(path: str, text: str) -> Sheet:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            table = ascii.read(text.splitlines(), format="ecsv")
    except (ValueError, TypeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(path, f"is not ECSV ({reason})", "write it with astropy, or as plain CSV") from error
    cells = {}
    for name in table.colnames:
        # Masked cells print as "--" or "masked"; filled text is what an empty CSV cell would be.
        masked = getattr(table[name], "mask", None)
        values = [str(value).strip() for value in table[name]]
        cells[name] = values if masked is None else ["" if m else v for v, m in zip(values, masked, strict=True)]
    numbers = [k for k, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit is not None}
    return Sheet(path, pd.DataFrame(cells, dtype=object), numbers[1 : 1 + len(table)], units)
