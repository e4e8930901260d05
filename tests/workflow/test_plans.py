"""What a run of each kind of task would execute, which a dry run tells."""

import shlex
from pathlib import Path

import pytest
import yaml

from pipeline.options import parser

DETECTION = {
    "simulated": {"kind": "detect", "simulate": {"shape": [64, 64], "primary_beam": 0.1}},
    "labelled": {
        "kind": "detect",
        "frames": {
            "train": [{"image": "a.fits", "truth": "a.csv", "region": [0, 1, 0, 1]}],
            "test": [{"image": "a.fits", "truth": "b.csv", "primary_beam": "beam.fits"}],
            "detect": ["c.fits"],
        },
    },
    "adapted": {"kind": "detect", "model": "m.safetensors", "adapt": {}, "frames": {"detect": ["c.fits"]}},
    "plain": {"kind": "detect", "model": "m.safetensors", "frames": {"detect": ["c.fits", "a.fits"]}},
    "cubes": {"kind": "hi", "model": "m.safetensors", "adapt": {}, "frames": {"detect": [{"cube": "c.fits"}]}},
}
CUBES = {
    "sky": {"kind": "hi", "simulate": {"shape": [32, 32, 32]}, "products": True},
    "challenge": {
        "kind": "hi",
        "simulate": {"width_factor": 1.37},
        "frames": {
            "train": [{"cube": "a.fits", "continuum": "c.fits", "truth": "a.csv"}],
            "detect": [{"cube": "beam.fits", "continuum": "c.fits"}],
        },
    },
    "given": {"kind": "hi", "model": "m.safetensors", "frames": {"test": [{"cube": "a.fits", "truth": "a.csv"}]}},
}


GENERATION = {
    "galaxies": {
        "kind": "generate",
        "simulate": {},
        "methods": {"vae": {}, "field": {"name": "flow"}, "mean_flow": {"begin": "field"}},
    },
    "spectra": {
        "kind": "generate",
        "input": {"manifest": "my.csv", "kind": "spectrum", "grid": [4000, 4100, 1]},
        "methods": {"mixture": {}},
        "features": "m.safetensors",
    },
}


@pytest.fixture(scope="module")
def planned(workflow, tmp_path_factory):
    """The commands that a run of a task of every kind would execute, by (task, rule); the log has the rule's name."""
    folder = tmp_path_factory.mktemp("planned")
    workflow.copy_code(folder)
    for name in ("a.fits", "c.fits", "a.csv", "b.csv", "beam.fits", "m.safetensors", "my.csv"):
        (folder / name).touch()
    stars = {"kind": "classify", "input": {"manifest": "my.csv", "kind": "image"}, "network": "C-4.3 GMP D-2"}
    (folder / "my.yaml").write_text(
        yaml.safe_dump({"run": "out", "tasks": {"stars": stars, **DETECTION, **CUBES, **GENERATION}}, sort_keys=False)
    )
    dry = workflow.run(folder, "--dry-run", "--printshellcmds")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert not (folder / "out").exists()
    lines = (dry.stdout + dry.stderr).splitlines()
    commands = [line.partition("Shell command: ")[2] for line in lines if "Shell command: fleming" in line]
    return {Path(command.split()[-1]).with_suffix("").parts[-2:]: command for command in commands}


def test_each_task_that_detects_runs_the_stages_that_it_needs(planned):
    always, in_cubes = {"detect", "evaluate_detector", "figures"}, {"detect_cubes", "evaluate_cubes", "figures"}
    assert {name: {rule for task, rule in planned if task == name} for name in ("stars", *DETECTION, *CUBES)} == {
        "stars": {"ingest", "train", "classify", "evaluate", "figures"},
        "simulated": always | {"simulate_field", "train_detector"},
        "labelled": always | {"train_detector"},
        "adapted": always | {"adapt_detector"},
        "plain": always,
        "cubes": {"adapt_cubes", "detect_cubes", "evaluate_cubes", "figures"},
        "sky": in_cubes | {"simulate_cubes", "train_cubes"},
        "challenge": in_cubes | {"train_cubes"},
        "given": in_cubes,
    }


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("simulated", "out/simulated/model.safetensors"),
        ("labelled", "out/labelled/model.safetensors"),
        ("adapted", "out/adapted/adapted.safetensors"),
        ("plain", "m.safetensors"),
    ],
)
def test_what_is_made_is_what_the_next_stage_reads(planned, name, model):
    catalogue = f"out/{name}/catalogue.fits"
    assert f"--model {model} --out {catalogue} " in planned[name, "detect"]
    assert f"--model {model} --catalogue {catalogue} " in planned[name, "evaluate_detector"]
    for rule in ("train_detector", "adapt_detector", "detect", "evaluate_detector"):
        if (name, rule) in planned:
            assert ("--simulated out/simulated/simulated " in planned[name, rule]) == (name == "simulated")
            assert model in planned[name, rule]


def test_cubes_are_searched_with_the_adapted_model(planned):
    model, catalogue = "out/cubes/adapted.safetensors", "out/cubes/catalogue.fits"
    assert f"--model m.safetensors --out {model} " in planned["cubes", "adapt_cubes"]
    assert f"--model {model} --out {catalogue} " in planned["cubes", "detect_cubes"]
    assert f"--model {model} --catalogue {catalogue} " in planned["cubes", "evaluate_cubes"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sky", "out/sky/model.safetensors"),
        ("challenge", "out/challenge/model.safetensors"),
        ("given", "m.safetensors"),
    ],
)
def test_what_is_made_of_cubes_is_what_the_next_stage_reads(planned, name, model):
    catalogue, candidates = f"out/{name}/catalogue.fits", f"out/{name}/candidates.fits"
    detect, evaluate = planned[name, "detect_cubes"], planned[name, "evaluate_cubes"]
    assert f"--model {model} --out {catalogue} " in detect
    assert f"--out out/{name}/submission.txt " in detect
    assert f"--candidates {candidates} --chunks out/{name}/chunks --page out/{name} " in detect
    assert f"--model {model} --catalogue {catalogue} --candidates {candidates} " in evaluate
    assert (f"--products out/{name}/galaxies " in detect) == (name == "sky")
    for rule in ("train_cubes", "detect_cubes", "evaluate_cubes"):
        if (name, rule) in planned:
            assert ("--simulated out/sky/simulated " in planned[name, rule]) == (name == "sky")


def test_each_generative_task_trains_and_samples_its_methods(planned):
    made = {task: {rule for name, rule in planned if name == task} for task in GENERATION}
    common = {"ingest_stamps", "sample_product", "evaluate_methods", "figures"}
    assert made["galaxies"] == common | {
        "simulate_stamps", "train_vae", "train_field", "train_mean_flow", "sample_field", "sample_mean_flow",
        "explore_vae", "restore_example_field",
    }  # fmt: skip
    assert made["spectra"] == common | {"train_mixture"}


def test_what_a_method_makes_is_what_is_judged(planned):
    galaxies = {rule: command for (task, rule), command in planned.items() if task == "galaxies"}
    assert "--model out/galaxies/vae/model.safetensors --out out/galaxies/galaxies.fits" in galaxies["sample_product"]
    assert "--begin out/galaxies/field/model.safetensors " in galaxies["train_mean_flow"]
    assert "--begin" not in galaxies["train_field"]
    files = ["out/galaxies/galaxies.fits", "out/galaxies/field/galaxies.fits", "out/galaxies/mean_flow/galaxies.fits"]
    assert " ".join(f"--samples {file}" for file in files) in galaxies["evaluate_methods"]
    assert "--out out/galaxies/mean_flow/galaxies.fits" in galaxies["sample_mean_flow"]


def test_every_command_of_the_workflow_is_one_that_fleming_knows(planned):
    for command in planned.values():
        options = parser().parse_args(shlex.split(command)[1:])
        assert callable(options.run)
