"""The whole workflow by Snakemake on a small run: what it writes, what it repeats, and what stops it."""

import json
import shutil

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table


@pytest.fixture(scope="module")
def folder(workflow, tmp_path_factory):
    """A user's own folder: 40 small FITS images of two classes, a manifest and a config; the run is done."""
    folder = tmp_path_factory.mktemp("user folder")
    workflow.copy_code(folder)
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
    done = workflow.run(folder)
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


def test_a_second_run_has_nothing_to_do(workflow, folder):
    again = workflow.run(folder)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr


def copy_run(folder, other):
    """A copy of the finished run, to change something in."""
    shutil.copytree(folder, other, dirs_exist_ok=True, symlinks=True)
    return other


def test_a_changed_setting_repeats_the_stages_that_depend_on_it(workflow, folder, tmp_path):
    changed = copy_run(folder, tmp_path)
    config = yaml.safe_load((changed / "my.yaml").read_text())
    config["tasks"]["shapes"]["train"]["epochs"] = 6
    (changed / "my.yaml").write_text(yaml.safe_dump(config))
    dry = workflow.run(changed, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert workflow.jobs(dry) == {"train", "classify", "evaluate", "figures", "report"}


def test_changed_code_repeats_the_stages_that_run_it(workflow, folder, tmp_path):
    changed = copy_run(folder, tmp_path)
    with open(changed / "code" / "pipeline" / "learn" / "loop.py", "a") as code:
        code.write("\n# another line\n")
    assert workflow.jobs(workflow.run(changed, "--dry-run")) == {"train", "classify", "evaluate", "figures", "report"}
    assert workflow.jobs(workflow.run(folder, "--dry-run")) == set()


def test_a_mistake_in_the_config_ends_before_any_job(workflow, folder, tmp_path):
    config = yaml.safe_load((folder / "my.yaml").read_text())
    config["tasks"]["shapes"]["train"]["epoch"] = 3
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "my.csv").write_text("path,class\n")
    workflow.copy_code(tmp_path)
    refused = workflow.run(tmp_path)
    assert refused.returncode == 2
    assert "write 'epochs' instead" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(workflow, folder, tmp_path):
    for name in ("my.yaml", "my.csv"):
        shutil.copy(folder / name, tmp_path)
    workflow.copy_code(tmp_path)
    assert workflow.run(tmp_path, "--dry-run").returncode == 0
    assert not (tmp_path / "out").exists()


def test_snakemakes_own_report_works(workflow, folder):
    made = workflow.run(folder, "--report", "snakemake-report.html")
    assert made.returncode == 0, made.stderr
    assert (folder / "snakemake-report.html").stat().st_size > 100_000
