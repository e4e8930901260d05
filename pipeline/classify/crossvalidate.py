"""k-fold cross-validation: every object is judged once by a network that never saw its group."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classify.baseline import baseline_probability
from pipeline.classify.calibrate import probabilities
from pipeline.classify.metrics import classification_metrics
from pipeline.classify.predict import predict_logits, raw_batches
from pipeline.classify.settings import ClassifySettings
from pipeline.classify.train import origin_of, train_classifier
from pipeline.data.splits import folds as make_folds
from pipeline.data.splits import split
from pipeline.data.store import open_store
from pipeline.errors import UserError
from pipeline.files import check_output, write_json
from pipeline.learn.record import checkpoint_folder
from pipeline.provenance import provenance

log = logging.getLogger("fleming")
INNER_SPLIT = (0.85, 0.15, 0.0)


def crossvalidate(
    dataset: Path,
    settings: ClassifySettings,
    out: Path,
    *,
    folds: int,
    seed: int,
    device: str | None = None,
    progress: Callable[[dict], None] | None = None,
) -> dict[str, Any]:
    """Train `folds` networks, each tested on one fold and trained on the others; write a JSON.

    Folds are stratified by class and never divide a group. Of the other folds, 15 % choose the epoch and the
    temperature and the rest is trained on; the logistic regression, which has nothing to choose, gets both. The
    result holds the metrics of all objects together, the mean and the standard deviation over folds of each score,
    and the same for the logistic regression. Interrupted work resumes at the fold and epoch where it stopped.

    Raises
    ------
    UserError : fewer than three folds, or a class with fewer groups than folds.
    """
    if folds < 3:
        what = "leaves too few objects for training"
        raise UserError(f"--folds {folds}", what, "ask for 3 or more")
    check_output(out)
    depends = {"folds": folds, **origin_of(dataset, settings, seed)}
    folder = checkpoint_folder(out, depends)
    with open_store(dataset) as store:
        truth, classes = store.labels, list(store.classes)
        fold = make_folds(truth, store.groups, folds, seed, classes, store.path)
        probability = np.zeros((store.n, len(classes)))
        baseline = np.zeros_like(probability)
        per_fold = []
        for k in range(folds):
            test = np.flatnonzero(fold == k)
            seen = np.flatnonzero(fold != k)
            part = split(truth[seen], [store.groups[row] for row in seen], INNER_SPLIT, seed, classes, store.path)
            train, validation = seen[part == "train"], seen[part == "validation"]
            trained = train_classifier(
                store,
                train,
                validation,
                settings,
                folder / f"fold-{k}",
                seed=seed + k,
                device=device,
                progress=progress,
                depends=depends,
            )
            logits = predict_logits(trained.network, raw_batches(store, test), trained.normaliser, settings.symmetries)
            probability[test] = probabilities(logits, trained.temperature, settings.multilabel)
            baseline[test] = baseline_probability(
                map(trained.normaliser.apply, raw_batches(store, seen)),
                truth[seen],
                map(trained.normaliser.apply, raw_batches(store, test)),
                seed,
                multilabel=settings.multilabel,
            )
            scores = _scores(probability[test], truth[test], classes, settings.multilabel)
            reference = _scores(baseline[test], truth[test], classes, settings.multilabel)
            per_fold.append({"fold": k, "n": len(test), "network": scores, "baseline": reference})
            log.info("fold %d of %d: accuracy %.3f", k + 1, folds, scores["accuracy"])
    result = {
        "folds": folds,
        "network": classification_metrics(probability, truth, classes, settings.multilabel),
        "baseline": classification_metrics(baseline, truth, classes, settings.multilabel),
        "per_fold": per_fold,
        "spread": {
            who: {name: _mean_and_spread([row[who][name] for row in per_fold]) for name in per_fold[0][who]}
            for who in ("network", "baseline")
        },
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "provenance": provenance(seed),
    }
    write_json(out, result)
    shutil.rmtree(folder.parent, ignore_errors=True)
    return result


def _scores(probability: np.ndarray, truth: np.ndarray, classes: list[str], multilabel: bool) -> dict[str, float]:
    metrics = classification_metrics(probability, truth, classes, multilabel)
    return {name: metrics[name] for name in ("accuracy", "balanced_accuracy", "f1_macro")}


def _mean_and_spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "standard_deviation": float(np.std(values, ddof=1))}
