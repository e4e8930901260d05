"""The YAML of a run: what is accepted, and what a user reads when it is not."""

import textwrap

import pytest
import yaml

from pipeline.config import dump_config, load_config, task_settings, validate
from pipeline.detect.settings import DetectorSettings
from pipeline.errors import UserError
from pipeline.learn.settings import TrainSettings

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
SKY = """
run: results/x
tasks:
  sky:
    kind: detect
    frames:
      train: [{image: FIELD, truth: TRUTH}]
      detect: [FIELD]
    areas: {validation: 0.2}
    detector:
      steps: 3
      train: {epochs: 3}
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


@pytest.fixture
def write_sky(tmp_path):
    """The same for a task that detects; its files exist and are empty."""

    def make(old="", new=""):
        path = tmp_path / "my.yaml"
        text = SKY.replace(old, new)
        for word in ("FIELD", "TRUTH"):
            (tmp_path / word).touch()
            text = text.replace(word, str(tmp_path / word))
        path.write_text(text)
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


def test_both_kinds_live_in_one_file(write, write_sky, tmp_path):
    values = yaml.safe_load(write().read_text())
    values["tasks"] |= yaml.safe_load(write_sky().read_text())["tasks"]
    both = tmp_path / "both.yaml"
    both.write_text(yaml.safe_dump(values))
    tasks = load_config(both).tasks
    assert {name: task.kind for name, task in tasks.items()} == {"stars": "classify", "sky": "detect"}
    assert tasks["sky"].trains
    assert task_settings(load_config(both), "sky", both, ["detect"]) == tasks["sky"]
    with pytest.raises(UserError, match=r"task 'stars' is of kind classify.*choose one of sky"):
        task_settings(load_config(both), "stars", both, ["detect"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: detect", "kind: detct", ["line 5", "key tasks.sky.kind", "'classify' or 'detect'", "write 'detect'"]),
        ("kind: detect", "kind: 3", ["line 5", "key tasks.sky.kind", "write 'classify' or 'detect'"]),
        ("kind: detect", "kind: [detect]", ["line 5", "key tasks.sky.kind", "'classify' or 'detect'"]),
        ("kind: detect", "symmetries: true", ["line 4", "key tasks.sky.kind", "is missing", "'classify' or 'detect'"]),
        ("epochs: 3", "epoch: 3", ["line 12", "key tasks.sky.detector.train.epoch:", "write 'epochs' instead"]),
        ("steps: 3", "step: 3", ["line 11", "key tasks.sky.detector.step:", "held_out_steps", "write 'steps'"]),
        ("steps: 3", "steps: 0", ["line 11", "key tasks.sky.detector.steps:", "greater than 0", "gradient steps"]),
        ("truth: TRUTH", "truht: TRUTH", ["line 7", "tasks.sky.frames.train.0.truht", "image, truth", "write 'truth'"]),
        ("truth: TRUTH", "truht: TRUTH", ["line 7", "tasks.sky.frames.train.0.truth", "is missing", "truth table"]),
        ("truth: TRUTH", "truth: no.csv", ["line 7", "tasks.sky.frames.train.0.truth", "'no.csv'", "does not exist"]),
        ("image: FIELD", "image: no.fits", ["line 7", "tasks.sky.frames.train.0.image", "'no.fits'"]),
        ("truth:", "primary_beam: no.fits, truth:", ["line 7", "frames.train.0.primary_beam", "'no.fits'"]),
        ("detect: [FIELD]", "detect: [FIELD, no.fits]", ["line 8", "tasks.sky.frames.detect.1", "'no.fits'"]),
        ("    areas", "    model: no.safetensors\n    areas", ["line 9", "tasks.sky.model", "no.safetensors"]),
        ("truth:", "region: [1, 2, 3], truth:", ["line 7", "tasks.sky.frames.train.0.region", "rectangle"]),
        ("validation: 0.2", "validation: 0.8", ["line 9", "key tasks.sky.areas.validation", "more than 0.9"]),
        ("steps: 3", "network: C-3.3 D-4", ["line 11", "key tasks.sky.detector.network", "keep its axes"]),
        ("    areas", "    adapt: {}\n    areas", ["line 9", "key tasks.sky.adapt", "needs a model"]),
        (
            "    areas",
            "    simulate: {shape: [64, 64]}\n    areas",
            ["key tasks.sky", "both simulate and frames.train"],
        ),
        ("    areas", "    challenge: {frequency: 3}\n    areas", ["line 9", "tasks.sky.challenge.frequency", "1400"]),
        (
            "    areas",
            "    input: {}\n    areas",
            ["line 9", "key tasks.sky.input:", "not a known key", "frames, areas"],
        ),
        ("    areas", "    purity: 99\n    areas", ["line 9", "key tasks.sky.purity", "99", "less than 1"]),
    ],
)
def test_a_mistake_in_a_task_that_detects(write_sky, old, new, words):
    path = write_sky(old, new)
    found = messages(path)
    assert any(all(word in line for word in words) for line in found), found
    assert all(
        line.startswith(f"{path} line ") and ".detect." not in line.replace("frames.detect.", "") for line in found
    )


def test_a_task_that_is_no_mapping(write):
    (found,) = messages(write(text="run: x\ntasks:\n  a: 3\n"))
    assert "line 3, key tasks.a" in found
    assert "mapping" in found


def test_real_shapes_are_a_folder(write_sky, tmp_path):
    frames = SKY.partition("    frames:\n")[2].partition("    areas")[0]
    simulated = f"    simulate: {{shapes: {tmp_path}}}\n    frames: {{detect: [FIELD]}}\n"
    assert load_config(write_sky("    frames:\n" + frames, simulated)).tasks["sky"].simulate.shapes == str(tmp_path)
    absent = simulated.replace(str(tmp_path), "none")
    (found,) = messages(write_sky("    frames:\n" + frames, absent))
    assert "key tasks.sky.simulate.shapes" in found


def test_a_section_given_in_part_keeps_its_other_defaults(write_sky, tmp_path):
    given = load_config(write_sky()).tasks["sky"].detector.train
    assert given == DetectorSettings().train.model_copy(update={"epochs": 3})
    assert given.batch != TrainSettings().batch


def test_a_default_of_the_class_that_is_asked_for_survives_the_dump(write_sky, tmp_path):
    settings = load_config(write_sky("epochs: 3", f"epochs: {TrainSettings().epochs}"))
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(settings))
    assert load_config(again) == settings
    assert settings.tasks["sky"].detector.train.epochs == TrainSettings().epochs


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
