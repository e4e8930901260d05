"""Noise of a cube has its texture, its rms in each channel, and no borders."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.simulate.hi_noise import NoiseStream, channel_rms, noise_cube, sdc2_rms
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import NoisePower, autocorrelation, generate, measure, white_beam

SETTINGS = HiSettings(beam_arcsec=(9.0, 6.0, 30.0))


def test_the_noise_is_that_of_sdc2():
    np.testing.assert_allclose(sdc2_rms(np.array([0.95e9, 1.05e9, 1.15e9]), 30e3) * 1e6, [26.6, 28.3, 30.1], atol=0.06)
    assert sdc2_rms(1e9, 120e3) == pytest.approx(sdc2_rms(1e9, 30e3) / 2)


@pytest.mark.parametrize("shape", [(12, 300, 280), (600, 32, 40), (40, 33, 500)])
def test_texture_and_rms(shape):
    power = white_beam(SETTINGS.beam_pixels)
    cube = noise_cube(SETTINGS, shape, np.random.default_rng(0))
    assert cube.shape == shape
    assert cube.dtype == np.float32
    assert cube.std() == pytest.approx(1, abs=0.01)
    lags = range(4)
    for dy in lags:
        for dx in lags:
            found = np.mean(cube[:, dy:, dx:] * cube[:, : shape[1] - dy, : shape[2] - dx])
            assert found == pytest.approx(power.correlation[16 + dy, 16 + dx], abs=0.02)


def test_channels_and_borders_are_independent():
    cube = noise_cube(SETTINGS, (4000, 24, 24), np.random.default_rng(1))
    assert abs(np.mean(cube[1:] * cube[:-1])) < 0.01
    opposite = np.mean(cube[:, 0] * cube[:, -1]), np.mean(cube[:, :, 0] * cube[:, :, -1])
    assert np.max(np.abs(opposite)) < 0.02
    np.testing.assert_allclose(cube.std(axis=0), 1, atol=0.06)


def test_the_same_law_as_noise_of_one_image():
    rng = np.random.default_rng(2)
    image = generate(white_beam(SETTINGS.beam_pixels, 3.0), (400, 400), rng)
    measured = measure(image)
    cube = noise_cube(measured, (4, 400, 400), rng)
    assert cube.std() == pytest.approx(3.0, rel=0.02)
    again = np.mean([autocorrelation(plane, 5) for plane in cube], axis=0)
    np.testing.assert_allclose(again, measured.correlation[11:22, 11:22], atol=0.03)


def test_rms_of_each_channel():
    rms = np.array([1.0, 5.0, 0.0], dtype=np.float32)
    cube = noise_cube(SETTINGS, (3, 256, 256), np.random.default_rng(3), rms)
    np.testing.assert_allclose(cube.std(axis=(1, 2)), rms, rtol=0.03)
    white = NoisePower(np.pad([[1.0]], 2), 2.0, 2.0)
    assert noise_cube(white, (3, 256, 256), np.random.default_rng(3)).std() == pytest.approx(2, rel=0.01)


def test_interference_spoils_a_share_of_the_channels():
    settings = HiSettings(shape=(2000, 16, 16), rfi=0.2, rfi_factor=4.0, noise=2.0)
    quiet = 2 * sdc2_rms(settings.lowest_hz + 30e3 * np.arange(2000), 30e3)
    ratio = channel_rms(settings, np.random.default_rng(0)) / quiet
    assert (ratio > 1.01).mean() == pytest.approx(0.2, abs=0.005)
    assert 1.5 < ratio.max() <= 4.001
    np.testing.assert_allclose(
        channel_rms(settings.model_copy(update={"rfi": 0.0}), np.random.default_rng(0)), quiet, rtol=1e-6
    )
    none = settings.model_copy(update={"rfi_factor": 1.0})
    np.testing.assert_allclose(channel_rms(none, np.random.default_rng(0)), quiet, rtol=1e-6)


SPECTRAL = (1.0, 0.67, 0.17)


def test_channels_are_correlated_as_asked():
    power = replace(white_beam((2.0, 2.0, 0.0)), spectral=SPECTRAL)
    stream, rng = NoiseStream(power, (64, 64)), np.random.default_rng(4)
    # In runs of any length, as if made at once.
    cube = np.concatenate([stream.take(channels, rng) for channels in (40, 3, 60, 97)])
    assert cube.shape == (200, 64, 64)
    assert cube.std() == pytest.approx(1, abs=0.02)
    for lag, wanted in enumerate((*SPECTRAL, 0.0, 0.0)):
        assert np.mean(cube[lag:] * cube[: 200 - lag]) == pytest.approx(wanted, abs=0.03)
    borders = np.array([40, 43, 103])
    assert np.mean(cube[borders] * cube[borders - 1]) == pytest.approx(SPECTRAL[1], abs=0.08)
    assert NoisePower.from_dict(power.to_dict()).spectral == SPECTRAL
