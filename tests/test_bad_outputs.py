"""Outputs that cannot be written, a full disk among them: one sentence, exit code 2, nothing left behind."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

STARS = "--config run.yaml --task stars"
DATA, MODEL, CATALOGUE = (f"results/stars/{name}" for name in ("dataset.h5", "model.safetensors", "catalogue.fits"))
INGEST = f"ingest {STARS} --out new/data.h5"
TRAIN = f"train {STARS} --dataset {DATA} --out new/model.safetensors"
CLASSIFY = f"classify stars/00.fits --model {MODEL} --out new/types.fits"
CLASSIFY_DATA = f"classify --dataset {DATA} --model {MODEL} --out new/types.fits"
CROSS = f"crossvalidate {STARS} --dataset {DATA} --out new/cross.json"
EVALUATE = f"evaluate {STARS} --dataset {DATA} --model {MODEL} --catalogue {CATALOGUE} --out new/metrics.json"
SIMULATE = "simulate --config run.yaml --task injected --out new/simulated"

OUTPUTS = {
    "ingest": (INGEST, "new/data.h5"),
    "train": (TRAIN, "new/model.safetensors"),
    "crossvalidate": (f"{CROSS} --folds 4", "new/cross.json"),
    "classify": (CLASSIFY_DATA, "new/types.fits"),
    "classify files": (CLASSIFY.replace("types.fits", "types.ecsv"), "new/types.ecsv"),
    "evaluate": (EVALUATE, "new/metrics.json"),
    "simulate": (SIMULATE, "new/simulated"),
}


@pytest.mark.parametrize("stage", OUTPUTS)
def test_an_output_below_a_file(work, stage):
    command, out = OUTPUTS[stage]
    work.write("new", "a file")
    work.assert_refused(command, f"fleming: {out}", "cannot be written")


@pytest.mark.parametrize("stage", OUTPUTS)
@pytest.mark.parametrize("system", ["/proc", "/sys"])
def test_an_output_where_nobody_can_write(work, system, stage):
    command, out = OUTPUTS[stage]
    work.assert_refused(command.replace("new/", f"{system}/new/"), f"fleming: {system}/{out}", "cannot be written")


@pytest.mark.parametrize("stage", [stage for stage in OUTPUTS if stage != "simulate"])
def test_an_output_that_is_a_folder(work, stage):
    command, out = OUTPUTS[stage]
    work.path(f"{out}/kept")
    work.assert_refused(command, f"fleming: {out}: cannot be written (is a directory)")
    assert work.path(out).is_dir()


@pytest.mark.parametrize("stage", [stage for stage in OUTPUTS if stage != "simulate"])
def test_an_output_that_is_a_pipe_stays_one(work, stage):
    command, out = OUTPUTS[stage]
    os.mkfifo(work.path(out))
    work.assert_refused(command, f"fleming: {out}: cannot be written")
    assert work.path(out).is_fifo()


@contextlib.contextmanager
def full_disk(size):
    """No file may grow beyond `size` bytes; Python ignores the signal, so that writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1000, 4000])
@pytest.mark.parametrize("stage", [stage for stage in OUTPUTS if stage != "classify files"])
def test_a_full_disk(work, stage, size):
    command, _ = OUTPUTS[stage]
    before = work.files()
    with full_disk(size):
        code, lines = work.run(command)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("fleming: new")
    assert lines[0].endswith(
        "cannot be written (file too large); raise the file-size limit (ulimit -f) or write to another disk."
    )
    assert work.files() == before


NO_SPACE = "cannot be written (no space left on device); free some space or write to another disk."
FULL = f"fleming: warning: /dev/full: {NO_SPACE}"


def test_a_log_below_a_file(work):
    code, lines = work.run("check run.yaml --log stars.csv/run.log")
    assert code == 2
    what = "cannot be written (file exists); choose a path whose parents are folders"
    assert lines == [f"fleming: stars.csv/run.log: {what}."]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
@pytest.mark.parametrize("stage", ["ingest", "classify"])
def test_a_log_on_a_full_disk_stops_nothing(work, stage):
    command, out = OUTPUTS[stage]
    code, lines = work.run(f"{command} --log /dev/full")
    assert code == 0
    assert work.path(out).is_file()
    assert [line for line in lines if line.startswith("fleming:")] == [FULL] * (stage == "classify")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_hides_no_problem(work):
    code, lines = work.run("check no.yaml --log /dev/full")
    assert code == 2
    assert lines == [FULL, "fleming: no.yaml: does not exist; name a YAML file, such as config/demo.yaml."]


def test_a_process_that_met_a_full_disk_ends_with_the_code(work):
    """Libraries that clean up at the very end must not turn code 2 into a crash."""
    command = [sys.executable, "-m", "pipeline.cli", *INGEST.split()]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("fleming: new/data.h5: cannot be written (file too large); ")
    assert ended.stderr.count("\n") == 1
    assert list(work.path("new").iterdir()) == []
