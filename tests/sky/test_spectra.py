"""Wavelength scales against their defining formulas, and resampling by its laws."""

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.sky.frame import NoWCSWarning, read_frame, write_frame
from pipeline.sky.spectra import bin_edges, header_wavelength, resample

INDEX = np.arange(50)
LIGHT = 299792458e10  # angstrom a second
SCALES = {
    "linear": ({"CRVAL1": 4000.0, "CDELT1": 2.5, "CRPIX1": 3.0}, 4000 + 2.5 * (INDEX - 2)),
    "no reference pixel": ({"CRVAL1": 4000.0, "CDELT1": 2.5}, 4000 + 2.5 * INDEX),
    "CD matrix": ({"CRVAL1": 4000.0, "CD1_1": 2.5, "CDELT1": 1.0, "CRPIX1": 1.0}, 4000 + 2.5 * INDEX),
    "nanometre": ({"CRVAL1": 400.0, "CDELT1": 0.25, "CRPIX1": 1.0, "CUNIT1": "nm"}, 4000 + 2.5 * INDEX),
    "micron": ({"CRVAL1": 2.0, "CDELT1": 0.01, "CUNIT1": "um", "CTYPE1": "WAVE"}, 20000 + 100 * INDEX),
    "metre": ({"CRVAL1": 4e-7, "CDELT1": 1e-10, "CUNIT1": "m", "CTYPE1": "WAVE"}, 4000 + INDEX),
    "IRAF unit": ({"CRVAL1": 0.4, "CDELT1": 1e-4, "WAT1_001": "wtype=linear units=microns"}, 4000 + INDEX),
    "SDSS": ({"COEFF0": 3.6, "COEFF1": 1e-4}, 10 ** (3.6 + 1e-4 * INDEX)),
    "PyHammer": ({"LOGLAM0": 3.6, "DLOGLAM": 1e-4}, 10 ** (3.6 + 1e-4 * INDEX)),
    "IRAF log": ({"CRVAL1": 3.6, "CD1_1": 1e-4, "DC-FLAG": 1, "CTYPE1": "LINEAR"}, 10 ** (3.6 + 1e-4 * INDEX)),
    "LOG ctype": ({"CRVAL1": 3.6, "CDELT1": 1e-4, "CTYPE1": "LOG10LAM"}, 10 ** (3.6 + 1e-4 * INDEX)),
    "WAVE-LOG": (
        {"CRVAL1": 4000.0, "CDELT1": 1.0, "CTYPE1": "WAVE-LOG", "CUNIT1": "Angstrom"},
        4000 * np.exp(INDEX / 4000),
    ),
    "WAVE-LOG in micron": (
        {"CRVAL1": 2.2, "CDELT1": 1e-3, "CTYPE1": "WAVE-LOG", "CUNIT1": "um"},
        22000 * np.exp(INDEX * 1e-3 / 2.2),
    ),
    "AWAV-LOG": (
        {"CRVAL1": 450.0, "CDELT1": 0.1, "CRPIX1": 3.0, "CTYPE1": "AWAV-LOG", "CUNIT1": "nm"},
        4500 * np.exp((INDEX - 2) * 0.1 / 450),
    ),
    "ENER-LOG": (
        {"CRVAL1": 2.5, "CDELT1": -1e-3, "CTYPE1": "ENER-LOG", "CUNIT1": "eV"},
        12398.419843320025 / (2.5 * np.exp(-INDEX * 1e-3 / 2.5)),
    ),
    "frequency": (
        {"CRVAL1": 1.4e9, "CDELT1": -1e6, "CTYPE1": "FREQ", "CUNIT1": "Hz"},
        LIGHT / (1.4e9 - 1e6 * INDEX),
    ),
    "radio velocity": (
        {"CRVAL1": 0.0, "CDELT1": 1.0, "CTYPE1": "VRAD", "CUNIT1": "km/s", "RESTFRQ": 1.42e9},
        LIGHT / (1.42e9 * (1 - INDEX / 299792.458)),
    ),
}


@pytest.mark.parametrize("name", SCALES)
def test_scale_follows_its_formula(name, tmp_path):
    cards, expected = SCALES[name]
    np.testing.assert_allclose(header_wavelength(fits.Header(cards), len(INDEX)), expected, rtol=1e-10)
    fits.PrimaryHDU(np.sin(INDEX).astype("f4"), fits.Header(cards)).writeto(tmp_path / "a.fits")
    frame = read_frame(tmp_path / "a.fits", kind="spectrum")
    np.testing.assert_allclose(frame.wavelength, expected, rtol=1e-10)
    part = read_frame(tmp_path / "a.fits", kind="spectrum", section=(slice(5, 20),))
    np.testing.assert_allclose(part.wavelength, expected[5:20], rtol=1e-10)
    np.testing.assert_array_equal(part.data, frame.data[5:20])
    write_frame(tmp_path / "b.fits", part)
    again = read_frame(tmp_path / "b.fits", kind="spectrum")
    np.testing.assert_allclose(again.wavelength, expected[5:20], rtol=1e-10)
    np.testing.assert_array_equal(again.data, part.data)


def test_a_logarithmic_axis_about_zero_is_refused():
    header = fits.Header({"CRVAL1": 0.0, "CDELT1": 1.0, "CTYPE1": "WAVE-LOG", "CUNIT1": "um"})
    with pytest.raises(UserError, match="CRVAL1 = 0"):
        header_wavelength(header, 10)


def test_falling_wavelengths_are_flipped_with_their_flux(tmp_path):
    header = fits.Header({"CRVAL1": 5000.0, "CDELT1": -2.0})
    fits.PrimaryHDU(np.arange(20.0, dtype="f4"), header).writeto(tmp_path / "a.fits")
    frame = read_frame(tmp_path / "a.fits", kind="spectrum")
    np.testing.assert_allclose(frame.wavelength, 5000 - 2 * np.arange(20)[::-1])
    np.testing.assert_array_equal(frame.data, np.arange(20)[::-1])
    write_frame(tmp_path / "b.fits", frame)
    again = read_frame(tmp_path / "b.fits", kind="spectrum")
    np.testing.assert_array_equal(again.data, frame.data)
    np.testing.assert_array_equal(again.wavelength, frame.wavelength)


@pytest.mark.parametrize("shape", [(1, 50), (1, 1, 50), (50,)])
def test_degenerate_axes_of_a_spectrum(tmp_path, shape):
    header = fits.Header({"CRVAL1": 4000.0, "CDELT1": 1.0})
    fits.PrimaryHDU(np.ones(shape, "f4"), header).writeto(tmp_path / "a.fits")
    for kind in (None, "spectrum"):
        frame = read_frame(tmp_path / "a.fits", kind=kind)
        assert frame.data.shape == (50,)
        assert frame.wavelength[0] == 4000
    write_frame(tmp_path / "b.fits", frame)
    assert fits.getdata(tmp_path / "b.fits").shape == shape


def test_lamost_rows_are_flux_and_inverse_variance(tmp_path):
    rows = np.ones((5, 50), "f4")
    rows[0], rows[1] = np.arange(50), 4.0
    rows[1, 7] = 0.0
    header = fits.Header({"TELESCOP": "LAMOST", "COEFF0": 3.6, "COEFF1": 1e-4})
    fits.PrimaryHDU(rows, header).writeto(tmp_path / "a.fits")
    for kind in (None, "spectrum"):
        frame = read_frame(tmp_path / "a.fits", kind=kind)
        np.testing.assert_array_equal(frame.data, np.where(INDEX == 7, np.nan, INDEX))
        np.testing.assert_array_equal(frame.ivar, rows[1])
    write_frame(tmp_path / "b.fits", frame)
    again = read_frame(tmp_path / "b.fits")
    np.testing.assert_array_equal(again.data, frame.data)
    np.testing.assert_array_equal(again.ivar, frame.ivar)
    np.testing.assert_array_equal(again.wavelength, frame.wavelength)


def test_pixel_axis_only_is_a_named_warning(tmp_path):
    fits.PrimaryHDU(np.ones(30, "f4")).writeto(tmp_path / "a.fits")
    with pytest.warns(NoWCSWarning, match="no wavelength scale"):
        frame = read_frame(tmp_path / "a.fits", kind="spectrum")
    assert frame.wavelength is None
    with pytest.raises(UserError, match="no wavelength scale"):
        resample(frame.wavelength, frame.data, np.arange(3.0))


GRIDS = [np.arange(4000, 4400, 1.0), np.geomspace(4000, 4400, 300), np.cumsum(np.linspace(0.5, 2, 200)) + 4000]


@pytest.mark.parametrize("wave", GRIDS, ids=["linear", "log", "uneven"])
def test_the_same_grid_changes_nothing(wave):
    flux = np.random.default_rng(0).normal(size=len(wave)).astype(np.float32)
    np.testing.assert_allclose(resample(wave, flux, wave), flux, atol=1e-6)


@pytest.mark.parametrize("wave", GRIDS, ids=["linear", "log", "uneven"])
@pytest.mark.parametrize("step", [0.3, 1.7, 12.0])
def test_a_straight_line_stays_straight_and_a_constant_constant(wave, step):
    grid = np.arange(wave[0] + 15, wave[-1] - 15, step)
    np.testing.assert_allclose(resample(wave, np.full(len(wave), 3.0), grid), 3.0, rtol=1e-6)
    np.testing.assert_allclose(resample(wave, wave / 4000, grid), grid / 4000, rtol=2e-4)


@pytest.mark.parametrize("wave", GRIDS, ids=["linear", "log", "uneven"])
def test_coarse_bins_conserve_flux(wave):
    flux = np.random.default_rng(1).uniform(1, 2, len(wave))
    edges = np.linspace(bin_edges(wave)[0], bin_edges(wave)[-1], 21)
    grid = (edges[1:] + edges[:-1]) / 2
    total = np.sum(flux * np.diff(bin_edges(wave)))
    np.testing.assert_allclose(np.sum(resample(wave, flux, grid) * np.diff(edges)), total, rtol=1e-6)


def test_coarse_bins_equal_the_plain_mean():
    wave = np.arange(4000.0, 4100.0)
    flux = np.random.default_rng(2).normal(size=100)
    np.testing.assert_allclose(
        resample(wave, flux, wave.reshape(-1, 5).mean(1)), flux.reshape(-1, 5).mean(1), rtol=1e-5
    )


@pytest.mark.parametrize("step", [0.5, 1.0, 5.0])
def test_nan_pixels_are_ignored_and_gaps_bridged(step):
    wave = np.arange(4000.0, 4100.0)
    flux = wave / 4000
    flux[40:60] = np.nan
    grid = np.arange(4005, 4090, step)
    np.testing.assert_allclose(resample(wave, flux, grid), grid / 4000, rtol=1e-3)


@pytest.mark.parametrize("step", [0.5, 1.0, 7.0])
def test_nan_outside_the_coverage(step):
    wave = np.arange(4000.0, 4100.0)
    flux = np.ones(100)
    flux[:10] = np.nan
    grid = np.arange(3900, 4200, step)
    result = resample(wave, flux, grid)
    np.testing.assert_array_equal(np.isnan(result), (grid < 4009.5) | (grid > 4099.5))


@pytest.mark.parametrize(
    ("wave", "flux", "match"),
    [
        (np.arange(10.0), np.arange(10.0), "nothing of the grid"),
        (np.arange(4000.0, 4010), np.full(10, np.nan), "0 valid"),
        (np.arange(4000.0, 4010), np.where(np.arange(10) == 3, 1, np.nan), "1 valid"),
    ],
)
def test_what_cannot_be_resampled(wave, flux, match):
    with pytest.raises(UserError, match=match):
        resample(wave, flux, np.arange(4000.0, 4010))
