"""Classifying: a data set, or FITS files of a user's own, to a catalogue."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable

from pipeline.classify.catalogue import catalogue_meta, class_names, classification_table
from pipeline.classify.predict import Classifier, batch_size, raw_batches
from pipeline.data.manifest import default_id, is_url, read_manifest
from pipeline.data.sample import Sample, read_sample, sample_rows
from pipeline.data.settings import InputSettings
from pipeline.data.store import open_store
from pipeline.errors import FlemingWarning, UserError, UserErrors
from pipeline.files import check_distinct, check_output, sha256
from pipeline.sky.catalogue import catalogue_format, write_catalogue

log = logging.getLogger("fleming")
LEAST_COVERAGE = 0.4


class LeftOutWarning(FlemingWarning):
    """An object could not be read and is not in the catalogue."""


def classify_dataset(dataset: Path, model: Path, outs: Sequence[Path], device: str = "auto") -> None:
    """Classify every object of a data set; the catalogue has its split and true label beside the prediction.

    Raises
    ------
    UserError : the model was made for samples of another shape or other classes than the data set's.
    """
    _check_outs(outs, [dataset, model])
    classifier = Classifier(model, device)
    with open_store(dataset) as store:
        if tuple(store.shape) != classifier.sample_shape:
            what = f"holds samples of shape {tuple(store.shape)}, the model {model} takes {classifier.sample_shape}"
            raise UserError(dataset, what, "ingest the data with the settings that the model was trained with")
        if list(store.classes) != classifier.classes:
            what = f"has the classes {', '.join(store.classes)}, the model {model} {', '.join(classifier.classes)}"
            raise UserError(dataset, what, "use the model that was trained on this data set")
        probability = classifier.probability(raw_batches(store, np.arange(store.n)))
        extra = {
            "split": (store.splits, "meta.code", "part of the data that the object was used in"),
            "label": (class_names(store.labels, store.classes), "src.class", "class given by the manifest"),
        }
        table = classification_table(
            probability,
            classifier.classes,
            multilabel=classifier.multilabel,
            ids=store.ids,
            ra=store.ra,
            dec=store.dec,
            extra=extra,
            meta=_meta(classifier, model),
        )
    _write(table, outs)


def classify_files(
    files: Sequence[str],
    model: Path,
    outs: Sequence[Path],
    *,
    manifest: Path | None = None,
    skip_bad: bool = False,
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Classify FITS files (or spectra as text, or pictures) with a trained model and write the catalogue.

    Each file is read exactly as those that the model was trained on. A `manifest` replaces `files`: its columns path,
    row and id name the objects, its ra and dec their positions.

    Raises
    ------
    UserErrors : files that cannot be read, all of them; with `skip_bad` they are left out instead.

    Warns
    -----
    LeftOutWarning : one for each file that `skip_bad` leaves out.
    """
    _check_outs(outs, [*files, model, *([] if manifest is None else [manifest])])
    classifier = Classifier(model, device)
    settings = InputSettings.model_validate(classifier.description["input"])
    settings = settings.model_copy(
        update={"where": {}, "unit": settings.unit or classifier.description["unit"] or None}
    )
    objects = _objects(files, manifest, settings)
    kept: list[tuple[str, str, Sample]] = []
    problems: list[UserError] = []

    def batches() -> Iterator[np.ndarray]:
        batch = []
        for count, (name, file, row, position) in enumerate(objects, start=1):
            try:
                sample = read_sample(file, row, settings, position)
                _check_shape(file, sample, classifier)
            except UserError as error:
                problems.append(error)
                continue
            batch.append(sample.data)
            kept.append((name, file, sample))
            sample.data = None
            if progress is not None:
                progress(count)
            if len(batch) == batch_size(classifier.sample_shape):
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

    stream = batches()
    first = next(stream, None)
    if first is None:
        probability = np.zeros((0, len(classifier.classes)), np.float32)
    else:
        probability = classifier.probability(_chain(first, stream))
    if problems and not skip_bad:
        raise UserErrors(problems)
    for problem in problems:
        text = f"{problem.where}: {problem.what}, so that it is left out; {problem.remedy}."
        warnings.warn(text, LeftOutWarning, stacklevel=2)
    # An empty list would become a column of numbers.
    names = np.array([Path(file).name for _, file, _ in kept], dtype=str)
    table = classification_table(
        probability,
        classifier.classes,
        multilabel=classifier.multilabel,
        ids=[name for name, _, _ in kept],
        ra=np.array([sample.ra for _, _, sample in kept], dtype=float),
        dec=np.array([sample.dec for _, _, sample in kept], dtype=float),
        extra={"file": (names, "meta.id;meta.file", "file that the object was read from")},
        meta=_meta(classifier, model),
    )
    _write(table, outs)


class LittleCoverageWarning(FlemingWarning):
    """An object has few of the pixels that the model looks at; its class says little."""


def _check_shape(file: str, sample: Sample, classifier: Classifier) -> None:
    if tuple(sample.data.shape) != classifier.sample_shape:
        what = f"gives a sample of shape {tuple(sample.data.shape)}, the model takes {classifier.sample_shape}"
        raise UserError(file, what, "use a model for this kind of data")
    covered = np.isfinite(sample.data).mean()
    if covered < LEAST_COVERAGE:
        text = f"{file}: has only {covered:.0%} of the pixels that the model looks at; its class says little."
        warnings.warn(text, LittleCoverageWarning, stacklevel=2)


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _objects(
    files: Sequence[str], manifest: Path | None, settings: InputSettings
) -> list[tuple[str, str, int | None, tuple[float, float]]]:
    """Name, file, row and position [deg] of each object."""
    if manifest is not None:
        rows = read_manifest(manifest, settings, labels=None).rows
        remote = [path for path in rows["path"] if is_url(path)]
        if remote:
            raise UserError(
                manifest, f"names the URL {remote[0]}", "fetch the files first and name them by their paths"
            )
        positions = zip(rows["ra"], rows["dec"], strict=True)
        return list(zip(rows["id"], rows["path"], rows["row"], positions, strict=True))
    # a table or an idx file holds many objects, any other file one
    objects = [(str(file), row) for file in files for row in sample_rows(file, settings)]
    names = [default_id(file, row) for file, row in objects]
    if len(set(names)) < len(names):
        names = [file if row is None else f"{file}-{row}" for file, row in objects]
    return [(name, file, row, (np.nan, np.nan)) for name, (file, row) in zip(names, objects, strict=True)]


def _meta(classifier: Classifier, model: Path) -> dict:
    return catalogue_meta(classifier.description, f"{model.name} sha256 {sha256(model)[:16]}")


def _check_outs(outs: Sequence[Path], inputs: Sequence[str | Path]) -> None:
    check_distinct(outs, inputs)
    for out in outs:
        catalogue_format(out)
        check_output(out)


def _write(table: QTable, outs: Sequence[Path]) -> None:
    for out in outs:
        write_catalogue(table, out)
        log.info("%d objects written to %s", len(table), out)
