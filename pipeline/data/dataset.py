"""What one data set holds, and its columns as the store writes them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

NUMBERS = "columns"


@dataclass
class Dataset:
    """Everything that one store holds, in memory or streamed sample by sample.

    Parameters
    ----------
    x : `(n, channel, *axes)` array, or an iterable of n samples `(channel, *axes)`; then give `shape` and `dtype`.
        uint8 stays uint8, every other type becomes float32. NaN marks invalid pixels.
    label : `(n,)` integer index into `classes` (-1: no label), or `(n, k)` of 0 and 1 for k classes that may overlap.
    ids, groups, splits : n texts; a split is "train", "validation", "test" or "".
    classes : names of the k classes; empty for data without labels.
    ra, dec : `(n,)` degrees (ICRS), NaN where unknown; None when unknown for all.
    headers : n FITS header texts of the samples' WCS, "" where there is none; None when there is none for all.
    paths : n texts, where each sample was read from; None when not known.
    axis : wavelength [angstrom] of the last axis, for spectra.
    columns : `(n,)` numbers by name, such as fluxes, NaN where unknown; conditions of a generative model.
    column_units : units of `columns` as text; those that are not mentioned are dimensionless.
    unit : unit of x as text, "" when dimensionless.
    kind : "spectrum", "image", "cube", "table" or "idx".
    input : the input settings that made the data set, anything that JSON holds.
    shape, dtype : `(channel, *axes)` and type of a sample, for streams only.
    """

    x: np.ndarray | Iterable[np.ndarray]
    label: np.ndarray
    ids: Sequence[str]
    groups: Sequence[str]
    splits: Sequence[str]
    classes: Sequence[str]
    ra: np.ndarray | None = None
    dec: np.ndarray | None = None
    headers: Sequence[str] | None = None
    paths: Sequence[str] | None = None
    axis: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    column_units: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    kind: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    dtype: Any = "float32"

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.ids)


def file_columns(dataset: Dataset) -> dict[str, tuple[np.ndarray, str]]:
    """The arrays of the file other than x, by name, with their unit as text.

    Raises
    ------
    ValueError : columns of different lengths, which is a mistake of the caller.
    """
    label = np.asarray(dataset.label)
    unknown = np.full(dataset.n, np.nan)
    blank = [""] * dataset.n
    columns = {
        "label": (label.astype("<i2" if label.ndim == 1 else "u1"), ""),
        "id": (_texts(dataset.ids), ""),
        "group": (_texts(dataset.groups), ""),
        "split": (_texts(dataset.splits), ""),
        "ra": (np.asarray(unknown if dataset.ra is None else dataset.ra, dtype="<f8"), "deg"),
        "dec": (np.asarray(unknown if dataset.dec is None else dataset.dec, dtype="<f8"), "deg"),
        "header": (_texts(blank if dataset.headers is None else dataset.headers), ""),
        "path": (_texts(blank if dataset.paths is None else dataset.paths), ""),
    }
    for name, (values, _) in columns.items():
        if len(values) != dataset.n:
            raise ValueError(f"column {name} has {len(values)} rows, ids {dataset.n}")
    if label.ndim == 2 and label.shape[1] != len(dataset.classes):
        raise ValueError(f"label has {label.shape[1]} columns for {len(dataset.classes)} classes")
    if len(dataset.classes):
        columns["class"] = (_texts(dataset.classes), "")
    if dataset.axis is not None:
        columns["axis"] = (np.asarray(dataset.axis, dtype="<f8"), "angstrom")
    if dataset.columns:
        columns[NUMBERS] = _numbers(dataset)
    return columns


def _numbers(dataset: Dataset) -> tuple[np.ndarray, str]:
    values = [np.asarray(column, dtype="<f8") for column in dataset.columns.values()]
    if any(column.shape != (dataset.n,) for column in values):
        raise ValueError(f"columns are not of the length of ids, {dataset.n}")
    return np.stack(values, axis=1), json.dumps([dataset.column_units.get(name, "") for name in dataset.columns])


def _texts(values: Sequence[str]) -> np.ndarray:
    # fixed length: the heap that HDF5 keeps for texts of variable length is neither compressed nor checked
    encoded = [str(value).encode("utf-8") for value in values]
    length = max(1, max(len(text) for text in encoded))
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", length))
