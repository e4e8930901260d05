"""How good a classification is: pure functions of probabilities and true classes.

Single-label truth is `(n,)` class indices, multi-label truth is `(n, k)` of 0 and 1; probabilities are `(n, k)`.
Whatever is undefined (the recall of a class that the set does not hold, ...) is None, never a number that looks real.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

CURVE_POINTS = 200
BINS = 15
SMALLEST_PROBABILITY = 1e-12
_Z95 = 1.959963984540054


def classification_metrics(
    probability: np.ndarray, truth: np.ndarray, classes: Sequence[str], multilabel: bool = False
) -> dict[str, Any]:
    """Every measure of one set of objects, as plain numbers, lists and None that JSON can hold.

    Parameters
    ----------
    probability : `(n, k)`, in [0, 1]; rows sum to one for single-label classes.
    truth : `(n,)` class indices, or `(n, k)` of 0 and 1 when `multilabel`.
    classes : the k class names.
    multilabel : an object may have several classes or none; a class is predicted where its probability is >= 0.5.

    Returns
    -------
    dict with n, accuracy (multi-label: share of objects with every label right), accuracy_low and accuracy_high
    (Wilson 95 %), balanced_accuracy, f1_macro, ece, brier, log_loss, confusion (`(k, k)`, rows true and columns
    predicted; multi-label: one `(2, 2)` matrix a class), classes, per_class, roc, pr, reliability.

    Raises
    ------
    ValueError : the shapes do not fit together, or a probability is not a number.
    """
    probability = np.asarray(probability, dtype=np.float64)
    truth = np.asarray(truth)
    classes = [str(name) for name in classes]
    _check(probability, truth, len(classes), multilabel)
    n = len(probability)
    positive = truth.astype(bool) if multilabel else truth[:, None] == np.arange(len(classes))  # (n, k)
    predicted = probability >= 0.5 if multilabel else _winner(probability)  # (n, k)
    right = int((predicted == positive).all(axis=1).sum())
    low, high = wilson_interval(right, n)

    result: dict[str, Any] = {
        "n": n,
        "accuracy": _ratio(right, n),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": _balanced_accuracy(predicted, positive, multilabel),
        "ece": expected_calibration_error(probability, truth, multilabel),
        "brier": _brier(probability, positive, multilabel),
        "log_loss": log_loss(probability, truth, multilabel),
        "confusion": _confusion(predicted, positive, multilabel).tolist(),
        "classes": classes,
        "per_class": {},
        "roc": {},
        "pr": {},
        "reliability": reliability(probability, truth, multilabel),
    }
    for index, name in enumerate(classes):
        roc = roc_curve(probability[:, index], positive[:, index])
        pr = precision_recall_curve(probability[:, index], positive[:, index])
        result["per_class"][name] = {
            **_class_scores(predicted[:, index], positive[:, index]),
            "auc": None if roc is None else float(np.trapezoid(roc[1], roc[0])),
            "ap": None if pr is None else average_precision(*pr),
        }
        result["roc"][name] = None if roc is None else _thin({"fpr": roc[0], "tpr": roc[1]})
        result["pr"][name] = None if pr is None else _thin({"recall": pr[0], "precision": pr[1]})
    f1 = [scores["f1"] for scores in result["per_class"].values() if scores["f1"] is not None]
    result["f1_macro"] = float(np.mean(f1)) if f1 else None
    return result


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Counts `(k, k)` of objects by true class (row) and predicted class (column), both `(n,)` indices."""
    flat = np.asarray(truth, dtype=np.int64) * k + np.asarray(predicted, dtype=np.int64)
    return np.bincount(flat, minlength=k * k).reshape(k, k)


def wilson_interval(right: int, n: int) -> tuple[float | None, float | None]:
    """The 95 % score interval of a proportion (Wilson 1927, JASA 22, 209, eq. 4), None when `n` is 0."""
    if n == 0:
        return None, None
    share, square = right / n, _Z95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def reliability(
    probability: np.ndarray, truth: np.ndarray, multilabel: bool = False, bins: int = BINS
) -> dict[str, list]:
    """Mean confidence, share right (with its 95 % interval) and count in equal bins of confidence; no empty bins.

    Single-label: one decision an object, its confidence is the largest probability.
    Multi-label: one decision a label, its confidence is max(p, 1 - p).
    """
    confidence, right = _decisions(np.asarray(probability, dtype=np.float64), np.asarray(truth), multilabel)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    hits, count, total = np.bincount(place, right, bins)[filled], count[filled], np.bincount(place, confidence, bins)
    intervals = [wilson_interval(int(hit), int(n)) for hit, n in zip(hits, count, strict=True)]
    return {
        "confidence": (total[filled] / count).tolist(),
        "accuracy": (hits / count).tolist(),
        "accuracy_low": [low for low, _ in intervals],
        "accuracy_high": [high for _, high in intervals],
        "count": count.tolist(),
    }


def expected_calibration_error(
    probability: np.ndarray, truth: np.ndarray, multilabel: bool = False, bins: int = BINS
) -> float | None:
    """ECE: the mean gap between confidence and share right, over bins (Guo et al. 2017, eq. 3)."""
    diagram = reliability(probability, truth, multilabel, bins)
    count = np.array(diagram["count"])
    if not count.sum():
        return None
    gap = np.abs(np.array(diagram["confidence"]) - np.array(diagram["accuracy"]))
    return float((gap * count).sum() / count.sum())


def log_loss(probability: np.ndarray, truth: np.ndarray, multilabel: bool = False) -> float | None:
    """Mean negative natural logarithm of the probability given to the truth (per label when `multilabel`)."""
    probability, truth = np.asarray(probability, dtype=np.float64), np.asarray(truth)
    if not len(truth):
        return None
    if multilabel:
        given = np.where(truth.astype(bool), probability, 1 - probability)
    else:
        given = probability[np.arange(len(truth)), truth]
    return float(np.log(1 / np.clip(given, SMALLEST_PROBABILITY, 1)).mean())


def roc_curve(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """False and true positive rate from (0, 0) to (1, 1), one point a distinct score; None without both kinds."""
    true, false = _cumulative(score, positive)
    if not true[-1] or not false[-1]:
        return None
    return false / false[-1], true / true[-1]


def precision_recall_curve(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Recall (rising from 0) and precision, one point a distinct score; None without a positive object."""
    true, false = _cumulative(score, positive)
    if not true[-1]:
        return None
    precision = np.ones(len(true))
    precision[1:] = true[1:] / (true[1:] + false[1:])
    return true / true[-1], precision


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """AP: the precision at each step, weighted by the step in recall (no interpolation)."""
    return float((np.diff(recall) * precision[1:]).sum())


def _check(probability: np.ndarray, truth: np.ndarray, k: int, multilabel: bool) -> None:
    if probability.ndim != 2 or probability.shape[1] != k:
        raise ValueError(f"probability has shape {probability.shape}, expected (n, {k})")
    expected = probability.shape if multilabel else probability.shape[:1]
    if truth.shape != expected:
        raise ValueError(f"truth has shape {truth.shape}, expected {expected}")
    if not np.isfinite(probability).all():
        raise ValueError("probability holds values that are not finite")
    if truth.size and (truth.min() < 0 or truth.max() >= (2 if multilabel else k)):
        raise ValueError("truth holds a class that does not exist")


def _winner(probability: np.ndarray) -> np.ndarray:
    """True at the most probable class of each object; the first of equals."""
    return probability.argmax(axis=1)[:, None] == np.arange(probability.shape[1])


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _class_scores(predicted: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    n, chosen, hit = int(positive.sum()), int(predicted.sum()), int((predicted & positive).sum())
    low, high = wilson_interval(hit, n)
    return {
        "n": n,
        "recall": _ratio(hit, n),
        "recall_low": low,
        "recall_high": high,
        "precision": _ratio(hit, chosen),
        "f1": _ratio(2 * hit, n + chosen),
    }


def _balanced_accuracy(predicted: np.ndarray, positive: np.ndarray, multilabel: bool) -> float | None:
    """Mean recall of the classes present; multi-label: mean over classes of the mean of both recalls."""
    parts = []
    for guess, true in zip(predicted.T, positive.T, strict=True):
        if true.any() and not multilabel:
            parts.append(guess[true].mean())
        elif multilabel and true.any() and not true.all():
            parts.append((guess[true].mean() + (~guess[~true]).mean()) / 2)
    return float(np.mean(parts)) if parts else None


def _confusion(predicted: np.ndarray, positive: np.ndarray, multilabel: bool) -> np.ndarray:
    if multilabel:
        pairs = zip(predicted.T, positive.T, strict=True)
        return np.array([confusion_matrix(true, guess, 2) for guess, true in pairs])
    return confusion_matrix(positive.argmax(axis=1), predicted.argmax(axis=1), positive.shape[1])


def _brier(probability: np.ndarray, positive: np.ndarray, multilabel: bool) -> float | None:
    """Brier 1950, eq. 2: squared error summed over classes, averaged over objects (per label when multi-label)."""
    if not len(probability):
        return None
    square = (probability - positive) ** 2
    return float(square.mean() if multilabel else square.sum(axis=1).mean())


def _decisions(probability: np.ndarray, truth: np.ndarray, multilabel: bool) -> tuple[np.ndarray, np.ndarray]:
    if multilabel:
        right = (probability >= 0.5) == truth.astype(bool)
        return np.maximum(probability, 1 - probability).ravel(), right.ravel().astype(np.float64)
    if not len(probability):
        return np.zeros(0), np.zeros(0)
    return probability.max(axis=1), (probability.argmax(axis=1) == truth).astype(np.float64)


def _cumulative(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives when the threshold falls through each distinct score, starting at none."""
    score, positive = np.asarray(score), np.asarray(positive, dtype=bool)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1) if len(score) else np.zeros(0, np.int64)
    true = np.cumsum(positive[order])[ends]
    return np.append(0, true), np.append(0, ends + 1 - true)


def _thin(curve: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """At most CURVE_POINTS points of a curve, both ends kept, spread evenly along its length."""
    first, second = curve.values()
    if len(first) > CURVE_POINTS:
        length = np.append(0, np.cumsum(np.hypot(np.diff(first), np.diff(second))))
        picked = np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS))
        picked = np.unique(np.append(picked[:-1], len(first) - 1))
        curve = {name: values[picked] for name, values in curve.items()}
    return {name: np.round(values, 6).tolist() for name, values in curve.items()}
