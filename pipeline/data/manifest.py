"""The manifest of a task: one row an object, every row checked, all problems reported at once."""

import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pandas as pd

from pipeline.data.labels import Labels, read_labels
from pipeline.data.settings import SPLITS, InputSettings
from pipeline.data.sheet import Sheet, read_sheet
from pipeline.errors import UserError, UserErrors
from pipeline.sky.archive import source_exists, split_source

_MOST_PROBLEMS = 100
_SUFFIX = re.compile(r"\.(gz|fz|fits?|fts|png|jpe?g|txt|dat|csv|ecsv|ascii|rbn|zip)$", re.IGNORECASE)
_SPLIT_NAMES = {"training": "train", "valid": "validation", "val": "validation", "testing": "test"}
_POSITIONS = {"ra": ("ra", "ra_deg"), "dec": ("dec", "dec_deg")}


@dataclass
class Manifest:
    """The checked rows of a manifest.

    Attributes
    ----------
    path : the manifest, as the user named it.
    rows : one row an object: id, path (absolute, a zip member or a URL), row (int, or None), group, ra and dec [deg]
        (NaN where unknown), split ("" where not given), sha256 ("" where not given), line (in the manifest).
    label : ``(n,)`` int16 index into `classes`, or ``(n, k)`` uint8 of 0 and 1 when objects may have several
        labels, or None when no labels were asked for.
    classes : names of the k classes.
    dropped : number of rows left out for each label that `classes` does not mention.
    sheet : the text of all columns, aligned with `rows`.
    """

    path: str
    rows: pd.DataFrame
    label: np.ndarray | None
    classes: list[str]
    dropped: dict[str, int]
    sheet: Sheet

    def where(self, position: int) -> str:
        """How a message names row `position`."""
        return self.sheet.where(position)


def is_url(text: str) -> bool:
    """Whether `text` is a URL with a scheme and a host, of any scheme."""
    return re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def read_manifest(
    path: str | Path,
    settings: InputSettings,
    labels: str | list[str] | None,
    classes: list[str] | dict[str, list[str]] | None = None,
    *,
    split_column: str | None = None,
    content: bytes | None = None,
) -> Manifest:
    """Read and check the manifest at `path`.

    Relative paths resolve against the manifest's folder, or its URL.

    Parameters
    ----------
    path : CSV or ECSV file; or what its relative paths resolve against, when `content` is given.
    settings : row filter `where`, names of `columns` of a CSV without header; kind "table" needs no path column.
    labels : the label column, or a list of columns of 0 and 1, or None for no labels.
    classes : order of the classes, or new class -> old labels; rows with other labels are then left out and counted.
    split_column : column that holds train, validation or test.
    content : the manifest's bytes, when it was not read from a plain local file; its paths may then not hold `..`.

    Raises
    ------
    UserErrors : every row that is wrong, with its line number and what to do.
    """
    sheet = read_sheet(str(path), _content(path) if content is None else content, settings.columns)
    sheet = _filter(sheet, settings)
    found = Labels(None, [], list(range(len(sheet.lines))), {})
    problems: list[UserError] = []
    if labels is not None and settings.kind != "idx":
        found, problems = read_labels(sheet, labels, classes)
        sheet = sheet.keep(found.kept)
    elif labels is not None:
        sheet.need(_one(labels, sheet), "labels names the column that holds the label files")
    rows, row_problems = _rows(sheet, settings, split_column, local=content is None)
    _raise(problems + row_problems)
    manifest = Manifest(str(path), rows, found.label, found.classes, found.dropped, sheet)
    if manifest.label is not None:
        check_classes(manifest.path, manifest.label, manifest.classes, rows["group"].to_numpy())
    return manifest


def check_classes(path: str, label: np.ndarray, classes: list[str], groups: np.ndarray) -> None:
    """Raise UserErrors where a class cannot be learnt: one class only, or a class within a single group.

    Parameters
    ----------
    label : ``(n,)`` index into `classes`, or ``(n, k)`` of 0 and 1.
    groups : ``(n,)`` texts.
    """
    if label.ndim == 1 and len(classes) < 2:
        raise UserError(path, f'has the single class "{classes[0]}"', "add objects of a second class")
    problems = []
    for k, name in enumerate(classes):
        members = groups[label == k] if label.ndim == 1 else groups[label[:, k] == 1]
        if len(members) == 0:
            problems.append(UserError(path, f'has no object of class "{name}"', "add objects or leave the class out"))
        elif len(set(members)) == 1:
            what = "one object" if len(members) == 1 else f"{len(members)} objects that are all in one group"
            remedy = "add objects of that class, or leave it out with classes"
            problems.append(UserError(path, f'has only {what} of class "{name}"', remedy))
        elif label.ndim == 2 and len(members) == len(groups):
            problems.append(UserError(path, f'says 1 in column "{name}" for every object', "leave the column out"))
    _raise(problems)


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(path, "does not exist", "name an existing CSV or ECSV file") from error
    except IsADirectoryError as error:
        raise UserError(path, "is a folder", "name the CSV or ECSV file in it") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "check its permissions") from error


def _one(labels: str | list[str], sheet: Sheet) -> str:
    if isinstance(labels, str):
        return labels
    raise UserError(sheet.path, "is of kind idx, whose labels are single", "name one column in labels")


def _raise(problems: list[UserError]) -> None:
    if len(problems) > _MOST_PROBLEMS:
        rest = len(problems) - _MOST_PROBLEMS
        first = problems[0]
        problems = problems[:_MOST_PROBLEMS]
        problems.append(UserError(first.where.split(" row ")[0], f"has {rest} more problems", "mend these first"))
    if problems:
        raise UserErrors(problems)


def _filter(sheet: Sheet, settings: InputSettings) -> Sheet:
    keep = np.ones(len(sheet.lines), dtype=bool)
    for column, wanted in settings.where.items():
        sheet.need(column, "correct where")
        wanted = [wanted] if isinstance(wanted, str) else wanted
        keep &= np.array([any(_same(cell, value) for value in wanted) for cell in sheet.cells[column]])
    if not keep.any():
        raise UserError(sheet.path, "has no row that where lets through", "correct where")
    return sheet.keep(np.flatnonzero(keep).tolist())


def _same(cell: str, value: str) -> bool:
    if cell == value:
        return True
    if cell.lower() == value.lower() and value.lower() in ("true", "false"):
        return True
    try:
        return float(cell) == float(value)
    except ValueError:
        return False


def _rows(
    sheet: Sheet, settings: InputSettings, split_column: str | None, local: bool
) -> tuple[pd.DataFrame, list[UserError]]:
    n, problems = len(sheet.lines), []
    frame = pd.DataFrame({"line": sheet.lines})
    if settings.kind == "table":
        stem = _stem(PurePosixPath(sheet.path).name)
        frame["path"], frame["row"] = sheet.path, list(range(n))
        ids = [f"{stem}-{line:05d}" for line in sheet.lines]
    else:
        frame["path"] = _paths(sheet, local, problems)
        frame["row"] = pd.Series(_row_numbers(sheet, problems), dtype=object)
        ids = [default_id(name, row) for name, row in zip(_named(sheet), frame["row"], strict=True)]
    given = sheet.cells["id"].tolist() if "id" in sheet.cells else None
    frame["id"] = ids if given is None else given
    _check_ids(sheet, frame["id"].tolist(), given is not None, problems)
    groups = sheet.cells["group"].tolist() if "group" in sheet.cells else [""] * n
    frame["group"] = [group or name for group, name in zip(groups, frame["id"], strict=True)]
    for name, columns in _POSITIONS.items():
        frame[name] = _degrees(sheet, columns, problems)
    frame["split"] = _splits(sheet, split_column, problems)
    frame["sha256"] = _checksums(sheet, problems)
    return frame, problems


def _named(sheet: Sheet) -> list[str]:
    for column in ("path", "file"):
        if column in sheet.cells:
            return sheet.cells[column].tolist()
    raise sheet.missing("path", 'add a column "path" or "file" that names the file of each object')


def _paths(sheet: Sheet, local: bool, problems: list[UserError]) -> list[str]:
    readable: dict[Path, bool] = {}
    paths = []
    for position, name in enumerate(_named(sheet)):
        where = sheet.where(position)
        try:
            paths.append(_resolve(where, name, sheet.path, local))
            if not is_url(paths[-1]):
                _check_file(where, paths[-1], readable)
        except UserError as problem:
            problems.append(problem)
    return paths if len(paths) == len(sheet.lines) else [""] * len(sheet.lines)


def _resolve(where: str, name: str, manifest: str, local: bool) -> str:
    if not name:
        raise UserError(where, "has no path", "name the file of the object")
    if is_url(name):
        if urlsplit(name).scheme.lower() not in ("http", "https") or not urlsplit(name).netloc:
            raise UserError(where, f'the address "{name}" is not http or https', "give an http(s) URL or a path")
        return name
    if ".." in PurePosixPath(name).parts and (not local or ".zip/" in name.lower().split("..")[0]):
        raise UserError(where, f'the path "{name}" leaves its folder', 'write it without ".."')
    if is_url(manifest):
        if name.startswith("/"):
            raise UserError(where, f'the path "{name}" is absolute', "write it relative to the manifest's address")
        return urljoin(manifest, name)
    if not local and Path(name).is_absolute():
        raise UserError(where, f'the path "{name}" is absolute', "write it relative to the manifest")
    # abspath, not resolve: a link may point to a store whose names mean nothing to the user.
    return str(Path(manifest).absolute().parent / name)


def _check_file(where: str, path: str, readable: dict[Path, bool]) -> None:
    file, member = split_source(path)
    if member is None:
        if file.is_dir():
            raise UserError(where, f"{path} is a folder", "name a file")
        if not file.is_file():
            raise UserError(where, f"{path} does not exist", "correct the path or remove the row")
        return
    if file not in readable:
        readable[file] = zipfile.is_zipfile(file)
    if not readable[file]:
        raise UserError(where, f"{file} is not a readable zip archive", "fetch or write the archive again")
    if not source_exists(path):
        raise UserError(where, f"{file} has no member {member}", "correct the path or remove the row")


def _row_numbers(sheet: Sheet, problems: list[UserError]) -> list[int | None]:
    if "row" not in sheet.cells:
        return [None] * len(sheet.lines)
    numbers: list[int | None] = []
    for position, text in enumerate(sheet.cells["row"]):
        if text and not re.fullmatch(r"\d{1,9}(\.0)?", text):
            problems.append(UserError(sheet.where(position), f'row is "{text}"', "give a whole number from 0 on"))
            text = ""
        numbers.append(int(float(text)) if text else None)
    return numbers


def default_id(path: str, row: int | None) -> str:
    """The id of an object that has none: its file name without suffix, or its path in the zip, and its row."""
    name = unquote(urlsplit(path).path) if is_url(path) else path
    inside = re.split(r"\.zip/", name, maxsplit=1, flags=re.IGNORECASE)
    stem = _stem(inside[1] if len(inside) == 2 else PurePosixPath(name).name)
    return stem if row is None else f"{stem}-{row}"


def _stem(name: str) -> str:
    # Only known suffixes go: names of sources are full of dots.
    while (shorter := _SUFFIX.sub("", name)) != name and shorter:
        name = shorter
    return name


def _check_ids(sheet: Sheet, ids: list[str], given: bool, problems: list[UserError]) -> None:
    first: dict[str, int] = {}
    for position, name in enumerate(ids):
        if not name:
            problems.append(UserError(sheet.where(position), "has an empty id", "give every object its own id"))
        elif name in first:
            what = f'the id "{name}" is also that of row {sheet.lines[first[name]]}'
            remedy = "give every object its own id" if given else 'add a column "id" with one name an object'
            problems.append(UserError(sheet.where(position), what, remedy))
        first.setdefault(name, position)


def _degrees(sheet: Sheet, columns: tuple[str, ...], problems: list[UserError]) -> np.ndarray:
    column = next((name for name in columns if name in sheet.cells), None)
    if column is None:
        return np.full(len(sheet.lines), np.nan)
    values = pd.to_numeric(sheet.cells[column], errors="coerce").to_numpy(dtype=float, copy=True)
    low, high = (-90.0, 90.0) if columns[0] == "dec" else (-180.0, 360.0)
    for position, text in enumerate(sheet.cells[column]):
        unknown = text == "" or text.lower() in ("nan", "none", "null")
        if not unknown and not low <= values[position] <= high:
            what = f'{column} is "{text}", not between {low:g} and {high:g} degrees'
            problems.append(UserError(sheet.where(position), what, "give degrees, or leave the cell empty"))
    return values % 360.0 if columns[0] == "ra" else values


def _splits(sheet: Sheet, column: str | None, problems: list[UserError]) -> list[str]:
    if column is None:
        return [""] * len(sheet.lines)
    sheet.need(column, "correct split.column")
    names = [_SPLIT_NAMES.get(text.lower(), text.lower()) for text in sheet.cells[column]]
    for position, name in enumerate(names):
        if name not in SPLITS:
            what = f'{column} is "{sheet.cells[column].iloc[position]}"'
            problems.append(UserError(sheet.where(position), what, "write train, validation or test"))
    counts = Counter(names)
    if not problems and not (counts["train"] and counts["train"] < len(names)):
        what = f'column "{column}" ' + ("puts every row in train" if counts["train"] else "has no row in train")
        problems.append(UserError(sheet.path, what, "mark rows as train and rows as test"))
    return names


def _checksums(sheet: Sheet, problems: list[UserError]) -> list[str]:
    if "sha256" not in sheet.cells:
        return [""] * len(sheet.lines)
    sums = [text.lower() for text in sheet.cells["sha256"]]
    for position, text in enumerate(sums):
        if text and not re.fullmatch(r"[0-9a-f]{64}", text):
            what = f'sha256 is "{text[:20]}", not 64 hexadecimal digits'
            problems.append(UserError(sheet.where(position), what, "correct it, or leave the cell empty"))
    return sums
