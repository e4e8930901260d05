"""The calibrator recovers a probability and error widths that are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.detect import calibrate
from pipeline.detect.calibrate import Calibrator, Truth, fit_calibrator
from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE
from pipeline.detect.predict import Detections
from pipeline.detect.symmetry import symmetries
from pipeline.detect.train import Names

NDIM, VALUES = 2, 2
# How much larger the errors are than the network says, of centre and values, and by how much the values are off.
STRETCH = np.array([2.0, 2.0, 0.5, 1.0])
SHIFT = np.array([0.0, 0.7])


def draw(count, seed, certain=False):
    """Detections whose chance of being true is a known function of their logit."""
    random = np.random.default_rng(seed)
    logit = random.normal(0, 1.5, count)
    width = np.exp(random.normal(-1, 0.3, (count, NDIM + VALUES)))
    found = Detections(
        logit=logit.astype(np.float32),
        centre=random.uniform(0, 2e4, (count, NDIM)),
        size=np.exp(random.normal(1, 0.3, (count, NDIM))),
        values=random.normal(0, 1, (count, VALUES)),
        width=width,
        classes=random.normal(0, 1, (count, 3)),
        rms=np.ones(count),
    )
    chance = 1 / (1 + np.exp(-(1.5 * logit - 0.5)))
    matched = random.random(count) < chance
    error = random.laplace(0, 1, width.shape) * STRETCH * width
    error[:, NDIM:] += SHIFT * width[:, NDIM:]
    error[~matched] = np.nan
    truth = Truth(matched, found.centre + error[:, :NDIM], found.values + error[:, NDIM:])
    return found, truth, chance


@pytest.fixture(scope="module")
def fitted():
    found, truth, _ = draw(2500, 0)
    return fit_calibrator([found], [truth], seed=1)


def test_the_probability_is_the_known_one(fitted):
    found, truth, chance = draw(4000, 1)
    said = fitted.apply(found).probability
    assert np.abs(said - chance).mean() < 0.08
    bins = np.digitize(said, np.linspace(0, 1, 11)[1:-1])
    gaps = [abs(said[bins == at].mean() - truth.matched[bins == at].mean()) * (bins == at).mean() for at in set(bins)]
    assert sum(gaps) < 0.06


def test_the_errors_hold_68_per_cent(fitted):
    found, truth, _ = draw(4000, 2)
    said = fitted.apply(found)
    error = np.concatenate([truth.centre - found.centre, truth.values - said.detections.values], axis=1)
    held = np.abs(error[truth.matched]) < said.errors[truth.matched]
    np.testing.assert_allclose(held.mean(0), 0.6827, atol=0.05)


def test_the_values_lose_their_offset_and_nothing_else_moves(fitted):
    found, truth, _ = draw(4000, 3)
    corrected = fitted.apply(found).detections
    wide = found.width[:, NDIM:]
    left = (truth.values - corrected.values)[truth.matched] / wide[truth.matched]
    np.testing.assert_allclose(np.median(left, axis=0), 0, atol=0.1)
    for name in ("logit", "centre", "size", "width", "classes", "rms"):
        np.testing.assert_array_equal(getattr(corrected, name), getattr(found, name))


def test_the_order_of_the_detections_does_not_matter(fitted):
    found, *_ = draw(300, 4)
    order = np.random.default_rng(0).permutation(len(found))
    straight, shuffled = fitted.apply(found), fitted.apply(found.take(order))
    np.testing.assert_allclose(shuffled.probability, straight.probability[order], rtol=1e-5)
    np.testing.assert_allclose(shuffled.errors, straight.errors[order], rtol=1e-5)
    np.testing.assert_allclose(shuffled.detections.values, straight.detections.values[order], rtol=1e-5, atol=1e-6)


def test_it_comes_back_from_json(fitted):
    stored = json.loads(json.dumps(fitted.to_dict()))
    again = Calibrator.from_dict(stored)
    assert again.to_dict() == stored
    found, *_ = draw(300, 5)
    one, other = fitted.apply(found), again.apply(found)
    np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)
    np.testing.assert_allclose(one.errors, other.errors, rtol=1e-4)


def test_the_same_seed_gives_the_same_calibrator_and_leaves_the_random_state_alone(monkeypatch):
    monkeypatch.setattr(calibrate, "_STEPS", 30)
    found, truth, _ = draw(300, 6)
    torch.manual_seed(5)
    one = fit_calibrator([found], [truth], seed=3).to_dict()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert fit_calibrator([found], [truth], seed=3).to_dict() == one
    assert fit_calibrator([found], [truth], seed=4).to_dict() != one


@pytest.mark.parametrize("count", [0, 1])
def test_few_detections_are_calibrated_too(fitted, count):
    found, *_ = draw(10, 7)
    said = fitted.apply(found.take(np.arange(count)))
    assert said.probability.shape == (count,)
    assert said.errors.shape == (count, NDIM + VALUES)
    assert np.isfinite(said.errors).all()


def test_detections_of_wild_outputs_have_a_finite_probability(fitted):
    found, *_ = draw(10, 8)
    wild = replace(found, logit=np.full(10, 1e4), values=np.full((10, VALUES), -1e6), classes=np.full((10, 3), 1e5))
    said = fitted.apply(wild)
    assert ((said.probability >= 0) & (said.probability <= 1)).all()
    assert np.isfinite(said.errors).all()


def test_detections_of_another_field_are_no_neighbours(monkeypatch):
    monkeypatch.setattr(calibrate, "_STEPS", 30)
    drawn = [draw(200, seed) for seed in (1, 2)]

    def fit(away):
        found = [replace(part[0], centre=part[0].centre % 100 + away * at) for at, part in enumerate(drawn)]
        truths = [
            replace(part[1], centre=part[1].centre - part[0].centre + one.centre)
            for part, one in zip(drawn, found, strict=True)
        ]
        return fit_calibrator(found, truths, seed=0)

    near, far = fit(0), fit(1000)
    np.testing.assert_allclose(near.mean, far.mean)
    found = drawn[0][0]
    np.testing.assert_allclose(near.apply(found).probability, far.apply(found).probability, atol=1e-4)


@pytest.mark.parametrize(("ndim", "names"), [(2, ("a", COSINE, SINE)), (3, (ALONG_X, "a", ALONG_Y))])
def test_averaged_over_the_symmetries_it_turns_with_the_sky(random_model, ndim, names):
    calibrator = random_model(ndim, Names(values=names)).calibrator
    random = np.random.default_rng(1)
    found = Detections(
        logit=random.normal(size=30),
        centre=random.uniform(0, 40, (30, ndim)),
        size=random.uniform(2, 9, (30, ndim)),
        values=random.normal(size=(30, 3)),
        width=random.uniform(0.1, 1, (30, ndim + 3)),
        classes=np.zeros((30, 0)),
        rms=np.ones(30),
    )
    straight = calibrator.apply(found, names)

    def widths(turn, part):
        part = torch.from_numpy(part)
        return torch.cat([turn.sizes(part[:, :ndim]), turn.spreads(part[:, ndim:], names)], 1).numpy()

    for turn in symmetries(ndim):
        turned = replace(
            found,
            centre=turn.positions(torch.from_numpy(found.centre), (41,) * ndim).numpy(),
            size=turn.sizes(torch.from_numpy(found.size)).numpy(),
            values=turn.values(torch.from_numpy(found.values), names).numpy(),
            width=widths(turn, found.width),
        )
        said = calibrator.apply(turned, names)
        np.testing.assert_allclose(said.probability, straight.probability, atol=1e-6)
        # The last step is a constant of each parameter, that of the matches it was fitted on.
        errors, turned_errors = straight.errors / calibrator.sigma, said.errors / calibrator.sigma
        np.testing.assert_allclose(turned_errors, widths(turn, errors), rtol=1e-5)
        values = turn.values(torch.from_numpy(straight.detections.values), names)
        np.testing.assert_allclose(said.detections.values, values, atol=1e-5)


def test_a_further_feature_tells_what_the_outputs_do_not():
    def known(count, seed):
        found, truth, _ = draw(count, seed)
        random = np.random.default_rng(seed + 100)
        hint = np.where(truth.matched, 1.0, -1.0) + random.normal(0, 0.5, count)
        return found, truth, np.stack([hint, random.normal(size=count)], axis=1)

    found, truth, extra = known(1500, 0)
    fitted = fit_calibrator([found], [truth], seed=1, extra=[extra])
    assert Calibrator.from_dict(json.loads(json.dumps(fitted.to_dict()))).to_dict() == fitted.to_dict()
    found, truth, extra = known(1500, 1)
    said = fitted.apply(found, extra=extra)
    assert ((said.probability > 0.5) == truth.matched).mean() > 0.95
    turned = fitted.apply(found, ["", ""], extra=extra)
    assert ((turned.probability > 0.5) == truth.matched).mean() > 0.95
    with pytest.raises(ValueError, match="2 further features, not 0"):
        fitted.apply(found)


def test_true_detections_of_a_denser_field_count_for_less():
    density = 5.0
    found, truth, _ = draw(3000, 0)
    weight = np.where(truth.matched, 1 / density, 1.0)
    fitted = fit_calibrator([found], [truth], seed=1, weights=[weight])
    found, _, chance = draw(3000, 1)
    odds = chance / (1 - chance) / density
    assert np.abs(fitted.apply(found).probability - odds / (1 + odds)).mean() < 0.06


@pytest.mark.parametrize("capacity", [calibrate.LARGE, calibrate.SMALL])
def test_weights_of_one_change_nothing(monkeypatch, capacity):
    monkeypatch.setattr(calibrate, "_STEPS", 30)
    found, truth, _ = draw(400, 6)
    one = fit_calibrator([found], [truth], seed=3, capacity=capacity)
    other = fit_calibrator([found], [truth], seed=3, capacity=capacity, weights=[np.full(400, 3.0)])
    np.testing.assert_allclose(other.apply(found).probability, one.apply(found).probability, atol=1e-3)


def test_the_small_one_is_the_better_one_of_few_matches():
    def cost(fitted):
        found, truth, _ = draw(3000, 1)
        said = fitted.apply(found)
        chance = np.clip(np.where(truth.matched, said.probability, 1 - said.probability), 1e-6, 1)
        error = np.concatenate([truth.centre - found.centre, truth.values - said.detections.values], axis=1)
        held = np.abs(error[truth.matched]) < said.errors[truth.matched]
        return -np.log(chance).mean(), held.mean(0)

    found, truth, _ = draw(400, 0)
    small = fit_calibrator([found], [truth], seed=1, capacity=calibrate.SMALL)
    assert Calibrator.from_dict(small.to_dict()).to_dict() == small.to_dict()
    loss, held = cost(small)
    assert loss < cost(fit_calibrator([found], [truth], seed=1))[0]
    np.testing.assert_allclose(held, 0.6827, atol=0.08)


def test_only_the_probable_detections_are_calibrated_where_that_is_asked_for(fitted, monkeypatch):
    monkeypatch.setattr(calibrate, "_AT_ONCE", 64)
    found, *_ = draw(300, 9)
    every, some = fitted.apply(found), fitted.apply(found, least=0.4)
    kept = every.probability >= 0.4
    assert 0 < kept.sum() < 300
    for name in ("logit", "centre", "values", "width"):
        expected = getattr(every.detections, name)[kept]
        np.testing.assert_allclose(getattr(some.detections, name), expected, rtol=1e-6)
    np.testing.assert_allclose(some.probability, every.probability[kept])
    np.testing.assert_allclose(some.errors, every.errors[kept])


def test_values_follow_the_matches_that_are_emphasised():
    found, truth, _ = draw(2000, 10)
    # Nothing that is told of a detection says which half it is of, whose errors have opposite signs.
    half = np.arange(len(found)) % 2 == 0
    offset = np.where(half, 3.0, -3.0)[:, None] * found.width[:, NDIM:]
    truth = replace(truth, values=found.values + offset)
    shifts = []
    for first, second in ((1.0, 0.01), (0.01, 1.0)):
        fitted = fit_calibrator([found], [truth], seed=1, emphasis=[np.where(half, first, second)])
        shifts.append(np.median((fitted.apply(found).detections.values - found.values) / found.width[:, NDIM:]))
    assert shifts[0] > 1.5
    assert shifts[1] < -1.5
