import pytest
import torch
from pydantic import ValidationError

from pipeline.generate.convert import Level, convert
from pipeline.generate.edm import EDM
from pipeline.generate.edm_settings import EDMSettings
from pipeline.generate.noise import SampleNoise


def make(**values):
    return EDM(EDMSettings(**values))


def seeded():
    return torch.Generator().manual_seed(3)


def test_noises_are_those_of_the_paper():
    method = make(sigma_min=0.002, sigma_max=80)
    noises = method.noises(18)
    assert len(noises) == 19 and noises[-1] == 0
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    torch.testing.assert_close(noises[:-1], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_the_denoiser_is_that_of_table_1(spread, exact):
    """With the exact F of normal data of that spread, D is the mean of x0; c_skip, c_out, c_in and c_noise differ."""
    method, sigma = make(data_spread=spread), torch.tensor([0.01, 0.3, 2.0, 60.0])
    toy = exact("denoiser", torch.zeros(1, 3), torch.ones(1, 3))  # in units of the spread
    noise = torch.randn(4, 1, 3, generator=seeded())
    x = (spread**2 + sigma**2).sqrt().view(4, 1, 1) * noise
    expected = x * (spread**2 / (spread**2 + sigma**2)).view(4, 1, 1)
    torch.testing.assert_close(method.denoise(toy, x, sigma, torch.zeros(4, 0)), expected, rtol=1e-4, atol=1e-5)


def test_the_network_learns_minus_v(exact):
    toy, sigma = exact("denoiser", torch.tensor([[1.0, -2.0]]), torch.tensor([[0.4, 1.3]])), torch.tensor([0.5, 4.0])
    x = torch.randn(2, 1, 2, generator=seeded()) * sigma.view(2, 1, 1)
    clean = make().denoise(toy, x, sigma, torch.zeros(2, 0))
    size = (1 + sigma**2).sqrt()
    level = Level(1 / size, sigma / size)  # the same samples on the variance preserving path
    preserved = x / size.view(2, 1, 1)
    v = convert(clean, preserved, level, "x0", "v")
    torch.testing.assert_close(toy(preserved, 0.25 * sigma.log(), torch.zeros(2, 0)), -v, rtol=1e-4, atol=1e-4)


def test_a_fresh_network_has_a_loss_of_one(exact):
    """The target has unit variance at every noise, and a network that has learnt nothing answers 0."""
    x = torch.randn(4000, 1, 2, generator=seeded())

    class Nothing(torch.nn.Module):
        def forward(self, x, t, condition):
            return torch.zeros_like(x)

    for values in ({}, {"log_noise_mean": 2.0}, {"log_noise_mean": -3.0}, {"data_spread": 2.0}):
        scale = values.get("data_spread", 1.0)
        loss = make(**values).objective(Nothing(), (scale * x, torch.zeros(4000, 0)), seeded())["denoiser"]
        assert float(loss) == pytest.approx(1, rel=0.05)


def test_heun_is_of_second_order(exact):
    width, method = 0.5, make(sigma_min=0.005)
    toy = exact("denoiser", torch.zeros(1, 1), torch.full((1, 1), width))
    start = method.settings.sigma_max * SampleNoise(20, seeded()).normal((1, 1))
    solution = start * width / (width**2 + method.settings.sigma_max**2) ** 0.5
    far = [
        float((method.sample(toy, torch.zeros(20, 0), seeded(), steps=steps) - solution).abs().max())
        for steps in (20, 40)
    ]
    assert 3.3 < far[0] / far[1] < 5.5


def test_the_noise_must_fall():
    with pytest.raises(ValidationError, match="sigma_min must be below sigma_max"):
        EDMSettings(sigma_min=2, sigma_max=1)


def smooth(n):
    """Pictures of normal numbers with a mean, correlated over several pixels, brighter in the middle."""
    x = torch.randn(n, 2, 9, 9, generator=seeded())
    x = torch.nn.functional.avg_pool2d(x, 3, 1) + 0.2 * x[:, :, 1:-1, 1:-1]
    return (x[:, :, :6, :6] + 0.5) * torch.linspace(0.5, 3, 6)


def whitened(n, **values):
    method = make(network="unet-8.8_p2", whiten=True, axes=30, **values)
    module = method.build(2, (2, 6, 6), 0)
    x = smooth(n)
    method.prepare(module, lambda wanted: (x[:wanted], torch.zeros(min(n, wanted), 0)))
    return method, module, x


def test_an_untrained_network_of_whitened_cells_has_mean_and_covariance_right():
    """Nearly: the directions beyond the principal axes have one variance for all."""
    method, module, x = whitened(3000)
    made = method.sample(module, torch.zeros(800, 0), seeded(), steps=30)
    assert made.shape == (800, 2, 6, 6)
    spread = x.std(0)
    assert float(((made.mean(0) - x.mean(0)) / spread).abs().mean()) < 0.05
    assert float((made.std(0) / spread - 1).abs().mean()) < 0.06
    both = [torch.corrcoef(pictures.flatten(1).T) for pictures in (made, x)]
    assert float((both[0] - both[1]).abs().mean()) < 0.06


@torch.no_grad()
def test_a_fresh_network_of_whitened_cells_has_a_loss_of_one():
    method, module, x = whitened(3000)
    assert float(method.objective(module, (x, torch.zeros(3000, 0)), seeded())["denoiser"]) == pytest.approx(1, rel=0.1)


@torch.no_grad()
def test_guidance_of_whitened_cells_weighs_what_is_told():
    method = make(network="unet-8.8_p2", whiten=True, axes=4)
    module = method.build(1, (1, 16), 2)
    x = torch.randn(500, 1, 16, generator=seeded()).cumsum(2)
    told = torch.stack([x.mean((1, 2)), torch.ones(500)], 1)
    method.prepare(module, lambda wanted: (x, told))
    for weight in module.network.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=seeded())
    noisy, sigma, condition = module.whitening(x[:4], told[:4]), torch.full((4,), 0.7), told[:4]
    plain, nothing, twice = (
        method.denoise(module, noisy, sigma, *asked) for asked in ((condition,), (torch.zeros(4, 2),), (condition, 2.0))
    )
    assert not torch.allclose(plain, nothing)
    torch.testing.assert_close(twice, 2 * plain - nothing, rtol=1e-4, atol=1e-4)
