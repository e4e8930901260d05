import numpy as np
import pytest

from pipeline.classify.calibrate import fit_temperature, negative_log_likelihood, probabilities


def drawn(temperature, multilabel, n=20000):
    """Logits whose truth is drawn from their own probabilities at `temperature`."""
    rng = np.random.default_rng(5)
    logits = 3 * rng.normal(size=(n, 4))
    chance = probabilities(logits, temperature, multilabel)
    if multilabel:
        return logits, (rng.random(chance.shape) < chance).astype(int)
    return logits, (rng.random((n, 1)) > chance.cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_recovers_the_temperature_that_the_truth_was_drawn_with(temperature, multilabel):
    logits, truth = drawn(temperature, multilabel)
    assert fit_temperature(logits, truth, multilabel) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("multilabel", [False, True])
def test_never_worse_on_the_set_it_was_fitted_on(multilabel):
    rng = np.random.default_rng(6)
    for _ in range(10):
        logits = 5 * rng.normal(size=(12, 3))
        truth = rng.integers(0, 2, (12, 3)) if multilabel else rng.integers(0, 3, 12)
        fitted = fit_temperature(logits, truth, multilabel)
        before = negative_log_likelihood(logits, truth, 1.0, multilabel)
        assert negative_log_likelihood(logits, truth, fitted, multilabel) <= before


def test_most_probable_class_is_unchanged():
    logits, truth = drawn(2.5, False, 300)
    after = probabilities(logits, fit_temperature(logits, truth))
    assert (after.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert after.sum(axis=1) == pytest.approx(1)


def test_labels_stay_on_their_side_of_one_half():
    logits, truth = drawn(2.5, True, 300)
    assert ((probabilities(logits, fit_temperature(logits, truth, True), True) >= 0.5) == (logits >= 0)).all()


def test_scaling_the_logits_scales_the_temperature():
    logits, truth = drawn(1.5, False, 20000)
    assert fit_temperature(4 * logits, truth) == pytest.approx(4 * fit_temperature(logits, truth), rel=1e-2)


@pytest.mark.parametrize("multilabel", [False, True])
def test_no_objects_leave_it_at_one_and_few_without_error_near_it(multilabel):
    logits = np.array([[3.0, -1.0], [-1.0, 2.0]] * 10)
    truth = np.eye(2, dtype=int)[[0, 1] * 10] if multilabel else np.array([0, 1] * 10)
    assert fit_temperature(logits[:0], truth[:0], multilabel) == 1
    # the likelihood alone would choose the lowest temperature there is
    assert 0.3 < fit_temperature(logits, truth, multilabel) < 1


def test_huge_logits_stay_finite():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 0]])
    assert np.isfinite(negative_log_likelihood(logits, np.array([0, 0, 1])))
    assert np.isfinite(probabilities(logits, fit_temperature(logits, np.array([0, 0, 1])))).all()
