import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from pipeline.errors import UserError
from pipeline.generate.restore import blur, denoise, posterior_mean, restore

PIXELS = 12
DISTANCE = (torch.arange(PIXELS)[:, None] - torch.arange(PIXELS)).abs().double()
PRIOR = torch.exp(-0.5 * (DISTANCE / 2) ** 2) + 0.05 * torch.eye(PIXELS)
MEAN = torch.sin(torch.arange(PIXELS) / 2.0).double()
KERNEL = torch.tensor([0.25, 0.5, 0.25]).double()


def field(x, t):
    """The exact velocity of N(MEAN, PRIOR), (n, 1, PIXELS)."""
    t = t[:, None, None]
    eye = torch.eye(PIXELS).double()
    inner = torch.linalg.solve(t**2 * PRIOR + (1 - t) ** 2 * eye, x.movedim(1, 2) - t * MEAN[:, None])
    return (MEAN[:, None] + (t * PRIOR - (1 - t) * eye) @ inner).movedim(1, 2)


def two_peaks(x, t):
    """The exact velocity of data at -1 and at 1, each with a standard deviation of 0.1; one number a sample."""
    t = t.view(-1, 1, 1)
    centres = torch.tensor([-1.0, 1.0]).double()
    variance = (1 - t) ** 2 + (0.1 * t) ** 2
    away = x - t * centres
    share = torch.softmax(-0.5 * away.square() / variance, 2)
    return (share * (centres + (0.01 * t - (1 - t)) / variance * away)).sum(2, keepdim=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def truth(measure, noise, observed):
    """Mean and standard deviation of the posterior in closed form; `observed` may have NaN."""
    eye = torch.eye(PIXELS).double()
    matrix = measure(eye[:, None])[:, 0].T
    seen = observed.isfinite()
    matrix = matrix[seen]
    gain = PRIOR @ matrix.T @ torch.linalg.inv(matrix @ PRIOR @ matrix.T + noise**2 * torch.eye(len(matrix)))
    mean = MEAN + gain @ (observed[seen] - matrix @ MEAN)
    return mean, (PRIOR - gain @ matrix @ PRIOR).diagonal().sqrt()


def image(noise, measure=lambda x: x):
    factor = torch.linalg.cholesky(PRIOR)
    x = (MEAN + factor @ torch.randn(PIXELS, generator=seeded(3)).double()).view(1, 1, -1)
    return measure(x) + noise * torch.randn(1, 1, PIXELS, generator=seeded(4))


def agrees(draws, mean, deviation):
    """Whether 400 draws have the posterior's moments: the mean within 0.25 of its width, the width within 20 %."""
    found = draws.flatten(1)
    near = ((found.mean(0) - mean) / deviation).abs().max() < 0.25
    return bool(near and (found.std(0) / deviation - 1).abs().max() < 0.2)


@pytest.mark.parametrize("noise", [0.2, 0.7, 3.0])
def test_denoising_draws_the_posterior_of_a_gaussian(noise):
    observed = image(noise).expand(400, 1, PIXELS)
    (draws,) = denoise(field, observed, noise, seeded(), draws=1, steps=100)
    mean, deviation = truth(lambda x: x, noise, observed[0, 0])
    assert agrees(draws, mean, deviation)
    # with the wrong noise it is not, so the check has teeth
    (wrong,) = denoise(field, observed, 2 * noise, seeded(), draws=1, steps=100)
    assert not agrees(wrong, mean, deviation)


def test_denoising_is_undecided_where_the_image_is():
    observed = torch.tensor([0.0, 0.3]).double().repeat_interleave(500).view(-1, 1, 1)
    (draws,) = denoise(two_peaks, observed, 0.5, seeded(), draws=1, steps=100)
    right = (draws.view(2, 500) > 0).double().mean(1)
    # the odds of the two peaks for an observed 0.3 with a variance of 0.25 + 0.01
    odds = torch.sigmoid(torch.tensor(2 * 0.3 / 0.26)).item()
    assert right[0] == pytest.approx(0.5, abs=0.08) and right[1] == pytest.approx(odds, abs=0.07)
    assert (draws.abs() - 1).abs().mean() < 0.15


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_the_posterior_mean_is_that_of_a_gaussian(t):
    noise, eye = 0.4, torch.eye(PIXELS).double()
    matrix = blur(eye[:, None], KERNEL)[:, 0].T
    z, observed = image(0.5) * t + image(1.0).flip(2), image(0.1)
    precision = torch.linalg.inv(PRIOR)
    told = precision @ MEAN + t * z[0, 0] / (1 - t) ** 2 + matrix.T @ observed[0, 0] / noise**2
    expected = torch.linalg.solve(precision + (t / (1 - t)) ** 2 * eye + matrix.T @ matrix / noise**2, told)
    spread = torch.full_like(observed, noise)
    times = torch.tensor([t]).double()
    found = posterior_mean(field, z, times, observed, lambda x: blur(x, KERNEL), spread, 2 * PIXELS)
    torch.testing.assert_close(found[0, 0], expected, rtol=1e-6, atol=1e-6)
    few = posterior_mean(field, z, times, observed, lambda x: blur(x, KERNEL), spread, 5)
    assert (few[0, 0] - expected).abs().max() < 0.3


@pytest.mark.parametrize("holes", [False, True])
def test_restoring_draws_the_posterior_of_a_gaussian(holes):
    noise = 0.3

    def measure(x):
        return 2 * blur(x, KERNEL)

    observed = image(noise, measure)
    if holes:
        observed[..., 4:7] = torch.nan
    many = observed.expand(400, 1, PIXELS)
    options = {"draws": 1, "steps": 40, "iterations": PIXELS}
    (draws,) = restore(field, many, measure, noise, (1, PIXELS), seeded(), **options)
    mean, deviation = truth(measure, noise, observed[0, 0])
    assert agrees(draws, mean, deviation)
    (wrong,) = restore(field, many, lambda x: 2 * x, noise, (1, PIXELS), seeded(), **options)
    assert not agrees(wrong, mean, deviation)


def test_restoring_follows_a_measure_that_is_not_linear():
    """Small noise behind an asinh: what is drawn looks like what was observed."""
    observed = image(0.05, torch.sinh).expand(50, 1, PIXELS)
    (draws,) = restore(field, observed, torch.sinh, 0.05, (1, PIXELS), seeded(), draws=1, steps=60, iterations=PIXELS)
    assert (torch.sinh(draws) - observed).square().mean().sqrt() < 0.1


@pytest.mark.parametrize(("height", "frequency"), [(0.02, 60), (0.1, 20)])
def test_restoring_keeps_to_what_was_observed_by_a_field_that_was_learnt_badly(height, frequency):
    """Ripples of the field make covariances of what is none: not symmetric, and negative in places."""

    def learnt(z, t):
        return field(z, t) + height * torch.sin(frequency * z)

    noise = 0.3
    observed = image(noise).expand(100, 1, PIXELS)
    (draws,) = restore(learnt, observed, lambda x: x, noise, (1, PIXELS), seeded(), draws=1)
    away = (draws - observed) / noise
    assert away.square().mean().sqrt() < 1.5
    assert away.abs().max() < 6


@pytest.mark.parametrize("seed", range(4))
def test_restoring_follows_a_measure_as_steep_as_an_exponential(seed):
    """Pixels from 0 to hundreds of times the noise, as a galaxy has behind its sky, and a few iterations."""
    factor = torch.linalg.cholesky(PRIOR)
    x = (MEAN + factor @ torch.randn(PIXELS, generator=seeded(seed)).double()).expand(20, 1, PIXELS)
    noise = 0.6

    def measure(x):
        return torch.sinh(4 * x)

    observed = measure(x) + noise * torch.randn(20, 1, PIXELS, generator=seeded(9)).double()
    assert observed.abs().max() > 100 * noise
    about = torch.asinh(observed) / 4
    (draws,) = restore(field, observed, measure, noise, (1, PIXELS), seeded(), about=about, draws=1)
    # an image and its draw lie a noise each from what was observed, in sum, where the pixels tell more than the prior
    away = (measure(draws) - observed) / noise
    assert 0.5 < away.square().mean().sqrt() < 2


def test_draws_of_an_image_do_not_depend_on_those_behind_it():
    observed = torch.cat([image(0.5), image(0.5) + 1])
    for call in (
        lambda y: denoise(field, y, 0.5, seeded(), draws=3, steps=5),
        lambda y: restore(field, y, lambda x: x, 0.5, (1, PIXELS), seeded(), draws=3, steps=5),
    ):
        together = call(observed)
        assert together.shape == (3, 2, 1, PIXELS)
        torch.testing.assert_close(call(observed[:1]), together[:, :1])
        assert (together[0] - together[1]).abs().max() > 0.01


def test_each_image_may_have_its_noise():
    observed = image(0.5).expand(2, 1, PIXELS)
    both = denoise(field, observed, torch.tensor([0.01, 2.0]), seeded(), draws=8, steps=20)
    assert both.std(0)[0].max() < 0.05 < 0.2 < both.std(0)[1].min()
    assert (both[:, 0] - observed[0]).abs().max() < 0.1


@pytest.mark.parametrize("noise", [0.0, -1.0, float("nan")])
def test_no_noise_is_a_sentence(noise):
    with pytest.raises(UserError, match="noise"):
        denoise(field, image(1.0), noise, seeded())
    with pytest.raises(UserError, match="noise"):
        restore(field, image(1.0), lambda x: x, noise, (1, PIXELS), seeded())


@pytest.mark.parametrize(("axes", "size"), [((9,), (3,)), ((7, 6), (3, 5)), ((4, 5, 6), (3, 1, 5))])
def test_blurring_is_a_convolution_with_zeros_outside(axes, size):
    x, kernel = torch.randn(2, 3, *axes, generator=seeded()).double(), torch.rand(*size, generator=seeded()).double()
    expected = [[convolve(image, kernel.numpy(), mode="constant") for image in row] for row in x.numpy()]
    np.testing.assert_allclose(blur(x, kernel).numpy(), np.array(expected), atol=1e-12)
