import numpy as np
import pytest
from astropy.wcs import WCS

from pipeline.data.geometry import block_average, centre_offsets, shifted_wcs, window


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_cutting_then_padding_back_keeps_the_middle(ndim):
    rng = np.random.default_rng(ndim)
    shape, small = (9, 8, 7)[:ndim], (5, 4, 6)[:ndim]
    data = rng.normal(size=(2, *shape))
    offsets = centre_offsets(shape, small)
    cut = window(data, offsets, small, np.nan)
    back = window(cut, tuple(-o for o in offsets), shape, np.nan)
    assert cut.shape == (2, *small)
    assert np.isfinite(back).sum() == cut.size
    np.testing.assert_array_equal(back[np.isfinite(back)], data[np.isfinite(back)])


def test_a_window_outside_the_data_is_all_fill():
    assert np.isnan(window(np.ones((4, 4)), (10, -9), (3, 3), np.nan)).all()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_block_average_is_the_loop(ndim):
    rng = np.random.default_rng(ndim)
    bins = (2, 3, 4)[:ndim]
    data = rng.normal(size=(2, *(b * 3 for b in bins))).astype(np.float32)
    data[rng.random(data.shape) < 0.3] = np.nan
    data[(0, *(slice(0, b) for b in bins))] = np.nan
    out = block_average(data, bins)
    assert out.shape == (2, *(3,) * ndim) and out.dtype == np.float32
    for index in np.ndindex(out.shape):
        block = data[(index[0], *(slice(k * b, k * b + b) for k, b in zip(index[1:], bins, strict=True)))]
        good = block[np.isfinite(block)]
        assert np.isnan(out[index]) if not good.size else np.isclose(out[index], good.mean(), atol=1e-6)


def test_bytes_stay_bytes():
    data = np.array([[0, 1, 255, 254], [1, 1, 255, 255]], dtype=np.uint8)
    out = block_average(data, (2, 2))
    assert out.dtype == np.uint8
    assert out.tolist() == [[1, 255]]


@pytest.mark.parametrize("bins", [(1, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("cd", [False, True])
def test_positions_survive_cutting_and_averaging(bins, cd):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [20.0, 30.0]
    if cd:
        wcs.wcs.cd = [[-1e-3, 2e-4], [2e-4, 1e-3]]
    else:
        wcs.wcs.cdelt = [-1e-3, 1e-3]
        wcs.wcs.pc = [[0.8, -0.6], [0.6, 0.8]]
    offsets = (7, -3)
    moved = shifted_wcs(wcs, offsets, bins)
    # The centre of block (y, x) in the old pixels, counted from 0.
    block = np.array([4, 5])
    old = np.array(offsets) + block * bins + (np.array(bins) - 1) / 2
    np.testing.assert_allclose(
        moved.wcs_pix2world([block[::-1]], 0), wcs.wcs_pix2world([old[::-1]], 0), rtol=0, atol=1e-9
    )
