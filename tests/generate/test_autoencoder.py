import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.generate.autoencoder import AutoEncoder, DenoisingAutoEncoder
from pipeline.generate.autoencoder_settings import AutoEncoderSettings, DenoisingAutoEncoderSettings
from pipeline.generate.vae import VAE, divergence
from pipeline.generate.vae_settings import VAESettings
from pipeline.learn.model_file import save_model

SMALL = {"widths": (6, 8), "latent": 2, "components": 3}
METHODS = [
    AutoEncoder(AutoEncoderSettings(**SMALL)),
    DenoisingAutoEncoder(DenoisingAutoEncoderSettings(**SMALL)),
    VAE(VAESettings(**SMALL, prior="normal")),
    VAE(VAESettings(**SMALL)),
]
NAMES = ["ae", "dae", "vae", "vae-fitted"]
each = pytest.mark.parametrize("method", METHODS, ids=NAMES)


@pytest.fixture(autouse=True)
def seeded():
    """The same fresh weights in whatever order the tests run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def bumps(n=256, seed=0):
    """Lines of 12 pixels with a bump of one shape whose height is the condition, and noise of rms 0.1."""
    rng = np.random.default_rng(seed)
    height = rng.uniform(-1, 1, n)
    shape = np.exp(-0.5 * ((np.arange(12) - 5.5) / 1.5) ** 2)
    x = 2 * height[:, None] * shape + 0.1 * rng.normal(size=(n, 12))
    condition = np.stack([height / 0.58, np.ones(n)], 1)
    return torch.from_numpy(x[:, None]).float(), torch.from_numpy(condition).float()


def trained(method, steps=150, share=0.8):
    x, condition = bumps()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = method.build(1, (1, 12), 2)
        generator = torch.Generator().manual_seed(1)
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
        for step in range(steps):
            rows = slice(64 * (step % 4), 64 * (step % 4) + 64)
            told = condition[rows] * (torch.rand((64, 1), generator=generator) < share)
            optimiser.zero_grad()
            sum(method.objective(module, (x[rows], told), generator).values()).backward()
            optimiser.step()
    method.fit_latent(module, x, condition)
    return module


@pytest.fixture(scope="module")
def modules():
    steps = [150, 150, 600, 300]
    return {name: trained(*of) for name, *of in zip(NAMES, METHODS, steps, strict=True)}


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_as_bright_as_asked_for_and_as_noisy_as_the_real(modules, name):
    method, module = METHODS[NAMES.index(name)], modules[name]
    peaks = []
    for height in (-0.8, 0.8):
        condition = torch.tensor([height / 0.58, 1.0]).repeat(300, 1)
        drawn = method.sample(module, condition, torch.Generator().manual_seed(2))
        assert drawn.shape == (300, 1, 12)
        peaks.append(float(drawn[:, 0, 5:7].mean()))
        assert drawn[:, 0, 0].std() == pytest.approx(0.1, abs=0.05)
    assert peaks == pytest.approx([-1.51, 1.51], abs=0.35)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_condition_samples_are_the_population(modules, name):
    method = METHODS[NAMES.index(name)]
    module = trained(method, 200, share=0.0) if name == "vae" else modules[name]
    drawn = method.sample(module, torch.zeros(600, 2), torch.Generator().manual_seed(3))
    real = bumps()[0][:, 0, 5:7].mean(1)
    fake = drawn[:, 0, 5:7].mean(1)
    assert fake.std() == pytest.approx(float(real.std()), rel=0.3)
    assert float(fake.mean()) == pytest.approx(float(real.mean()), abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_the_residual_is_what_the_reconstruction_leaves(modules, name):
    method, module = METHODS[NAMES.index(name)], modules[name]
    x, condition = bumps()
    with torch.no_grad():
        left = (x - method.reconstruct(module, x, condition)).square().mean(0).sqrt()
    assert module.residual.numpy() == pytest.approx(left.numpy(), rel=1e-3)
    assert float(left.mean()) < 0.25


def test_a_denoising_one_removes_more_noise_than_it_adds(modules):
    method, module = METHODS[1], modules["dae"]
    x, _ = bumps(seed=5)
    noisy = x + 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cleaned = method.reconstruct(module, noisy)
    assert (cleaned - x).square().mean() < 0.3 * (noisy - x).square().mean()


@each
@pytest.mark.parametrize("shape", [(1, 9), (3, 8, 6), (1, 4, 5, 6)])
@pytest.mark.parametrize("width", [0, 3])
def test_any_number_of_axes(method, shape, width):
    module = method.build(len(shape) - 1, shape, width)
    x = torch.randn((5, *shape), generator=torch.Generator().manual_seed(0))
    condition = torch.eye(3)[torch.arange(5) % 3, :width]
    parts = method.objective(module, (x, condition), torch.Generator().manual_seed(0))
    sum(parts.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
    assert method.encode(module, x).shape == (5, 2)
    method.fit_latent(module, x, condition)
    first = method.sample(module, condition, torch.Generator().manual_seed(1))
    alone = method.sample(module, condition[:2], torch.Generator().manual_seed(1))
    assert first.shape == x.shape
    assert torch.allclose(first[:2], alone, atol=1e-4)
    assert (module.ndim, module.input_shape, module.outputs) == (len(shape) - 1, shape, shape[0])


@each
def test_a_model_file_holds_all_of_it(method, modules, tmp_path):
    module = modules[NAMES[METHODS.index(method)]]
    save_model(tmp_path / "m.safetensors", module, {})
    again = method.build(1, (1, 12), 2).eval()
    again.load_state_dict(load_file(tmp_path / "m.safetensors"))
    condition = bumps()[1][:4]
    drawn = [method.sample(m, condition, torch.Generator().manual_seed(0)) for m in (module, again)]
    assert torch.equal(*drawn)


def test_a_quiet_one_adds_no_noise(modules):
    quiet = AutoEncoder(AutoEncoderSettings(**SMALL, noise=False))
    condition = bumps()[1][:6]
    loud, silent = (m.sample(modules["ae"], condition, torch.Generator().manual_seed(0)) for m in (METHODS[0], quiet))
    added = (loud - silent) / modules["ae"].residual
    assert added.std() == pytest.approx(1.0, abs=0.25)


def test_the_divergence_is_that_of_two_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn((2, 6, 4), generator=generator, dtype=torch.float64)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert divergence(mean, log_variance).tolist() == pytest.approx(expected.tolist(), rel=1e-9)
    assert divergence(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [0.0]


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_objective_is_the_bound_with_the_best_noise(beta):
    method = VAE(VAESettings(**SMALL, beta=beta, prior="normal"))
    module = method.build(1, (1, 12), 0)
    x, empty = bumps(20)[0], torch.zeros(20, 0)
    with torch.no_grad():
        parts = method.objective(module, (x, empty), torch.Generator().manual_seed(4))
        mean, log_variance = method.posterior(module, x)
        drawn = torch.randn(mean.shape, generator=torch.Generator().manual_seed(4))
        made = method.decode(module, mean + (0.5 * log_variance).exp() * drawn)
    noise = float((made - x).square().mean().sqrt())
    nats = -torch.distributions.Normal(made, noise).log_prob(x).mean()
    constant = 0.5 * (1 + math.log(2 * math.pi))
    assert float(parts["reconstruction"]) + constant == pytest.approx(float(nats), rel=1e-5)
    assert float(parts["kl"]) == pytest.approx(beta * float(divergence(mean, log_variance).mean()) / 12, rel=1e-5)


def test_a_large_beta_takes_all_from_the_code():
    module = trained(VAE(VAESettings(**SMALL, beta=300.0, prior="normal")), steps=60)
    x, condition = bumps()
    with torch.no_grad():
        mean, log_variance = METHODS[2].posterior(module, x, condition)
    assert float(divergence(mean, log_variance).mean()) < 0.05
