# Everything in Python that the rules need: the validated settings, and what each stage depends on.
import ast
import json
import os
import shlex
import sys
from pathlib import Path

from pipeline.config import dump_config, key_lines, validate
from pipeline.errors import UserError
from pipeline.files import write_text

# The module that each stage begins with; what it imports is found by itself.
FIRST_MODULE = {
    "simulate": "simulate/injection.py",
    "ingest": "data/ingest.py",
    "train": "classify/train.py",
    "classify": "classify/apply.py",
    "evaluate": "classify/evaluate.py",
    "figures": "report/figures.py",
    "report": "report/page.py",
}

# A job runs the command of the environment that runs Snakemake, activated or not, on a cluster node too.
shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; ')


def read_settings():
    """The settings of this run; a mistake in them ends here, before any job starts."""
    source = workflow.configfiles[-1] if workflow.configfiles else "the settings given by --config"
    try:
        return validate(dict(config), source, key_lines(source))
    except UserError as error:
        stop(error)


def write_settings():
    """Write what the jobs read: the merged settings of --configfile and --config, in the run's own folder."""
    try:
        write_text(CONFIG, dump_config(SETTINGS))
    except UserError as error:
        stop(error)


def stop(error):
    """End with the user's mistakes, one line each."""
    for problem in error.problems:
        print(f"fleming: {problem}", file=sys.stderr)
    sys.exit(2)


SETTINGS = read_settings()
RUN = SETTINGS.run
CONFIG = f"{RUN}/config.yaml"
TASKS = list(SETTINGS.tasks)


def stage_code(stage):
    """The source files that a stage runs, by its imports: changing one of them runs the stage again."""
    package = Path(workflow.basedir, "pipeline")
    found, waiting = set(), [package / FIRST_MODULE[stage]]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pipeline":
                place = package.parent.joinpath(*node.module.split("."))
                named = [place / f"{alias.name}.py" for alias in node.names]
                waiting += [path for path in (place.with_suffix(".py"), *named) if path.is_file()]
    return [os.path.relpath(file) for file in sorted(found)]


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
