"""From a manifest to a data set: fetch, read every object, split, and write the store in one go."""

import logging
import os
import re
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from pipeline.data.fetch import fetch
from pipeline.data.labels import read_labels
from pipeline.data.manifest import Manifest, check_classes, is_url, read_manifest
from pipeline.data.sample import Sample, idx_array, read_sample
from pipeline.data.settings import InputSettings, SplitSettings, grid_points
from pipeline.data.sheet import Sheet
from pipeline.data.splits import split as split_groups
from pipeline.data.store import Dataset, write_store
from pipeline.data.tables import feature_matrix, feature_names, number_columns
from pipeline.errors import FlemingWarning, UserError, UserErrors
from pipeline.files import check_output, sha256, write_error
from pipeline.sky.archive import read_source, split_source

log = logging.getLogger("fleming")
Progress = Callable[[int], None]
_LONGEST_CLASS = 40  # its column in a FITS table, with a prefix and doubled quotes, must fit in a card


class SharedGroupWarning(FlemingWarning):
    """Objects of one group are in more than one of the splits that the manifest gives."""


def ingest(
    input: InputSettings,
    labels: str | list[str] | None,
    classes: list[str] | dict[str, list[str]] | None,
    split: SplitSettings,
    seed: int,
    out: str | Path,
    *,
    columns: Sequence[str] = (),
    optional_columns: Sequence[str] = (),
    downloads: str | Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Read every object of the manifest and write the data set `out`, whole or not at all.

    The arrays are spooled to a nameless file beside `out`, never held in memory together. URLs are fetched into
    `downloads` (``downloads/`` beside `out` when not given). `progress` is called with the number of objects read.
    Without `labels` every object is of no class. The numbers in `columns` of the manifest travel with the objects, and
    so do those of `optional_columns` that it has; their units come from an ECSV header.

    Raises
    ------
    UserErrors : every row, file and value that is wrong; then nothing is written.
    """
    out = Path(out)
    check_output(out)
    folder = Path(downloads) if downloads is not None else out.parent / "downloads"
    manifest = _manifest(input, labels, classes, split, folder)
    if input.kind == "idx":
        manifest = _expand_idx(manifest, labels, classes)
    _check_names(manifest)
    numbers = _numbers(manifest, columns, optional_columns)
    if manifest.dropped:
        counts = ", ".join(f"{count} {name}" for name, count in manifest.dropped.items())
        log.info("%s: left out by classes: %s", manifest.path, counts)
    splits = _splits(manifest, split, seed)
    if input.kind == "table":
        write_store(out, replace(_table(manifest, input, labels, split, splits), **numbers))
        return
    paths = _local_paths(manifest, folder)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Without a name in the folder, nothing is left behind even when the process is killed.
        with tempfile.TemporaryFile(dir=out.parent) as spool:
            spooled = _read_all(manifest, paths, input, spool, progress)
            spool.flush()
            x = np.memmap(spool, dtype=spooled.dtype, mode="r", shape=(len(paths), *spooled.shape))
            write_store(out, replace(_dataset(manifest, input, splits, spooled, x), **numbers))
    except OSError as error:
        raise write_error(out, error) from error


@dataclass
class _Spooled:
    """What was read, apart from the arrays."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype = field(default_factory=lambda: np.dtype("f4"))
    units: dict[str, int] = field(default_factory=dict)
    headers: list[str] = field(default_factory=list)
    ra: list[float] = field(default_factory=list)
    dec: list[float] = field(default_factory=list)


def _manifest(
    settings: InputSettings,
    labels: str | list[str] | None,
    classes: list[str] | dict[str, list[str]] | None,
    split: SplitSettings,
    folder: Path,
) -> Manifest:
    if settings.manifest is None:
        raise UserError("input", "names no manifest", "give manifest, a CSV with one row an object")
    content = None
    if is_url(settings.manifest):
        content = fetch(settings.manifest, folder).read_bytes()
    elif split_source(settings.manifest)[1] is not None:
        content = read_source(settings.manifest)
    manifest = read_manifest(settings.manifest, settings, labels, classes, split_column=split.column, content=content)
    if manifest.label is not None or settings.kind == "idx":
        return manifest
    return replace(manifest, label=np.full(len(manifest.rows), -1, dtype=np.int16))


def _numbers(manifest: Manifest, needed: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """The extra columns of a data set with their units, as `Dataset` takes them."""
    present = [name for name in optional if name in manifest.sheet.cells and name not in needed]
    names = [*dict.fromkeys(needed), *present]
    values = number_columns(manifest.sheet, names, "condition")
    units = {name: unit for name, unit in manifest.sheet.units.items() if name in names}
    return {"columns": dict(zip(names, values.T, strict=True)), "column_units": units}


def _check_names(manifest: Manifest) -> None:
    """Refuse before the training what no FITS catalogue could hold after it."""
    problems = [
        UserError(manifest.where(position), f'the id "{name}" is not printable ASCII', 'mend it in a column "id"')
        for position, name in enumerate(manifest.rows["id"])
        if not _is_plain(name)
    ]
    for name in manifest.classes:
        if not _is_plain(name) or len(name) > _LONGEST_CLASS or "|" in name or name != name.strip():
            allowed = f"printable ASCII of at most {_LONGEST_CLASS} letters, without | and outer blanks"
            what = f'the class "{name}" is not {allowed}'
            problems.append(UserError(manifest.path, what, "rename it, or map it to another name in classes"))
    if problems:
        raise UserErrors(problems[:100])


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _expand_idx(manifest: Manifest, labels: str | None, classes: list[str] | dict[str, list[str]] | None) -> Manifest:
    """One row an image, from rows that name a file of images and a file of labels each."""
    if labels is None:
        raise UserError(manifest.path, "is of kind idx", "name the column that holds the label files in labels")
    tables, texts, lines = [], [], []
    problems: list[UserError] = []
    counts: dict[str, int] = defaultdict(int)
    base = Path(manifest.path).absolute().parent
    for position, row in enumerate(manifest.rows.to_dict("records")):
        try:
            images = idx_array(row["path"])
            found = idx_array(base / manifest.sheet.cells[labels].iloc[position])
            if found.ndim != 1 or len(found) != len(images):
                what = f"names {len(images)} images and labels of shape {found.shape}"
                raise UserError(manifest.where(position), what, "name the label file that belongs to the images")
        except UserError as error:
            problems.append(error)
            continue
        stem = row["split"] or row["id"]
        first = counts[stem]
        counts[stem] += len(images)
        table = pd.DataFrame({key: [row[key]] * len(images) for key in manifest.rows.columns})
        table["id"] = table["group"] = [f"{stem}-{number:05d}" for number in range(first, counts[stem])]
        table["row"] = list(range(len(images)))
        tables.append(table)
        texts += [str(value) for value in found]
        lines += [row["line"]] * len(images)
    if problems:
        raise UserErrors(problems)
    sheet = Sheet(manifest.path, pd.DataFrame({labels: texts}, dtype=object), lines)
    found, problems = read_labels(sheet, labels, classes)
    if problems:
        raise UserErrors(problems[:10])
    rows = pd.concat(tables, ignore_index=True).iloc[found.kept].reset_index(drop=True)
    check_classes(manifest.path, found.label, found.classes, rows["group"].to_numpy())
    return Manifest(manifest.path, rows, found.label, found.classes, found.dropped, sheet.keep(found.kept))


def _splits(manifest: Manifest, settings: SplitSettings, seed: int) -> np.ndarray:
    groups = manifest.rows["group"].to_numpy(dtype=str)
    if settings.column is None:
        return split_groups(manifest.label, groups, settings.fractions, seed, manifest.classes, manifest.path)
    splits = manifest.rows["split"].to_numpy(dtype=object)
    shared = sum(len(set(part)) > 1 for part in pd.Series(splits).groupby(groups).agg(list))
    if shared:
        what = f"{manifest.path}: {shared} groups are in more than one split; the measures will be too good."
        warnings.warn(what, SharedGroupWarning, stacklevel=3)
    train = splits == "train"
    if "validation" not in set(splits) and settings.validation > 0:
        fractions = (1 - settings.validation, settings.validation, 0.0)
        splits[train] = split_groups(
            manifest.label[train], groups[train], fractions, seed, manifest.classes, manifest.path
        )
    return splits.astype(str)


def _local_paths(manifest: Manifest, folder: Path) -> list[str]:
    """The path on this machine of every object, after fetching and checking; all problems at once."""
    problems: list[UserError] = []
    known: dict[str, str | UserError] = {}
    paths = []
    columns = zip(manifest.rows["path"], manifest.rows["sha256"], strict=True)
    for position, (path, checksum) in enumerate(columns):
        # An object inside a zip archive at a URL: the archive is what is fetched and checked.
        zipped = re.match(r"(.*?\.zip)(/.+)$", path, re.IGNORECASE) if is_url(path) else None
        archive, inside = zipped.groups() if zipped else (path, "")
        key = f"{archive} {checksum}"
        if key not in known:
            known[key] = _obtain(archive, checksum, folder)
        found = known[key]
        if isinstance(found, UserError):
            problems.append(UserError(manifest.where(position), f"{found.where} {found.what}", found.remedy))
            paths.append("")
        else:
            paths.append(found + inside)
    if problems:
        raise UserErrors(problems)
    return paths


def _obtain(path: str, checksum: str, folder: Path) -> str | UserError:
    try:
        if is_url(path):
            return str(fetch(path, folder, checksum or None))
        if checksum:
            found = sha256(split_source(path)[0])
            if found != checksum:
                return UserError(path, f"has the sha256 {found}, not {checksum}", "correct the sha256 or the file")
    except UserError as error:
        return error
    except OSError as error:
        return UserError(path, f"cannot be read ({error.strerror})", "check its permissions")
    return path


def _read_all(
    manifest: Manifest, paths: list[str], settings: InputSettings, spool: IO[bytes], progress: Progress | None
) -> _Spooled:
    """Spool the arrays of all objects; go on after a problem, to report all of them.

    Of each named warning one is passed on, with the number of objects that it is about.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FlemingWarning)
        spooled = _read_each(manifest, paths, settings, spool, progress)
    kinds: dict[type[Warning], list[str]] = defaultdict(list)
    for warning in caught:
        kinds[warning.category].append(str(warning.message))
    for kind, messages in kinds.items():
        more = f" (and {len(messages) - 1} more objects)." if len(messages) > 1 else "."
        warnings.warn(messages[0].removesuffix(".") + more, kind, stacklevel=3)
    return spooled


def _read_each(
    manifest: Manifest, paths: list[str], settings: InputSettings, spool: IO[bytes], progress: Progress | None
) -> _Spooled:
    spooled, problems, count = _Spooled(), [], 0
    for position, sample in enumerate(_samples(manifest, paths, settings)):
        if isinstance(sample, Sample):
            try:
                _spool(sample, paths[position], spooled, spool)
                count += 1
                if progress is not None:
                    progress(count)
                continue
            except UserError as error:
                sample = error
        problems.append(UserError(manifest.where(position), f"{_short(sample.where)} {sample.what}", sample.remedy))
    if len(spooled.units) > 1:
        counts = ", ".join(f'"{unit}" ({n} objects)' for unit, n in sorted(spooled.units.items()))
        what = f"lists objects of several units: {counts}"
        problems.append(UserError(manifest.path, what, "give input.unit to convert them all, or list one unit"))
    if problems:
        raise UserErrors(problems)
    return spooled


def _samples(manifest: Manifest, paths: list[str], settings: InputSettings) -> Iterator[Sample | UserError]:
    rows = manifest.rows
    for path, row, ra, dec in zip(paths, rows["row"], rows["ra"], rows["dec"], strict=True):
        try:
            yield read_sample(path, None if pd.isna(row) else int(row), settings, (ra, dec))
        except UserError as error:
            yield error


def _spool(sample: Sample, path: str, spooled: _Spooled, spool: IO[bytes]) -> None:
    if not spooled.shape:
        spooled.shape, spooled.dtype = sample.data.shape, sample.data.dtype
    if sample.data.shape != spooled.shape:
        what = f"has the shape {_times(sample.data.shape)}, the first object {_times(spooled.shape)}"
        raise UserError(path, what, "give input.shape to cut or pad them all to one")
    if sample.data.dtype != spooled.dtype:
        what = f"is of type {sample.data.dtype}, the first object of {spooled.dtype}"
        raise UserError(path, what, "do not list pictures and FITS images together")
    spool.write(np.ascontiguousarray(sample.data).tobytes())
    spooled.units[sample.unit] = spooled.units.get(sample.unit, 0) + 1
    spooled.headers.append(sample.header)
    spooled.ra.append(sample.ra)
    spooled.dec.append(sample.dec)


def _dataset(
    manifest: Manifest, settings: InputSettings, splits: np.ndarray, spooled: _Spooled, x: np.ndarray
) -> Dataset:
    rows = manifest.rows
    resolved: dict[str, Any] = {}
    if settings.kind in ("image", "cube", "idx") and settings.shape is None:
        # A prediction on a larger frame must cut what the training took whole.
        axes = spooled.shape[1:]
        resolved["shape"] = tuple(n * b for n, b in zip(axes, settings.bins(len(axes)), strict=True))
    return Dataset(
        x=x,
        label=manifest.label,
        ids=rows["id"].tolist(),
        groups=rows["group"].tolist(),
        splits=splits.tolist(),
        classes=manifest.classes,
        ra=np.array(spooled.ra),
        dec=np.array(spooled.dec),
        headers=spooled.headers,
        paths=[_shown_path(path, manifest.path) for path in rows["path"]],
        axis=grid_points(settings.grid) if settings.grid is not None else None,
        unit=next(iter(spooled.units)),
        kind=settings.kind,
        input=settings.model_copy(update=resolved).model_dump(mode="json"),
    )


def _table(
    manifest: Manifest,
    settings: InputSettings,
    labels: str | list[str] | None,
    split: SplitSettings,
    splits: np.ndarray,
) -> Dataset:
    others = {labels} if isinstance(labels, str) else set(labels or ())
    others |= set(settings.where) | ({split.column} if split.column else set())
    names = settings.features or feature_names(manifest.sheet, others)
    rows = manifest.rows
    return Dataset(
        x=feature_matrix(manifest.sheet, names)[:, None],
        label=manifest.label,
        ids=rows["id"].tolist(),
        groups=rows["group"].tolist(),
        splits=splits.tolist(),
        classes=manifest.classes,
        ra=rows["ra"].to_numpy(dtype=float),
        dec=rows["dec"].to_numpy(dtype=float),
        paths=[_shown_path(path, manifest.path) for path in rows["path"]],
        kind=settings.kind,
        input=settings.model_copy(update={"features": names}).model_dump(mode="json"),
    )


def _shown_path(path: str, manifest: str) -> str:
    """A path relative to the manifest's folder, so that the data set's bytes do not depend on where it lies."""
    if is_url(path):
        return path
    return os.path.relpath(path, Path(manifest).absolute().parent)


def _short(where: str) -> str:
    return Path(where).name if not is_url(where) else where


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
