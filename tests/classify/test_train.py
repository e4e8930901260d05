"""Training a classifier end to end on samples that can be learnt, for N axes."""

import io
import json
import warnings

import numpy as np
import pytest
from astropy.io import fits, votable

from pipeline.classify.apply import LittleCoverageWarning, classify_dataset, classify_files
from pipeline.classify.crossvalidate import crossvalidate
from pipeline.classify.evaluate import evaluate
from pipeline.classify.predict import Classifier
from pipeline.classify.train import train
from pipeline.data.store import open_store
from pipeline.errors import UserError
from pipeline.learn.model_file import load_model, read_description
from pipeline.sky.catalogue import read_catalogue
from pipeline.sky.frame import NoWCSWarning


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_from_a_data_set_to_metrics(ndim, make_store, settings_for, tmp_path):
    data, model = make_store(ndim, n=150), tmp_path / "model.safetensors"
    settings = settings_for(ndim, train={"epochs": 12, "batch": 16, "learning_rate": 0.01})
    train(data, settings, model, seed=3)
    classify_dataset(data, model, [tmp_path / "c.fits", tmp_path / "c.ecsv"])
    evaluate(tmp_path / "c.fits", data, model, tmp_path / "metrics.json", task="bumps", seed=3)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    table = read_catalogue(tmp_path / "c.fits")
    test = table[np.asarray(table["split"]) == "test"]
    right = np.mean(np.asarray(test["class"]) == np.asarray(test["label"]))
    assert metrics["network"]["accuracy"] == pytest.approx(right)
    assert metrics["network"]["accuracy"] > 0.7
    assert metrics["network"]["n"] == len(test) == sum(metrics["counts"]["test"].values())
    total = sum(np.asarray(table[f"p_{name}"]) for name in metrics["classes"])
    assert np.allclose(total, 1, atol=1e-5)
    other = read_catalogue(tmp_path / "c.ecsv")
    assert list(other["class"]) == list(table["class"])
    assert not list(tmp_path.glob("*checkpoint*"))
    assert {"history.csv", "training.json", "cost.json"} <= {path.name for path in tmp_path.iterdir()}


def test_the_same_command_gives_the_same_bytes(make_store, settings_for, tmp_path):
    data = make_store(2)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        train(data, settings_for(2), tmp_path / name / "model.safetensors", seed=5)
        classify_dataset(data, tmp_path / name / "model.safetensors", [tmp_path / name / "catalogue.fits"])
    for file in ("model.safetensors", "catalogue.fits"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    train(data, settings_for(2), tmp_path / "c.safetensors", seed=6)
    assert (tmp_path / "c.safetensors").read_bytes() != (tmp_path / "a" / "model.safetensors").read_bytes()


def test_test_objects_have_no_influence_on_the_model(make_store, settings_for, tmp_path):
    def scramble(x, splits):
        x[splits == "test"] = 1000 * np.random.default_rng(9).standard_normal(x[splits == "test"].shape)
        return x

    for name, change in (("plain", None), ("changed", scramble)):
        train(
            make_store(1, change=change, name=f"{name}.h5"), settings_for(1), tmp_path / f"{name}.safetensors", seed=1
        )
    plain, said = load_model(tmp_path / "plain.safetensors")
    changed, other = load_model(tmp_path / "changed.safetensors")
    for name, weights in plain.state_dict().items():
        assert np.array_equal(weights, changed.state_dict()[name])
    assert said["normaliser"] == other["normaliser"]
    assert said["temperature"] == other["temperature"]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_batched_equals_single(ndim, make_store, settings_for, tmp_path):
    data, model = make_store(ndim), tmp_path / "model.safetensors"
    train(data, settings_for(ndim), model, seed=1)
    classifier = Classifier(model, "cpu")
    with open_store(data) as store:
        x = store.read(np.arange(10))
    together = classifier.probability([x])
    alone = classifier.probability(x[k : k + 1] for k in range(10))
    assert np.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_symmetries_make_the_prediction_invariant(ndim, make_store, settings_for, tmp_path):
    data, model = make_store(ndim), tmp_path / "model.safetensors"
    train(data, settings_for(ndim, symmetries=True), model, seed=1)
    classifier = Classifier(model, "cpu")
    with open_store(data) as store:
        x = store.read(np.arange(6))
    plain = classifier.logits([x])
    for view in (x[..., ::-1], x[..., ::-1, :], np.rot90(x, 1, (-2, -1)), np.rot90(x, 3, (-2, -1))):
        assert np.allclose(classifier.logits([np.ascontiguousarray(view)]), plain, atol=1e-4)


def test_the_votable_catalogue_is_valid(make_store, settings_for, tmp_path):
    data, model = make_store(2), tmp_path / "model.safetensors"
    train(data, settings_for(2), model, seed=1)
    image = np.zeros((12, 12), np.float32)
    image[6, 6] = 1
    fits.writeto(tmp_path / "mine.fits", image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoWCSWarning)
        classify_files([tmp_path / "mine.fits"], model, [tmp_path / "mine.vot"], device="cpu")
    classify_dataset(data, model, [tmp_path / "all.vot"])
    for path in (tmp_path / "mine.vot", tmp_path / "all.vot"):
        told = io.StringIO()
        assert votable.validate(str(path), told), told.getvalue()


def test_a_spectrum_that_covers_little_is_warned_of(make_store, settings_for, tmp_path):
    model = tmp_path / "model.safetensors"
    train(make_store(1), settings_for(1), model, seed=1)
    for name, pixels in (("short", 6), ("whole", 24)):
        lines = [f"{4000 + k} {1 + 0.1 * (k % 3)}" for k in range(pixels)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    with pytest.warns(LittleCoverageWarning, match=r"short\.txt: has only 25%") as caught:
        classify_files([tmp_path / "short.txt", tmp_path / "whole.txt"], model, [tmp_path / "c.ecsv"], device="cpu")
    assert len(caught) == 1
    assert len(read_catalogue(tmp_path / "c.ecsv")) == 2


def test_several_labels_an_object(make_store, settings_for, tmp_path):
    data, model = make_store(1, n=150, multilabel=True), tmp_path / "model.safetensors"
    settings = settings_for(
        1, labels=["narrow", "middle", "wide"], train={"epochs": 10, "batch": 16, "learning_rate": 0.01}
    )
    assert settings.multilabel
    train(data, settings, model, seed=1)
    classify_dataset(data, model, [tmp_path / "c.fits"])
    evaluate(tmp_path / "c.fits", data, model, tmp_path / "metrics.json", task="bumps", seed=1)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    table = read_catalogue(tmp_path / "c.fits")
    assert "middle|wide" in set(table["label"])
    assert metrics["multilabel"]
    assert metrics["network"]["balanced_accuracy"] > 0.7


def test_a_class_without_training_objects_is_refused(make_store, settings_for, tmp_path):
    path = make_store(1)
    settings = settings_for(1)
    with open_store(path) as store, pytest.raises(UserError, match="no training object of class narrow"):
        from pipeline.classify.train import train_classifier

        rows = np.flatnonzero(store.labels > 0)
        train_classifier(store, rows[:20], rows[20:], settings, tmp_path / "folder", seed=1)


def test_the_model_file_tells_how_samples_are_read(make_store, settings_for, tmp_path):
    model = tmp_path / "model.safetensors"
    train(make_store(1), settings_for(1), model, seed=1)
    said = read_description(model)
    assert said["input"]["grid"] == [4000, 4024, 1]
    assert said["input"]["manifest"] is None
    assert said["classes"] == ["narrow", "middle", "wide"]
    assert str(tmp_path) not in json.dumps(said)


def test_crossvalidation_judges_every_object_once(make_store, settings_for, tmp_path):
    data = make_store(1, n=90)
    result = crossvalidate(data, settings_for(1), tmp_path / "cv.json", folds=3, seed=2)
    assert result == json.loads((tmp_path / "cv.json").read_text())
    assert result["network"]["n"] == 90 == sum(fold["n"] for fold in result["per_fold"])
    mean = np.mean([fold["network"]["accuracy"] for fold in result["per_fold"]])
    assert not list(tmp_path.glob("*checkpoint*"))
    assert result["spread"]["network"]["accuracy"]["mean"] == pytest.approx(mean)
    with pytest.raises(UserError, match="3"):
        crossvalidate(data, settings_for(1), tmp_path / "cv.json", folds=2, seed=2)
