import json

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.simulate.noise import NoisePower, autocorrelation, covariance, distance, generate, measure, white_beam

BEAM = (3.5, 2.5, 30.0)


def with_sources(noise, rng, n=300):
    """Beam-shaped sources of 5 to 500 rms at random places."""
    image = noise.copy()
    inverse = np.linalg.inv(covariance(*BEAM))
    along = np.arange(-8, 9)
    offset = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1)
    beam = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", offset, inverse, offset))
    for y, x in rng.integers(8, np.array(noise.shape) - 9, size=(n, 2)):
        image[y - 8 : y + 9, x - 8 : x + 9] += beam * noise.std() * 5 * 100 ** rng.random()
    return image.astype(np.float32)


def ringing():
    """A texture with a negative ring, as deconvolution leaves: differences of two beams."""
    inner, outer = white_beam((2.5, 2.5, 0.0)).correlation, white_beam((5.0, 4.0, 70.0)).correlation
    return NoisePower((inner - 0.3 * outer) / 0.7, 2e-6, 2e-6)


def test_white_beam_is_what_smoothed_white_noise_has():
    lags, size = 6, 64
    along = np.fft.fftfreq(size)
    frequency = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1)
    beam = covariance(*BEAM)
    response = np.exp(-2 * np.pi**2 * np.einsum("yxi,ij,yxj->yx", frequency, beam, frequency))
    product = np.fft.ifft2(response**2).real
    lag = np.arange(-lags, lags + 1)
    expected = product[np.ix_(lag, lag)] / product[0, 0]
    np.testing.assert_allclose(white_beam(BEAM, lags=lags).correlation, expected, atol=2e-4)


def test_angle_turns_from_x_towards_y():
    power = white_beam((5.0, 2.0, 0.0), lags=3)
    assert power.correlation[3, 5] > power.correlation[5, 3]
    power = white_beam((5.0, 2.0, 45.0), lags=3)
    assert power.correlation[5, 5] > power.correlation[5, 1]


@pytest.mark.parametrize("power", [white_beam(BEAM, 3e-6), ringing()], ids=["beam", "ringing"])
def test_generated_noise_has_the_asked_texture_and_rms(power):
    noise = generate(power, (700, 600), np.random.default_rng(1))
    assert noise.shape == (700, 600)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(power.rms, rel=0.02)
    found = autocorrelation(noise, 4)
    np.testing.assert_allclose(found, power.correlation[12:21, 12:21], atol=0.03)


@pytest.mark.parametrize("sources", [False, True])
def test_measure_finds_what_was_generated(sources):
    power, rng = ringing(), np.random.default_rng(2)
    image = generate(power, (800, 700), rng)
    if sources:
        image = with_sources(image, rng)
        image[:100, :50] = np.nan
    found = measure(image, 2.5)
    assert found.rms == pytest.approx(power.rms, rel=0.03)
    assert found.mad == pytest.approx(power.rms, rel=0.05)
    assert distance(found, power) < 0.02
    # The check has teeth: pixels as they are, sources among them, have another texture.
    if sources:
        raw = autocorrelation(image, 16)
        assert distance(NoisePower(raw, 1.0, 1.0), power) > 0.1


def test_measure_does_not_mind_level_and_gradient_of_the_rms():
    power = white_beam((2.5, 2.5, 0.0))
    noise = generate(power, (600, 1200), np.random.default_rng(3))
    slope = np.exp(np.linspace(0, 1.5, 1200)) * noise + np.linspace(50, 51, 1200)
    assert distance(measure(slope, 2.5), measure(noise, 2.5)) < 0.015


def test_measured_noise_survives_json():
    power = measure(generate(ringing(), (200, 200), np.random.default_rng(4)))
    back = NoisePower.from_dict(json.loads(json.dumps(power.to_dict())))
    assert (back.rms, back.mad, back.lags) == (power.rms, power.mad, 16)
    np.testing.assert_allclose(back.correlation, power.correlation, atol=1e-6)


def test_generate_is_a_function_of_the_seed_and_fits_small_shapes():
    power = white_beam((2.5, 2.5, 0.0))
    first, again, other = (generate(power, (9, 5), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_does_not_go_round_the_border():
    power = white_beam((6.0, 6.0, 0.0))
    rows = np.array([generate(power, (40, 40), np.random.default_rng(seed)) for seed in range(200)])
    assert abs(np.corrcoef(rows[:, 0].ravel(), rows[:, -1].ravel())[0, 1]) < 0.08


def test_distance_is_zero_for_itself_and_grows_with_the_beam():
    round_beam = white_beam((2.5, 2.5, 0.0))
    far = [distance(round_beam, white_beam((width, width, 0.0))) for width in (2.5, 3.0, 4.0)]
    assert far[0] == 0
    assert 0.02 < far[1] < far[2]
    with pytest.raises(ValueError, match="reaches"):
        distance(round_beam, round_beam, lags=20)


@pytest.mark.parametrize("image", [np.full((64, 64), np.nan), np.zeros((64, 64)), np.zeros((8, 8)), np.zeros(100)])
def test_measure_refuses_what_holds_no_noise(image):
    with pytest.raises(UserError, match="noise"):
        measure(image)
