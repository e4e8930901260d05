import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pipeline.errors import UserError
from pipeline.generate.convert import noised
from pipeline.generate.ddpm import DDPM
from pipeline.generate.ddpm_settings import DDPMSettings
from pipeline.generate.noise import SampleNoise


def make(**values):
    return DDPM(DDPMSettings(**{"schedule": "linear", "sampler": "ddim", **values}))


def seeded():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("crowding", [1.0, 1.5, 2.0, 5.0])
@pytest.mark.parametrize("steps", [1, 2, 10, 99, 100])
def test_times_fall_from_the_last_level_to_none(crowding, steps):
    times = make(levels=100, steps=steps, crowding=crowding).times()
    assert times[0] == 100 and times[-1] == 0 and len(times) == steps + 1
    assert all(np.diff(times) < 0)


def test_more_steps_than_levels_are_refused():
    with pytest.raises(UserError, match="60 are more than the 50 levels"):
        make(levels=50, steps=50).times(60)
    with pytest.raises(ValidationError, match="must not be more than levels"):
        DDPMSettings(levels=50, steps=60)


def test_eps_on_the_cosine_schedule_needs_a_clip():
    with pytest.raises(ValidationError, match="says nothing of the data"):
        DDPMSettings(prediction="eps", schedule="cosine")
    assert DDPMSettings(prediction="eps", schedule="cosine", clip=3).clip == 3


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("step", [(900, 300), (300, 299), (2, 1), (20, 0)])
def test_a_step_keeps_the_marginals(schedule, eta, step):
    """Lemma 1 of Song, Meng & Ermon: with x0 known, x has the mean and deviation of its level after any step."""
    method, (t, then) = make(schedule=schedule, prediction="x0", eta=eta), step
    x0 = torch.full((4, 1, 30_000), 2.0)
    noise = SampleNoise(4, seeded())
    x = noised(x0, noise.normal(x0.shape[1:]), method.level(t))
    x = method.back(x, x0, t, then, noise)
    lower = method.level(then)
    scale = float(lower.sigma)
    assert x.mean() == pytest.approx(2 * float(lower.alpha), abs=0.02 * scale + 1e-6)
    assert x.std() == pytest.approx(scale, rel=0.02, abs=1e-6)


def test_an_ancestral_step_is_the_posterior_of_the_chain():
    """Equations 6 and 7 of Ho, Jain & Abbeel, between neighbouring levels."""
    method, t = make(prediction="x0", sampler="ancestral"), 300
    kept, beta = method.kept, np.linspace(1e-4, 0.02, 1000)[t - 1]
    x0, x = torch.full((2, 1, 40_000), 1.5), torch.full((2, 1, 40_000), -0.5)
    found = method.back(x, x0, t, t - 1, SampleNoise(2, seeded()))
    of_x0 = np.sqrt(kept[t - 1]) * beta / (1 - kept[t])
    of_x = np.sqrt(1 - beta) * (1 - kept[t - 1]) / (1 - kept[t])
    deviation = np.sqrt((1 - kept[t - 1]) / (1 - kept[t]) * beta)
    assert found.mean() == pytest.approx(1.5 * of_x0 - 0.5 * of_x, abs=0.02 * deviation)
    assert found.std() == pytest.approx(deviation, rel=0.02)


def test_ddim_is_of_first_order(exact):
    """Twice the steps, half the distance to the exact solution of the probability flow of a normal density."""
    width, method = 0.5, make(crowding=1.5)
    toy = exact("v", torch.zeros(1, 1), torch.full((1, 1), width))
    start = SampleNoise(20, seeded()).normal((1, 1))
    last = method.level(method.settings.levels)
    solution = start / last.alpha * width / (width**2 + last.ratio**2).sqrt()
    far = [
        float(
            (method.sample(toy, torch.zeros(20, 0), seeded(), steps=steps) - solution).abs().max() / start.abs().max()
        )
        for steps in (50, 100, 200)
    ]
    assert 1.8 < far[0] / far[1] < 2.2 and 1.8 < far[1] / far[2] < 2.2


def test_clip_limits_the_clean_sample(exact):
    toy = exact("eps", torch.full((1, 2), 5.0), torch.full((1, 2), 0.1))
    samples = make(prediction="eps", clip=2.0).sample(toy, torch.zeros(6, 0), seeded())
    assert torch.equal(samples, torch.full_like(samples, 2.0))


class Blind(nn.Module):
    """Normal data, of which it sees the direction but not the size; its answers are wrong by a share."""

    input_shape = (1, 4096)

    def __init__(self, kind, error):
        super().__init__()
        self.kind, self.error = kind, error

    def forward(self, x, t, condition):
        direction = x / x.square().mean((1, 2), keepdim=True).sqrt()
        r = torch.exp(4 * t).view(-1, 1, 1)
        # For normal data of unit variance eps is sigma x, and v is nothing.
        right = r / (1 + r**2).sqrt() if self.kind == "eps" else 1.0
        return right * direction * ((1 - self.error) if self.kind == "eps" else self.error)


@pytest.mark.parametrize("steps", [50, 200])
@pytest.mark.parametrize("error", [0.01, 0.03])
def test_why_ddim_needs_v(error, steps, monkeypatch):
    honest = SampleNoise.normal

    def of_size_one(self, shape, device="cpu"):
        noise = honest(self, shape, device)
        return noise / noise.square().mean((1, 2), keepdim=True).sqrt()

    def size(error=error, **values):
        method = make(**values)
        samples = method.sample(Blind(method.settings.prediction, error), torch.zeros(4, 0), seeded(), steps=steps)
        return samples.square().mean((1, 2)).sqrt()

    # Blind takes for data what chance adds to the size of the first noise, too.
    monkeypatch.setattr(SampleNoise, "normal", of_size_one)
    last = float(make().level(1000).ratio)
    # eps leaves the share of the noise of the last level
    torch.testing.assert_close(size(prediction="eps"), torch.full((4,), 1 + error * last), atol=0.1, rtol=0.03)
    # v leaves the share times an angle
    for schedule in ("linear", "cosine"):
        assert (size(schedule=schedule) - size(0.0, schedule=schedule)).abs().max() < 2 * error
    # the ancestral sampler forgets most of it
    left = size(prediction="eps", sampler="ancestral") - size(0.0, prediction="eps", sampler="ancestral")
    assert left.max() < 0.2 * error * last
