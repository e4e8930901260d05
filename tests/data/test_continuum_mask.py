"""Bright continuum is left out of a cube, on whatever pixels and in whatever unit it comes."""

import numpy as np
import pytest
from astropy.io import fits

from pipeline.data.continuum_mask import MaskedReader, continuum_mask
from pipeline.errors import UserError
from pipeline.sky.cube import CubeReader
from pipeline.sky.headers import NoWCSWarning

SHAPE = (6, 40, 50)


def header(step=1e-3, centre=(25.5, 20.5), channels=False, **changes):
    cards = {"BUNIT": "Jy/beam", "BMAJ": 3e-3, "BMIN": 3e-3, "BPA": 0.0, "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}
    cards |= {"CRVAL1": 180.0, "CRVAL2": -30.0, "CDELT1": -step, "CDELT2": step}
    cards |= {"CRPIX1": centre[0], "CRPIX2": centre[1], "CUNIT1": "deg", "CUNIT2": "deg"}
    if channels:
        cards |= {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": -1e5, "CRPIX3": 1.0, "CUNIT3": "Hz", "RESTFRQ": 1.42e9}
    return fits.Header({key: value for key, value in (cards | changes).items() if value is not None})


def store(path, data, cards):
    fits.PrimaryHDU(np.asarray(data, "f4"), cards).writeto(path)
    return path


@pytest.fixture
def cube(tmp_path):
    data = np.random.default_rng(0).normal(size=SHAPE)
    return CubeReader(store(tmp_path / "cube.fits", data, header(channels=True)))


def spots(shape=SHAPE[1:]):
    image = np.zeros(shape)
    image[7, 11], image[30, 40], image[20, 20] = 2.0, 0.5, np.nan
    return image


def test_an_image_on_the_same_pixels(tmp_path, cube):
    expected = np.zeros(SHAPE[1:], bool)
    expected[7, 11] = True
    plain = store(tmp_path / "a.fits", spots(), header())
    np.testing.assert_array_equal(continuum_mask(plain, cube, 1.0), expected)
    milli = store(tmp_path / "b.fits", 1e3 * spots()[None, None], header(BUNIT="mJy/beam", BMAJ=None, BMIN=None))
    np.testing.assert_array_equal(continuum_mask(milli, cube, 1.0), expected)
    expected[30, 40] = True
    np.testing.assert_array_equal(continuum_mask(plain, cube, 0.4), expected)
    assert not continuum_mask(plain, cube, 3.0).any()


def test_any_channel_of_a_cube_counts(tmp_path, cube):
    data = np.zeros((3, *SHAPE[1:]))
    data[0, 4, 5], data[2, 6, 7] = 2.0, 2.0
    mask = continuum_mask(store(tmp_path / "a.fits", data, header(channels=True, RESTFRQ=1e9)), cube, 1.0)
    assert np.argwhere(mask).tolist() == [[4, 5], [6, 7]]


def test_other_pixels_are_found_by_their_coordinates(tmp_path, cube):
    shifted = np.zeros((30, 30))
    shifted[12, 13] = 2.0  # three right of and two above pixel (10, 10) of the cube
    path = store(tmp_path / "a.fits", shifted, header(centre=(25.5 + 3, 20.5 + 2)))
    assert np.argwhere(continuum_mask(path, cube, 1.0)).tolist() == [[10, 10]]
    fine = np.zeros((120, 150))
    fine[31, 91] = 2.0  # a sixth of a pixel off the middle of (10, 30), on none of the fine pixels nearest to a middle
    path = store(tmp_path / "b.fits", fine, header(step=1e-3 / 3, centre=(76.0, 61.0)))
    mask = continuum_mask(path, cube, 1.0)
    assert mask[10, 30] and mask.sum() <= 4
    coarse = np.zeros((20, 25))
    coarse[5, 15] = 2.0
    path = store(tmp_path / "c.fits", coarse, header(step=2e-3, centre=(13.0, 10.5)))
    assert continuum_mask(path, cube, 1.0).sum() == pytest.approx(4, abs=2)


def test_without_coordinates_the_pixels_must_be_the_same(tmp_path, cube):
    cards = header(CTYPE1=None, CTYPE2=None)
    with pytest.raises(UserError, match="30 x 30 pixels and no coordinates"):
        continuum_mask(store(tmp_path / "a.fits", np.zeros((30, 30)), cards), cube, 1.0)
    assert continuum_mask(store(tmp_path / "b.fits", spots(), cards), cube, 1.0).sum() == 1
    with pytest.warns(NoWCSWarning):
        bare = CubeReader(store(tmp_path / "c.fits", np.ones(SHAPE), header(channels=True, CTYPE1="A", CTYPE2="B")))
    assert continuum_mask(tmp_path / "b.fits", bare, 1.0).sum() == 1


def test_a_blank_continuum_is_refused(tmp_path, cube):
    with pytest.raises(UserError, match="no valid pixel"):
        continuum_mask(store(tmp_path / "a.fits", np.full(SHAPE[1:], np.nan), header()), cube, 1.0)


def test_a_masked_reader_blanks_and_is_the_reader_otherwise(cube):
    mask = np.random.default_rng(1).random(SHAPE[1:]) < 0.3
    with MaskedReader(cube, mask) as masked:
        assert masked.shape == cube.shape and masked.beam == cube.beam and masked.path == cube.path
        for section in ((slice(None),) * 3, (slice(1, 4), slice(8, 30), slice(5, 6))):
            expected = np.where(mask[section[1:]], np.nan, cube.read(section))
            np.testing.assert_array_equal(masked.read(section), expected)
        np.testing.assert_array_equal(
            masked.from_sky(*masked.to_sky(1.0, 2.0, 3.0)), cube.from_sky(*cube.to_sky(1, 2, 3))
        )
    with pytest.raises(ValueError, match="does not fit"):
        MaskedReader(cube, mask[1:])
    with pytest.raises(ValueError, match="closed"):
        cube.read((slice(None),) * 3)
