"""Logits become those of the known probability, whatever scale and shift they had."""

import numpy as np
import pytest

from pipeline.detect.platt import sharpened


def drawn(n, seed=0):
    """Logits, and whether what they are of is true, as they say."""
    random = np.random.default_rng(seed)
    logit = random.normal(-0.5, 2.0, n)
    return logit, random.random(n) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("scale, shift", [(1.0, 0.0), (0.4, 0.5), (1.6, -0.8)])
def test_what_was_done_to_logits_is_undone(scale, shift):
    logit, matched = drawn(20000)
    found = sharpened(scale * logit + shift, matched, np.ones(len(logit)))
    assert found == pytest.approx((1 / scale, -shift / scale), rel=0.1, abs=0.1)


def test_a_weight_counts_as_so_many_of_the_same():
    logit, matched = drawn(300)
    often = np.random.default_rng(1).integers(1, 4, len(logit))
    repeated = sharpened(np.repeat(logit, often), np.repeat(matched, often), np.ones(often.sum()))
    # The prior alone knows that there are fewer.
    assert sharpened(logit, matched, often) == pytest.approx(repeated, abs=0.02)
    assert sharpened(logit, matched, 3.0 * often) == pytest.approx(sharpened(logit, matched, often), abs=1e-6)


def test_few_detections_leave_them_nearly_as_they_are():
    assert sharpened(np.array([1.0, -1.0]), np.array([True, False]), np.ones(2)) == pytest.approx((1.0, 0.0), abs=0.2)
    assert sharpened(np.zeros(0), np.zeros(0, bool), np.zeros(0)) == pytest.approx((1.0, 0.0), abs=1e-3)


def test_detections_without_a_false_one_stay_finite():
    scale, shift = sharpened(np.full(50, 2.0), np.ones(50, bool), np.ones(50))
    assert 1.0 < scale < 5.0 and 0.0 < shift < 2.0
