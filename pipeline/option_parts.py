"""What several sub-commands of `fleming` have in common: types of values, and groups of options."""

import argparse
from pathlib import Path


def shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not channel,axis[,axis[,axis]], such as 1,28,28")
    return shape


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def config(stage):
    stage.add_argument("--config", required=True, help="the run's YAML file")


def task(stage):
    config(stage)
    stage.add_argument("--task", required=True, help="the task's name in the config")


def any_task(stage):
    """A detection task, for what also works on files without a config."""
    stage.add_argument("--config", help="a run's YAML file, to do what one of its detection tasks says")
    stage.add_argument("--task", help="the task's name in the config")
    simulated(stage)


def device(stage):
    stage.add_argument("--device", help="cpu, cuda, cuda:1 ...; chosen by itself when not given")


def dataset(stage):
    stage.add_argument(
        "--dataset", type=Path, help="tasks that classify or generate: the data set that fleming ingest wrote"
    )


def simulated(stage):
    stage.add_argument("--simulated", type=Path, help="tasks with a simulated field: the folder that it was written to")


def out(text, many=False):
    extra = {"action": "append"} if many else {}
    return lambda stage: stage.add_argument("--out", type=Path, required=True, help=text, **extra)
