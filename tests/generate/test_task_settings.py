"""What a generative task accepts, and what a user reads when it does not."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import dump_config, load_config
from pipeline.errors import UserError
from pipeline.generate.method import is_closed, method
from pipeline.generate.methods import CLASSES, SETTINGS, read_settings
from pipeline.generate.task_settings import GenerateSettings

GOOD = """\
run: out
tasks:
  galaxies:
    kind: generate
    simulate: {sersic: {n: 100}}
    conditions: [flux]
    methods:
      fine: {name: flow, steps: 20}
      vae:
      mixture: {components: 3, train: {epochs: 4}}
    train: {epochs: 9, batch: 8}
"""


@pytest.fixture
def write(tmp_path):
    def make(old="", new=""):
        assert old in GOOD
        (tmp_path / "my.yaml").write_text(GOOD.replace(old, new, 1))
        return tmp_path / "my.yaml"

    return make


def test_a_method_has_its_key_as_its_name(write):
    task = load_config(write()).tasks["galaxies"]
    assert [(key, settings.name) for key, settings in task.methods.items()] == [
        ("fine", "flow"),
        ("vae", "vae"),
        ("mixture", "mixture"),
    ]
    assert task.product == "fine"
    assert task.methods["fine"].steps == 20


def test_a_method_may_be_trained_otherwise_than_the_rest(write):
    task = load_config(write()).tasks["galaxies"]
    assert task.methods["mixture"].training(task.train).epochs == 4
    assert task.methods["mixture"].training(task.train).batch == 8
    assert task.methods["vae"].training(task.train) == task.train


def test_dump_and_load_give_the_same_settings(write, tmp_path):
    settings = load_config(write())
    (tmp_path / "again.yaml").write_text(dump_config(settings))
    assert load_config(tmp_path / "again.yaml") == settings
    assert list(load_config(tmp_path / "again.yaml").tasks["galaxies"].methods) == ["fine", "vae", "mixture"]


def test_the_training_of_a_method_depends_on_its_own_settings_alone(write):
    before = load_config(write()).tasks["galaxies"]
    after = load_config(write("components: 3", "components: 4")).tasks["galaxies"]
    assert before.told("vae") == after.told("vae")
    assert before.told("mixture") != after.told("mixture")
    device = load_config(write("epochs: 9", "epochs: 9, device: cpu")).tasks["galaxies"]
    assert before.told("vae") == device.told("vae")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps: 20", "step: 20", ["line 8", "key tasks.galaxies.methods.fine.step:", "write 'steps' instead"]),
        ("steps: 20", "steps: 0", ["line 8", "key tasks.galaxies.methods.fine.steps", "greater than 0"]),
        ("epochs: 4", "epochs: x", ["line 10", "key tasks.galaxies.methods.mixture.train.epochs", "'x'"]),
        ("vae:", "vea:", ["line 9", "key tasks.galaxies.methods.vea", "the methods are", "write 'vae' instead"]),
        ("name: flow", "name: flwo", ["line 8", "'flwo'", "write 'flow' instead"]),
        ("conditions: [flux]", "conditions: [flux, class]", ["tasks.galaxies.conditions", "labels"]),
        ("conditions: [flux]", "conditions: [flux, flux]", ["tasks.galaxies.conditions", "twice"]),
        ("    simulate: {sersic: {n: 100}}\n", "", ["tasks.galaxies", "needs input.manifest"]),
        ("n: 100", "m: 100", ["line 5", "tasks.galaxies.simulate.sersic.m"]),
        ("conditions: [flux]", "classes: [a]", ["tasks.galaxies.classes", "needs labels"]),
        ("conditions: [flux]", "augment: {crop_ends: 0.2}", ["tasks.galaxies.augment", "for spectra"]),
        ("batch: 8", "monitor: accuracy", ["tasks.galaxies.train.monitor", "loss"]),
        ("batch: 8", "label_smoothing: 0.1", ["train.label_smoothing", "classify"]),
        ("vae:", "mean_flow: {begin: mixture}", ["tasks.galaxies.methods.mean_flow", "is no flow of this task (fine)"]),
        (
            "vae:",
            "mean_flow: {begin: fine, network: unet-4.8}",
            ["methods.mean_flow.network", "differs from that of fine"],
        ),
        ("conditions: [flux]", "features: no.safetensors", ["tasks.galaxies.features", "does not exist"]),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_remedy(write, old, new, words):
    path = write(old, new)
    with pytest.raises(UserError) as caught:
        load_config(path)
    found = [str(problem) for problem in caught.value.problems]
    assert any(all(word in line for word in words) for line in found), found
    assert all(line.startswith(str(path)) and "\n" not in line for line in found)


def test_a_task_needs_a_method():
    with pytest.raises(ValidationError):
        GenerateSettings.model_validate({"kind": "generate", "simulate": {}, "methods": {}})


@pytest.mark.parametrize("name", SETTINGS)
def test_every_method_is_where_it_is_said_to_be(name):
    settings = read_settings({"name": name})
    assert type(settings) is SETTINGS[name]
    chosen = method(settings)
    assert chosen.settings is settings
    assert type(chosen).__name__ == CLASSES[name][1]
    assert is_closed(chosen) == hasattr(chosen, "fit")
    assert chosen.evaluations() >= 0
    assert read_settings(settings.model_dump(mode="json")) == settings


def test_the_shipped_configs_say_which_methods_they_compare():
    folder = Path(__file__).parents[2] / "config"
    for name, product in {"generate": "flow", "galaxyzoo_generate": "edm", "mnist_generate": "flow"}.items():
        values = yaml.safe_load((folder / f"{name}.yaml").read_text())
        for task in values["tasks"].values():
            assert GenerateSettings.model_validate(task).product == product
