import numpy as np
import pytest

from pipeline.data.background import MAD_TO_SIGMA, measure_background
from pipeline.errors import UserError

SHAPES = {1: (200,), 2: (64, 80), 3: (16, 24, 32)}
SIDES = {1: 32, 2: 16, 3: 8}


def noise(shape, seed=0, sigma=2.0, level=5.0):
    return np.random.default_rng(seed).normal(level, sigma, shape).astype(np.float32)


def reader(frame):
    return lambda section: frame[section]


def whole(shape):
    return tuple(slice(0, size) for size in shape)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_cell_equals_the_plain_loop(ndim):
    frame = noise((41, 12, 5)[:ndim], ndim)
    frame[(1,) * ndim] = 1e6
    frame[(2,) * ndim] = np.nan
    frame[(3,) * ndim] = np.inf
    values = frame[np.isfinite(frame)].astype(np.float64)
    for _ in range(2):
        middle = np.median(values)
        values = values[np.abs(values - middle) <= 5 * np.median(np.abs(values - middle))]
    middle = np.median(values)
    expected = middle, MAD_TO_SIGMA * np.median(np.abs(values - middle))
    background = measure_background(reader(frame), frame.shape, 100)
    assert np.allclose([background.median.item(), background.rms.item()], expected, rtol=1e-12)
    median, rms = background.at(whole(frame.shape))
    assert np.all(median == np.float32(expected[0])) and np.all(rms == np.float32(expected[1]))
    assert median.dtype == rms.dtype == np.float32 and median.shape == frame.shape


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_any_cut_gives_the_same_values(ndim):
    frame = noise(SHAPES[ndim], ndim)
    background = measure_background(reader(frame), frame.shape, SIDES[ndim])
    full = background.at(whole(frame.shape))
    random = np.random.default_rng(1)
    for _ in range(5):
        corners = [np.sort(random.choice(size + 1, 2, replace=False)) for size in frame.shape]
        section = tuple(slice(int(low), int(high)) for low, high in corners)
        for part, reference in zip(background.at(section), full, strict=True):
            assert np.array_equal(part, reference[section])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_strips_of_any_length_give_the_same_mesh(ndim, monkeypatch):
    frame = noise(SHAPES[ndim], ndim)
    at_once = measure_background(reader(frame), frame.shape, SIDES[ndim])
    seen = np.zeros(frame.shape, int)

    def read(section):
        seen[section] += 1
        assert frame[section].size <= 2 * SIDES[ndim] ** ndim
        return frame[section].astype(">f8")

    monkeypatch.setattr("pipeline.data.background._PIXELS_AT_ONCE", 1)
    piecewise = measure_background(read, frame.shape, SIDES[ndim])
    assert np.all(seen == 1)
    assert np.array_equal(at_once.rms, piecewise.rms) and np.array_equal(at_once.median, piecewise.median)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_flipped_frame_has_the_flipped_background(ndim):
    side = SIDES[ndim]
    frame = noise((4 * side, 3 * side, 2 * side)[:ndim], ndim)
    frame[(slice(0, side),) * ndim] = np.nan
    for axis in range(ndim):
        flipped = np.flip(frame, axis)
        expected = measure_background(reader(frame), frame.shape, side).at(whole(frame.shape))
        result = measure_background(reader(flipped), frame.shape, side).at(whole(frame.shape))
        for one, other in zip(expected, result, strict=True):
            assert np.allclose(np.flip(one, axis), other, rtol=1e-6)


def test_follows_a_gradient_of_level_and_noise():
    rows, columns = np.indices((512, 512))
    frame = noise((512, 512), 3, 1.0, 0.0) * (1 + rows / 512) + 10 + columns / 64
    median, rms = measure_background(reader(frame), frame.shape, 64).at(whole(frame.shape))
    inner = (slice(96, -96),) * 2
    assert np.max(np.abs(median - 10 - columns / 64)[inner]) < 0.25
    assert np.max(np.abs(rms / (1 + rows / 512) - 1)[inner]) < 0.08


def test_bright_sources_do_not_raise_the_noise():
    frame = noise((256, 256), 4, 1.0, 0.0)
    clean = measure_background(reader(frame), frame.shape, 64).summary()["median_rms"]
    assert clean == pytest.approx(1, rel=0.02)
    frame[::6, ::6] += 1000
    assert measure_background(reader(frame), frame.shape, 64).summary()["median_rms"] == pytest.approx(clean, rel=0.02)
    frame[100:130, 100:130] = 1e5
    assert measure_background(reader(frame), frame.shape, 64).summary()["max_rms"] < 1.2


@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_blank_cells_are_filled_from_their_neighbours(fill):
    frame = noise((96, 96), 5)
    frame[:40, :64] = fill
    median, rms = measure_background(reader(frame), frame.shape, 16).at(whole(frame.shape))
    assert np.max(np.abs(rms - 2)) < 0.5 and np.max(np.abs(median - 5)) < 0.8


@pytest.mark.parametrize(("size", "cells"), [(7, 1), (16, 1), (23, 1), (24, 2), (32, 2), (39, 2), (40, 3)])
def test_a_rest_under_half_a_cell_joins_the_last(size, cells):
    background = measure_background(reader(noise(size)), (size,), 16)
    assert len(background.rms) == cells
    assert background.edges[0][0] == 0 and background.edges[0][-1] == size


def test_constant_frame_has_no_noise():
    frame = np.full((40, 40), 3.0, np.float32)
    median, rms = measure_background(reader(frame), frame.shape, 16).at(whole(frame.shape))
    assert np.all(median == 3) and np.all(rms == 0)


def test_frame_without_valid_pixels_is_refused():
    frame = np.full((40, 40), np.nan)
    with pytest.raises(UserError, match="image.fits: holds no valid pixels"):
        measure_background(reader(frame), frame.shape, 16, where="image.fits")
