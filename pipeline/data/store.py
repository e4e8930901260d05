"""The HDF5 store: one file holds one data set, and the same data set always gives the same bytes."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from pipeline.data.dataset import NUMBERS, Dataset, file_columns
from pipeline.data.disk import PatientFile
from pipeline.errors import UserError
from pipeline.files import atomic

FORMAT = "fleming-dataset"
FORMAT_VERSION = 1

_CHUNK_BYTES = 65536
_RUN_BYTES = 32 << 20
_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
_AGAIN = "delete it and run the ingest stage again"


def write_store(path: str | os.PathLike, dataset: Dataset) -> None:
    """Write `dataset` to `path`, whole or not at all; equal data sets give byte-identical files.

    Raises
    ------
    UserError : there is no sample, a sample has another shape than the rest, or `path` cannot be written.
    ValueError : columns of different lengths, which is a mistake of the caller.
    """
    if not dataset.n:
        raise UserError(path, "would hold no sample", "check the manifest and its row filter")
    columns = file_columns(dataset)
    shape, dtype = _sample_type(dataset)
    chunk = chunk_samples(shape, dtype, dataset.n)
    with atomic(path) as beside, PatientFile(beside) as disk:
        # a fixed pair of format bounds and no object times: the bytes depend on the data alone
        with h5py.File(disk, "w", libver=("earliest", "v110")) as file:
            file.attrs["format"] = FORMAT
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["kind"] = dataset.kind
            file.attrs["unit"] = dataset.unit
            file.attrs["input"] = json.dumps(dataset.input, sort_keys=True)
            for name, (values, unit) in columns.items():
                made = file.create_dataset(name, data=values, chunks=True, track_times=False, **_COMPRESSION)
                if unit:
                    made.attrs["unit"] = unit
                if name == NUMBERS:
                    made.attrs["names"] = json.dumps(list(dataset.columns))
            whole, block = (dataset.n, *shape), (chunk, *shape)
            x = file.create_dataset("x", whole, dtype, chunks=block, track_times=False, **_COMPRESSION)
            x.attrs["unit"] = dataset.unit
            _write_samples(x, dataset, chunk, disk)
        disk.check()


def chunk_samples(shape: Sequence[int], dtype: Any, n: int) -> int:
    """Samples `(channel, *axes)` in one HDF5 chunk: about 64 kB, and at least one sample."""
    sample = max(1, int(np.prod(shape, dtype=np.int64))) * np.dtype(dtype).itemsize
    return int(max(1, min(n, _CHUNK_BYTES // sample)))


def _sample_type(dataset: Dataset) -> tuple[tuple[int, ...], np.dtype]:
    if isinstance(dataset.x, np.ndarray):
        if len(dataset.x) != dataset.n:
            raise ValueError(f"x holds {len(dataset.x)} samples, ids {dataset.n}")
        shape, dtype = dataset.x.shape[1:], dataset.x.dtype
    elif dataset.shape is None:
        raise ValueError("a streamed data set needs the shape of its samples")
    else:
        shape, dtype = tuple(dataset.shape), np.dtype(dataset.dtype)
    return shape, np.dtype("u1") if dtype == np.uint8 else np.dtype("<f4")


def _write_samples(x: h5py.Dataset, dataset: Dataset, chunk: int, disk: PatientFile) -> None:
    if isinstance(dataset.x, np.ndarray):
        for start in range(0, dataset.n, chunk):
            disk.check()
            x[start : start + chunk] = dataset.x[start : start + chunk].astype(x.dtype)
        return
    count = 0
    for block in _blocks(dataset, x.shape[1:], x.dtype, chunk):
        if count + len(block) > dataset.n:
            raise ValueError(f"more samples than the {dataset.n} ids")
        disk.check()
        x[count : count + len(block)] = block
        count += len(block)
    if count != dataset.n:
        raise ValueError(f"{count} samples for {dataset.n} ids")


def _blocks(dataset: Dataset, shape: tuple[int, ...], dtype: np.dtype, chunk: int) -> Iterator[np.ndarray]:
    block: list[np.ndarray] = []
    for index, sample in enumerate(dataset.x):
        if np.shape(sample) != shape:
            where = f"sample {dataset.ids[min(index, dataset.n - 1)]}"
            sizes = [" x ".join(map(str, size)) for size in (np.shape(sample), shape)]
            what = f"has the shape {sizes[0]}, the others have {sizes[1]}"
            raise UserError(where, what, "give every sample the same channels and axes")
        block.append(np.asarray(sample, dtype=dtype))
        if len(block) == chunk:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


class Store:
    """A data set opened for reading; x stays on disk, the columns are read when first asked for.

    It has `n` samples of `shape` `(channel, *axes)` and `dtype` uint8 or float32, `chunk` of them in a chunk.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = str(path)
        self._file = _open(path)
        try:
            self._x = self._dataset("x")
            self.n = int(self._x.shape[0])
            self.shape = tuple(int(size) for size in self._x.shape[1:])
            self.dtype = self._x.dtype
            self.chunk = int(self._x.chunks[0]) if self._x.chunks else 1
            self.attrs: dict[str, Any] = {key: str(self._file.attrs[key]) for key in ("kind", "unit")}
            self.attrs["input"] = json.loads(self._file.attrs["input"])
            self.attrs["format_version"] = int(self._file.attrs["format_version"])
        except UserError:
            self._file.close()
            raise
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            self._file.close()
            raise UserError(path, "is damaged: its header cannot be read", _AGAIN) from error

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.n

    def close(self) -> None:
        """Close the file; columns that were read stay usable."""
        self._file.close()

    @property
    def kind(self) -> str:
        """Kind of input, as in `Dataset`."""
        return self.attrs["kind"]

    @property
    def unit(self) -> str:
        """Unit of x, "" when dimensionless."""
        return self.attrs["unit"]

    @property
    def input(self) -> dict[str, Any]:
        """The input settings that made the data set."""
        return self.attrs["input"]

    @cached_property
    def labels(self) -> np.ndarray:
        """`(n,)` int16 index into `classes` (-1: no label), or `(n, k)` uint8 of 0 and 1."""
        return self._column("label")

    @property
    def multilabel(self) -> bool:
        """Whether a sample may be of several classes at once."""
        return self.labels.ndim == 2

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self._column("class").tolist() if "class" in self._file else []

    @cached_property
    def ids(self) -> np.ndarray:
        """`(n,)` texts."""
        return self._column("id")

    @cached_property
    def groups(self) -> np.ndarray:
        """`(n,)` texts: samples of one group are of one split."""
        return self._column("group")

    @cached_property
    def splits(self) -> np.ndarray:
        """`(n,)` texts: "train", "validation", "test" or ""."""
        return self._column("split")

    @cached_property
    def ra(self) -> np.ndarray:
        """`(n,)` right ascension [deg], NaN where unknown."""
        return self._column("ra")

    @cached_property
    def dec(self) -> np.ndarray:
        """`(n,)` declination [deg], NaN where unknown."""
        return self._column("dec")

    @cached_property
    def headers(self) -> np.ndarray:
        """`(n,)` FITS header texts of the samples' WCS, "" where there is none."""
        return self._column("header")

    @cached_property
    def paths(self) -> np.ndarray:
        """`(n,)` texts: where each sample was read from."""
        return self._column("path")

    @cached_property
    def axis(self) -> np.ndarray | None:
        """Wavelength [angstrom] of the last axis, or None."""
        return self._column("axis") if "axis" in self._file else None

    @cached_property
    def columns(self) -> pd.DataFrame:
        """`(n, column)` numbers about the samples, float64, NaN where unknown; no column in a data set without."""
        if NUMBERS not in self._file:
            return pd.DataFrame(index=range(self.n))
        return pd.DataFrame(self._column(NUMBERS), columns=list(self.column_units))

    @cached_property
    def column_units(self) -> dict[str, str]:
        """The unit of each of `columns`, "" when dimensionless."""
        if NUMBERS not in self._file:
            return {}
        try:
            attrs = self._dataset(NUMBERS).attrs
            return dict(zip(json.loads(attrs["names"]), json.loads(attrs["unit"]), strict=True))
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise UserError(self.path, "is damaged: the names of its columns cannot be read", _AGAIN) from error

    def indices(self, split: str) -> np.ndarray:
        """Increasing indices of the samples of one split."""
        return np.flatnonzero(self.splits == split)

    def read(self, indices: Any = None, dataset: str = "x") -> np.ndarray:
        """The rows `indices` (integers in any order, repeats allowed; None for all) of one dataset of the file.

        Every chunk that is needed is read and decompressed once, whatever the order of the indices.

        Raises
        ------
        UserError : the file has no such dataset or is damaged there.
        IndexError : an index is outside 0 ... n - 1.
        """
        source = self._dataset(dataset)
        length = len(source)
        wanted = np.arange(length) if indices is None else np.asarray(indices, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= length):
            raise IndexError(f"{self.path}: index outside 0 ... {length - 1}")
        out = np.empty((len(wanted), *source.shape[1:]), dtype=source.dtype)
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        for start, stop in _runs(ordered, source):
            first, last = np.searchsorted(ordered, (start, stop))
            out[order[first:last]] = self._rows(source, start, stop)[ordered[first:last] - start]
        return out

    def _rows(self, source: h5py.Dataset, start: int, stop: int) -> np.ndarray:
        try:
            return source[start:stop]
        except (OSError, RuntimeError) as error:
            raise UserError(self.path, f"is damaged in rows {start} to {stop - 1}", _AGAIN) from error

    def _dataset(self, name: str) -> h5py.Dataset:
        try:
            found = self._file[name]
        except (KeyError, OSError, RuntimeError) as error:
            raise UserError(self.path, f'has no dataset "{name}"', _AGAIN) from error
        if not isinstance(found, h5py.Dataset) or not found.shape:
            raise UserError(self.path, f'"{name}" is not an array', _AGAIN)
        return found

    def _column(self, name: str) -> np.ndarray:
        values = self.read(dataset=name)
        if values.dtype.kind == "S":
            return np.array([text.decode("utf-8", "replace") for text in values.tolist()], dtype=str)
        return values


def open_store(path: str | os.PathLike) -> Store:
    """Open a data set for reading; use it in a `with` block.

    Raises
    ------
    UserError : absent, not HDF5, truncated, not a Fleming data set, or of another format version.
    """
    return Store(path)


def _open(path: str | os.PathLike) -> h5py.File:
    if Path(path).is_dir():
        raise UserError(path, "is a folder, not a data set", "name the HDF5 file in it")
    if not Path(path).exists():
        raise UserError(path, "does not exist", "run the ingest stage first")
    try:
        # no lock: writers replace the file as a whole, and network disks often refuse locks
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(path, "may not be read", "change its permissions") from error
        raise UserError(path, "is not an HDF5 file, or is truncated", _AGAIN) from error
    try:
        known, version = file.attrs.get("format"), file.attrs.get("format_version")
    except (OSError, RuntimeError) as error:
        file.close()
        raise UserError(path, "is damaged: its attributes cannot be read", _AGAIN) from error
    if known == FORMAT and version == FORMAT_VERSION:
        return file
    file.close()
    if known != FORMAT:
        raise UserError(path, "is HDF5, but not a Fleming data set", "name a file that the ingest stage wrote")
    what = f"has the format version {version}, this program reads {FORMAT_VERSION}"
    raise UserError(path, what, "run the ingest stage again with this program")


def _runs(ordered: np.ndarray, source: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Row ranges of whole chunks that cover the sorted indices, neighbours joined up to about 32 MB."""
    chunk = int(source.chunks[0]) if source.chunks else 1
    row = max(1, int(np.prod(source.shape[1:], dtype=np.int64))) * source.dtype.itemsize
    most = max(1, _RUN_BYTES // (row * chunk))
    start = stop = None
    for number in np.unique(ordered // chunk).tolist():
        if stop == number and number - start < most:
            stop = number + 1
            continue
        if start is not None:
            yield start * chunk, min(stop * chunk, source.shape[0])
        start, stop = number, number + 1
    if start is not None:
        yield start * chunk, min(stop * chunk, source.shape[0])
