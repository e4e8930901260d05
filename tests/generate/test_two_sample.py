"""Distances of samples against closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.generate.two_sample import classifier_auc, spread, wasserstein


def test_a_shift_is_its_own_distance():
    values = np.random.default_rng(0).lognormal(size=300)
    unit = spread(values)
    assert wasserstein(values, values, unit) == 0
    assert wasserstein(values, values + 0.7 * unit, unit) == pytest.approx(0.7)
    assert wasserstein(values + 0.7 * unit, values, unit) == pytest.approx(0.7)
    # a Gaussian that is twice as wide is E|x| = sqrt(2 / pi) away
    narrow = norm.ppf((np.arange(2000) + 0.5) / 2000)
    assert wasserstein(narrow, 2 * narrow, 1.0) == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)


def test_what_cannot_be_compared_is_nan():
    values, nothing = np.array([1.0, 2, np.nan]), np.array([np.nan])
    assert wasserstein(values, values + 1, 1.0) == pytest.approx(1)
    assert np.isnan(wasserstein(values, nothing, 1.0))
    assert np.isnan(wasserstein(values, values, 0.0))
    assert np.isnan(wasserstein(values, values, np.nan))
    assert np.isnan(spread(nothing))
    assert np.isnan(classifier_auc(np.zeros((9, 2)), np.zeros((200, 2)), 0)[0])


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0])
def test_the_classifier_finds_what_can_be_found(apart):
    rng = np.random.default_rng(4)
    first, second = rng.standard_normal((2, 300, 3))
    second[:, 1] += apart
    auc, error = classifier_auc(first, second, 1)
    assert auc == pytest.approx(norm.cdf(apart / np.sqrt(2)), abs=0.06)  # of the best possible classifier
    assert 0 < error < 0.06
    if not apart:
        assert classifier_auc(first, second, 1) == (auc, error)


def test_samples_of_unequal_size_and_missing_values_are_compared():
    rng = np.random.default_rng(5)
    first, second = rng.standard_normal((500, 2)), rng.standard_normal((100, 2))
    assert classifier_auc(first, second, 0)[0] == pytest.approx(0.5, abs=0.1)
    second[::2, 0] = np.nan  # half of them are told by what is missing: 0.5 + 0.5 * 0.5
    assert classifier_auc(first, second, 0)[0] == pytest.approx(0.75, abs=0.07)
