"""The correlation of a cube's noise along frequency is measured, and told where a model has not learnt it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from pipeline.detect.texture import NoiseMismatchWarning
from pipeline.hi.texture import check_texture, cube_texture, spectral_correlation
from pipeline.simulate.hi_noise import noise_cube
from pipeline.simulate.noise import white_beam

SHAPE, RMS = (96, 70, 72), 3e-5
BEAM = (8 / 2.8, 7 / 2.8, 110.0)
HANNING = (1.0, 2 / 3, 1 / 6)


@pytest.fixture
def noise(standin):
    return standin.Noise([RMS] * SHAPE[0])


@pytest.fixture
def cube(standin):
    def made(spectral, seed=1):
        power = replace(white_beam(BEAM), spectral=spectral)
        return standin.Cube(SHAPE, data=noise_cube(power, SHAPE, np.random.default_rng(seed), RMS))

    return made


@pytest.mark.parametrize("spectral", [(1.0,), HANNING])
def test_what_was_put_in_is_measured(cube, noise, spectral):
    found = spectral_correlation(cube(spectral), noise)
    assert len(found) == len(spectral)
    np.testing.assert_allclose(found, spectral, atol=0.06)


def test_a_galaxy_and_continuum_are_no_noise(cube, noise):
    seen = cube(HANNING)
    seen.data[:, 30:36, 30:36] += 50 * RMS
    seen.data += (0.5 * RMS * np.random.default_rng(2).normal(size=SHAPE[1:])).astype("f4")
    found = spectral_correlation(seen, noise)
    np.testing.assert_allclose(np.pad(found, (0, 4))[:3], HANNING, atol=0.06)
    assert len(found) <= 4


def test_a_model_that_has_not_learnt_it_is_warned_of(cube, noise):
    smooth, plain = cube(HANNING), cube((1.0,))
    trained = {"noise": cube_texture(plain, noise).to_dict()}
    with pytest.warns(NoiseMismatchWarning, match="along frequency .* at 1 and 2 channels 0.6"):
        check_texture(smooth, noise, trained)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_texture(cube((1.0,), 5), noise, trained)
        check_texture(cube(HANNING, 5), noise, {"noise": cube_texture(smooth, noise).to_dict()})
