"""Spellings of brightness units, and conversions against the formula written out independently."""

from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.sky.units import brightness_unit, convert, unit_text

BEAM = SimpleNamespace(major=10 / 3600, minor=5 / 3600)
FLUX_DENSITY = u.erg / u.s / u.cm**2 / u.AA


SPELLINGS = {
    u.Jy / u.beam: ["JY/BEAM", "Jy/beam", "Jy beam-1", "beam-1 Jy", "Jy/bm", "[Jy/beam]", "JY BEAM^-1"],
    u.mJy / u.beam: ["mJy/beam", "mJy beam-1", "mJy/BEAM"],
    u.K: ["K", "K (Tmb)", "KELVIN"],
    u.MJy / u.sr: ["MJy/sr", "MJY/SR"],
    u.Jy / u.beam * u.km / u.s: ["Jy/beam km/s", "Jy/beam.km/s", "JY/BEAM*KM/S", "Jy beam-1 km s-1"],
    FLUX_DENSITY: ["erg/s/cm2/A", "erg cm-2 s-1 A-1", "ergs/cm**2/s/A", "erg/s/cm^2/Angstrom"],
    1e-17 * FLUX_DENSITY: ["10^-17 erg/s/cm2/A", "1E-17 erg/cm^2/s/Ang", "10**-17 erg/s/cm2/A"],
    u.ct / u.s: ["counts/s", "COUNTS/S", "ct/s"],
    u.adu: ["ADU", "adu"],
    u.electron / u.s: ["e-/s", "ELECTRONS/S"],
    u.nmgy: ["nanomaggies", "nanomaggy"],
    u.dimensionless_unscaled: ["none", "normalized"],
}


@pytest.mark.parametrize(("text", "unit"), [(text, unit) for unit, texts in SPELLINGS.items() for text in texts])
def test_spellings(text, unit):
    found = brightness_unit(text)
    assert found.is_equivalent(unit)
    assert found.to(unit) == pytest.approx(1.0)


@pytest.mark.parametrize("unit", [*list(SPELLINGS)[:-1], u.DN, 2.5 * u.Jy], ids=str)
def test_written_units_are_read_again(unit):
    assert brightness_unit(unit_text(u.Unit(unit))).to(unit) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["parsnip", "42", "Jy//beam", "MJY/BEAM", "Jy/", "???", "not a unit at all"])
def test_what_is_no_unit(text):
    with pytest.raises(UserError, match="field.fits"):
        brightness_unit(text, "field.fits")


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_kelvin_by_the_rayleigh_jeans_law(ndim):
    data = np.random.default_rng(0).normal(size=(4,) * ndim).astype("f4")
    frequency = np.linspace(1e9, 2e9, 4)
    area = np.pi * np.radians(BEAM.major) * np.radians(BEAM.minor) / (4 * np.log(2))
    factor = 1e-26 * 299792458.0**2 / (2 * 1.380649e-23 * frequency**2 * area)
    kelvin = convert(data, "Jy/beam", "K", BEAM, frequency)
    np.testing.assert_allclose(kelvin, data * factor.reshape((4,) + (1,) * (ndim - 1)), rtol=1e-5)
    assert kelvin.dtype == data.dtype
    np.testing.assert_allclose(convert(kelvin, "K", "Jy/beam", BEAM, frequency), data, rtol=1e-5)
    np.testing.assert_allclose(
        convert(data, "Jy/beam", "K", BEAM, frequency[2])[2],
        convert(data, "Jy/beam", "K", BEAM, frequency)[2],
        rtol=1e-6,
    )


def test_surface_brightness_by_the_beam_area():
    area = np.pi * np.radians(BEAM.major) * np.radians(BEAM.minor) / (4 * np.log(2))
    np.testing.assert_allclose(convert(np.ones(2), "Jy/beam", "MJy/sr", BEAM), 1e-6 / area, rtol=1e-9)


@pytest.mark.parametrize(
    ("unit", "target", "beam", "frequency", "match"),
    [
        (None, "Jy/beam", BEAM, 1e9, "no unit"),
        ("Jy/beam", "K", None, 1e9, "without a beam"),
        ("Jy/beam", "K", BEAM, None, "without a frequency"),
        ("Jy/beam", "MJy/sr", None, None, "without a beam"),
        ("Jy/beam", "s", BEAM, 1e9, "do not measure the same"),
        ("ADU", "Jy/beam", BEAM, 1e9, "do not measure the same"),
    ],
)
def test_refusals_say_why(unit, target, beam, frequency, match):
    with pytest.raises(UserError, match=match):
        convert(np.ones(3), unit, target, beam, frequency, "a.fits")
