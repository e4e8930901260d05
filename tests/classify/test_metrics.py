import json

import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline.classify.metrics import CURVE_POINTS, classification_metrics, confusion_matrix, wilson_interval

CLASSES = ["a", "b", "c"]


@pytest.fixture
def objects():
    """200 objects of three unequal classes; probabilities with ties, right about two times in three."""
    rng = np.random.default_rng(3)
    truth = rng.choice(3, size=200, p=[0.6, 0.3, 0.1])
    score = np.eye(3)[truth] + rng.gumbel(size=(200, 3))
    probability = np.round(np.exp(score) / np.exp(score).sum(axis=1, keepdims=True), 2)
    return probability / probability.sum(axis=1, keepdims=True), truth


@pytest.fixture
def labels():
    """150 objects with three labels that may come together or not at all."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, size=(150, 3))
    return np.clip(0.5 + 0.25 * (2 * truth - 1) + 0.3 * rng.normal(size=(150, 3)), 0.01, 0.99), truth


def test_single_label_agrees_with_scikit_learn(objects):
    probability, truth = objects
    got = classification_metrics(probability, truth, CLASSES)
    guess = probability.argmax(axis=1)
    assert got["n"] == 200
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert got["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    assert got["f1_macro"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert got["log_loss"] == pytest.approx(reference.log_loss(truth, probability))
    assert got["brier"] == pytest.approx(((probability - np.eye(3)[truth]) ** 2).sum(axis=1).mean())
    assert got["confusion"] == reference.confusion_matrix(truth, guess).tolist()
    for index, name in enumerate(CLASSES):
        own, score = got["per_class"][name], probability[:, index]
        assert own["n"] == (truth == index).sum()
        assert own["recall"] == pytest.approx(reference.recall_score(truth == index, guess == index))
        assert own["precision"] == pytest.approx(reference.precision_score(truth == index, guess == index))
        assert own["f1"] == pytest.approx(reference.f1_score(truth == index, guess == index))
        assert own["auc"] == pytest.approx(reference.roc_auc_score(truth == index, score))
        assert own["ap"] == pytest.approx(reference.average_precision_score(truth == index, score))
        assert own["recall_low"] < own["recall"] < own["recall_high"]


def test_multi_label_agrees_with_scikit_learn(labels):
    probability, truth = labels
    got = classification_metrics(probability, truth, CLASSES, multilabel=True)
    guess = (probability >= 0.5).astype(int)
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert got["f1_macro"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
    assert got["confusion"] == reference.multilabel_confusion_matrix(truth, guess).tolist()
    balanced = [reference.balanced_accuracy_score(truth[:, k], guess[:, k]) for k in range(3)]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(balanced))
    loss = [reference.log_loss(truth[:, k], probability[:, k]) for k in range(3)]
    assert got["log_loss"] == pytest.approx(np.mean(loss))
    for index, name in enumerate(CLASSES):
        area = reference.roc_auc_score(truth[:, index], probability[:, index])
        assert got["per_class"][name]["auc"] == pytest.approx(area)


def test_order_of_objects_does_not_matter(objects):
    probability, truth = objects
    shuffled = np.random.default_rng(0).permutation(len(truth))
    one = classification_metrics(probability, truth, CLASSES)
    other = classification_metrics(probability[shuffled], truth[shuffled], CLASSES)
    assert one["per_class"] == other["per_class"]
    assert one["confusion"] == other["confusion"]
    assert one["roc"] == other["roc"]
    assert one["ece"] == pytest.approx(other["ece"])


def test_perfect_prediction():
    truth = np.arange(30) % 3
    got = classification_metrics(np.eye(3)[truth], truth, CLASSES)
    assert got["accuracy"] == got["balanced_accuracy"] == got["f1_macro"] == 1
    assert got["ece"] == got["brier"] == got["log_loss"] == 0
    assert got["accuracy_high"] == pytest.approx(1) and got["accuracy_low"] < 1
    assert got["per_class"]["a"]["auc"] == got["per_class"]["a"]["ap"] == 1


def test_calibration_error_of_a_known_gap():
    """Eight of ten right at a confidence of 0.9 is a gap of 0.1."""
    probability = np.tile([0.9, 0.1], (10, 1))
    truth = np.array([0] * 8 + [1] * 2)
    got = classification_metrics(probability, truth, ["x", "y"])
    assert got["ece"] == pytest.approx(0.1)
    low, high = wilson_interval(8, 10)
    assert got["reliability"] == {
        "confidence": [pytest.approx(0.9)],
        "accuracy": [0.8],
        "accuracy_low": [low],
        "accuracy_high": [high],
        "count": [10],
    }


def test_bins_are_a_partition(objects):
    got = classification_metrics(*objects, CLASSES)["reliability"]
    assert sum(got["count"]) == 200
    assert got["confidence"] == sorted(got["confidence"])


@pytest.mark.parametrize(("right", "n"), [(0, 10), (5, 10), (10, 10), (937, 1000)])
def test_wilson_interval_solves_its_equation(right, n):
    """Both limits p satisfy (share - p)^2 = z^2 p (1 - p) / n, the definition of the score interval."""
    z = 1.959963984540054
    for limit in wilson_interval(right, n):
        assert (right / n - limit) ** 2 == pytest.approx(z**2 * limit * (1 - limit) / n, abs=1e-12)


def test_absent_class_is_none_and_not_a_warning():
    got = classification_metrics(np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]]), np.array([0, 0]), CLASSES)
    assert got["per_class"]["c"] == {
        "n": 0, "recall": None, "recall_low": None, "recall_high": None, "precision": None, "f1": None, "auc": None,
        "ap": None,
    }  # fmt: skip
    assert got["per_class"]["b"]["precision"] == 0 and got["per_class"]["b"]["recall"] is None
    assert got["roc"]["a"] is None and got["pr"]["c"] is None
    assert got["balanced_accuracy"] == 0.5


@pytest.mark.parametrize("multilabel", [False, True])
def test_no_objects(multilabel):
    truth = np.zeros((0, 3) if multilabel else 0, dtype=int)
    got = classification_metrics(np.zeros((0, 3)), truth, CLASSES, multilabel)
    assert got["n"] == 0
    assert all(got[name] is None for name in ("accuracy", "balanced_accuracy", "f1_macro", "ece", "brier", "log_loss"))


def test_long_curves_are_thinned_and_survive_json():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 5000)
    score = np.clip(0.5 + 0.2 * (truth - 0.5) + 0.2 * rng.normal(size=5000), 0, 1)
    got = json.loads(json.dumps(classification_metrics(np.stack([1 - score, score], axis=1), truth, ["n", "y"])))
    for curve in (got["roc"]["y"]["fpr"], got["roc"]["y"]["tpr"], got["pr"]["y"]["recall"]):
        assert len(curve) <= CURVE_POINTS
        assert curve == sorted(curve) and curve[0] == 0 and curve[-1] == 1
    area = np.trapezoid(got["roc"]["y"]["tpr"], got["roc"]["y"]["fpr"])
    assert area == pytest.approx(got["per_class"]["y"]["auc"], abs=2e-3)


def test_confusion_matrix_counts_pairs():
    assert confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("probability", "truth"),
    [
        (np.ones((2, 2)), np.zeros(2, int)),
        (np.ones((2, 3)), np.zeros(3, int)),
        (np.full((2, 3), np.nan), np.zeros(2, int)),
        (np.ones((2, 3)), np.array([0, 3])),
        (np.ones((2, 3)), np.array([0, -1])),
    ],
)
def test_inputs_that_do_not_fit(probability, truth):
    with pytest.raises(ValueError, match=r"shape|finite|exist"):
        classification_metrics(probability, truth, CLASSES)
