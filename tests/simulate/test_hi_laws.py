"""The galaxies follow the laws, and are together those of SDC2."""

import numpy as np
import pytest

from pipeline.simulate import hi_laws
from pipeline.simulate.hi import galaxies
from pipeline.simulate.hi_settings import REST_HZ, HiSettings

BAND = (0.95e9, 1.15e9)
PLAIN = HiSettings(size_factor=1.0, size_scatter=0.0, mass_evolution=0.0)


def test_the_number_of_galaxies_is_that_of_sdc2():
    assert hi_laws.expected_count(HiSettings(), 20.0, BAND) == pytest.approx(233245)
    assert hi_laws.expected_count(HiSettings(density=3), 2.0, BAND) == pytest.approx(3 * 23324.5)


def test_parts_of_the_band_add_up():
    parts = [hi_laws.expected_count(HiSettings(), 1.0, band) for band in ((0.95e9, 1.02e9), (1.02e9, 1.15e9))]
    assert sum(parts) == pytest.approx(hi_laws.expected_count(HiSettings(), 1.0, BAND), rel=3e-3)


def test_the_mass_function_alone_gives_the_density_of_sdc2():
    """No free number: Jones et al. (2018) above 1.4 Jy Hz, against 233,245 galaxies in 20 deg2."""
    assert hi_laws._number(BAND, 1.4, 0.0) == pytest.approx(233245 / 20, rel=0.03)


def test_the_truth_looks_like_that_of_sdc2():
    """Medians and ranges of the 2,684 galaxies of the development truth (their least flux is 1.40)."""
    settings = HiSettings(shape=(6668, 643, 643), lowest_hz=0.95e9)
    rows = galaxies(settings, np.random.default_rng(0), 2684)
    assert np.median(rows["line_flux_integral"]) == pytest.approx(5.5, rel=0.1)
    assert np.median(rows["hi_size"]) == pytest.approx(5.1, rel=0.1)
    assert np.median(rows["w20"]) == pytest.approx(222, rel=0.07)
    assert rows["line_flux_integral"].min() >= 1.4
    assert 150 < rows["line_flux_integral"].max() < 1500
    assert 0.7 < rows["hi_size"].min() < 1.6
    assert 25 < rows["hi_size"].max() < 90
    assert 25 < rows["w20"].min() < 50
    assert 500 < rows["w20"].max() < 1100


def test_fluxes_are_counted_as_the_laws_say():
    settings, n = HiSettings(), 20000
    frequency, mass = hi_laws.draw_masses(settings, BAND, n, np.random.default_rng(1))
    flux = hi_laws.line_flux(mass, frequency)
    assert np.all((frequency > BAND[0]) & (frequency < BAND[1]))
    for limit in (3.0, 10.0, 50.0):
        share = hi_laws._number(BAND, limit, 0.4) / hi_laws._number(BAND, 1.4, 0.4)
        assert (flux > limit).mean() == pytest.approx(share, abs=5 * np.sqrt(share / n))
    nearer = hi_laws._number((1.05e9, 1.15e9), 1.4, 0.4) / hi_laws._number(BAND, 1.4, 0.4)
    assert (frequency > 1.05e9).mean() == pytest.approx(nearer, abs=0.02)


def test_flux_and_size_in_closed_form():
    """At z = 0.3 with H0 = 67, Om = 0.32, whose distance is integrated here."""
    z = np.linspace(0, 0.3, 10001)
    luminosity = 1.3 * 299792.458 / 67 * np.trapezoid(1 / np.sqrt(0.32 * (1 + z) ** 3 + 0.68), z)
    frequency = np.array([REST_HZ / 1.3])
    mass = np.array([1e9])
    distance = np.sqrt(mass / (49.8 * hi_laws.line_flux(mass, frequency)))
    assert distance == pytest.approx(luminosity, rel=1e-4)
    size = hi_laws.hi_size(PLAIN, mass, frequency, np.random.default_rng(0))
    kpc = 10 ** (0.506 * 9 - 3.293)
    assert size == pytest.approx(np.degrees(kpc / (1e3 * luminosity / 1.3**2)) * 3600, rel=1e-4)


def test_channels_are_as_wide_as_the_scorer_says():
    width = hi_laws.channel_width_km_s(1.05e9, 30e3)
    assert width * 1e3 * 1.05e9**2 / (299792458.0 * REST_HZ) == pytest.approx(30e3)


def test_a_line_without_rotation_is_as_wide_as_turbulence():
    assert hi_laws.width_ratio(np.array([0.0]), np.array([0.1])) == pytest.approx(2 * np.sqrt(2 * np.log(5)), rel=0.02)
    assert hi_laws.rotation_ratio(3.0, 0.1) == 0.0


@pytest.mark.parametrize("rise", [0.03, 0.12, 0.4])
@pytest.mark.parametrize("rotation", [1.5, 8.0, 40.0, 90.0])
def test_rotation_and_width_are_inverse(rotation, rise):
    width = float(hi_laws.width_ratio(np.array([rotation]), np.array([rise]))[0])
    assert hi_laws.rotation_ratio(width, rise) == pytest.approx(rotation, rel=0.03)


def test_the_width_of_a_gaussian():
    velocity = np.arange(-50, 51.0)
    width, middle = hi_laws.spectrum_width(velocity, np.exp(-0.5 * ((velocity - 3.3) / 6) ** 2))
    assert width == pytest.approx(12 * np.sqrt(2 * np.log(5)), rel=2e-3)
    assert middle == pytest.approx(3.3, abs=0.01)


def test_faster_galaxies_are_heavier_and_edge_on():
    settings = HiSettings(velocity_scatter=0.0)
    rng = np.random.default_rng(0)
    edge = np.median(hi_laws.line_width(settings, np.full(200, 1e10), np.full(200, 90.0), rng))
    giant = np.median(hi_laws.line_width(settings, np.full(200, 1e12), np.full(200, 90.0), rng))
    face = np.median(hi_laws.line_width(settings, np.full(200, 1e10), np.zeros(200), rng))
    assert giant / edge == pytest.approx(100**0.25, rel=0.08)
    assert face == pytest.approx(36, rel=0.05)
    assert edge == pytest.approx(2 * 118 * 10**0.25, rel=0.12)


def test_a_disc_has_the_gas_of_its_profile():
    share = (np.arange(20000) + 0.5) / 20000
    radius = hi_laws.radii(share)
    assert np.sqrt(np.mean(radius**2) / 2) == pytest.approx(hi_laws.rms_radius(), rel=0.01)
    counts, edges = np.histogram(radius, 20, (0.1, 1.5))
    middle = (edges[1:] + edges[:-1]) / 2
    expected = hi_laws.surface_density(middle) * middle
    np.testing.assert_allclose(counts / counts.sum(), expected / expected.sum(), rtol=0.03)
