import pytest
import torch
from pydantic import ValidationError

from pipeline.generate.ncsn import NCSN
from pipeline.generate.ncsn_settings import NCSNSettings


def make(**values):
    return NCSN(NCSNSettings(**values))


def seeded():
    return torch.Generator().manual_seed(3)


def test_levels_are_a_factor_apart():
    noises = make(sigma_max=8, sigma_min=1, levels=4).noises()
    torch.testing.assert_close(noises, torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("step", [0.05, 0.5, 1.0])
def test_langevin_steps_keep_the_noise_of_a_level(step, exact):
    """One point as data: at a level its noise is all there is, and steps of any length must leave its amount."""
    method = make(sigma_max=1.0001, sigma_min=1.0, levels=2, steps=30, step=step)
    toy = exact("score", torch.full((1, 2), 0.7), torch.full((1, 2), 1e-6))
    seen = []

    class Watched(torch.nn.Module):
        input_shape = (1, 2)

        def forward(self, x, t, condition):
            seen.append(x * 2**0.5)  # the network sees x / sqrt(1 + sigma^2)
            return toy(x, t, condition)

    end = method.sample(Watched(), torch.zeros(1500, 0), seeded())
    assert seen[-1].mean() == pytest.approx(0.7, abs=0.08)
    assert seen[-1].std() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(end, torch.full_like(end, 0.7), atol=1e-3, rtol=0)


@pytest.mark.parametrize("width", [0.1, 1.0, 5.0])
def test_the_defaults_bring_back_the_spread(width, exact):
    toy = exact("score", torch.zeros(1, 40), torch.full((1, 40), width))
    samples = make().sample(toy, torch.zeros(60, 0), seeded())
    assert samples.std() == pytest.approx(width, rel=0.05)


def test_the_noise_must_fall():
    with pytest.raises(ValidationError, match="sigma_min must be below sigma_max"):
        NCSNSettings(sigma_min=2, sigma_max=1)
