"""Adapting a model to a cube of other noise: it is measured, practised in, told by the model, and no more warned of."""

import itertools
import warnings

import numpy as np
import pytest
import torch

from pipeline import cli
from pipeline.data.cube_noise import measure_cube_noise
from pipeline.detect.calibrate import Truth, fit_calibrator
from pipeline.detect.model import Model, load
from pipeline.detect.pace import paced_on
from pipeline.detect.predict import Detections
from pipeline.detect.texture import NoiseMismatchWarning
from pipeline.detect.train import new_detector
from pipeline.errors import UserError
from pipeline.hi import adapt as module
from pipeline.hi import practice
from pipeline.hi.adapt import adapt, channel_levels, trained_settings, validation_sky
from pipeline.hi.apply import search_cube
from pipeline.hi.choose import Chosen, _beside
from pipeline.hi.galaxies import NAMES, VALUES, to_objects
from pipeline.hi.practice import SkyGeometry
from pipeline.hi.task_settings import HiAdaptSettings, HiTaskSettings
from pipeline.hi.texture import check_texture, cube_texture, sky_like, trained_texture
from pipeline.simulate.hi import galaxies
from pipeline.simulate.hi_files import write_cube
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import distance, white_beam
from pipeline.sky.cube import CubeReader

SETTINGS = HiAdaptSettings(minutes=1e-4, galaxies=100, channels=96, side=64)
SKY = HiSettings(shape=(72, 60, 60), density=60.0, lowest_hz=1.1e9)
TASK = {
    "kind": "hi",
    "simulate": {},
    # a cube that would not end below 1.413 GHz if it began where the one that is adapted to does
    "practice": {"shape": [10500, 64, 64]},
    "detector": {"network": "C-8.4_s4_p0 C-8.3", "crop": [48, 32, 32]},
}
LEVELS = 3e-5 * np.linspace(1, 3, SKY.shape[0])
"""rms of the cube's channels [Jy/beam]"""
NARROW = white_beam((1.7, 1.7, 0.0))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A cube whose noise is finer than its beam and thrice as strong in its last channel as in its first."""
    folder = tmp_path_factory.mktemp("other")
    write_cube(SKY, 3, folder, noise=NARROW, rms=LEVELS)
    return folder


def opened(folder):
    reader = CubeReader(folder / "cube.fits")
    return reader, measure_cube_noise(reader.read, reader.shape)


@pytest.fixture(scope="module")
def began(tmp_path_factory):
    """A model that has learnt nothing, and says that it did in white noise smoothed by the beam."""
    task = HiTaskSettings.model_validate(TASK)
    detector = new_detector([shown_in(SKY)], 3, NAMES, task.detector, 1)
    random, n = np.random.default_rng(0), 40
    found = Detections(
        logit=random.normal(size=n),
        centre=random.uniform(0, 64, (n, 3)),
        size=random.uniform(4, 8, (n, 3)),
        values=random.normal(size=(n, len(VALUES))),
        width=random.uniform(0.1, 1.0, (n, 3 + len(VALUES))),
        classes=np.zeros((n, 0)),
        rms=np.ones(n),
    )
    truth = Truth(found.logit > random.normal(size=n), found.centre + 0.1, found.values + 0.1)
    trained = {"beam": [2.4, 2.6], "noise": None, "settings": task.model_dump(mode="json", exclude_defaults=True)}
    path = tmp_path_factory.mktemp("began") / "model.safetensors"
    model = Model(detector, fit_calibrator([found], [truth], 1), 0.5, (24.0, 3.0, 3.0), False, trained)
    model.save(path)
    return path


def shown_in(sky):
    rows = galaxies(sky, np.random.default_rng(1), 50)
    return to_objects(rows, SkyGeometry(sky), lambda centre: np.full(len(centre), 1e-6))


@pytest.fixture(scope="module")
def adapted(other, began, tmp_path_factory):
    """The file of the adapted model, and the cubes that chose its thresholds; choosing itself is tested elsewhere."""
    out, seen = tmp_path_factory.mktemp("adapted") / "model.safetensors", {}

    def choose(detector, known, *_):
        seen["texture"] = [cube_texture(cube.reader, cube.noise) for cube in known]
        seen["known"] = known
        return Chosen(load(began).calibrator, -1.0, 0.4, 5.0, {"purity": 1.0})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STEPS", 4)
        patch.setattr(module, "choose", choose)
        patch.setattr(practice, "_POOL", (64, 40, 40))
        adapt(other / "cube.fits", began, out, SETTINGS, seed=1, device="cpu", truth=other / "truth.csv")
    return out, seen


def test_the_model_knows_the_noise_and_the_beam_of_the_cube(other, began, adapted):
    model, (reader, noise) = load(adapted[0]), opened(other)
    assert model.trained["noise"] == cube_texture(reader, noise).to_dict()
    assert distance(trained_texture(model.trained), NARROW) < 0.03
    assert model.trained["beam"] == pytest.approx([0.95 * 2.5, 1.05 * 2.5])
    assert model.trained["adapted_to"] == "cube.fits" and model.threshold == 0.4
    assert model.trained["began_with"]["settings"] == load(began).trained["settings"]


def test_the_warning_is_gone_after_adapting(other, began, adapted):
    reader, noise = opened(other)
    told = "another texture .* against 0.80, 0.41; .* run fleming adapt"
    with pytest.warns(NoiseMismatchWarning, match=told) as said:
        search_cube(reader, noise, load(began))
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search_cube(reader, noise, load(adapted[0]))


def test_the_thresholds_come_from_a_cube_of_that_noise_and_from_the_labelled_one(adapted):
    simulated, real = adapted[1]["known"]
    assert real.density == 1 and simulated.density > 1 and len(simulated.truth) > 5
    assert simulated.reader.shape == (96, 64, 64)
    ratio = simulated.noise.rms / channel_levels(real.noise, 96)
    assert np.median(ratio) == pytest.approx(1, abs=0.03) and np.abs(ratio - 1).max() < 0.15
    assert distance(*adapted[1]["texture"]) < 0.03


def test_the_weights_have_moved_and_nothing_else_is_left(began, adapted):
    before, after = load(began), load(adapted[0])
    assert after.detector.layout == before.detector.layout and after.radius == before.radius
    one, two = (model.detector.network.state_dict() for model in (before, after))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    assert {path.name for path in adapted[0].parent.iterdir()} == {"model.safetensors", "model-history.csv"}


def test_an_adapted_model_can_be_adapted_again_as_if_it_never_was(other, began, adapted):
    reader, noise = opened(other)
    first, again = (trained_settings(load(path), path) for path in (began, adapted[0]))
    assert sky_like(first.simulate, reader, noise) == again.simulate
    once = sky_like(again.simulate, reader, noise)
    assert once.flux_limit == pytest.approx(again.simulate.flux_limit)
    assert once.flux_limit / once.noise == pytest.approx(HiSettings().flux_limit)
    assert again.detector.crop == first.detector.crop and again.detector.network == first.detector.network


def test_a_model_without_settings_is_refused(began):
    model = load(began)
    model.trained["settings"] = {"kind": "detect"}
    with pytest.raises(UserError, match="was trained with settings that this version does not know"):
        trained_settings(model, "m.safetensors")


def test_galaxies_are_many_but_do_not_fill_the_cube_that_calibrates():
    sky, big = HiSettings(), HiAdaptSettings()
    dense = validation_sky(sky, big, 1)
    assert dense.shape == (big.channels, big.side, big.side) and 5 < dense.density < 60
    top = dense.lowest_hz + dense.shape[0] * dense.channel_hz
    assert sky.lowest_hz < dense.lowest_hz and top < sky.lowest_hz + sky.shape[0] * sky.channel_hz
    deep = validation_sky(sky.model_copy(update={"noise": 0.05}), big, 1)
    assert 1 < deep.density < dense.density / 3
    # Where few are seen the sky is filled to the same share, however large the cube.
    faint = sky.model_copy(update={"noise": 5.0})
    small = [validation_sky(faint, SETTINGS.model_copy(update={"side": side}), 1).density for side in (64, 128)]
    assert small[0] == pytest.approx(small[1], rel=0.2)


@pytest.mark.parametrize("channels", [40, 96, 500])
def test_channel_levels_are_those_of_the_whole_band_without_the_blanks(channels, standin):
    noise = standin.Noise(np.where(np.arange(100) % 10 == 3, np.nan, np.arange(100) + 1.0))
    noise.blank = np.isnan(noise.rms)
    levels = channel_levels(noise, channels)
    assert len(levels) == channels and np.isfinite(levels).all()
    assert levels.min() < 10 and levels.max() > 90


def test_what_lies_in_a_box_is_beside_its_galaxy():
    objects = shown_in(SKY).take(np.arange(2))
    edge = objects.centre + objects.size / 2
    places = np.concatenate([edge - 1e-6, edge + 1e-6, objects.centre + 1000])
    assert _beside(places, objects)[:2].all() and not _beside(places[4:], objects).any()
    assert not _beside(places, objects.take(np.arange(0))).any()


def test_a_texture_that_cannot_be_measured_is_no_mismatch(standin, began):
    cube = standin.Cube((8, 12, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise = standin.flat(cube)
        noise.blank = np.zeros(8, bool)
        assert check_texture(cube, noise, load(began).trained) == 0


def test_a_cube_near_us_is_practised_on_where_galaxies_recede(standin):
    cube = standin.Cube()
    cube.frequency = cube.frequency + 1.42e9 - cube.frequency[30]
    noise = standin.flat(cube)
    sky = sky_like(HiSettings(), cube, noise)
    assert sky.lowest_hz + sky.shape[0] * sky.channel_hz < cube.rest_hz and sky.channel_hz == pytest.approx(3e4)
    cube.frequency = cube.frequency + 1e11
    with pytest.raises(UserError, match="above the frequency of the 21 cm line"):
        sky_like(HiSettings(), cube, noise)


def test_batches_that_take_their_time_are_paced(began):
    task, detector = HiTaskSettings.model_validate(TASK), load(began).detector
    snr = torch.zeros(1, 48, 32, 32)
    none = [torch.zeros(0, *size) for size in ((), (3,), (3,), (len(VALUES),), (), ())]
    none[0], none[4] = none[0].long(), none[4].long()

    class Batches:
        def epoch(self, index):
            yield from itertools.repeat((snr, torch.zeros(1, 0), *none, torch.tensor(0)))

    epochs = [
        paced_on(detector, Batches(), task.detector, 60, device="cpu", making=making, clock=itertools.count().__next__)
        .train.epochs
        for making in (False, True)
    ]  # fmt: skip
    # A step takes one tick of the clock, a batch another.
    assert epochs == [int(3600 * 0.8 / task.detector.steps), int(3600 * 0.8 / task.detector.steps / 2)]


def test_the_command_line_tells_cubes_from_images(other, began, tmp_path, monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(module, "adapt", lambda *words, **options: seen.update(options, words=words))
    command = ["adapt", "cube.fits", "--model", str(began), "--out", str(tmp_path / "a.safetensors")]
    assert cli.main([*command, "--beam", "7", "--continuum", "c.fits", "--minutes", "2"]) == 0
    assert seen["words"][0] == "cube.fits" and seen["words"][3] == HiAdaptSettings(minutes=2)
    assert seen["beam"].major == 7 / 3600 and seen["continuum"] == "c.fits" and seen["seed"] == 42
    assert cli.main([*command, "--primary-beam", "b.fits"]) == 2
    assert "--primary-beam is for images" in capsys.readouterr().err
    assert cli.main([*command[:2], "--out", command[-1], "--beam", "7"]) == 2
    assert "fleming adapt: --beam is for cubes" in capsys.readouterr().err
