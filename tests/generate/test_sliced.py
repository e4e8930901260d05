import pytest
import torch
from scipy.stats import wasserstein_distance

from pipeline.generate.sliced import sliced_wasserstein


def test_the_sliced_distance_of_one_axis_is_the_distance():
    a, b = torch.randn((2, 40, 1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sliced_wasserstein(a, 2 * b + 1, torch.Generator().manual_seed(1), 8)
    expected = wasserstein_distance(a[:, 0].numpy(), 2 * b[:, 0].numpy() + 1)
    assert float(found) == pytest.approx(expected, rel=1e-9)
    assert float(sliced_wasserstein(a, a.flip(0), torch.Generator())) == pytest.approx(0, abs=1e-12)
