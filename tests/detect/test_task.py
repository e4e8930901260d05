"""A whole detection task on a small field: train, stop in the middle, go on, detect."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.detect import task as module
from pipeline.detect.apply import detect_images
from pipeline.detect.evaluate import judged_frames
from pipeline.detect.image import ContinuumImage
from pipeline.detect.model import load
from pipeline.detect.task import train
from pipeline.detect.task_images import simulated_frames
from pipeline.detect.texture import texture
from pipeline.errors import UserError
from pipeline.simulate.noise import NoisePower, distance


def weights(path):
    return load(path).detector.network.state_dict()


def test_the_model_says_what_it_was_trained_on(tiny):
    model = load(tiny.model)
    image = ContinuumImage.open(tiny.folder / "simulated" / "field.fits")
    assert model.detector.layout.ndim == 2
    assert model.trained["beam"] == pytest.approx([0.95 * image.beam.mean, 1.05 * image.beam.mean])
    assert distance(NoisePower.from_dict(model.trained["noise"][0]), texture(image)) < 1e-5
    assert model.trained["settings"]["detector"]["network"] == tiny.task.detector.network
    assert 0.5 <= model.threshold < 1
    assert model.trained["provenance"]


def test_the_files_beside_the_model_are_written_and_the_checkpoint_is_gone(tiny):
    names = {path.name for path in tiny.folder.iterdir()}
    assert names == {"simulated", "model.safetensors", "training.json", "cost.json", "history.csv"}
    training = json.loads((tiny.folder / "training.json").read_text())
    assert training["epochs_run"] == len(pd.read_csv(tiny.folder / "history.csv")) == 4
    cost = json.loads((tiny.folder / "cost.json").read_text())
    assert sum(row["parameters"] for row in cost) == training["parameters"] > 0


def test_a_training_that_was_stopped_goes_on_to_the_same_model(tiny, tmp_path, monkeypatch, caplog):
    given = {"seed": 1, "device": "cpu", "simulated": tiny.folder / "simulated"}

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "choose", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny.task, tmp_path / "model.safetensors", **given)
    assert not (tmp_path / "model.safetensors").exists()
    assert list(tmp_path.glob("model-checkpoint/*/checkpoint.pt"))
    monkeypatch.setattr(logging.getLogger("fleming"), "propagate", True)
    with caplog.at_level(logging.INFO, "fleming"):
        train(tiny.task, tmp_path / "model.safetensors", **given)
    assert "resumed after epoch 4 of 4" in caplog.text
    assert not list(tmp_path.glob("*-checkpoint"))
    one, other = weights(tmp_path / "model.safetensors"), weights(tiny.model)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert load(tmp_path / "model.safetensors").calibrator.to_dict() == load(tiny.model).calibrator.to_dict()


def test_a_model_to_start_from_keeps_its_layout(tiny, tmp_path):
    gentle = tiny.task.detector.train.model_copy(update={"learning_rate": 2e-3, "epochs": 1})
    detector = tiny.task.detector.model_copy(update={"train": gentle})
    task = tiny.task.model_copy(update={"model": str(tiny.model), "detector": detector})
    train(task, tmp_path / "on.safetensors", seed=2, device="cpu", simulated=tiny.folder / "simulated")
    one, other = load(tmp_path / "on.safetensors"), load(tiny.model)
    assert one.detector.layout == other.detector.layout
    changed = weights(tmp_path / "on.safetensors")
    assert any(not torch.equal(changed[name], value) for name, value in weights(tiny.model).items())


def test_the_bright_sources_are_found_where_they_are(tiny, tmp_path):
    found = detect_images([(tiny.folder / "simulated" / "field.fits", None)], tiny.model, [tmp_path / "c.fits"])
    assert len(set(found["id"])) == len(found) > 50
    truth = pd.read_csv(tiny.folder / "simulated" / "truth.csv")
    bright = truth[truth["flux_jy"] > np.quantile(truth["flux_jy"], 0.7)]
    away = np.hypot(
        bright["x"].to_numpy()[:, None] - found["x"].value, bright["y"].to_numpy()[:, None] - found["y"].value
    )
    assert (away.min(1) < 2).mean() > 0.7
    one, again = load(tiny.model), tmp_path / "again.safetensors"
    one.save(again)
    other = detect_images([(tiny.folder / "simulated" / "field.fits", None)], again, [tmp_path / "d.fits"])
    assert np.array_equal(found["flux"], other["flux"])


def test_a_simulated_primary_beam_is_known_to_those_who_learn_and_judge(tiny):
    simulate = tiny.task.simulate.model_copy(update={"primary_beam": 0.1})
    task = tiny.task.model_copy(update={"simulate": simulate})
    folder = tiny.folder / "simulated"
    beam = str(folder / "primary_beam.fits")
    assert [frame.primary_beam for frame in simulated_frames(task, folder)] == [beam]
    assert [judged.frame.primary_beam for judged in judged_frames(task, folder)] == [beam]
    assert [frame.primary_beam for frame in simulated_frames(tiny.task, folder)] == [None]


def test_a_field_without_learnable_objects_is_refused(tiny, tmp_path):
    least = tiny.task.detector.objects.model_copy(update={"least_snr": 1e7})
    task = tiny.task.model_copy(update={"detector": tiny.task.detector.model_copy(update={"objects": least})})
    with pytest.raises(UserError, match="training area: holds no object of a signal-to-noise ratio above 1e"):
        train(task, tmp_path / "model.safetensors", seed=1, device="cpu", simulated=tiny.folder / "simulated")
