"""Judging a classifier on objects it never saw: its catalogue against the labels, beside a simple baseline."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable

from pipeline.classify.baseline import baseline_probability
from pipeline.classify.catalogue import SEPARATOR
from pipeline.classify.description import check_description
from pipeline.classify.metrics import classification_metrics
from pipeline.classify.predict import raw_batches
from pipeline.data.normalise import Normaliser
from pipeline.data.store import Store, open_store
from pipeline.errors import UserError
from pipeline.files import check_output, write_json
from pipeline.learn.model_file import read_description
from pipeline.provenance import provenance
from pipeline.sky.catalogue import read_catalogue


def evaluate(catalogue: Path, dataset: Path, model: Path, out: Path, *, task: str, seed: int) -> None:
    """Write metrics.json: the catalogue's probabilities and a logistic regression, on the test split.

    Raises
    ------
    UserError : the catalogue lacks columns or rows, there is no test object, or the model is of another data set.
    """
    check_output(out)
    description = read_description(model)
    normaliser = check_description(model, description)
    classes, multilabel = description["classes"], description["multilabel"]
    table = read_catalogue(catalogue)
    needed = ["id", "split", "label", *(f"p_{name}" for name in classes)]
    absent = [name for name in needed if name not in table.colnames]
    if absent:
        raise UserError(catalogue, f"has no column {absent[0]!r}", "write it with fleming classify --dataset")
    with open_store(dataset) as store:
        _check_dataset(store, table, catalogue, model, description)
        baseline = _baseline(store, normaliser, classes, multilabel, seed)
    split = np.asarray(table["split"]).astype(str)
    test = split == "test"
    if not test.any():
        raise UserError(catalogue, "has no object of the test split", "give the task a test fraction above zero")
    truth = truth_of([str(label) for label in table["label"]], classes, multilabel)
    probability = np.stack([np.asarray(table[f"p_{name}"], dtype=float) for name in classes], axis=1)
    plain = _uncalibrated(probability[test], description["temperature"], multilabel)
    raw = classification_metrics(plain, truth[test], classes, multilabel)
    result = {
        "task": task,
        "kind": "classify",
        "multilabel": multilabel,
        "classes": classes,
        "split": "test",
        "counts": {name: _counts(truth[split == name], classes) for name in ("train", "validation", "test")},
        "network": classification_metrics(probability[test], truth[test], classes, multilabel),
        "baseline": baseline,
        "uncalibrated": {"ece": raw["ece"], "log_loss": raw["log_loss"], "reliability": raw["reliability"]},
        "temperature": description["temperature"],
        "provenance": provenance(seed) | {"date": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    write_json(out, result)


def _check_dataset(store: Store, table: QTable, catalogue: Path, model: Path, description: dict[str, Any]) -> None:
    if list(store.classes) != description["classes"] or list(store.shape) != description["sample_shape"]:
        what = f"was trained on samples of shape {tuple(description['sample_shape'])} of the classes "
        what += f"{', '.join(description['classes'])}, {store.path} has {store.shape} of {', '.join(store.classes)}"
        raise UserError(model, what, "name the model that was trained on this data set")
    if sorted(str(name) for name in table["id"]) != sorted(store.ids.tolist()):
        what = f"does not list the {store.n} objects of {store.path}"
        raise UserError(catalogue, what, "write it with fleming classify --dataset")


def truth_of(labels: Sequence[str], classes: Sequence[str], multilabel: bool) -> np.ndarray:
    """Labels as texts to `(n,)` indices (-1 where there is none), or `(n, k)` 0/1 when they are joined by "|"."""
    index = {name: k for k, name in enumerate(classes)}
    if not multilabel:
        return np.array([index.get(label, -1) for label in labels], dtype=int)
    chosen = [set(label.split(SEPARATOR)) for label in labels]
    return np.array([[int(name in names) for name in classes] for names in chosen], dtype=int)


def _counts(truth: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    counts = truth.sum(0) if truth.ndim == 2 else np.bincount(truth[truth >= 0], minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _uncalibrated(probability: np.ndarray, temperature: float, multilabel: bool) -> np.ndarray:
    """Undo the temperature T: softmax(T log p) has the probabilities of the raw logits (up to a constant)."""
    log_p = np.log(np.clip(probability, 1e-12, 1))
    if multilabel:
        logit = temperature * (log_p - np.log(np.clip(1 - probability, 1e-12, 1)))
        return 1 / (1 + np.exp(-logit))
    scaled = temperature * log_p
    scaled -= scaled.max(1, keepdims=True)
    return np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)


def _baseline(
    store: Store, normaliser: Normaliser, classes: Sequence[str], multilabel: bool, seed: int
) -> dict[str, Any]:
    train, test = store.indices("train"), store.indices("test")
    probability = baseline_probability(
        map(normaliser.apply, raw_batches(store, train)),
        store.labels[train],
        map(normaliser.apply, raw_batches(store, test)),
        seed,
        multilabel=multilabel,
    )
    return classification_metrics(probability, store.labels[test], classes, multilabel)
