# Everything in Python that the rules need: the validated settings, and what each stage depends on.
import json
import os
import shlex
import sys
from pathlib import Path

from pipeline.config import dump_config, key_lines, validate
from pipeline.errors import UserError
from pipeline.files import write_text

ROOM_FILES = {
    "simulate": ["simulate/*", "data/manifest.py", "sky/*"],
    "ingest": ["data/*", "sky/*"],
    "train": ["classify/train.py", "classify/settings.py", "classify/calibrate.py", "learn/*", "nn/*", "data/*"],
    "predict": ["classify/apply.py", "classify/predict.py", "classify/catalogue.py", "classify/description.py", "sky/*"],
    "evaluate": ["classify/evaluate.py", "classify/metrics.py", "classify/baseline.py", "classify/description.py"],
    "figures": ["report/*"],
    "report": ["report/*"],
}

# A job runs the command of the environment that runs Snakemake, activated or not, on a cluster node too.
shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; ')


def read_settings():
    """The settings of this run; a mistake in them ends here, before any job starts."""
    source = workflow.configfiles[-1] if workflow.configfiles else "the settings given by --config"
    try:
        settings = validate(dict(config), source, key_lines(source))
        # The jobs read the merged settings (--configfile and --config) from the run itself.
        text = dump_config(settings)
        path = Path(settings.run, "config.yaml")
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    except UserError as error:
        for problem in error.problems:
            print(f"fleming: {problem}", file=sys.stderr)
        sys.exit(2)
    return settings


SETTINGS = read_settings()
RUN = SETTINGS.run
CONFIG = f"{RUN}/config.yaml"
TASKS = list(SETTINGS.tasks)


def stage_code(stage):
    """The source files that a stage runs: changing one of them runs the stage again."""
    package = Path(workflow.basedir, "pipeline")
    files = {file for pattern in ROOM_FILES[stage] for file in package.glob(pattern) if file.suffix == ".py"}
    return [os.path.relpath(file) for file in sorted(files)]


def stage_settings(*keys):
    """A function of the wildcards that gives the task's settings under `keys`: changing one runs the stage again."""

    def settings_of(wildcards):
        task = SETTINGS.tasks[wildcards.task].model_dump(mode="json")
        return json.dumps({"seed": SETTINGS.seed} | {key: task[key] for key in keys}, sort_keys=True)

    return settings_of


def manifest_of(wildcards):
    """The task's manifest: the one that its config names, or the one that its simulation writes."""
    task = SETTINGS.tasks[wildcards.task]
    return task.input.manifest or f"{RUN}/{wildcards.task}/simulated/manifest.csv"


def sources_of(wildcards):
    """The manifest of the frames that a task's simulation injects."""
    return SETTINGS.tasks[wildcards.task].simulate.sources


def growing(amount):
    """A resource that grows with every attempt: a job that ran out of memory or time is tried again with more."""

    def grown(wildcards, attempt):
        return amount * attempt

    return grown


wildcard_constraints:
    task="|".join(TASKS),
