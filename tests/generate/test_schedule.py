import numpy as np
import pytest

from pipeline.generate.schedule import kept_variance


def test_linear_is_the_closed_form_of_the_chain():
    kept = kept_variance("linear", 1000)
    rng = np.random.default_rng(1)
    x = np.full(20_000, 3.0)
    for t, beta in enumerate(np.linspace(1e-4, 0.02, 1000)[:400], start=1):
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.standard_normal(x.size)
        if t in (1, 50, 400):
            deviation = np.sqrt(1 - kept[t])
            assert x.mean() == pytest.approx(3 * np.sqrt(kept[t]), abs=4 * deviation / np.sqrt(x.size))
            assert x.std() == pytest.approx(deviation, rel=0.02)


def test_published_ends():
    assert kept_variance("linear", 1000)[-1] == pytest.approx(4.04e-5, rel=1e-2)
    cosine = kept_variance("cosine", 1000)
    assert cosine[500] == pytest.approx(np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2, rel=2e-3)
    assert 0 < cosine[-1] < 1e-8


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("levels", [50, 200, 4000])
def test_it_falls_from_one_whatever_the_levels(schedule, levels):
    kept = kept_variance(schedule, levels)
    assert kept.shape == (levels + 1,) and kept[0] == 1
    assert (np.diff(kept) < 0).all() and kept[-1] > 0
    middle = kept_variance(schedule, 1000)[500]
    assert kept[levels // 2] == pytest.approx(middle, rel=0.2, abs=0.02)
