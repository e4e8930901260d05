import warnings

import numpy as np
import pytest

from pipeline.classify import baseline
from pipeline.classify.baseline import BaselineWarning, baseline_probability, features


@pytest.fixture(params=[1, 2, 3])
def samples(request):
    """Three classes told apart by the mean of one of three channels, in noise, for N = 1, 2, 3 axes."""
    rng = np.random.default_rng(7)
    truth = np.arange(120) % 3
    x = rng.normal(size=(120, 3) + (6,) * request.param)
    x[np.arange(120), truth] += 2
    return x.astype(np.float32), truth


def test_separates_what_a_line_can_separate(samples):
    x, truth = samples
    probability = baseline_probability([x[:90]], truth[:90], [x[90:]], 0)
    assert probability.shape == (30, 3)
    assert probability.sum(axis=1) == pytest.approx(1)
    assert (probability.argmax(axis=1) == truth[90:]).mean() > 0.9


def test_scale_and_offset_of_the_input_do_not_matter(samples):
    x, truth = samples
    one = baseline_probability([x[:90]], truth[:90], [x[90:]], 0)
    other = baseline_probability([1000 * x[:90] + 5], truth[:90], [1000 * x[90:] + 5], 0)
    assert other == pytest.approx(one, abs=1e-2)


def test_multi_label_is_one_regression_a_label(samples):
    x, truth = samples
    labels = np.stack([truth == 0, truth > 0, np.ones(120)], axis=1).astype(int)
    probability = baseline_probability([x[:90]], labels[:90], [x[90:]], 0, multilabel=True)
    assert probability[:, 0] + probability[:, 1] == pytest.approx(1, abs=1e-3)
    assert (probability[:, 2] == 1).all()


def test_classes_missing_from_training_get_nothing(samples):
    x, truth = samples
    seen = truth < 2
    probability = baseline_probability([x[seen]], truth[seen], [x[~seen]], 0, outputs=4)
    assert probability.shape == (40, 4)
    assert (probability[:, 2:] == 0).all()


def test_what_is_not_finite_counts_as_zero(samples):
    x, _ = samples
    holes, zeros = x.copy(), x.copy()
    holes[0, 0, ..., 0], holes[1, 0, ..., 1] = np.nan, np.inf
    zeros[0, 0, ..., 0], zeros[1, 0, ..., 1] = 0, 0
    assert (features(holes) == features(zeros)).all()


@pytest.mark.parametrize("shape", [(2, 1, 1500), (2, 2, 33, 70), (2, 1, 11, 13, 17), (2, 1, 5)])
def test_features_are_block_means(shape):
    x = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    got = features(x, most=100)
    assert got.shape[1] <= 100
    block = next(b for b in range(1, 99) if shape[1] * np.prod([-(-length // b) for length in shape[2:]]) <= 100)
    first = x[(slice(None), 0) + (slice(0, block),) * (len(shape) - 2)]
    assert got[:, 0] == pytest.approx(first.reshape(2, -1).mean(axis=1), abs=1e-5)
    assert features(np.ones(shape), most=100) == pytest.approx(1)


def test_stopping_early_is_said(samples, monkeypatch):
    monkeypatch.setattr(baseline, "MAXIMUM_ITERATIONS", 1)
    x, truth = samples
    with pytest.warns(BaselineWarning, match="did not converge in 1 steps"):
        baseline_probability([x], truth, [x], 0)


def test_same_seed_same_answer(samples):
    x, truth = samples
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (baseline_probability([x], truth, [x], 3) == baseline_probability([x], truth, [x], 3)).all()
