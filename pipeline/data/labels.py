"""From the label columns of a manifest to class numbers, with merging and order of the classes."""

import difflib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from pipeline.data.sheet import Sheet
from pipeline.errors import UserError

_BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


@dataclass
class Labels:
    """Labels of the rows that stay.

    Attributes
    ----------
    label : ``(n,)`` int16 index into `classes`, or ``(n, k)`` uint8 of 0 and 1, or None without labels.
    classes : names of the k classes.
    kept : ``(n,)`` positions of the rows that stay.
    dropped : number of rows left out, by their label.
    """

    label: np.ndarray | None
    classes: list[str]
    kept: list[int]
    dropped: dict[str, int]


def read_labels(
    sheet: Sheet, labels: str | list[str], classes: list[str] | dict[str, list[str]] | None
) -> tuple[Labels, list[UserError]]:
    """The labels in the column `labels`, or in the columns `labels` of 0 and 1, and what is wrong with them.

    `classes` gives the order of the classes (another label is then a problem), or maps a new class to the old
    labels that it joins (rows with other labels are then dropped and counted). Without it classes are sorted.

    Raises
    ------
    UserError : a column is missing, or `classes` does not fit the columns.
    """
    if isinstance(labels, str):
        sheet.need(labels, "correct labels")
        return _single(sheet, labels, classes)
    if not labels:
        raise UserError(sheet.path, "labels is an empty list", "name the label columns")
    for column in labels:
        sheet.need(column, "correct labels")
    if classes is not None and list(classes) != list(labels):
        raise UserError(sheet.path, "classes and the label columns differ", "leave classes out")
    return _several(sheet, labels)


def class_order(names: set[str]) -> list[str]:
    """Class names in their natural order: numbers by value, other names by alphabet."""
    if all(name.lstrip("-").isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)


def _single(
    sheet: Sheet, column: str, classes: list[str] | dict[str, list[str]] | None
) -> tuple[Labels, list[UserError]]:
    texts = sheet.cells[column].tolist()
    problems = [
        UserError(sheet.where(position), f'has an empty label in column "{column}"', "write the label")
        for position, text in enumerate(texts)
        if not text
    ]
    present = {text for text in texts if text}
    if isinstance(classes, dict):
        merged = {str(old): new for new, olds in classes.items() for old in olds}
        names = list(classes)
        problems += _check_merging(sheet, column, classes, present)
    else:
        names = class_order(present) if classes is None else [str(name) for name in classes]
        merged = {name: name for name in names}
        for position, text in enumerate(texts):
            if text and text not in merged:
                near = difflib.get_close_matches(text, names, n=1)
                remedy = f'write "{near[0]}" or add the class to classes' if near else "correct it or add it to classes"
                problems.append(UserError(sheet.where(position), f'has the unknown class "{text}"', remedy))
    kept = [position for position, text in enumerate(texts) if text in merged]
    if not kept and not problems:
        problems.append(UserError(sheet.path, f'has no row whose "{column}" is in classes', "correct classes"))
    dropped = Counter(text for text in texts if text and text not in merged)
    number = {name: k for k, name in enumerate(names)}
    label = np.array([number[merged[texts[position]]] for position in kept], dtype=np.int16)
    return Labels(label, names, kept, dict(sorted(dropped.items()))), problems


def _check_merging(sheet: Sheet, column: str, classes: dict[str, list[str]], present: set[str]) -> list[UserError]:
    problems, seen = [], set()
    for new, olds in classes.items():
        for old in map(str, olds):
            if old in seen:
                problems.append(UserError(sheet.path, f'label "{old}" is in two of classes', "keep it in one"))
            seen.add(old)
            if old not in present:
                near = difflib.get_close_matches(old, sorted(present), n=1)
                remedy = f'write "{near[0]}"' if near else f'correct class "{new}"'
                problems.append(UserError(sheet.path, f'no row has "{old}" in column "{column}"', remedy))
    return problems


def _several(sheet: Sheet, columns: list[str]) -> tuple[Labels, list[UserError]]:
    label = np.zeros((len(sheet.lines), len(columns)), dtype=np.uint8)
    problems = []
    for k, column in enumerate(columns):
        for position, text in enumerate(sheet.cells[column]):
            if text.lower() in _BINARY:
                label[position, k] = _BINARY[text.lower()]
            else:
                what = f'has "{text}" in label column "{column}"' if text else f'has an empty label "{column}"'
                problems.append(UserError(sheet.where(position), what, "write 0 or 1"))
    return Labels(label, list(columns), list(range(len(sheet.lines))), {}), problems
