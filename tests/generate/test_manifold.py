"""Neighbour measures and Frechet distances of samples whose answers are known."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from pipeline.generate.manifold import frechet_distance, manifold_measures, standardised


def normal(n, seed, width=4):
    return np.random.default_rng(seed).standard_normal((n, width))


def test_equal_distributions_have_the_expected_values():
    """Coverage 1 - 2**-k and density 1: Naeem et al. 2020, section 3."""
    found = manifold_measures(normal(800, 0), normal(800, 1))
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.025)
    assert found["density"] == pytest.approx(1, abs=0.08)
    assert found["precision"] == pytest.approx(found["recall"], abs=0.06)
    assert found["precision"] > 0.7


def test_fakes_elsewhere_are_neither_precise_nor_complete():
    found = manifold_measures(normal(100, 0), normal(100, 1) + 50)
    assert set(found.values()) == {0.0}


def test_a_lost_mode_is_seen_by_recall_and_coverage_only():
    real = np.concatenate([normal(300, 0), normal(300, 1) + 40])
    found = manifold_measures(real, normal(600, 2))
    assert found["precision"] > 0.75
    assert found["density"] > 0.85
    assert found["recall"] < 0.5
    assert found["coverage"] == pytest.approx(0.5, abs=0.03)


def test_fakes_beside_the_real_ones_are_seen_by_precision_and_density_only():
    found = manifold_measures(normal(300, 0), np.concatenate([normal(300, 1), normal(300, 2) + 40]))
    assert found["precision"] == pytest.approx(0.45, abs=0.06)
    assert found["density"] == pytest.approx(0.5, abs=0.1)
    assert found["recall"] > 0.75
    assert found["coverage"] > 0.9


def test_copies_are_within_every_ball():
    real = normal(50, 0)
    found = manifold_measures(real, real)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert np.isnan(manifold_measures(real[:5], real)["recall"])


def test_the_frechet_distance_is_that_of_gaussians():
    first, second = normal(500, 0), normal(400, 1) @ normal(4, 2) + 3
    one, other = np.cov(first.T), np.cov(second.T)
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(one + other - 2 * np.real(sqrtm(one @ other)))
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first + 2) == pytest.approx(4 * 4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(normal(3, 0, 20), normal(4, 1, 20)) > 0  # fewer objects than features
    assert np.isnan(frechet_distance(first[:1], second))


def test_the_scale_of_a_feature_and_dead_features_do_not_matter():
    real, fake = normal(60, 0), normal(50, 1)
    scaled, dead = np.array([1, 10, 0.1, 5.0]), np.zeros((60, 2))
    plain = standardised(real, fake)
    changed = standardised(np.hstack([real * scaled + 7, dead]), np.hstack([fake * scaled + 7, dead[:50] + 9]))
    for one, other in zip(plain, changed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(plain[0].std(axis=0), 1)
