"""Judging the methods of a task by their samples: metrics.json, and statistics.csv for the figures."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import QTable

from pipeline.classify.predict import Classifier
from pipeline.data.evenly import evenly
from pipeline.data.store import Store, open_store
from pipeline.errors import UserError
from pipeline.files import atomic, check_distinct, check_output, read_json, scratch, write_json
from pipeline.generate.conditions import CLASS
from pipeline.generate.features import features, train_features
from pipeline.generate.fidelity import recognised
from pipeline.generate.morphology import morphology, statistic_names
from pipeline.generate.realism import Reference
from pipeline.generate.samples_file import read_samples
from pipeline.generate.scale import Scale
from pipeline.generate.stamps import fit_scale, measured_rows, physical_stamps, told_table
from pipeline.generate.task_settings import GenerateSettings
from pipeline.provenance import provenance

KIND = "generate"
STATISTICS = "statistics.csv"
REAL = "real"
_TRAINING_STAMPS = 5000  # that samples are compared with: nearest neighbours, floors, features
_FEWEST = 4  # of them
_TRAINED = ("line", "parameters", "macs", "evaluations", "seconds", "epochs_run", "device", "stamps")

Features = Callable[[np.ndarray], np.ndarray]


@dataclass
class Samples:
    """What one method made: stamps `(n, channel, *axes)`, the header and the table of their file, and its path."""

    path: Path
    stamps: np.ndarray
    header: fits.Header
    table: QTable

    def asked(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The numeric conditions that were asked for, `(n,)` each, in the units of the training."""
        columns = {name: self.table[name] for name in names if name in self.table.colnames}
        return {name: np.asarray(getattr(values, "value", values), dtype=float) for name, values in columns.items()}


def evaluate(dataset: Path, samples: Sequence[Path], task: GenerateSettings, out: Path, *, seed: int) -> None:
    """Compare the samples of every method with the test stamps; write metrics.json to `out`, statistics.csv beside it.

    samples : files of `fleming sample`, one a method of the task, in any order.

    Raises
    ------
    UserError : a file is absent, not what it should be, or of no method of the task; samples of another shape or unit;
        or too few stamps to compare with.
    """
    out = Path(out)
    check_output(out)
    table = out.with_name(STATISTICS)
    check_distinct([out, table], [dataset, *samples])
    check_output(table)
    with open_store(dataset) as store:
        train, test = len(store.indices("train")), len(store.indices("test"))
        if train < _FEWEST or not test:
            what = f"has {train} stamps to train on and {test} to test, too few to compare samples with"
            raise UserError(dataset, what, f"list more objects: at least {_FEWEST} and 1")
        made = _by_method(samples, store, task)
        classifier = _classifier(task, store)
        real = _judge(store, task, made, classifier, out, seed)
    with atomic(table) as beside:
        _statistics(real, made).to_csv(beside, index=False, float_format="%.7g")


def _judge(
    store: Store, task: GenerateSettings, made: dict[str, Samples], classifier: Classifier | None, out: Path, seed: int
) -> np.ndarray:
    """Write metrics.json; the test stamps `(n, channel, *axes)`."""
    methods = {method: _facts(one, out) for method, one in made.items()}
    test, train = store.indices("test"), store.indices("train")
    some = train[evenly(len(train), _TRAINING_STAMPS)]
    held, known = physical_stamps(store, test, task), physical_stamps(store, some, task)
    told, units = told_table(store, test, task.conditions, task.scale.blank)
    scale = fit_scale(store, train, task)
    with scratch(out.parent / f".{out.name}.features") as folder:
        reference = Reference(
            known,
            held,
            scale=scale.forward,
            features=_features(store, some, known, task, scale, classifier, folder, seed),
            held_asked={condition: told[condition].to_numpy() for condition in task.conditions},
            seed=seed,
        )
    for method, one in made.items():
        methods[method] |= {"realism": reference.judge(one.stamps, one.asked(task.conditions))}
        if classifier is not None:
            asked = one.table[CLASS] if CLASS in one.table.colnames else None
            methods[method]["recognised"] = recognised(classifier.probability([one.stamps]), classifier.classes, asked)
    header = next(iter(made.values())).header
    write_json(
        out,
        {
            "task": out.absolute().parent.name,
            "kind": KIND,
            "product": task.product,
            "stamps": {
                "train": len(train),
                "test": len(test),
                "shape": list(store.shape),
                "unit": store.unit,
                "pixel_scale": header.get("PIXSCALE"),
                "psf_arcsec": header.get("PSFFWHM"),
                "noise": header.get("RMS"),
            },
            "conditions": dict(zip(task.conditions, units, strict=True)),
            "classes": list(store.classes) if task.labels else [],
            "methods": methods,
            "provenance": provenance(seed) | {"date": datetime.now(UTC).isoformat(timespec="seconds")},
        },
    )
    return held


def _by_method(paths: Sequence[Path], store: Store, task: GenerateSettings) -> dict[str, Samples]:
    """The samples of every method of the task, in its order."""
    found: dict[str, Samples] = {}
    for path in paths:
        stamps, header, table = read_samples(path, len(store.shape) - 1)
        method = str(header["METHOD"])
        if method not in task.methods:
            what = f"was made by the method {method}, which the task has not"
            raise UserError(path, what, f"give files of {', '.join(task.methods)}")
        if method in found:
            raise UserError(path, f"is by {method}, as {found[method].path} is", "give one file a method")
        if stamps.shape[1:] != store.shape:
            sizes = [" x ".join(map(str, shape)) for shape in (stamps.shape[1:], store.shape)]
            raise UserError(path, f"holds stamps of {sizes[0]}, the data set of {sizes[1]}", "sample again")
        unit = str(header.get("BUNIT", ""))
        if unit != store.unit:
            what = f'holds stamps in "{unit}", the data set in "{store.unit}"'
            raise UserError(path, what, "sample again with a model of this data set")
        found[method] = Samples(Path(path), stamps, header, table)
    absent = [method for method in task.methods if method not in found]
    if absent:
        raise UserError("fleming evaluate", f"has no samples of {', '.join(absent)}", "give them by --samples")
    return {method: found[method] for method in task.methods}


def _classifier(task: GenerateSettings, store: Store) -> Classifier | None:
    """The classifier that the task names."""
    if task.features is None:
        return None
    classifier = Classifier(task.features)
    if classifier.sample_shape != store.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (classifier.sample_shape, store.shape)]
        what = f"classifies stamps of {sizes[0]}, those of the task are {sizes[1]}"
        raise UserError(task.features, what, "train it on the same input, or leave features out")
    return classifier


def _features(
    store: Store,
    rows: np.ndarray,
    stamps: np.ndarray,
    task: GenerateSettings,
    scale: Scale,
    classifier: Classifier | None,
    folder: Path,
    seed: int,
) -> Features | None:
    """From stamps to features: those of the classifier, else of a network that learns the conditions and classes.

    Where there are neither it learns the statistics of the stamps.
    """
    if classifier is not None:
        return lambda x: features(classifier.network, x, classifier.normaliser)
    told, _ = told_table(store, rows, task.conditions, task.scale.blank)
    targets = told[task.conditions].to_numpy(dtype=float)
    labels = store.labels[rows].astype(int) if task.labels else None
    if not task.conditions and labels is None:
        measured = measured_rows(store, rows, task.scale.blank)
        targets = np.stack([measured[name] for name in statistic_names(task.ndim)], axis=1)
    network = train_features(scale.forward(stamps), targets, labels, folder, seed=seed)
    return lambda x: features(network, scale.forward(x))


def _facts(one: Samples, out: Path) -> dict[str, Any]:
    """How the samples of a method were made, and what it cost, by the files beside them."""
    sampling = one.path.with_suffix(".json")
    trained = out.parent / str(one.header["METHOD"]) / "training.json"
    return {
        "kind": one.header["KIND"],
        "samples": os.path.relpath(one.path, out.parent),
        "n": len(one.stamps),
        "sampler": one.header["SAMPLER"],
        "steps": one.header.get("STEPS"),
        "guidance": one.header["GUIDANCE"],
        "training": {key: value for key, value in _beside(trained).items() if key in _TRAINED},
        "sampling": _beside(sampling),
    }


def _beside(path: Path) -> dict[str, Any]:
    """What a JSON file says, nothing where there is none.

    Raises
    ------
    UserError : it holds something else.
    """
    told = read_json(path) if path.is_file() else {}
    if not isinstance(told, dict):
        raise UserError(path, "is not what a stage wrote there", "delete it and run the stage that writes it again")
    return told


def _statistics(real: np.ndarray, made: dict[str, Samples]) -> pd.DataFrame:
    """A row a stamp: where it is from, "real" or its method, and its statistics."""
    parts = {REAL: real, **{method: one.stamps for method, one in made.items()}}
    tables = [pd.DataFrame({"source": name, **morphology(stamps)}) for name, stamps in parts.items()]
    return pd.concat(tables, ignore_index=True)
