"""Matched filters: an injected template has the ratio it was given, and noise has unit variance."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.hi.matched_filter import line_widths, make_bank, matched_snr
from pipeline.simulate.noise import NoisePower, generate, white_beam

BEAM = (2.7, 2.3, 30.0)
WIDTHS = (4.0, 9.0, 20.0)
SHAPE = (160, 64, 64)


@pytest.fixture(scope="module")
def bank():
    return make_bank(BEAM, WIDTHS)


@pytest.fixture(scope="module")
def noise():
    return cube_of_noise(white_beam(BEAM), SHAPE, 1)


@pytest.fixture(scope="module")
def places():
    random = np.random.default_rng(2)
    return np.stack([random.integers(20, side - 20, 600) for side in SHAPE], axis=1).astype(float)


def cube_of_noise(power, shape, seed):
    random = np.random.default_rng(seed)
    return np.stack([generate(power, shape[1:], random) for _ in range(shape[0])])


def alone(number, **options):
    """A bank of the one template `number` of the usual one, that looks nowhere but at the centre."""
    size, width = divmod(number, len(WIDTHS))
    sizes = (0.35, 0.75, 1.5)[size : size + 1]
    return make_bank(BEAM, WIDTHS[width : width + 1], sizes, **({"reach": (0, 0, 0)} | options))


def reader(cube):
    return lambda section: cube[tuple(section)]


def inject(shape, template, centre, ratio):
    cube = np.zeros(np.array(shape) + 200, np.float32)
    low = np.array(centre, int) - np.array(template.shape) // 2 + 100
    cube[tuple(slice(a, a + side) for a, side in zip(low, template.shape, strict=True))] = ratio * template
    return cube[100:-100, 100:-100, 100:-100]


def test_an_injected_template_has_its_ratio_and_is_the_best_one(bank):
    for number in range(len(bank)):
        cube = inject(SHAPE, bank.template(number), (70, 30, 33), 8.0)
        # So little noise everywhere that nothing is blank.
        cube += np.float32(1e-6)
        found = matched_snr(reader(cube), SHAPE, np.array([[72.2, 30.4, 32.1]]), bank)
        assert found.template[0] == number
        np.testing.assert_allclose(found.snr, 8.0, rtol=1e-3)
        np.testing.assert_allclose(found.offset, [[-2.2, -0.4, 0.9]], atol=1e-9)


def test_noise_has_unit_variance_in_every_template(noise, places):
    for number in (0, 4, 8):
        found = matched_snr(reader(noise), SHAPE, places, alone(number))
        assert abs(found.snr.mean()) < 0.15
        np.testing.assert_allclose(found.snr.std(), 1.0, atol=0.09)


def test_noise_of_measured_texture_and_correlated_channels_has_unit_variance(places):
    lags = np.arange(-8, 9)
    texture = 0.7 ** np.hypot(*np.meshgrid(lags, lags)) * np.cos(0.4 * lags)[None]
    power = NoisePower(texture, 1.0, 1.0)
    cube = cube_of_noise(power, (SHAPE[0] + 2, *SHAPE[1:]), 7)
    hanning = np.array([0.25, 0.5, 0.25])
    cube = sum(part * cube[at : at + SHAPE[0]] for at, part in enumerate(hanning)) / np.sqrt((hanning**2).sum())
    spectral = np.convolve(hanning, hanning)[2:] / (hanning**2).sum()
    told = alone(4, noise=power, spectral=spectral)
    np.testing.assert_allclose(matched_snr(reader(cube), SHAPE, places, told).snr.std(), 1.0, atol=0.09)
    untold = alone(4)
    assert matched_snr(reader(cube), SHAPE, places, untold).snr.std() > 1.2


def test_the_weights_beat_the_template_itself_and_the_peak(bank):
    """The best linear filter: weights in proportion to the template lose in noise that is correlated."""
    flux_of_peak = np.outer(bank.planes.max((1, 2)), bank.profiles.max(1)).ravel()
    assert (bank.gain > flux_of_peak).all()
    assert (bank.gain > 1.03 * replace(bank, sky=bank.planes, line=bank.profiles).gain).all()


def test_white_noise_gives_the_sum_of_squares():
    """In white noise t.t is the square of the ratio of a template t."""
    white = np.zeros((5, 5))
    white[2, 2] = 1.0
    bank = make_bank(BEAM, WIDTHS, noise=NoisePower(white, 1.0, 1.0))
    for number in range(len(bank)):
        np.testing.assert_allclose((bank.template(number) ** 2).sum(), 1.0, rtol=1e-9)


def test_a_unit_flux_has_the_gain(bank):
    area = 2 * np.pi * BEAM[0] * BEAM[1] / (8 * np.log(2))
    for number, gain in enumerate(bank.gain):
        flux = bank.template(number).sum() / area
        np.testing.assert_allclose(flux * gain, 1.0, rtol=0.02)


def test_a_shifted_cube_has_shifted_ratios(bank, noise, places):
    shift = np.array([5, -7, 3])
    moved = np.roll(noise, shift, axis=(0, 1, 2))
    inner = places[((places + shift > 20) & (places + shift < np.array(SHAPE) - 20)).all(1)][:40] + 0.2
    here = matched_snr(reader(noise), SHAPE, inner, bank)
    there = matched_snr(reader(moved), SHAPE, inner + shift, bank)
    whole = (inner > np.array(bank.halo)).all(1) & (inner < np.array(SHAPE) - np.array(bank.halo)).all(1)
    assert whole.sum() > 5
    np.testing.assert_allclose(there.snr[whole], here.snr[whole], rtol=1e-4)
    np.testing.assert_allclose(there.offset[whole], here.offset[whole], atol=1e-9)


def test_the_batch_does_not_matter(bank, noise, places):
    one, many = (matched_snr(reader(noise), SHAPE, places[:30], bank, batch) for batch in (1, 16))
    np.testing.assert_allclose(one.snr, many.snr, rtol=1e-5)
    np.testing.assert_array_equal(one.template, many.template)


def test_at_edges_and_beside_blank_channels_noise_still_has_unit_variance(noise):
    random = np.random.default_rng(3)
    cube = noise.copy()
    cube[80:83] = 0
    cube[:, :, 40:] = 0
    blank, edge = ([np.full(500, 84.0), random.uniform(8, 55, 500), random.uniform(8, 30, 500)] for _ in range(2))
    edge[0], edge[2] = random.uniform(10, 60, 500), np.full(500, 38.0)
    for where in (blank, edge):
        found = matched_snr(reader(cube), SHAPE, np.stack(where, 1), alone(4))
        np.testing.assert_allclose(found.snr.std(), 1.0, atol=0.12)


def test_where_nothing_is_valid_there_is_no_ratio(bank):
    found = matched_snr(reader(np.zeros(SHAPE, np.float32)), SHAPE, np.array([[80.0, 30, 30], [-3.0, 70, 1]]), bank)
    assert found.snr.tolist() == [0, 0]
    assert found.template.tolist() == [-1, -1]
    assert np.isfinite(bank.features(found)).all()
    none = matched_snr(reader(np.zeros(SHAPE, np.float32)), SHAPE, np.zeros((0, 3)), bank)
    assert none.snr.shape == (0,)
    assert bank.features(none).shape == (0, 4)


def test_profiles_are_as_wide_at_a_fifth_of_their_peak_as_they_say():
    widths = np.array([12.0, 25.0, 60.0])
    for profile, width in zip(make_bank(BEAM, widths).profiles, widths, strict=True):
        np.testing.assert_allclose(profile.sum(), 1.0)
        fine = np.linspace(0, len(profile) - 1, 4001)
        above = fine[np.interp(fine, np.arange(len(profile)), profile) > 0.2 * profile.max()]
        np.testing.assert_allclose(above[-1] - above[0], width, rtol=0.02)


def test_line_widths_in_channels():
    """At the rest frequency a width is v / c of it."""
    rest = 1.420405752e9
    np.testing.assert_allclose(line_widths(30e3, rest, rest, [299.792458]), rest * 1e-3 / 30e3)
    np.testing.assert_allclose(line_widths(-30e3, rest / 2, rest, [299.792458]), rest * 0.25e-3 / 30e3)
    assert line_widths(1e6, rest, rest, [1.0]).tolist() == [2.0]


def test_features_tell_ratio_flux_width_and_size(bank, noise, places):
    found = matched_snr(reader(noise), SHAPE, places[:20], bank)
    ratio, flux, width, size = bank.features(found).T
    np.testing.assert_allclose(np.exp(ratio), found.snr)
    np.testing.assert_allclose(np.exp(flux) * bank.gain[found.template], found.snr)
    assert set(size) <= set(bank.sizes)
    np.testing.assert_allclose(np.exp(width), np.array(WIDTHS)[found.template % 3])


def test_a_wide_beam_is_not_too_much():
    bank = make_bank((25.0, 15.0, 0.0), (10.0,), (0.5,), reach=(1, 0, 0))
    assert max(bank.halo[1:]) <= 25
    assert np.isfinite(bank.gain).all()
