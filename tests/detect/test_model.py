"""A model file holds all that applying a detector needs, and is refused when it does not."""

from dataclasses import replace

import pytest
import torch

from pipeline.detect.model import check_continuum, load
from pipeline.errors import UserError
from pipeline.learn.model_file import read_description, save_model
from pipeline.nn.network import build


def test_a_model_comes_back_from_its_file(tiny, tmp_path):
    one = load(tiny.model)
    one.save(tmp_path / "again.safetensors")
    other = load(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == tiny.model.read_bytes()
    seen = torch.randn(1, *one.detector.network.input_shape)
    with torch.no_grad():
        assert torch.equal(one.detector.network(seen), other.detector.network(seen))
    assert other.detector.layout == one.detector.layout
    assert other.detector.names == one.detector.names
    assert other.calibrator.to_dict() == one.calibrator.to_dict()
    assert (other.threshold, other.radius, other.symmetric) == (one.threshold, one.radius, one.symmetric)
    assert other.trained == one.trained


def test_a_radius_of_each_axis_comes_back_from_its_file(tiny, tmp_path):
    model = replace(load(tiny.model), radius=(12.0, 2.5, 2.5))
    model.save(tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").radius == model.radius


def test_the_file_says_its_kind(tiny):
    assert read_description(tiny.model)["kind"] == "detect"
    check_continuum(load(tiny.model), tiny.model)


@pytest.mark.parametrize("part", ["layout", "names", "calibrator", "threshold", "radius", "symmetric", "trained"])
def test_a_description_that_lacks_a_part_is_refused(tiny, tmp_path, part):
    network = load(tiny.model).detector.network
    told = read_description(tiny.model)
    kept = ("kind", "layout", "names", "calibrator", "threshold", "radius", "symmetric", "trained")
    save_model(tmp_path / "m.safetensors", network, {name: told[name] for name in kept if name != part})
    with pytest.raises(UserError, match=f"describes its detector in a way .*{part}"):
        load(tmp_path / "m.safetensors")


def test_weights_of_another_calibrator_are_refused(tiny, tmp_path):
    model = load(tiny.model)
    told = model.calibrator.to_dict()
    model.calibrator.to_dict = lambda: told | {"values": told["values"] + 1}
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="describes its detector"):
        load(tmp_path / "m.safetensors")


def test_a_model_of_another_kind_is_refused(tmp_path):
    save_model(tmp_path / "m.safetensors", build("C-2.3 GAP D-2", 2, (1, 8, 8), 2), {"kind": "classify"})
    with pytest.raises(UserError, match="is a model to classify; give a model of a detector"):
        load(tmp_path / "m.safetensors")
