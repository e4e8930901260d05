import pytest
import torch

from pipeline.generate.flow import grid
from pipeline.generate.likelihood import log_likelihood

MEAN = torch.tensor([0.5, -1.0, 0.2]).double()
FACTOR = torch.tensor([[1.0, 0, 0], [0.6, 0.3, 0], [-0.2, 0.1, 0.5]]).double()
NORMAL = torch.distributions.MultivariateNormal(MEAN, scale_tril=FACTOR)


def gaussian_field(x, t):
    t = t[:, None, None]
    covariance, eye = FACTOR @ FACTOR.T, torch.eye(3).double()
    shifted = torch.linalg.solve(t**2 * covariance + (1 - t) ** 2 * eye, x.movedim(1, 2) - t * MEAN[:, None])
    return (MEAN[:, None] + (t * covariance - (1 - t) * eye) @ shifted).movedim(1, 2)


def ring_field(x, t):
    """The exact velocity of a mixture of four narrow normal distributions in the plane, (n, 1, 2)."""
    centres = 2 * torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]).double()
    t = t[:, None, None]
    variance = (1 - t) ** 2 + (0.3 * t) ** 2
    away = x - t * centres  # (n, 4, 2)
    share = torch.softmax(-0.5 * away.square().sum(2, keepdim=True) / variance, 1)
    return (share * (centres + (0.09 * t - (1 - t)) / variance * away)).sum(1, keepdim=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def points():
    noise = torch.randn(20, 3, generator=seeded()).double()
    return 1.5 * noise @ FACTOR.T + MEAN


def test_the_exact_one_is_the_density_of_a_gaussian(points):
    truth = NORMAL.log_prob(points)
    found = log_likelihood(gaussian_field, points[:, None], grid(100, 1.5).flip(0))
    assert (found - truth).abs().max() < 0.02
    again = log_likelihood(gaussian_field, points[:, None], grid(1, 1.0).flip(0), "adaptive", tolerance=1e-6)
    assert (again - truth).abs().max() < 1e-4
    # the wrong sign of the divergence, or none, would be off by the logarithm of the determinant
    assert abs(FACTOR.diagonal().log().sum()) > 1


def test_a_density_of_several_peaks_sums_to_one():
    axis = torch.linspace(-4, 4, 41).double()
    x = torch.cartesian_prod(axis, axis)[:, None]
    density = log_likelihood(ring_field, x, grid(40, 1.5).flip(0)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=0.01)
    assert density[len(density) // 2] < 0.01 * density.max()


def test_probes_are_unbiased_and_a_sample_has_its_own(points):
    # the field has a Jacobian that is not diagonal, so one probe scatters
    times = grid(20, 1.5).flip(0)
    exact = log_likelihood(gaussian_field, points[:, None], times)
    many = points[:1].expand(2000, 3)[:, None]
    estimates = log_likelihood(gaussian_field, many, times, probes=1, generator=seeded())
    assert estimates.std() > 0.1
    assert estimates.mean() == pytest.approx(exact[0].item(), abs=5 * estimates.std().item() / 2000**0.5)
    better = log_likelihood(gaussian_field, many[:500], times, probes=16, generator=seeded())
    assert better.std() == pytest.approx(estimates.std().item() / 4, rel=0.2)
    together = log_likelihood(gaussian_field, points[:, None], times, probes=2, generator=seeded())
    first = log_likelihood(gaussian_field, points[:3, None], times, probes=2, generator=seeded())
    torch.testing.assert_close(first, together[:3])


@pytest.mark.parametrize("axes", [(3,), (2, 2), (2, 1, 2)])
def test_any_number_of_axes(axes):
    """Data of independent pixels N(0, 0.25)."""

    def field(x, t):
        t = t.view(-1, *(1 for _ in x.shape[1:]))
        return x * (0.25 * t - (1 - t)) / ((1 - t) ** 2 + 0.25 * t**2)

    x = 0.5 * torch.randn(5, 2, *axes, generator=seeded())
    truth = torch.distributions.Normal(0, 0.5).log_prob(x).flatten(1).sum(1)
    found = log_likelihood(field, x, grid(60, 1.5).flip(0), probes=1, generator=seeded())
    torch.testing.assert_close(found, truth, rtol=0, atol=0.05)
    assert not found.requires_grad
