"""Power spectra of what has a known one."""

import numpy as np
import pytest

from pipeline.generate.power_spectrum import decades, power_spectra


@pytest.mark.parametrize("axes", [(256,), (31,), (32, 32), (16, 21), (12, 12, 12), (8, 9, 10)])
def test_white_noise_is_flat_for_any_number_of_axes(axes):
    noise = np.random.default_rng(0).normal(0, 3, (max(20, 20000 // int(np.prod(axes))), 2, *axes))
    frequency, power = power_spectra(noise)
    assert frequency.shape == power.shape[1:] == (min(axes) // 2,)
    assert frequency[0] > 0 and frequency[-1] < 0.5
    np.testing.assert_allclose(power.mean(axis=0), 9, rtol=0.25)
    assert power.mean() == pytest.approx(9, rel=0.05)


@pytest.mark.parametrize("direction", [(0, 1), (1, 0)])
def test_a_wave_is_in_its_own_bin_whatever_its_direction(direction):
    y, x = np.mgrid[:32, :32]
    wave = np.cos(2 * np.pi * 5 / 32 * (direction[0] * y + direction[1] * x))
    frequency, power = power_spectra(wave[None, None])
    assert power[0].argmax() == np.abs(frequency - (5 - 0.5) / 32).argmin()
    assert power[0].max() > 1e6 * np.sort(power[0])[-2]


def test_the_spectrum_ignores_the_mean_and_what_is_not_a_number():
    stamps = np.random.default_rng(1).normal(size=(3, 1, 16, 16))
    power = power_spectra(stamps)[1]
    np.testing.assert_allclose(power_spectra(stamps + 50)[1], power, rtol=1e-9)
    np.testing.assert_allclose(power_spectra(np.rot90(stamps, 1, (2, 3)))[1], power, rtol=1e-9)
    holes = stamps.copy()
    holes[0, 0, 3, 3], stamps[0, 0, 3, 3] = np.nan, 0
    np.testing.assert_array_equal(power_spectra(holes)[1], power_spectra(stamps)[1])


def test_decades_are_counted_either_way():
    power = np.array([3.0, 2, 1, 0])
    assert decades(power, power) == 0
    assert decades(10 * power, power) == decades(power, 10 * power) == pytest.approx(1)
    assert decades(power * [10, 0.1, 1, 1], power) == pytest.approx(2 / 3)
    assert np.isnan(decades(power, 0 * power))
