"""Snakemake with the code of this project in a folder of a user's own."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent.parent
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


def jobs(dry_run):
    """The rules that a dry run would execute."""
    table = (dry_run.stdout + dry_run.stderr).partition("Job stats:")[2].partition("\n\n")[0]
    return {line.split()[0] for line in table.splitlines()[3:] if line.strip()} - {"all", "total"}


@pytest.fixture(scope="session")
def workflow():
    """What a test of the workflow does with a folder."""
    return SimpleNamespace(run=run, copy_code=copy_code, jobs=jobs)
