"""The weights that ship are found in a clone and in an installation."""

import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

import pipeline
from pipeline.detect.shipped import NAMES, shipped_model
from pipeline.errors import UserError
from pipeline.learn.model_file import read_description


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone without weights, and an installation without files."""
    monkeypatch.setattr(pipeline, "__file__", str(tmp_path / "pipeline" / "__init__.py"))
    monkeypatch.setattr(metadata, "files", lambda name: [])
    return tmp_path


def test_the_clone_comes_first(clone):
    place = clone / "resources" / "continuum.safetensors"
    place.parent.mkdir()
    place.touch()
    assert shipped_model() == place


def test_the_installed_file_is_found(clone, monkeypatch):
    place = clone / "share" / "fleming" / "continuum.safetensors"
    place.parent.mkdir(parents=True)
    place.touch()
    names = {"continuum.safetensors": place, "gone.safetensors": clone / "gone.safetensors"}
    files = [SimpleNamespace(name=name, locate=lambda path=path: path) for name, path in names.items()]
    monkeypatch.setattr(metadata, "files", lambda name: files)
    assert shipped_model() == place


def test_weights_that_are_nowhere_are_said_to_be(clone, monkeypatch):
    with pytest.raises(UserError, match="name a model by --model"):
        shipped_model()

    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", unknown)
    with pytest.raises(UserError, match="name a model by --model"):
        shipped_model()


@pytest.mark.parametrize("name", NAMES.values())
def test_the_shipped_weights_name_no_place_on_the_machine_that_made_them(name):
    weights = Path(__file__).parents[2] / "resources" / name
    told = json.dumps(read_description(weights))
    assert '"/' not in told
