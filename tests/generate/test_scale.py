"""Laws of the scale: exact there and back, no unit and no gain matters, and no bad stamp passes."""

import json

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.generate.scale import Scale, border_noise, valid_stamps
from pipeline.generate.task_settings import ScaleSettings

AXES = {1: (64,), 2: (24, 28), 3: (12, 14, 16)}


def stamps(ndim, n=60, rms=1e-5, seed=0):
    """A bright blob in the middle of noise, on a background that is another for every stamp."""
    rng = np.random.default_rng(seed)
    grids = np.indices(AXES[ndim])
    square = sum(((grid - size / 2) / (size / 16)) ** 2 for grid, size in zip(grids, AXES[ndim], strict=True))
    light = rng.uniform(10, 500, (n, 1, *(1,) * ndim)) * np.exp(-square / 2)
    level = rng.normal(0, 3, (n, 1, *(1,) * ndim))
    return (rms * (light + level + rng.standard_normal((n, 1, *AXES[ndim])))).astype(np.float32)


@pytest.mark.parametrize("softening", [3.0, None])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_there_and_back_is_exact_for_arrays_and_tensors(ndim, softening):
    x = stamps(ndim)
    scale = Scale.fit(x, softening)
    y = scale.forward(x)
    assert y.dtype == np.float32
    assert y.mean() == pytest.approx(0, abs=1e-4) and y.std() == pytest.approx(1, abs=1e-4)
    least = 3e-7 * float(np.abs(x).max())  # what float32 leaves of a faint pixel beside a bright one, on a linear scale
    np.testing.assert_allclose(scale.inverse(y), x, rtol=1e-5, atol=least)
    tensor = torch.from_numpy(x)
    assert Scale.fit(tensor, softening) == scale
    torch.testing.assert_close(scale.forward(tensor), torch.from_numpy(y), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scale.inverse(scale.forward(tensor)), tensor, rtol=1e-5, atol=least)


def test_flux_of_any_size_and_sign_comes_back():
    x = np.concatenate([-np.geomspace(1e-9, 1e3, 200)[::-1], [0], np.geomspace(1e-9, 1e3, 200)])
    scale = Scale(3.0, 0.4, 2.2, 1e-5, "Jy")
    y = scale.forward(x)
    assert (np.diff(y) > 0).all()
    np.testing.assert_allclose(scale.inverse(y), x, rtol=1e-12, atol=1e-20)
    assert scale.forward(x)[0] + scale.forward(x)[-1] == pytest.approx(-2 * 0.4 / 2.2)
    # the formula of the paper, written out
    assert scale.forward(np.array([7e-5]))[0] == pytest.approx((np.arcsinh(7 / 3) - 0.4) / 2.2)


def test_normal_numbers_that_a_network_makes_are_a_sky_of_the_right_breadth():
    sky = np.random.default_rng(0).standard_normal((200, 1, 64, 64))
    scale = Scale.fit(sky, ScaleSettings().softening, noise=1.0)
    made = scale.inverse(np.random.default_rng(1).standard_normal(sky.shape))
    assert made.std() == pytest.approx(sky.std(), rel=0.01)
    assert np.median(np.abs(made)) == pytest.approx(np.median(np.abs(sky)), rel=0.02)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_noise_is_that_of_the_border(ndim):
    x = stamps(ndim, n=400, rms=2e-5)
    assert border_noise(x) == pytest.approx(2e-5, rel=0.05)
    assert x.std() > 1e-4  # the whole stamps are far from it


def test_the_unit_does_not_matter():
    x = stamps(2).astype(np.float64)
    one, other = (Scale.fit(x * factor, 3.0).forward(x * factor) for factor in (1.0, 1e6))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_a_given_noise_is_taken_and_pictures_are_cut_at_zero():
    assert Scale.fit(stamps(2), 3.0, noise=0.5).noise == 0.5
    picture = np.zeros((5, 1, 16, 16), dtype=np.uint8)
    picture[:, :, 6:10, 6:10] = 200
    scale = Scale.fit(picture, 3.0)
    assert scale.noise == pytest.approx(2.0)
    assert Scale.fit(picture, None).forward(picture.astype(np.float32)).std() == pytest.approx(1, abs=1e-5)


def test_bad_stamps_are_refused_by_name():
    x = stamps(2, n=4)
    x[1, 0, 3, 3], x[3, 0, :2, 0] = np.nan, np.inf
    for values in (x, torch.from_numpy(x)):
        with pytest.raises(UserError) as caught:
            Scale.fit(values, 3.0, names=["w", "x", "y", "z"])
        assert [problem.where for problem in caught.value.problems] == ["x", "z"]
        assert "has 2 of 672 pixels" in str(caught.value)
        filled = valid_stamps(values, blank=True)
        assert filled[1, 0, 3, 3] == 0 and filled[0, 0, 0, 0] == values[0, 0, 0, 0]
        assert type(filled) is type(values) and filled.dtype == values.dtype
        assert np.isfinite(Scale.fit(values, 3.0, blank=True).spread)
    with pytest.raises(UserError, match="stamp 1: has 1 of"):
        valid_stamps(x[:3])
    with pytest.raises(UserError, match="hold 1 stamp, and"):
        Scale.fit(x[:1], 3.0)
    with pytest.raises(UserError, match="same value everywhere"):
        Scale.fit(np.full((3, 1, 8, 8), 7.0), None)


def test_json_brings_back_the_same():
    for softening in (3.0, None):
        scale = Scale.fit(stamps(2), softening, unit="Jy/beam")
        assert Scale.from_dict(json.loads(json.dumps(scale.to_dict()))) == scale
    for damage in ({}, {**scale.to_dict(), "spread": 0.0}):
        with pytest.raises(UserError, match="train the model again"):
            Scale.from_dict(damage)
