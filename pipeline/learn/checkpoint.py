"""Checkpoints: all that a killed run needs to go on as if nothing had happened, and nothing that can run code."""

import dataclasses
import hashlib
import io
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.learn.settings import TrainSettings

_FORMAT = 1


@dataclass
class State:
    """What a run has reached after its last whole epoch; numbers, text and tensors only."""

    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = 0.0
    seconds: float = 0.0
    trained: float = 0.0
    waited: float = 0.0
    samples: int = 0
    joule: float | None = 0.0
    stopped: str = ""


def fingerprint(network: nn.Module, steps_per_epoch: int, settings: TrainSettings, seed: int, depends: Any) -> dict:
    """What the result of a run depends on, as {name: JSON value}; the device is left out, so that a run may move."""
    architecture = [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()]
    return {
        **settings.model_dump(mode="json", exclude={"device"}),
        "seed": seed,
        "batches an epoch": steps_per_epoch,
        "network": _digest([getattr(network, "line", None), repr(network), architecture]),
        "input": _digest(depends),
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save(path: Path, state: State, parts: dict[str, Any], print_of_run: dict) -> None:
    """Write `state` and the state dictionaries `parts` (network, optimiser, ...), whole or not at all."""
    content = {
        "format": _FORMAT,
        "fingerprint": json.dumps(print_of_run),
        "state": {item.name: getattr(state, item.name) for item in dataclasses.fields(state)},
        "parts": parts,
    }
    # torch.save turns a full disk into an unspecific error; writing bytes keeps the operating system's.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic(path) as beside:
        beside.write_bytes(buffer.getbuffer())


def load(path: Path, print_of_run: dict) -> tuple[State, dict[str, Any]] | None:
    """The saved state and parts (tensors on the CPU), or None where there is no checkpoint.

    Raises
    ------
    UserError : the file is damaged, would run code, or belongs to a run with other settings, network, data or seed.
    """
    fresh = f"delete {path.name} to start again"
    if not path.exists():
        return None
    try:
        # Checksums first: PyTorch has no one error for a file in which a byte is wrong.
        with ZipFile(path) as archive:
            wrong = archive.testzip()
        if wrong:
            raise BadZipFile(wrong)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, BadZipFile, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(path, "is not a checkpoint, or a damaged one", fresh) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(path, "is not a checkpoint of this version", fresh)
    old = json.loads(content["fingerprint"])
    changed = [name for name in print_of_run if old.get(name) != print_of_run[name]]
    if changed:
        what = ", ".join(f"{name} was {old.get(name)}, is {print_of_run[name]}" for name in changed)
        raise UserError(path, f"belongs to another run ({what})", f"{fresh}, or go back to the old settings")
    return State(**content["state"]), content["parts"]
