"""Training a detector on fields of one, two and three axes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.detect.crops import LabelledField
from pipeline.detect.objects import Objects
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import Names, train_detector
from pipeline.errors import UserError

SHAPES = {1: (600,), 2: (64, 72), 3: (24, 28, 32)}
NAMES = Names(values=("ln_peak",), classes=("faint", "bright"))
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


def blobs(ndim, seed):
    """Gaussian blobs of one size in noise."""
    random = np.random.default_rng([seed, ndim])
    shape, count = SHAPES[ndim], 12
    centre = random.uniform(3, np.array(shape) - 4, (count, ndim))
    peak = np.exp(random.uniform(1.5, 4, count))
    away = np.indices(shape)[None] - centre.reshape(count, ndim, *[1] * ndim)
    light = np.exp(-0.5 * (away**2).sum(1) / 1.5**2)
    snr = random.normal(0, 1, shape) + np.tensordot(peak, light, 1)
    values, label = np.log(peak)[:, None], (peak > 15).astype(int)
    objects = Objects(centre, np.full((count, ndim), 7.0), values, label, peak, np.arange(count))
    return LabelledField(snr.astype(np.float32), objects, ())


def settings(**changes):
    told = {
        "network": "C-8.4_s2_p1 C-8.3",
        "crop": 16,
        "steps": 12,
        "held_out_steps": 2,
        "train": {"epochs": 3, "batch": 4, "learning_rate": 0.02, "precision": "fp32"},
    }
    return DetectorSettings(**(told | changes))


def train(ndim, folder, names=NAMES, **more):
    return train_detector([blobs(ndim, 1)], [blobs(ndim, 2)], names, settings(), folder, seed=3, device="cpu", **more)


@ndims
def test_the_loss_on_fields_that_are_not_learnt_from_falls(ndim, tmp_path):
    rows = []
    detector = train(ndim, tmp_path, progress=rows.append)
    assert detector.layout.ndim == detector.network.ndim == ndim
    assert detector.network.output_shape[0] == detector.layout.channels
    assert rows[-1]["val_loss"] < 0.9 * rows[0]["val_loss"]
    parts = ("objectness", "position", "size", "values", "classes")
    for row in rows:
        assert row["val_loss"] == pytest.approx(sum(row[f"val_{name}"] for name in parts))


@ndims
def test_the_same_seed_gives_the_same_weights(ndim, tmp_path):
    one, other = (train(ndim, tmp_path / name).network.state_dict() for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_detector_to_go_on_from_keeps_its_layout_and_its_names(tmp_path):
    began = train(2, tmp_path / "one")
    weights = {name: value.clone() for name, value in began.network.state_dict().items()}
    after = train(2, tmp_path / "two", begin=began)
    assert after.layout == began.layout
    assert any(not torch.equal(weights[name], value) for name, value in after.network.state_dict().items())
    with pytest.raises(UserError, match="model: was trained for other parameters"):
        train(2, tmp_path / "three", Names(values=("ln_flux",)), begin=began)


def test_fields_without_objects_are_refused(tmp_path):
    field = blobs(2, 1)
    dark = replace(field, objects=field.objects.take(np.zeros(0, int)))
    with pytest.raises(UserError, match="training area: holds no object"):
        train_detector([dark], [field], NAMES, settings(), tmp_path, seed=1, device="cpu")
    train_detector([field], [dark], NAMES, settings(), tmp_path / "held", seed=1, device="cpu")


def test_a_network_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UserError):
        train_detector([blobs(2, 1)], [blobs(2, 2)], NAMES, settings(network="P-32"), tmp_path, seed=1, device="cpu")
