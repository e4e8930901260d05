import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.populations import COLUMNS, FLAT, STAR_FORMING, STEEP, bootstrap, counts, draw, sky_area

AREA = 0.05
_HOPKINS = (0.859, 0.508, 0.376, -0.049, -0.121, 0.057, -0.008)


def drawn(seed=1, **changes):
    return draw(ContinuumSettings(**changes), AREA, changes.get("frequency", 560.0), np.random.default_rng(seed))


def hopkins(flux):
    """Sources per deg2 and dex at 560 MHz by the fit of Hopkins et al. (2003) at 1.4 GHz, spectral index -0.7."""
    scale = (1400 / 560) ** -0.7
    at = flux * scale
    log = np.log10(at / 1e-3)
    density = 10 ** sum(a * log**i for i, a in enumerate(_HOPKINS)) * at**-2.5
    return density * at * np.log(10) * (np.pi / 180) ** 2


@pytest.mark.parametrize("source_class", [STAR_FORMING, STEEP, FLAT])
def test_numbers_follow_the_counts(source_class):
    table = drawn(flux_limit=0.3)
    flux = table["flux_jy"][table["source_class"] == source_class]
    edges = np.array([1e-7, 3e-7, 1e-6, 1e-5, 1e-3])
    found = np.histogram(flux, edges)[0]
    for low, high, n in zip(edges[:-1], edges[1:], found, strict=True):
        at = np.linspace(np.log10(low), np.log10(high), 200)
        expected = np.trapezoid(counts(10**at, source_class), at) * AREA
        assert abs(n - expected) < 4 * np.sqrt(expected) + 1


def test_counts_agree_with_hopkins_where_their_fit_holds():
    flux = np.array([2e-4, 6e-4, 2e-3, 1e-2, 1e-1])
    total = sum(counts(flux, source_class) for source_class in (STAR_FORMING, STEEP, FLAT))
    np.testing.assert_allclose(total, hopkins(flux), rtol=0.25)


def test_classes_change_over_from_discs_to_active_nuclei():
    table = drawn(density=4.0)
    faint, bright = table[table["flux_jy"] < 1e-6], table[table["flux_jy"] > 3e-4]
    assert (faint["source_class"] == STAR_FORMING).mean() > 0.93
    assert (bright["source_class"] != STAR_FORMING).mean() > 0.5


def test_counts_at_another_frequency_are_those_of_the_fluxes_moved():
    flux = np.array([1e-6, 1e-4])
    np.testing.assert_allclose(counts(flux * 2.5**-0.8, STEEP, 1400.0), counts(flux, STEEP, 560.0))


def test_settings_turn_number_and_sizes():
    base, dense = len(drawn()), len(drawn(density=2.0))
    assert dense == pytest.approx(2 * base, rel=0.05)
    discs = [drawn(size_factor=factor).query("source_class == 3")["b_maj_arcsec"].median() for factor in (1.0, 3.0)]
    assert discs[1] == pytest.approx(3 * discs[0], rel=1e-6)
    fixed = drawn(size_scatter=0.0).query("source_class == 3 and flux_jy < 8e-8")["b_maj_arcsec"]
    assert fixed.max() / fixed.min() < 1.05


def test_gaussian_sizes_are_those_of_the_first_challenge():
    table = drawn(size_form="gaussian", density=4.0).query("source_class == 3")
    assert set(table["size_class"]) == {2}
    for low, high, expected in ((1.6e-7, 3.0e-7, 0.145), (3.0e-7, 6.6e-7, 0.176), (2.0e-6, 1.0e-5, 0.437)):
        part = table[table["flux_jy"].between(low, high)]
        assert part["b_maj_arcsec"].median() == pytest.approx(expected, rel=0.12)


def test_discs_have_random_inclinations():
    table = drawn().query("source_class == 3")
    ratio = table["b_min_arcsec"] / table["b_maj_arcsec"]
    np.testing.assert_allclose(np.quantile(ratio, [0.05, 0.5, 0.95]), [0.206, 0.53, 0.952], atol=0.03)
    assert np.histogram(table["pa_deg"], 6, (-90, 90))[0].std() < 4 * np.sqrt(len(table) / 6)


def test_columns_ranges_and_seed():
    table = drawn()
    assert list(table.columns) == COLUMNS
    assert table["flux_jy"].between(0.2 * 2.55e-7, 0.01).all()
    assert (table["b_maj_arcsec"] >= table["b_min_arcsec"]).all()
    assert table["core_frac"].between(0, 1).all()
    pd.testing.assert_frame_equal(table, drawn())
    assert len(drawn(seed=2)) != len(table)


def test_flux_range_that_is_empty_is_refused():
    settings = ContinuumSettings().model_copy(update={"rms": 1.0})
    with pytest.raises(UserError, match="flux_max"):
        draw(settings, AREA, 560.0, np.random.default_rng(0))


def test_bootstrap_draws_from_the_catalogue():
    catalogue, rng = drawn(), np.random.default_rng(5)
    same = bootstrap(catalogue, 3000, rng, jitter=0.0)
    known = set(zip(catalogue["flux_jy"], catalogue["b_maj_arcsec"], strict=True))
    assert set(zip(same["flux_jy"], same["b_maj_arcsec"], strict=True)) <= known
    assert same["ra_cent"].isna().all()
    moved = bootstrap(catalogue, 3000, rng, jitter=0.05)
    assert list(moved.columns) == COLUMNS
    assert not set(moved["flux_jy"]) & set(catalogue["flux_jy"])
    for name in ("flux_jy", "b_maj_arcsec"):
        logs = [np.log10(table[name]) for table in (catalogue, moved)]
        np.testing.assert_allclose(*[np.quantile(log, [0.25, 0.5, 0.75]) for log in logs], atol=0.06)
    np.testing.assert_allclose(
        np.sort(np.unique((moved["b_min_arcsec"] / moved["b_maj_arcsec"]).round(9))),
        np.intersect1d(
            (catalogue["b_min_arcsec"] / catalogue["b_maj_arcsec"]).round(9),
            (moved["b_min_arcsec"] / moved["b_maj_arcsec"]).round(9),
        ),
    )


def test_bootstrap_refuses_what_is_no_catalogue():
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="no column"):
        bootstrap(drawn().drop(columns="flux_jy"), 5, rng)
    with pytest.raises(UserError, match="positive flux"):
        bootstrap(drawn().assign(flux_jy=0.0), 5, rng)


def test_area_of_a_catalogue_across_right_ascension_zero():
    rng = np.random.default_rng(6)
    ra = rng.uniform(-0.5, 0.5, 4000) % 360
    catalogue = pd.DataFrame({"ra_cent": ra, "dec_cent": rng.uniform(-30.5, -29.5, 4000)})
    assert sky_area(catalogue) == pytest.approx(np.cos(np.radians(30)), rel=0.01)
