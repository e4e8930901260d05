"""Simulated practice: what is drawn is what the truth says, and what is drawn again is like what it came from."""

import numpy as np
import pytest

from pipeline.detect.practice import Practice, practise, truth_table, varied
from pipeline.detect.texture import texture
from pipeline.detect.truth import response
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.noise import distance, white_beam

BRIGHT = ContinuumSettings(shape=(192, 224), density=5.0, flux_limit=15.0, size_factor=0.1)


@pytest.mark.parametrize("primary_beam", [None, 0.02])
def test_the_fluxes_to_learn_are_true_ones_and_the_signal_what_is_seen_of_them(primary_beam):
    for attenuation in (1.0, 0.5):
        told = BRIGHT.model_copy(update={"attenuation": attenuation, "primary_beam": primary_beam})
        area = practise(Practice(told), 4)
        image, objects = area.image, area.image.objects(area.truth)
        assert image.response == attenuation
        beam = image.attenuation_at(area.truth["ra_cent"].to_numpy(), area.truth["dec_cent"].to_numpy())
        assert (beam.max() < 1) == (primary_beam is not None)
        inside = np.isfinite(beam)
        shown = np.exp(objects.values[:, 0]) * image.rms_at(objects.centre)
        np.testing.assert_allclose(shown[inside], (area.truth["flux"] * beam)[inside], rtol=1e-6)
        # What is measured beside the truth is what was drawn, and is already in the signal-to-noise ratio.
        assert response(image, area.truth) == pytest.approx(1.0, abs=0.1)
        image.response = 1.0
        assert response(image, area.truth) == pytest.approx(attenuation, rel=0.1)


def test_the_whole_image_is_labelled_and_the_same_seed_gives_it_again():
    one, again, other = (practise(Practice(BRIGHT), seed) for seed in (1, 1, 2))
    assert one.section == (slice(0, 192), slice(0, 224))
    assert one.image.path
    np.testing.assert_array_equal(one.image.reader.data, again.image.reader.data)
    assert one.truth.equals(again.truth)
    assert not np.array_equal(one.image.reader.data, other.image.reader.data)


def test_a_truth_table_in_a_section_is_what_a_simulation_draws_again():
    area = practise(Practice(BRIGHT), 1)
    section = (slice(40, 150), slice(10, 200))
    table = truth_table(area.truth, area.image, section)
    centre = area.image.objects(area.truth).centre
    inside = ((centre >= [39.5, 9.5]) & (centre < [149.5, 199.5])).all(1)
    assert 0 < len(table) == inside.sum() < len(area.truth)
    np.testing.assert_array_equal(table["flux_jy"], area.truth["flux"][inside])
    drawn = practise(Practice(BRIGHT.model_copy(update={"density": 1.0})), 2, table)
    per_pixel = len(table) / (110 * 190)
    assert len(drawn.truth) / (192 * 224) == pytest.approx(per_pixel, rel=0.25)
    assert np.median(drawn.truth["flux"]) == pytest.approx(np.median(table["flux_jy"]), rel=0.25)


def test_surveys_vary_and_are_all_possible():
    drawn = [varied(seed, 64) for seed in range(60)]
    assert all(practice.settings.shape == (64, 64) for practice in drawn)
    assert varied(3, 64).settings == drawn[3].settings
    deep = [practice for practice in drawn if practice.noise is None]
    assert 0.4 < len(deep) / 60 < 0.8
    beams = np.array([practice.settings.beam_pixels[:2] for practice in drawn if practice.noise is not None])
    assert (beams[:, 1] > 1.3).all()
    means = np.sqrt(beams.prod(1))
    assert 2 <= means.min() < 3 < 5 < means.max() <= 6
    for practice in drawn:
        ContinuumSettings.model_validate(practice.settings.model_dump())


def test_the_noise_has_the_texture_that_was_asked_for():
    wide = white_beam((5.0, 4.0, 30.0), 3e-7)
    settings = ContinuumSettings(shape=(256, 256), density=0.3)
    found = texture(practise(Practice(settings, wide), 3).image)
    assert distance(found, wide) < 0.05
    assert distance(found, white_beam((2.5, 2.5, 0.0))) > 0.1
    assert found.rms == pytest.approx(3e-7, rel=0.1)
