"""Write the README's table of measurements from benchmarks/results/*.json.

    python benchmarks/table.py

A figure without a JSON is "not measured". `rows` is what the README must hold; a test compares the two.
"""

import json
from pathlib import Path
from typing import Any

import table_detect
import table_generate
import table_hi

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- benchmarks: start -->", "<!-- benchmarks: end -->"
NOT_MEASURED = "not measured"

# name of the JSON, what is measured, what is aimed for
TASKS = (
    ("mnist", "MNIST, the lecture's network, 10,000 test digits", "99.35 %"),
    ("stars", "Stars O B A F G K M, five libraries, 10 folds by object", "90 %"),
    ("radio_galaxies", "Radio galaxies FRI / FRII / compact / bent, 5 folds", "88 %"),
    ("mirabest", "MiraBest FRI / FRII, confident labels, 5 folds", "96 %"),
    ("galaxy_zoo", "Galaxy Zoo elliptical / spiral / edge-on, 5 folds", "92 %"),
    ("iris", "Iris, 10 folds", "98 %"),
    ("pima", "Pima, 10 folds", "–"),
)


def figures(name: str) -> dict[str, Any] | None:
    """The figures of `benchmarks/results/<name>.json`, or None when it was not measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else None


def rows() -> list[str]:
    """The lines between the README's markers."""
    lines = ["| accuracy on objects never seen | network | logistic regression | aim |", "| --- | --- | --- | --- |"]
    for name, title, aim in TASKS:
        found = figures(name)
        network = _accuracy(found, "network")
        baseline = _accuracy(found, "baseline")
        lines.append(f"| {title} | {network} | {baseline} | {aim} |")
    lines += ["", "| training the MNIST network on two CPU cores | |", "| --- | --- |"]
    speed = figures("throughput")
    for key, title, shown in (
        ("fleming_samples_per_second", "samples per second", "{:,.0f}"),
        ("ratio", "ratio to a plain hand-written loop, median of pairs", "{:.2f}"),
        ("ratio_from_disk", "the same, streaming from HDF5 instead of memory", "{:.2f}"),
        ("data_wait_share", "share of the time spent waiting for data", "{:.2%}"),
        ("data_wait_share_from_disk", "the same, streaming from HDF5", "{:.2%}"),
    ):
        lines.append(f"| {title} | {shown.format(speed[key]) if speed else NOT_MEASURED} |")
    if speed:
        share = speed["achieved_gflops"] / speed["matrix_gflops"]
        lines.append(
            f"| share of the machine's matrix-product rate ({speed['matrix_gflops']:.0f} GFLOP/s) | {share:.0%} |"
        )
    lines.append(f"| on a GPU (benchmarks/gpu.py) | {'see results/gpu.json' if figures('gpu') else NOT_MEASURED} |")
    found = "see results/gpu_hi.json" if figures("gpu_hi") else NOT_MEASURED
    lines.append(f"| searching HI cubes on a GPU (benchmarks/gpu_hi.py) | {found} |")
    parts = (table_detect, table_hi, table_generate)
    return [*lines, *(line for part in parts for line in ("", *part.rows(figures)))]


def _accuracy(found: dict[str, Any] | None, who: str) -> str:
    if found is None:
        return NOT_MEASURED
    spread = found.get("spread")
    if spread is not None:
        accuracy = spread[who]["accuracy"]
        return f"{accuracy['mean']:.1%} ± {accuracy['standard_deviation']:.1%}".replace("%", " %")
    return f"{found[who]['accuracy']:.2%}".replace("%", " %") if who in found else NOT_MEASURED


def readme_rows() -> list[str]:
    """The lines that the README holds now."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition(START)[2].partition(END)[0].strip().splitlines()


def main() -> None:
    path = ROOT / "README.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{START}\n" + "\n".join(rows()) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
