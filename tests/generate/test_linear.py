import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from pipeline.errors import UserError
from pipeline.generate.gaussian import Gaussian
from pipeline.generate.gaussian_settings import GaussianSettings
from pipeline.generate.mixture import Mixture
from pipeline.generate.mixture_settings import MixtureSettings
from pipeline.generate.ppca import PPCA
from pipeline.generate.ppca_settings import PPCASettings
from pipeline.learn.model_file import save_model

METHODS = [
    Gaussian(GaussianSettings()),
    PPCA(PPCASettings(axes=3)),
    Mixture(MixtureSettings(components=2, axes=3)),
]


def some(shape, n=400, seed=0):
    """Samples with correlated pixels, brighter for a larger condition and darker for the second of two classes."""
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    flux, kind = rng.normal(size=n), rng.integers(0, 2, n)
    flat = rng.normal(size=(n, size)) @ rng.normal(size=(size, size)) * 0.4 + flux[:, None] - 2 * kind[:, None]
    condition = np.stack([flux, np.ones(n), kind == 0, kind == 1], 1)
    return torch.from_numpy(flat.reshape(n, *shape)).float(), torch.from_numpy(condition).float()


def fitted(method, shape=(1, 6), n=400):
    x, condition = some(shape, n)
    module = method.build(len(shape) - 1, shape, 4)
    method.fit(module, x, condition)
    return module, x, condition


@pytest.mark.parametrize("shape", [(1, 6), (2, 2, 3), (1, 2, 2, 2)])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
def test_samples_have_mean_and_covariance_of_the_training_set(method, shape):
    module, x, _ = fitted(method, shape)
    drawn = method.sample(module, torch.zeros(8000, 4), torch.Generator().manual_seed(0))
    assert drawn.shape == (8000, *shape)
    assert drawn.dtype == torch.float32
    real, fake = x.flatten(1), drawn.flatten(1)
    scale = float(torch.cov(real.T).diagonal().max())
    assert (real.mean(0) - fake.mean(0)).abs().max() < 0.06 * math.sqrt(scale)
    model = torch.cov(real.T)
    if method.settings.axes == 3:  # equal noise beyond three axes
        values, axes = torch.linalg.eigh(model)
        values[:-3] = values[:-3].mean()
        model = axes * values @ axes.T
    assert (model - torch.cov(fake.T)).abs().max() < 0.12 * scale


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
def test_a_bright_condition_gives_bright_samples_and_a_class_its_own(method):
    module, x, condition = fitted(method)
    bright = torch.tensor([1.5, 1.0, 0.0, 0.0]).repeat(2000, 1)
    second = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(2000, 1)
    generator = torch.Generator().manual_seed(1)
    whole = float(x.mean())
    slope = float(x[:, 0].mean(1)[condition[:, 0] > 1].mean() - whole) / float(condition[condition[:, 0] > 1, 0].mean())
    assert float(method.sample(module, bright, generator).mean()) == pytest.approx(whole + 1.5 * slope, abs=0.25)
    expected = float(x[condition[:, 3] > 0].mean())
    assert abs(expected - whole) > 0.8
    assert float(method.sample(module, second, generator).mean()) == pytest.approx(expected, abs=0.12)


def test_ppca_is_the_one_of_scikit_learn():
    module, x, _ = fitted(METHODS[1])
    n = len(x)
    reference = PCA(3).fit(x.flatten(1).double().numpy())
    reference.explained_variance_ *= (n - 1) / n  # maximum of the likelihood in place of no bias
    reference.noise_variance_ *= (n - 1) / n
    expected = reference.score_samples(x.flatten(1).double().numpy())
    assert METHODS[1].log_density(module, x).numpy() == pytest.approx(expected, abs=2e-3)
    assert float(module.noise) == pytest.approx(float(reference.noise_variance_), rel=1e-4)


def test_the_density_of_a_gaussian_is_that_of_its_moments():
    module, x, _ = fitted(METHODS[0])
    flat = x.flatten(1).double().numpy()
    expected = multivariate_normal(flat.mean(0), np.cov(flat.T, bias=True)).logpdf(flat)
    assert METHODS[0].log_density(module, x).numpy() == pytest.approx(expected, abs=2e-3)


def test_a_mixture_finds_two_groups_that_a_gaussian_does_not():
    generator = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(500, 1, 1, generator=generator) < 0.3, -3.0, 3.0)
    x = side + 0.5 * torch.randn((500, 1, 6), generator=generator)
    empty = torch.zeros(500, 0)
    densities = {}
    for method in (METHODS[0], METHODS[2]):
        module = method.build(1, (1, 6), 0)
        method.fit(module, x, empty)
        densities[method.settings.name] = float(method.log_density(module, x).mean())
        middle = method.sample(module, torch.zeros(1000, 0), generator).mean((1, 2)).abs() < 1.5
        assert (middle.float().mean() < 0.01) == (method.settings.name == "mixture")
    assert densities["mixture"] > densities["gaussian"] + 0.5


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
def test_a_model_file_holds_all_of_it(method, tmp_path):
    module, x, condition = fitted(method)
    save_model(tmp_path / "model.safetensors", module, {})
    again = method.build(1, (1, 6), 4)
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    first, second = (method.sample(m, condition[:5], torch.Generator().manual_seed(3)) for m in (module, again))
    assert torch.equal(first, second)
    assert torch.equal(method.log_density(module, x), method.log_density(again, x))
    assert module.line.startswith(method.settings.name)
    with torch.device("meta"):
        assert method.build(1, (1, 6), 4).centre.is_meta


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
def test_a_sample_does_not_depend_on_what_follows(method):
    module, _, condition = fitted(method)
    few = method.sample(module, condition[:3], torch.Generator().manual_seed(9))
    many = method.sample(module, condition[:20], torch.Generator().manual_seed(9))
    assert torch.allclose(few, many[:3], atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
def test_coordinates_of_a_sample_give_it_back_up_to_noise(method):
    module, x, _ = fitted(method)
    again = method.decode(module, method.encode(module, x))
    rms = float((again - x).square().mean().sqrt())
    missing = x[0].numel() - min(method.settings.axes, x[0].numel())
    assert rms == pytest.approx(math.sqrt(float(module.noise) * missing / x[0].numel()), abs=1e-3)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
@pytest.mark.parametrize("n", [2, 3, 7])
def test_few_samples_are_enough_and_leave_noise(method, n):
    module, x, condition = fitted(method, n=n)
    assert float(module.noise) > 1e-7
    assert method.sample(module, condition, torch.Generator().manual_seed(0)).isfinite().all()
    assert method.log_density(module, x).isfinite().all()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.settings.name)
def test_one_sample_is_refused(method):
    with pytest.raises(UserError, match="training set: has 1 sample; give it at least two"):
        fitted(method, n=1)
