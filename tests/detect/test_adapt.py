"""Adapting a model to an image of other noise, with and without a truth."""

import warnings

import numpy as np
import pytest
import torch

from pipeline.detect import adapt as module
from pipeline.detect.adapt import adapt, radio_frequency
from pipeline.detect.apply import detect_images
from pipeline.detect.image import ContinuumImage
from pipeline.detect.model import load
from pipeline.detect.task_settings import AdaptSettings
from pipeline.detect.texture import NoiseMismatchWarning, texture
from pipeline.errors import UserError
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import save_field
from pipeline.simulate.match import match_noise
from pipeline.simulate.noise import white_beam

SETTINGS = AdaptSettings(minutes=1e-3, fields=2, side=256)
SKY = ContinuumSettings(shape=(192, 192), density=4.0, flux_limit=12.0, size_factor=0.3, attenuation=0.6)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """An image that shows 60 % of its sources' flux, in noise of half the beam's width."""
    folder = tmp_path_factory.mktemp("other")
    noise = white_beam((1.6, 1.6, 0.0), SKY.rms)
    save_field(simulate(SKY, 5, noise=noise), folder / "field.fits", folder / "truth.csv")
    return folder


@pytest.fixture(scope="module")
def adapted(other, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("adapted") / "model.safetensors"
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "_STEPS", 10)
    adapt(other / "field.fits", tiny.model, out, SETTINGS, seed=1, device="cpu", truth=other / "truth.csv")
    patch.undo()
    return out


def found(image, model, out):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = detect_images([(image, None)], model, [out])
    return table, {warning.category for warning in caught}


def test_the_model_knows_the_noise_and_the_beam_of_the_image(other, adapted):
    image = ContinuumImage.open(other / "field.fits")
    model = load(adapted)
    assert model.trained["noise"] == [texture(image).to_dict()]
    assert model.trained["beam"][0] < image.beam.mean < model.trained["beam"][1]
    assert model.trained["adapted_to"] == "field.fits"


def test_the_warning_is_gone_after_adapting(other, tiny, adapted, tmp_path):
    _, before = found(other / "field.fits", tiny.model, tmp_path / "a.fits")
    table, after = found(other / "field.fits", adapted, tmp_path / "b.fits")
    assert NoiseMismatchWarning in before
    assert not after
    assert len(table) > 20


def test_the_truth_tells_the_response(adapted):
    assert load(adapted).trained["response"] == pytest.approx(0.6, rel=0.15)


def test_the_weights_have_moved_and_the_model_that_it_began_with_has_not(tiny, adapted):
    before, after = load(tiny.model), load(adapted)
    assert after.detector.layout == before.detector.layout
    one, other = (model.detector.network.state_dict() for model in (before, after))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert after.trained["began_with"]["settings"] == before.trained["settings"]


def test_the_checkpoint_is_gone_and_the_history_stays(adapted):
    assert {path.name for path in adapted.parent.iterdir()} == {"model.safetensors", "model-history.csv"}


def test_without_a_truth_the_image_shows_all_of_a_flux(other, tiny, tmp_path, monkeypatch):
    seen = {}

    def stop(fields, *_, **__):
        seen["fields"] = fields
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_detector", stop)
    with pytest.raises(KeyboardInterrupt):
        adapt(other / "field.fits", tiny.model, tmp_path / "m.safetensors", SETTINGS, seed=1, device="cpu")
    image = ContinuumImage.open(other / "field.fits")
    assert image.response == 1.0
    assert len(seen["fields"]) == 1
    field = seen["fields"][0]
    assert field.snr.shape == (256, 256)
    np.testing.assert_allclose(field.conditions, image.beam.conditions, atol=0.02)
    assert np.median(np.abs(field.snr)) * 1.4826 == pytest.approx(1, abs=0.3)
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("found, taken", [(1.4e9, 1.4e9), (None, 560e6), (23.5, 560e6), (np.nan, 560e6)])
def test_a_frequency_that_is_none_is_not_taken(found, taken):
    """A header of 23.5 Hz once made a simulation of more sources than any memory holds."""
    assert radio_frequency(found) == taken


def test_a_crowded_sky_is_practised_on_with_fewer_sources():
    sky = ContinuumSettings(
        shape=(256, 256), pixel_arcsec=240, beam_arcsec=(864, 791, 0), rms=0.05, frequency=1420, flux_max=50
    )
    target = white_beam(sky.beam_pixels, sky.rms)
    with pytest.raises(UserError, match="empty sky"):
        match_noise(sky, target, seed=1)
    sparser, noise = module._matched(sky, target, 1, None, "image.fits")
    assert sparser.density < sky.density and 0.5 < noise.rms / sky.rms <= 1
