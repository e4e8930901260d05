"""What the stages left in a task's folder, read with an error that names the stage to run."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError, UserErrors
from pipeline.files import read_json

STAGES = {
    "dataset.h5": "ingest",
    "model.safetensors": "train",
    "training.json": "train",
    "history.csv": "train",
    "cost.json": "train",
    "metrics.json": "evaluate",
    "matches.csv": "evaluate",
    "statistics.csv": "evaluate",
    "figures/captions.json": "figures",
}


class TaskFiles:
    """The result files of one task; each is read when it is first asked for.

    Parameters
    ----------
    folder : the task's folder, `<run>/<task>`.
    needed : names of files (keys of STAGES, or catalogue.fits) that must be there.
    kind : of the task; the stage that writes its catalogue has that name.

    Raises
    ------
    UserError : files are absent; all of them are named at once.
    """

    def __init__(self, folder: str | Path, needed: tuple[str, ...], kind: str = "classify"):
        self.folder = Path(folder)
        self.kind = kind
        problems = [self._absent(name) for name in needed if not self.path(name).is_file()]
        if problems:
            raise UserErrors(problems)

    def path(self, name: str) -> Path:
        """The path of one of the task's files, there or not."""
        return self.folder / name

    def json(self, name: str) -> Any:
        """The content of a JSON file.

        Raises
        ------
        UserError : it is absent or is not JSON.
        """
        if not self.path(name).is_file():
            raise self._absent(name)
        return read_json(self.path(name))

    def history(self) -> dict[str, list[float]]:
        """The columns of history.csv, one number an epoch; NaN where the file has none.

        Raises
        ------
        UserError : it is absent, has no epoch, or a column that is not numeric.
        """
        path = self.path("history.csv")
        if not path.is_file():
            raise self._absent("history.csv")
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        remedy = "delete it and run the train stage again"
        if not rows or not {"epoch", "train_loss", "val_loss"} <= rows[0].keys():
            raise UserError(path, "has no epoch, train_loss or val_loss", remedy)
        try:
            return {name: [_number(row[name]) for row in rows] for name in rows[0]}
        except (TypeError, ValueError) as error:
            raise UserError(path, f"holds a value that is not a number ({error})", remedy) from error

    def matches(self) -> pd.DataFrame:
        """The table matches.csv of a catalogue that was judged.

        Raises
        ------
        UserError : it is absent or not that table.
        """
        path = self.path("matches.csv")
        if not path.is_file():
            raise self._absent("matches.csv")
        try:
            return pd.read_csv(path).astype({"matched": bool})
        except (ValueError, KeyError) as error:
            raise UserError(path, "is not the table that the evaluate stage wrote", "run that stage again") from error

    def has(self, *names: str) -> bool:
        """Whether all these files are there."""
        return all(self.path(name).is_file() for name in names)

    def _absent(self, name: str) -> UserError:
        return UserError(
            self.path(name), "does not exist", f"run the {STAGES.get(name, self.kind)} stage of this task first"
        )


def known_kind(files: TaskFiles, known: Iterable[str]) -> str:
    """The kind of task that metrics.json names.

    Raises
    ------
    UserError : it names none of the `known` kinds.
    """
    metrics = files.json("metrics.json")
    kind = metrics.get("kind") if isinstance(metrics, dict) else None
    if kind not in known:
        what = f'is of the kind "{kind}", which the report does not know (known: {", ".join(known)})'
        raise UserError(files.path("metrics.json"), what, "run the evaluate stage with this version")
    return kind


def _number(text: str) -> float:
    return float(text) if text.strip() else math.nan
