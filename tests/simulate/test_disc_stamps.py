"""Stamps of rotating discs have the flux, place and width that their truth says, as cubes and as line profiles."""

import numpy as np
import pytest

from pipeline.data.ingest import ingest
from pipeline.data.settings import InputSettings, SplitSettings
from pipeline.data.store import open_store
from pipeline.simulate.disc_settings import DiscSettings
from pipeline.simulate.disc_stamps import make_disc, simulate_discs
from pipeline.simulate.hi_laws import channel_width_km_s, spectrum_width

CUBE = {"shape": (24, 20, 20), "size": (3.0, 6.0)}
LINE = {"shape": (64,), "channel_hz": 30e3}


@pytest.mark.parametrize("given", [CUBE, LINE], ids=["cube", "line"])
def test_flux_and_snr_are_those_of_the_pixels(given):
    settings = DiscSettings(**given, noise=False)
    area = np.pi * settings.beam**2 / (4 * np.log(2)) if len(settings.shape) == 3 else 1.0
    for number in range(4):
        pixels, truth = make_disc(settings, 2, number)
        assert pixels.shape == settings.shape and pixels.dtype == np.float32
        assert pixels.sum(dtype=float) * settings.channel_hz / area == pytest.approx(truth["flux"], rel=1e-5)
        assert np.sqrt(np.sum(pixels.astype(float) ** 2)) / settings.rms == pytest.approx(truth["snr"], rel=1e-5)
        centre = [np.sum(pixels * along) / pixels.sum() for along in np.indices(pixels.shape, sparse=True)]
        assert np.abs(np.array(centre) - np.array(settings.shape) / 2).max() < 1.6


@pytest.mark.parametrize("given", [CUBE, LINE], ids=["cube", "line"])
def test_the_line_is_as_wide_as_its_truth(given):
    settings = DiscSettings(**given, noise=False, width=(0.3, 0.6))
    step = float(channel_width_km_s(1.3e9, settings.channel_hz))
    for number in range(4):
        pixels, truth = make_disc(settings, 3, number)
        spectrum = pixels.reshape(len(pixels), -1).sum(axis=1, dtype=float)
        width, _ = spectrum_width(step * np.arange(len(spectrum)), spectrum)
        assert width == pytest.approx(truth["w20"], abs=2 * step)


@pytest.mark.parametrize("given", [CUBE, LINE], ids=["cube", "line"])
def test_the_noise_has_the_stated_rms(given):
    noisy, quiet = (make_disc(DiscSettings(**given, noise=noise, rms=0.5), 1, 0)[0] for noise in (True, False))
    assert (noisy - quiet).std() == pytest.approx(0.5, rel=0.1 if len(given["shape"]) == 3 else 0.3)


@pytest.mark.parametrize("given", [CUBE, LINE], ids=["cube", "line"])
def test_the_files_are_read_by_the_ingest(tmp_path, given):
    settings = DiscSettings(n=12, inclination=(40, 80), **given)
    simulate_discs(settings, tmp_path, seed=4)
    kind = {"kind": "cube"} if len(settings.shape) == 3 else {"kind": "spectrum", "grid": (1, 65, 1)}
    read = InputSettings(manifest=str(tmp_path / "manifest.csv"), **kind)
    ingest(read, None, None, SplitSettings(), 1, tmp_path / "d.h5", columns=["flux", "w20"])
    with open_store(tmp_path / "d.h5") as store:
        assert store.shape == (1, *settings.shape) and store.unit == ("Jy / beam" if len(settings.shape) == 3 else "Jy")
        assert store.column_units == {"flux": "Hz Jy", "w20": "km / s"}
        np.testing.assert_allclose(store.read([7])[0, 0], make_disc(settings, 4, 7)[0], rtol=1e-5, atol=1e-12)
        assert store.columns["flux"][7] == pytest.approx(make_disc(settings, 4, 7)[1]["flux"], rel=1e-5)
