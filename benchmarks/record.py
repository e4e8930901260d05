"""What every benchmark writes: one JSON with its figures, command, versions, machine and commit."""

import json
import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipeline.learn.device import describe_device
from pipeline.provenance import provenance

RESULTS = Path(__file__).parent / "results"


# A list of numbers is one line: a change of one figure is then one line of a difference.
_LIST = re.compile(r"\[\n[^\[\]{}]*\]")
_DIGITS = 6


def record(name: str, figures: dict[str, Any], device: str = "cpu") -> Path:
    """Write `benchmarks/results/<name>.json` and say where it is."""
    words = [Path(word).name if os.path.isabs(word) else word for word in sys.argv]
    origin = provenance() | {"command": shlex.join(["python", *words]), "python": platform.python_version()}
    content = {
        "benchmark": name,
        "figures": figures,
        "machine": describe_device(torch.device(device)),
        "provenance": origin | {"torch": torch.__version__, "date": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(_lines(content) + "\n", encoding="utf-8")
    print(f"written to {os.path.relpath(path)}")
    return path


def _lines(content: dict[str, Any]) -> str:
    text = json.dumps(_rounded(content), indent=1)
    return _LIST.sub(lambda found: "[" + " ".join(found[0][1:-1].split()) + "]", text)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
