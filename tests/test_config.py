"""The YAML of a run: what is accepted, and what a user reads when it is not."""

import textwrap

import pytest
import yaml

from pipeline.config import dump_config, load_config, validate
from pipeline.errors import UserError

GOOD = """
run: results/x
tasks:
  stars:
    kind: classify
    input: {manifest: MANIFEST, kind: spectrum, grid: [4000, 5000, 2]}
    normalise: [standardise, {tanh: 1.5}]
    network: C-4.5 P-2 D-3
    train:
      epochs: 3
"""


@pytest.fixture
def write(tmp_path):
    """Write a config whose manifest exists, after a replacement; give its path."""
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,class\n")

    def make(old="", new="", text=GOOD):
        path = tmp_path / "my.yaml"
        path.write_text(textwrap.dedent(text).replace(old, new).replace("MANIFEST", str(manifest)))
        return path

    return make


def messages(path):
    with pytest.raises(UserError) as caught:
        load_config(path)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_filled_in(write):
    task = load_config(write()).tasks["stars"]
    assert task.train.epochs == 3
    assert task.train.optimiser == "adamw"
    assert task.labels == "class"
    assert not task.multilabel


def test_dump_and_load_give_the_same_settings(write, tmp_path):
    settings = load_config(write())
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(settings))
    assert load_config(again) == settings
    assert dump_config(load_config(again)) == dump_config(settings)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs: 3", "epoch: 3", ["line 10", "tasks.stars.train.epoch", "not a known key", "write 'epochs' instead"]),
        ("epochs: 3", "epochs: ten", ["line 10", "tasks.stars.train.epochs", "'ten'", "valid integer"]),
        ("epochs: 3", "epochs: 0", ["tasks.stars.train.epochs", "0", "greater than 0"]),
        ("epochs: 3", "optimiser: adamx", ["tasks.stars.train.optimiser", "'adamx'", "'adamw'"]),
        ("kind: spectrum", "kind: spectra", ["tasks.stars.input.kind", "'spectra'", "'spectrum'"]),
        ("network: C-4.5 P-2 D-3", "network: C-4.5 Q-2 D-3", ["tasks.stars", "Q-2"]),
        ("network: C-4.5 P-2 D-3", "symmetries: false", ["tasks.stars.network", "is missing"]),
        ("{tanh: 1.5}", "{tahn: 1.5}", ["tasks.stars.normalise", "tahn"]),
        ("[4000, 5000, 2]", "[5000, 4000, 2]", ["tasks.stars.input", "start < stop"]),
        ("manifest: MANIFEST", "manifest: absent.csv", ["line 6", "tasks.stars.input.manifest", "absent.csv"]),
        ("manifest: MANIFEST, ", "", ["tasks.stars", "needs input.manifest"]),
        ("  stars:", "  'my stars':", ["my stars"]),
        ("run: results/x", "runn: results/x", ["runn", "write 'run' instead"]),
        ("kind: classify", "kind: classfy", ["tasks.stars.kind", "'classify'"]),
        ("run: results/x", "run: 'results/{x}'", ["line 2", "key run", "'results/{x}'"]),
        ("network: C-4.5 P-2 D-3", "network: C-4.5 P-2 D-3_sigmoid", ["tasks.stars", "ends with sigmoid", "softmax"]),
        ("network:", "split: {train: 0.8, validation: 0.2, test: 0}\n    network:", ["tasks.stars.split", "test"]),
        ("network:", "classes: [G, K]\n    network:", ["key tasks.stars.network", "ends with 3 numbers", "G, K"]),
        ("epochs: 3", "monitor: f2", ["tasks.stars", "train.monitor is 'f2'", "balanced_accuracy"]),
        ("epochs: 3", "epochs: 3\n      epochs: 4", ["tasks.stars.train.epochs", "given twice"]),
        ("train:", "augment: {rotate: 90}\n    train:", ["tasks.stars", "rotate needs at least two axes"]),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_remedy(write, old, new, words):
    path = write(old, new)
    found = messages(path)
    matching = [line for line in found if all(word in line for word in words)]
    assert matching, found
    assert all(str(path) in line and "\n" not in line for line in found)


def test_all_mistakes_are_reported_at_once(write):
    found = messages(write("epochs: 3", "epochs: 0\n      batch: none\n      clipp: 1"))
    assert len(found) == 3


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "run: [", "\trun: x", "run: results/x\ntasks: {}\n", "just words"])
def test_a_file_that_holds_no_settings(write, text):
    assert messages(write(text=text))


def test_an_absent_file(tmp_path):
    (found,) = messages(tmp_path / "none.yaml")
    assert "does not exist" in found


def test_yaml_tags_run_no_code(write, tmp_path):
    marker = tmp_path / "ran"
    found = messages(write("results/x", f"!!python/object/apply:os.mkdir [{marker}]"))
    assert found
    assert not marker.exists()


def test_plain_values_are_validated_like_a_file(write):
    values = yaml.safe_load(write().read_text())
    assert validate(values, "command line") == load_config(write())
    values["tasks"]["stars"]["train"]["epochs"] = -1
    with pytest.raises(UserError, match=r"command line, key tasks\.stars\.train\.epochs"):
        validate(values, "command line")
