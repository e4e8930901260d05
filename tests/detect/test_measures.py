"""Measures of a catalogue by closed forms, and by simulations whose answer is known."""

import json

import numpy as np
import pytest

from pipeline.detect.measures import (
    ONE_SIGMA,
    bias_and_scatter,
    binomial_interval,
    chance_matches,
    deviation,
    fraction_in_bins,
    pulls,
    purity_above,
    reliability,
    threshold_for_purity,
)
from pipeline.errors import UserError

COUNT = 20_000


@pytest.fixture
def draw():
    return np.random.default_rng(8)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_the_binomial_interval_covers_the_true_share_as_often_as_it_says(share, draw):
    low, high = binomial_interval(draw.binomial(60, share, COUNT), 60)
    assert np.mean((low <= share) & (share <= high)) == pytest.approx(ONE_SIGMA, abs=0.07)


def test_the_binomial_interval_is_symmetric_and_reaches_the_ends():
    low, high = binomial_interval(np.arange(11), 10)
    assert low == pytest.approx(1 - high[::-1])
    assert (low[0], high[-1]) == (0, 1) and (low < high).all()
    assert [float(end) for end in binomial_interval(0, 0)] == [0, 1]
    narrow, wide = binomial_interval(30, 100, 0.5), binomial_interval(30, 100, 0.99)
    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]


def test_fractions_count_every_value_once():
    result = fraction_in_bins(
        [1.0, 1.5, 2.0, 7.0, 0.5, np.nan], [True, False, True, True, True, False], [1, 2, 5, np.inf]
    )
    assert result["count"] == [2, 1, 1] and result["success"] == [1, 1, 1] and result["outside"] == 2
    assert result["fraction"] == [0.5, 1.0, 1.0]
    assert result["low"] == [1, 2, 5] and result["high"] == [2, 5, None]
    assert result["total"] == {"count": 6, "success": 4, "fraction": 4 / 6}


def test_completeness_follows_the_law_that_made_it(draw):
    snr = draw.uniform(0, 10, COUNT)
    result = fraction_in_bins(snr, draw.random(COUNT) < snr / 10, np.arange(11))
    assert result["fraction"] == pytest.approx((np.arange(10) + 0.5) / 10, abs=0.05)
    inside = [
        low < f < high for low, f, high in zip(*(result[f"fraction{e}"] for e in ("_low", "", "_high")), strict=True)
    ]
    assert all(inside)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_chance_matches_are_the_density_times_the_volume(ndim, draw):
    side, radius = 50.0, 1.5
    truth = draw.random((300, ndim)) * side + 7
    positions = truth[draw.permutation(300)]

    def count(moved):
        assert ((moved >= 7) & (moved < 57)).all()
        apart = np.abs(moved[:, None] - truth)
        return int((np.linalg.norm(np.minimum(apart, side - apart), axis=-1) < radius).any(1).sum())

    offsets = draw.uniform(8, 40, (30, ndim))
    result = chance_matches(count, positions, offsets, [7.0] * ndim, [57.0] * ndim)
    volume = {1: 2 * radius, 2: np.pi * radius**2, 3: 4 / 3 * np.pi * radius**3}[ndim]
    assert count(positions) == 300
    assert result["fraction"] == pytest.approx(1 - np.exp(-300 * volume / side**ndim), abs=0.02)
    assert result["mean"] == pytest.approx(np.mean(result["count"])) and len(result["count"]) == 30
    # A whole turn brings the catalogue back.
    assert chance_matches(count, positions, [[side] * ndim], [7.0] * ndim, [57.0] * ndim)["count"] == [300]


def test_deviations_by_hand():
    assert deviation([3.0, 1.0], [2.0, 4.0]).tolist() == [1.0, -3.0]
    relative = deviation([3.0, 1.0, 1.0], [2.0, 4.0, 0.0], "relative")
    assert relative[:2].tolist() == [0.5, -0.75] and np.isnan(relative[2])
    assert deviation([179.0, 1.0, 90.0], [1.0, 179.0, 80.0], "angle").tolist() == [-2.0, 2.0, 10.0]


def test_bias_and_scatter_are_those_of_the_law(draw):
    snr = draw.uniform(2, 20, COUNT)
    result = bias_and_scatter(0.3 + draw.normal(size=COUNT) / snr, snr, [2, 5, 10, 20])
    for low, high, bias, error, scatter in zip(
        *(result[name] for name in ("low", "high", "bias", "bias_error", "scatter")), strict=True
    ):
        assert abs(bias - 0.3) < 4 * error and error < 0.01
        assert 1 / high < scatter < 1 / low
    wild = bias_and_scatter(np.array([0.0] * 99 + [1e9]), np.ones(100), [0, 2])
    assert wild["bias"] == [0.0] and wild["scatter"] == [0.0]


def test_the_error_of_the_median_is_the_spread_of_medians(draw):
    rows = [bias_and_scatter(draw.normal(size=200), np.ones(200), [0, 2])["total"] for _ in range(400)]
    assert np.std([row["bias"] for row in rows]) == pytest.approx(
        np.mean([row["bias_error"] for row in rows]), rel=0.15
    )


def test_honest_errors_cover_68_percent_and_too_small_ones_less(draw):
    errors = draw.uniform(0.1, 3, COUNT)
    off = draw.normal(size=COUNT) * errors
    result = pulls(off, errors)
    assert result["coverage"] == pytest.approx(ONE_SIGMA, abs=0.015)
    assert result["coverage_low"] < result["coverage"] < result["coverage_high"]
    assert result["width"] == pytest.approx(1, abs=0.03) and abs(result["median"]) < 0.03
    halved = pulls(off, errors / 2)
    assert halved["width"] == pytest.approx(2 * result["width"]) and halved["coverage"] < 0.5
    shifted = pulls(off + errors, errors)
    assert shifted["median"] == pytest.approx(1, abs=0.03)


def test_errors_that_are_none_are_counted_not_used():
    result = pulls([0.5, 1.5, 1.0, 1.0, np.nan], [1.0, 1.0, 0.0, np.nan, 1.0])
    assert (result["count"], result["unusable"], result["coverage"]) == (2, 3, 0.5)


def test_a_true_probability_has_no_calibration_error_and_a_shifted_one_its_shift(draw):
    true = draw.uniform(0, 0.7, COUNT)
    right = draw.random(COUNT) < true
    honest, proud = reliability(true, right), reliability(true + 0.25, right)
    assert honest["ece"] < 0.02 and proud["ece"] == pytest.approx(0.25, abs=0.02)
    assert proud["brier"] == pytest.approx(honest["brier"] + 0.25**2, abs=0.01)
    assert sum(honest["count"]) == COUNT and honest["count"][-1] == 0 and honest["fraction"][-1] is None
    assert reliability([0.0, 1.0], [False, True]) | {"ece": 0.0, "brier": 0.0} == reliability([0.0, 1.0], [False, True])


@pytest.mark.parametrize("purity", [0.8, 0.95, 0.99])
def test_calibrated_probabilities_meet_the_purity_asked_on_fresh_detections(purity, draw):
    chosen, fresh = draw.beta(2, 0.5, (2, COUNT))
    threshold = threshold_for_purity(chosen, purity)
    result = purity_above(fresh, draw.random(COUNT) < fresh, threshold)
    assert result["purity"] == pytest.approx(purity, abs=0.01)
    assert result["promised"] == pytest.approx(purity, abs=0.005)
    assert result["purity_low"] < result["purity"] < result["purity_high"] and result["count"] > 1000


@pytest.mark.parametrize("purity", [0.3, 0.6, 0.75, 0.9, 1.0])
def test_the_threshold_is_the_lowest_that_keeps_the_promise(purity, draw):
    for probability in (draw.random(40), draw.integers(0, 6, 40) / 5, np.full(7, 0.9), np.full(4, 0.1)):
        meets = [value for value in probability if probability[probability >= value].mean() >= purity - 1e-12]
        assert threshold_for_purity(probability, purity) == (min(meets) if meets else None)


def test_nothing_gives_nothing_and_all_is_ready_for_json():
    none = np.zeros(0)
    results = [
        fraction_in_bins(none, none, [1, 2]),
        chance_matches(len, np.zeros((0, 2)), [[1.0, 1.0]], [0, 0], [9, 9]),
        chance_matches(len, np.zeros((3, 2)), np.zeros((0, 2)), [0, 0], [9, 9]),
        bias_and_scatter(none, none, [1, 2]),
        pulls(none, none),
        reliability(none, none),
        purity_above(none, none, 0.5),
        purity_above([0.5], [True], None),
    ]
    for result in results:
        assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert results[0]["fraction"] == results[0]["fraction_low"] == [None]
    assert results[3]["bias"] == [None] and results[4]["coverage"] is None and results[5]["ece"] is None
    assert results[7]["count"] == 0 and results[7]["purity"] is None
    assert threshold_for_purity(none, 0.9) is None


def test_wrong_input_is_refused():
    for purity in (0.0, 1.2, float("nan")):
        with pytest.raises(UserError, match="purity"):
            threshold_for_purity([0.5], purity)
    for wrong in (lambda: threshold_for_purity([1.5], 0.9), lambda: reliability([np.nan], [True])):
        with pytest.raises(ValueError, match="0 to 1"):
            wrong()
    for edges in ([1.0], [1.0, 1.0], [2.0, 1.0]):
        with pytest.raises(ValueError, match="rising"):
            fraction_in_bins([1.0], [True], edges)
    with pytest.raises(ValueError, match="one length"):
        pulls([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="not .ratio"):
        deviation([1.0], [1.0], "ratio")
    with pytest.raises(ValueError, match="positive extent"):
        chance_matches(len, [[1.0]], [[1.0]], [3.0], [3.0])
