"""The whole workflow by Snakemake on a small run: what it writes, what it repeats, and what stops it."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from pipeline.options import parser

ROOT = Path(__file__).parent.parent
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def run(folder, *words):
    """Run Snakemake in `folder` with the code and the config there."""
    command = [str(SNAKEMAKE), "--snakefile", "code/Snakefile", "--cores", "2", "--configfile", "my.yaml", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def copy_code(folder):
    """The workflow as a clone would have it, so that a test may change it."""
    unwanted = shutil.ignore_patterns("__pycache__")
    for part in ("rules", "pipeline"):
        shutil.copytree(ROOT / part, folder / "code" / part, ignore=unwanted)
    shutil.copy(ROOT / "Snakefile", folder / "code")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's own folder: 40 small FITS images of two classes, a manifest and a config; the run is done."""
    folder = tmp_path_factory.mktemp("user folder")
    copy_code(folder)
    rng = np.random.default_rng(1)
    y, x = np.indices((16, 16)) - 8
    lines = ["path,class"]
    for k in range(40):
        width = 1.0 if k % 2 else 3.0
        image = rng.normal(0, 0.05, (16, 16)) + np.exp(-(x**2 + y**2) / 2 / width**2)
        header = fits.Header({"BUNIT": "Jy/beam", "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"})
        header.update({"CRVAL1": 10.0 + k, "CRVAL2": -30.0, "CDELT1": -1e-4, "CDELT2": 1e-4, "CRPIX1": 8, "CRPIX2": 8})
        fits.writeto(folder / f"source{k:02}.fits", image.astype(np.float32), header)
        lines.append(f"source{k:02}.fits,{'compact' if k % 2 else 'wide'}")
    (folder / "my.csv").write_text("\n".join(lines) + "\n")
    task = {"kind": "classify", "input": {"manifest": "my.csv", "kind": "image"}, "network": "C-4.3 P-2 GMP D-2"}
    task["train"] = {"epochs": 5, "batch": 8, "learning_rate": 0.02}
    (folder / "my.yaml").write_text(yaml.safe_dump({"run": "out", "tasks": {"shapes": task}}))
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_product_is_there(folder):
    out = folder / "out" / "shapes"
    table = Table.read(out / "catalogue.fits")
    assert len(table) == 40
    assert {"id", "ra", "dec", "class", "p_compact", "p_wide"} <= set(table.colnames)
    assert str(table["ra"].unit) == "deg"
    assert len(Table.read(out / "catalogue.ecsv")) == 40
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["network"]["n"] == np.sum(table["split"] == "test")
    page = (folder / "out" / "report.html").read_text()
    assert "shapes" in page
    assert "<script" not in page
    assert (folder / "out" / "logs" / "shapes" / "train.log").stat().st_size > 0
    assert (folder / "out" / "benchmarks" / "shapes" / "train.tsv").is_file()


def test_a_second_run_has_nothing_to_do(folder):
    again = run(folder)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr


def jobs(dry_run):
    """The rules that a dry run would execute."""
    table = (dry_run.stdout + dry_run.stderr).partition("Job stats:")[2].partition("\n\n")[0]
    return {line.split()[0] for line in table.splitlines()[3:] if line.strip()} - {"all", "total"}


def copy_run(folder, other):
    """A copy of the finished run, to change something in."""
    shutil.copytree(folder, other, dirs_exist_ok=True, symlinks=True)
    return other


def test_a_changed_setting_repeats_the_stages_that_depend_on_it(folder, tmp_path):
    changed = copy_run(folder, tmp_path)
    config = yaml.safe_load((changed / "my.yaml").read_text())
    config["tasks"]["shapes"]["train"]["epochs"] = 6
    (changed / "my.yaml").write_text(yaml.safe_dump(config))
    dry = run(changed, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert jobs(dry) == {"train", "classify", "evaluate", "figures", "report"}


def test_changed_code_repeats_the_stages_that_run_it(folder, tmp_path):
    changed = copy_run(folder, tmp_path)
    with open(changed / "code" / "pipeline" / "learn" / "loop.py", "a") as code:
        code.write("\n# another line\n")
    assert jobs(run(changed, "--dry-run")) == {"train", "classify", "evaluate", "figures", "report"}
    assert jobs(run(folder, "--dry-run")) == set()


def test_a_mistake_in_the_config_ends_before_any_job(folder, tmp_path):
    config = yaml.safe_load((folder / "my.yaml").read_text())
    config["tasks"]["shapes"]["train"]["epoch"] = 3
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "my.csv").write_text("path,class\n")
    copy_code(tmp_path)
    refused = run(tmp_path)
    assert refused.returncode == 2
    assert "write 'epochs' instead" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(folder, tmp_path):
    for name in ("my.yaml", "my.csv"):
        shutil.copy(folder / name, tmp_path)
    copy_code(tmp_path)
    assert run(tmp_path, "--dry-run").returncode == 0
    assert not (tmp_path / "out").exists()


def test_snakemakes_own_report_works(folder):
    made = run(folder, "--report", "snakemake-report.html")
    assert made.returncode == 0, made.stderr
    assert (folder / "snakemake-report.html").stat().st_size > 100_000


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
def planned(tmp_path_factory):
    """The commands that a run of a task of every kind would execute, by (task, rule); the log has the rule's name."""
    folder = tmp_path_factory.mktemp("planned")
    copy_code(folder)
    for name in ("a.fits", "c.fits", "a.csv", "b.csv", "beam.fits", "m.safetensors", "my.csv"):
        (folder / name).touch()
    stars = {"kind": "classify", "input": {"manifest": "my.csv", "kind": "image"}, "network": "C-4.3 GMP D-2"}
    (folder / "my.yaml").write_text(
        yaml.safe_dump({"run": "out", "tasks": {"stars": stars, **DETECTION, **CUBES, **GENERATION}}, sort_keys=False)
    )
    dry = run(folder, "--dry-run", "--printshellcmds")
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


def test_synthetic_galaxies_from_a_config_alone(tmp_path):
    copy_code(tmp_path)
    task = {
        "kind": "generate",
        "simulate": {"sersic": {"n": 60, "shape": [12, 12], "size": [1.2, 2.5]}},
        "conditions": ["flux"],
        "methods": {"vae": {"widths": [4, 8], "latent": 2}},
        "train": {"epochs": 2, "batch": 16},
        "samples": 20,
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"run": "out", "tasks": {"galaxies": task}}))
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out" / "galaxies"
    assert fits.getdata(out / "galaxies.fits").shape == (20, 12, 12)
    table = Table.read(out / "catalogue.fits")
    assert len(table) == len(Table.read(out / "catalogue.ecsv")) == 20
    assert str(table["flux"].unit) == "Jy"
    assert json.loads((out / "metrics.json").read_text())["methods"]["vae"]["realism"]["n"] > 0
    assert (out / "vae" / "latent.json").is_file()
    assert (out / "figures" / "captions.json").is_file()
    assert "galaxies" in (tmp_path / "out" / "report.html").read_text()
    # another guidance changes what is sampled, not what is trained
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"run": "out", "tasks": {"galaxies": task | {"guidance": 2}}}))
    assert jobs(run(tmp_path, "--dry-run")) == {"sample_product", "evaluate_methods", "figures", "report"}


def test_every_command_of_the_workflow_is_one_that_fleming_knows(planned):
    for command in planned.values():
        options = parser().parse_args(shlex.split(command)[1:])
        assert callable(options.run)
