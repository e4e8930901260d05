import pytest
import torch

from pipeline.generate.wiener import Wiener


def normal_samples(n):
    """Of 12 numbers, two axes with large variance, and 1 along all others."""
    generator = torch.Generator().manual_seed(4)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q
    spread = torch.tensor([6.0, 3.0] + [1.0] * 10)
    x = torch.randn(n, 12, generator=generator) * spread @ basis.T
    return x.view(n, 3, 4), basis @ (spread.square().diag()) @ basis.T


def fitted():
    x, covariance = normal_samples(40000)
    wiener = Wiener(12, 2)
    wiener.fit(x)
    return wiener, covariance


@pytest.mark.parametrize("sigma", [0.1, 1.0, 7.0])
def test_it_is_the_conditional_mean_of_normal_numbers(sigma):
    """Bishop 2006, equation 2.81, with the whole covariance matrix."""
    wiener, covariance = fitted()
    x = 5 * torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(5))
    expected = x.flatten(1) @ torch.linalg.solve(covariance + sigma**2 * torch.eye(12), covariance)
    found = wiener(x, torch.full((6,), sigma))
    torch.testing.assert_close(found.flatten(1), expected, rtol=0.05, atol=0.05)


def test_its_error_is_the_one_that_is_made():
    wiener, _ = fitted()
    x, _ = normal_samples(4000)
    for sigma in (0.2, 1.0, 4.0):
        noise = torch.full((4000,), sigma)
        noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
        made = (wiener(noisy, noise) - x).square().mean().sqrt()
        assert float(made) == pytest.approx(float(wiener.error(noise)[0]), rel=0.02)


def test_without_noise_it_is_the_sample_and_in_noise_alone_it_is_the_mean():
    wiener, _ = fitted()
    x = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(wiener(x, torch.full((3,), 1e-4)), x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(wiener(x, torch.full((3,), 1e4)), torch.zeros_like(x), rtol=0, atol=1e-3)


def test_fewer_samples_have_fewer_axes():
    x, _ = normal_samples(6)
    wiener = Wiener(12, 6)
    wiener.fit(x)
    assert int((wiener.basis.norm(dim=0) > 0.5).sum()) == 3
    assert wiener(x, torch.ones(6)).isfinite().all()
