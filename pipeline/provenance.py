"""Where a result comes from: versions, commit, command, machine."""

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline import __version__

_PACKAGES = ("torch", "numpy", "scipy", "astropy", "scikit-learn", "h5py", "pandas", "snakemake")


def versions() -> dict[str, str]:
    """The versions of Fleming, Python and the packages that results depend on."""
    found = {"fleming": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """The commit of the code that runs, with "+" when files differ from it; "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parent.parent
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "pipeline")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+" if changed else "")


def provenance(seed: int | None = None) -> dict[str, Any]:
    """What a result file records about its origin; without time or place, so that equal runs give equal files."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv]
    return versions() | {
        "commit": commit(),
        "command": shlex.join([Path(words[0]).name, *words[1:]]),
        "platform": f"{platform.system()} {platform.machine()}",
        "seed": seed,
    }


def _git(folder: Path, *words: str) -> str:
    run = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()
