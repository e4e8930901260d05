"""What a training leaves beside its model file, and where it keeps its checkpoints until then."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.files import write_json, write_text
from pipeline.learn.device import describe_device
from pipeline.learn.loop import Outcome
from pipeline.nn.cost import describe, total


def checkpoint_folder(out: Path, depends: dict[str, Any]) -> Path:
    """Where a training of `out` keeps its checkpoints: another folder for everything else that it depends on."""
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    return out.parent / f"{out.stem}-checkpoint" / key


def write_record(folder: Path, network: nn.Module, outcome: Outcome, checkpoints: Path) -> dict[str, Any]:
    """Write cost.json, training.json and history.csv to `folder`; the result is what training.json says.

    checkpoints : the folder that the training loop kept its history in.
    """
    rows = describe(network)
    sums = total(rows)
    training = {
        "best_epoch": outcome.best_epoch,
        "epochs_run": len(outcome.history),
        "stopped": outcome.stopped,
        "seconds": outcome.seconds,
        "samples_per_second": outcome.samples_per_second,
        "data_wait_share": outcome.data_wait_share,
        "energy_joule": outcome.energy_joule,
        "device": describe_device(next(network.parameters()).device),
        "parameters": sums.parameters,
        "macs": sums.macs,
    }
    write_json(folder / "cost.json", [asdict(row) for row in rows])
    write_json(folder / "training.json", training)
    write_text(folder / "history.csv", (checkpoints / "history.csv").read_text(encoding="utf-8"))
    return training
