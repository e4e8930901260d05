import itertools

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from pipeline.generate.joint import JointMixture, numeric_conditions
from pipeline.generate.noise import normal_rows

AXES, WIDTH = 3, 7  # two numeric conditions and three classes


@pytest.fixture(scope="module")
def population():
    """1500 latents that depend on two numbers and on one of three classes, and their conditions."""
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=(1500, 2)) @ [[1.0, 0.4], [0.0, 0.7]]
    one_hot = np.eye(3)[rng.choice(3, 1500, p=[0.5, 0.3, 0.2])]
    z = numbers @ rng.normal(size=(2, 3)) + one_hot @ rng.normal(size=(3, 3)) + rng.normal(size=(1500, 3))
    condition = np.zeros((1500, WIDTH))
    condition[:, [0, 2]], condition[:, [1, 3]], condition[:, 4:] = numbers, 1.0, one_hot
    return torch.from_numpy(z), torch.from_numpy(condition)


def asked(numbers=(None, None), kind=None):
    condition = torch.zeros(WIDTH, dtype=torch.float64)
    for k, number in enumerate(numbers):
        if number is not None:
            condition[2 * k : 2 * k + 2] = torch.tensor([number, 1.0])
    if kind is not None:
        condition[4 + kind] = 1.0
    return condition


def closed_form(z, condition, value):
    """Bishop (2006), equations 2.81 and 2.82, from the sample covariance; a class by its own mean."""
    told = [k for k in (0, 2) if value[k + 1]] + ([4, 5] if value[4:].any() else [])  # the third class is the rest
    joint = torch.cat([z, condition[:, told]], 1).numpy()
    mean, covariance = joint.mean(0), np.cov(joint.T, bias=True)
    gain = covariance[:AXES, AXES:] @ np.linalg.inv(covariance[AXES:, AXES:])
    shifted = mean[:AXES] + gain @ (value[told].numpy() - mean[AXES:])
    return shifted, covariance[:AXES, :AXES] - gain @ covariance[AXES:, :AXES]


@pytest.mark.parametrize(("first", "second", "kind"), [*itertools.product([None, 1.3], [None, -0.8], [None, 2])])
def test_one_gaussian_obeys_every_subset_as_in_closed_form(population, first, second, kind):
    mixture = JointMixture(1, AXES, WIDTH)
    mixture.fit(*population)
    value = asked((first, second), kind)
    weight, mean, covariance = mixture.conditional(value)
    expected, spread = closed_form(*population, value)
    assert weight.tolist() == [1.0]
    assert mean[0].numpy() == pytest.approx(expected, abs=3e-3)
    assert covariance[0].numpy() == pytest.approx(spread, abs=3e-3)
    drawn = mixture.sample(value.repeat(4000, 1), normal_rows(4000, 1 + AXES, torch.Generator().manual_seed(2)))
    assert drawn.mean(0).numpy() == pytest.approx(expected, abs=0.12)
    assert np.cov(drawn.T.numpy()) == pytest.approx(spread, abs=0.25)


def test_a_class_moves_the_gaussian_to_the_mean_of_that_class(population):
    z, condition = population
    mixture = JointMixture(1, AXES, 3)
    mixture.fit(z, condition[:, 4:])
    assert int(mixture.numerics) == 0
    for kind in range(3):
        _, mean, _ = mixture.conditional(torch.eye(3, dtype=torch.float64)[kind])
        assert mean[0].numpy() == pytest.approx(z[condition[:, 4 + kind] > 0].mean(0).numpy(), abs=5e-3)


def _set_by_hand():
    rng = np.random.default_rng(4)
    mixture = JointMixture(3, 2, 4)
    root = torch.from_numpy(rng.normal(size=(3, 6, 6)))
    mixture.weight.copy_(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64))
    mixture.mean.copy_(torch.from_numpy(2 * rng.normal(size=(3, 6))))
    mixture.covariance.copy_(root @ root.mT + 0.3 * torch.eye(6))
    mixture.numerics.fill_(2)
    return mixture


def _density(weight, mean, covariance, points):
    parts = zip(weight.tolist(), mean.numpy(), covariance.numpy(), strict=True)
    return sum(w * multivariate_normal(m, c).pdf(points) for w, m, c in parts)


@pytest.mark.parametrize("told", [[], [0], [2], [0, 2]])
def test_a_conditioned_mixture_is_the_ratio_of_two_densities(told):
    mixture = _set_by_hand()
    z = np.random.default_rng(5).normal(size=(20, 2))
    value = torch.zeros(4, dtype=torch.float64)
    for k in told:
        value[k : k + 2] = torch.tensor([0.4 - k, 1.0])
    kept = [2 + k for k in told]
    part = (mixture.weight, mixture.mean[:, [0, 1, *kept]], mixture.covariance[:, [0, 1, *kept]][:, :, [0, 1, *kept]])
    both = _density(*part, np.hstack([z, np.tile(value[told].numpy(), (20, 1))]))
    alone = 1.0
    if told:
        known = (mixture.weight, mixture.mean[:, kept], mixture.covariance[:, kept][:, :, kept])
        alone = _density(*known, value[told].numpy())
    assert _density(*mixture.conditional(value), z) == pytest.approx(both / alone, rel=1e-9)
    if not told:
        assert mixture.log_density(torch.from_numpy(z)).numpy() == pytest.approx(np.log(both), rel=1e-9)


def test_samples_of_a_conditioned_mixture_have_its_moments():
    mixture = _set_by_hand()
    value = torch.tensor([0.5, 1.0, 0.0, 0.0], dtype=torch.float64)
    weight, mean, covariance = mixture.conditional(value)
    centre = (weight[:, None] * mean).sum(0)
    second = (weight[:, None, None] * (covariance + mean[:, :, None] * mean[:, None, :])).sum(0)
    drawn = mixture.sample(value.repeat(20000, 1), normal_rows(20000, 3, torch.Generator().manual_seed(0)))
    spread = second - centre[:, None] * centre
    assert (drawn.mean(0) - centre).abs().max() < 0.03 * spread.diagonal().max().sqrt()
    assert (torch.cov(drawn.T) - spread).abs().max() < 0.05 * spread.diagonal().max()


def test_a_sample_does_not_depend_on_its_company():
    mixture = _set_by_hand()
    condition = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    condition[:, 1::2] = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [1, 1]])
    condition[:, ::2] *= condition[:, 1::2]
    noise = normal_rows(6, 3, torch.Generator().manual_seed(2))
    alone = torch.cat([mixture.sample(condition[k : k + 1], noise[k : k + 1]) for k in range(6)])
    assert torch.allclose(mixture.sample(condition, noise), alone, atol=1e-10)


def test_it_finds_the_mixture_that_scikit_learn_finds():
    rng = np.random.default_rng(6)
    centres = np.array([[0.0, 0, 0], [4, 1, 0], [0, -3, 4]])
    points = centres[rng.choice(3, 900, p=[0.5, 0.3, 0.2])] + rng.normal(size=(900, 3)) @ np.diag([1.0, 0.5, 0.7])
    reference = GaussianMixture(3, tol=1e-4, random_state=0).fit(points)
    mixture = JointMixture(3, 3, 0)
    mixture.fit(torch.from_numpy(points), torch.zeros(900, 0))
    assert float(mixture.log_density(torch.from_numpy(points)).mean()) == pytest.approx(
        reference.score(points), abs=2e-3
    )
    order, other = mixture.weight.argsort(), reference.weights_.argsort()
    assert mixture.weight[order].numpy() == pytest.approx(reference.weights_[other], abs=5e-3)
    assert mixture.mean[order].numpy() == pytest.approx(reference.means_[other], abs=0.03)
    assert mixture.covariance[order].numpy() == pytest.approx(reference.covariances_[other], abs=0.05)


def test_conditions_that_are_missing_where_samples_are_bright_bias_nothing():
    rng = np.random.default_rng(7)
    flux = rng.normal(size=6000)
    z = np.stack([2 * flux, -flux], 1) + rng.normal(size=(6000, 2))
    told = z[:, 0] < 0.5  # missing at random given z: what is left has a mean far below zero
    condition = np.stack([np.where(told, flux, 0.0), told], 1)
    mixture = JointMixture(1, 2, 2)
    mixture.fit(torch.from_numpy(z), torch.from_numpy(condition))
    assert flux[told].mean() < -0.4
    assert float(mixture.mean[0, 2]) == pytest.approx(flux.mean(), abs=0.03)
    assert float(mixture.covariance[0, 2, 2]) == pytest.approx(flux.var(), abs=0.05)
    _, mean, covariance = mixture.conditional(torch.tensor([1.5, 1.0], dtype=torch.float64))
    assert mean[0].tolist() == pytest.approx([3.0, -1.5], abs=0.1)
    assert covariance[0].numpy() == pytest.approx(np.eye(2), abs=0.1)


def test_few_samples_get_few_components():
    mixture = JointMixture(10, 2, 0)
    z = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    mixture.fit(z, torch.zeros(9, 0), ridge=1e-3)
    assert (mixture.weight > 0).sum() == 2
    assert mixture.weight.sum() == pytest.approx(1.0)
    drawn = mixture.sample(torch.zeros(50, 0), normal_rows(50, 3, torch.Generator().manual_seed(0)))
    assert drawn.isfinite().all()
    assert mixture.log_density(z).isfinite().all()


def test_equal_samples_and_equal_conditions_are_fitted():
    mixture = JointMixture(2, 2, 2)
    mixture.fit(torch.ones(12, 2), torch.tensor([[0.0, 1.0]]).repeat(12, 1), ridge=1e-3)
    drawn = mixture.sample(torch.tensor([[0.0, 1.0]]).repeat(5, 1), normal_rows(5, 3, torch.Generator()))
    assert (drawn - 1).abs().max() < 1e-2


@pytest.mark.parametrize("numbers", [0, 1, 3])
@pytest.mark.parametrize("classes", [0, 2, 3, 4])
def test_numeric_conditions_are_told_from_classes(numbers, classes):
    rng = np.random.default_rng(8)
    told = rng.integers(0, 2, (40, numbers))
    pairs = np.stack([told * rng.normal(size=told.shape), told], 2).reshape(40, -1)
    one_hot = np.eye(classes)[np.arange(40) % classes] if classes else np.zeros((40, 0))
    one_hot[::5] = 0
    assert numeric_conditions(torch.from_numpy(np.hstack([pairs, one_hot]))) == numbers
