"""The texture of noise: the same noise is near, other noise is far and told."""

import warnings

import numpy as np
import pytest

from pipeline.detect.texture import _BLOCK, NoiseMismatchWarning, check_texture, texture
from pipeline.simulate.noise import distance, generate, white_beam

NARROW, WIDE = white_beam((3.5, 3.5, 0.0)), white_beam((5.0, 5.0, 0.0))


def noisy(memory, power, shape=(256, 300), seed=0):
    image = memory.image_of(shape)
    image.reader.data = generate(power, shape, np.random.default_rng(seed))
    return image


def test_the_same_noise_is_no_distance_away(memory):
    image = noisy(memory, NARROW)
    assert check_texture(image, [texture(image).to_dict()]) == pytest.approx(0, abs=1e-5)
    assert distance(texture(image), texture(image)) == 0


def test_noise_of_the_same_texture_is_not_told(memory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_texture(noisy(memory, NARROW), [NARROW.to_dict()]) < 0.05
        assert check_texture(noisy(memory, NARROW), [WIDE.to_dict(), NARROW.to_dict()]) < 0.05


def test_the_unit_of_the_image_does_not_matter(memory):
    image = noisy(memory, NARROW)
    before = texture(image)
    image.reader.data = image.reader.data * np.float32(1e-6)
    assert distance(before, texture(image)) < 1e-4
    assert texture(image).rms == pytest.approx(1e-6 * before.rms, rel=1e-4)


def test_other_noise_is_told_with_what_to_do(memory):
    with pytest.warns(NoiseMismatchWarning, match="run fleming adapt and detect with the adapted model.$") as caught:
        far = check_texture(noisy(memory, WIDE), [NARROW.to_dict(), white_beam((2.0, 2.0, 0.0)).to_dict()])
    assert far == pytest.approx(distance(texture(noisy(memory, WIDE)), NARROW))
    assert str(caught[0].message).startswith("memory: ")
    assert f"rms difference {far:.2f}" in str(caught[0].message)


def test_the_tolerance_is_the_border(memory):
    image = noisy(memory, WIDE)
    with pytest.warns(NoiseMismatchWarning):
        far = check_texture(image, [NARROW.to_dict()], 0.0)
    assert check_texture(image, [NARROW.to_dict()], far) == far


@pytest.mark.parametrize("shape", [(_BLOCK, 2 * _BLOCK + 40), (60, _BLOCK + 300), (100, 100)])
def test_images_of_all_shapes_tell_the_same_texture(memory, shape):
    assert distance(texture(noisy(memory, NARROW, shape)), NARROW) < 0.08


def test_a_model_that_knows_no_noise_is_compared_with_none(memory):
    assert check_texture(noisy(memory, NARROW), []) == 0
