"""Simulated galaxies have the profile, flux, place, shape and direction that their truth says."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from pipeline.data.ingest import ingest
from pipeline.data.settings import InputSettings, SplitSettings
from pipeline.data.store import open_store
from pipeline.simulate.sersic import curve_of_growth, make_galaxies, render, simulate_galaxies
from pipeline.simulate.sersic_settings import SersicSettings

QUIET = SersicSettings(n=300, noise=False)


def single(shape=(48, 48), size=4.0, index=1.0, ratio=0.5, pa=30.0, offset=(0.0, 0.0), psf=2.5):
    centre = (np.array([shape]) - 1) / 2 + np.array([offset])
    return render(shape, centre, *(np.array([value]) for value in (size, index, ratio, pa)), psf)[0]


def moments(stamp):
    """Centre (y, x) and covariance of the light."""
    light = stamp.astype(float) / stamp.sum(dtype=float)
    y, x = np.indices(stamp.shape)
    cy, cx = (light * y).sum(), (light * x).sum()
    cross = (light * (y - cy) * (x - cx)).sum()
    return (cy, cx), np.array([[(light * (y - cy) ** 2).sum(), cross], [cross, (light * (x - cx) ** 2).sum()]])


@pytest.mark.parametrize("index, tolerance", [(0.6, 0.004), (1.0, 0.002), (2.5, 0.004), (4.7, 0.02)])
def test_the_profile_is_the_law_behind_the_psf(index, tolerance):
    """Against the law on a grid sixteen times finer, smoothed there: the difference in units of the peak."""
    fine, size, ratio, pa, psf = 16, 3.0, 0.6, 25.0, 2.5
    shape = (25, 25)
    place = (np.arange(fine * (shape[0] + 24)) - (fine * (shape[0] + 24) - 1) / 2) / fine
    y, x = np.meshgrid(place, place, indexing="ij")
    c, s = np.cos(np.radians(pa)), np.sin(np.radians(pa))
    radius = np.hypot(y * c - x * s, (y * s + x * c) / ratio) / size
    # the law in its own words: the share of the light within a radius gives its height by a difference
    step = 1e-4
    light = (curve_of_growth(index, radius + step) - curve_of_growth(index, radius)) / step
    light /= 2 * np.pi * np.maximum(radius, 1e-2) * size**2 * ratio
    smooth = gaussian_filter(light, psf / np.sqrt(8 * np.log(2)) * fine, truncate=6)
    pixels = smooth.reshape(shape[0] + 24, fine, shape[0] + 24, fine)[:, 7:9, :, 7:9].mean(axis=(1, 3))[12:-12, 12:-12]
    made = single(shape, size, index, ratio, pa, psf=psf)
    assert np.abs(made - pixels).max() < tolerance * pixels.max()


@pytest.mark.parametrize("index", [0.5, 0.83, 1.0, 2.2])
def test_all_the_light_is_there(index):
    for offset in ((0.0, 0.0), (0.37, -0.21)):
        assert single((96, 96), index=index, size=3.0, offset=offset, psf=1.5).sum() == pytest.approx(1, abs=0.005)


def test_place_direction_and_axis_ratio():
    for pa in (0.0, 20.0, 90.0, 150.0):
        centre, spread = moments(single((64, 64), 4.0, 1.0, 0.5, pa, offset=(0.3, -0.4)))
        assert centre == (pytest.approx(31.8, abs=0.01), pytest.approx(31.1, abs=0.01))
        values, vectors = np.linalg.eigh(spread - np.eye(2) * (2.5 / np.sqrt(8 * np.log(2))) ** 2)
        assert np.sqrt(values[0] / values[1]) == pytest.approx(0.5, abs=0.01)
        y, x = vectors[:, 1]
        assert np.degrees(np.arctan2(-x, y)) % 180 == pytest.approx(pa, abs=0.5) or pa == 0


def test_flux_is_the_sum_of_the_stamp_and_the_ranges_hold():
    stamps, truth = make_galaxies(QUIET, 1, 0, 300)
    assert stamps.shape == (300, 32, 32) and stamps.dtype == np.float32
    np.testing.assert_allclose(stamps.sum(axis=(1, 2), dtype=float), truth["flux"], rtol=1e-5)
    assert (truth["total_flux"] > 0.999 * truth["flux"]).all()
    for name, unit in {"flux": 1e-8, "size": 0.5, "sersic_index": 1.0, "axis_ratio": 1.0}.items():
        low, high = getattr(QUIET, name)
        assert low <= truth[name].min() / unit < 1.15 * low and high / 1.15 < truth[name].max() / unit <= high
    assert set(truth["label"]) == {"disc", "spheroid"}


def test_a_galaxy_depends_on_its_number_and_the_seed_alone():
    settings = SersicSettings(n=20)
    whole, truth = make_galaxies(settings, 7, 0, 20)
    for first, count in ((0, 1), (3, 5), (19, 1)):
        part, told = make_galaxies(settings, 7, first, count)
        np.testing.assert_allclose(part, whole[first : first + count], rtol=1e-6, atol=1e-14)
        assert told["flux"].tolist() == truth["flux"][first : first + count].tolist()
    assert not np.allclose(make_galaxies(settings, 8, 0, 1)[0], whole[0])


def test_the_noise_is_white_and_of_the_stated_rms():
    noisy, quiet = (make_galaxies(SersicSettings(rms=0.3, noise=noise), 1, 0, 100)[0] for noise in (True, False))
    noise = noisy - quiet
    assert noise.std() == pytest.approx(0.3, rel=0.01) and noise.mean() == pytest.approx(0, abs=0.005)
    assert np.mean(noise[:, 1:] * noise[:, :-1]) == pytest.approx(0, abs=0.003 * 0.3)


@pytest.mark.parametrize("unit", ["Jy", "Jy/beam"])
def test_the_files_are_read_by_the_ingest_with_their_units(tmp_path, unit):
    settings = SersicSettings(n=130, unit=unit, shape=(12, 10), size=(1.2, 2.0), noise=False)
    seen = []
    simulate_galaxies(settings, tmp_path, seed=5, progress=seen.append)
    assert seen == [128, 130]
    table = Table.read(tmp_path / "manifest.csv", format="ascii.ecsv")
    assert table.colnames[:5] == ["path", "row", "id", "label", "group"] and str(table["flux"].unit) == "Jy"
    header = fits.getheader(tmp_path / "samples.fits")
    assert (header["BUNIT"], header["SEED"], header["PSFFWHM"]) == (unit, 5, 1.25)
    read = InputSettings(manifest=str(tmp_path / "manifest.csv"), kind="image")
    ingest(read, "label", None, SplitSettings(), 1, tmp_path / "d.h5", columns=["flux", "size", "axis_ratio"])
    with open_store(tmp_path / "d.h5") as store:
        assert store.shape == (1, 12, 10) and store.classes == ["disc", "spheroid"]
        assert store.column_units == {"flux": "Jy", "size": "arcsec", "axis_ratio": ""}
        area = np.pi * 2.5**2 / (4 * np.log(2)) if unit == "Jy/beam" else 1.0
        sums = store.read().sum(axis=(1, 2, 3), dtype=float) / area
        np.testing.assert_allclose(store.columns["flux"], sums, rtol=1e-4)
        whole, _ = make_galaxies(settings, 5, 0, 130)
        np.testing.assert_allclose(store.read()[:, 0], whole, rtol=1e-6)


def test_wrong_settings_are_refused():
    for wrong in ({"flux": (5, 1)}, {"sersic_index": (0.4, 2)}, {"axis_ratio": (0.5, 1.1)}, {"psf": 1.0}, {"n": 1}):
        with pytest.raises(ValidationError):
            SersicSettings(**wrong)
