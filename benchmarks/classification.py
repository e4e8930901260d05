"""Accuracy on public data sets: each by its own config, ingested, trained and judged by the commands that users run.

    python benchmarks/classification.py --data ../shared/data               # all of them
    python benchmarks/classification.py --data ../shared/data --only stars iris

MNIST is trained once and judged on its own 10,000 test digits; every other set is cross-validated by object. The data
are read in place. Interrupted work resumes. Results go to benchmarks/results/, the work to results/benchmarks/.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from manifests import write as write_manifests
from record import record

# name: (config, task, folds; None for the data's own test split)
BENCHMARKS = {
    "iris": ("config/iris.yaml", "iris", 10),
    "pima": ("config/pima.yaml", "pima", 10),
    "stars": ("config/stars.yaml", "stars", 10),
    "mirabest": ("config/mirabest.yaml", "mirabest", 5),
    "radio_galaxies": ("config/radio_galaxies.yaml", "radio_galaxies", 5),
    "galaxy_zoo": ("config/galaxyzoo.yaml", "galaxy_zoo", 5),
    "mnist": ("config/mnist.yaml", "mnist", None),
}
WORK = Path("results/benchmarks")


def fleming(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pipeline.cli", *map(str, words)], check=True)


def measure(name: str) -> dict[str, Any]:
    """Ingest, train and judge one data set; its figures."""
    config, task, folds = BENCHMARKS[name]
    folder = WORK / name
    dataset = folder / "dataset.h5"
    chosen = ("--config", config, "--task", task)
    fleming("ingest", *chosen, "--out", dataset)
    began = time.perf_counter()
    if folds is not None:
        out = folder / "crossvalidation.json"
        fleming("crossvalidate", *chosen, "--dataset", dataset, "--folds", str(folds), "--out", out)
        result = json.loads(out.read_text())
        kept = ("folds", "spread", "per_fold", "settings")
        figures = {key: result[key] for key in kept}
    else:
        model, catalogue, out = folder / "model.safetensors", folder / "catalogue.fits", folder / "metrics.json"
        fleming("train", *chosen, "--dataset", dataset, "--out", model)
        fleming("classify", "--dataset", dataset, "--model", model, "--out", catalogue)
        same = ("--dataset", dataset, "--model", model, "--catalogue", catalogue)
        fleming("evaluate", *chosen, *same, "--out", out)
        result = json.loads(out.read_text())
        figures = {"training": json.loads((folder / "training.json").read_text())}
    for who in ("network", "baseline"):
        scores = ("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "f1_macro", "ece", "confusion")
        figures[who] = {key: result[who][key] for key in (*scores, "classes")}
    return figures | {"seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder a data set")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    options = parser.parse_args()
    write_manifests(options.data, Path("results/manifests"))
    for name in options.only:
        record(name, measure(name))


if __name__ == "__main__":
    main()
