"""The figures of a task of HI galaxies, drawn from the files that its stages wrote."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.report.curves import draw_learning, over_training_text
from pipeline.report.detections import draw_completeness, draw_precision
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.galaxies import SHOWN_SNR, draw_cube, draw_measures, draw_rankings
from pipeline.report.shared_figures import add_coverage, add_reliability
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "matches.csv")


def hi_figures(task_folder: Path, out: FigureFolder) -> None:
    """Draw every figure that the task has the data for: none of the truth without one, none of a training it had not.

    Raises
    ------
    UserError : a file that a figure needs is absent or damaged; the stage that writes it is named.
    """
    files = TaskFiles(task_folder, NEEDED, "detect")
    metrics = files.json("metrics.json")
    if metrics["n_truth"] is not None:
        _against_truth(out, metrics, files.matches())
    if files.has("galaxies.json", "galaxies.png"):
        out.take(files.path("galaxies.png"), files.json("galaxies.json"))
    if files.has("training.json", "history.csv"):
        history, best = files.history(), files.json("training.json")["best_epoch"]
        caption = over_training_text(history, best)
        out.add("learning.png", (6.4, 3.9), lambda f: draw_learning(f, history, best), "Training", caption)


def _against_truth(out: FigureFolder, metrics: dict[str, Any], matches: pd.DataFrame) -> None:
    out.add(
        "cube.png",
        (10.4, 5.2),
        lambda f: draw_cube(f, metrics["frames"][0], matches[matches["frame"] == 0]),
        "The first judged cube",
        "Left as on the sky, right across the channels: the galaxies that the catalogue lists (circles), those of a "
        f"true signal-to-noise ratio above {SHOWN_SNR:g} that it misses, and its false detections. Larger is brighter.",
    )
    out.add(
        "completeness.png",
        (10.4, 3.9),
        lambda f: draw_completeness(f, metrics),
        "How deep, and how pure",
        "Left: of the galaxies of a given true signal-to-noise ratio, that of an ideal filter of their own shape, the "
        "share that the catalogue lists. Right: of the detections of a given measured one, the share that is real. "
        "Bars hold 68 %.",
    )
    out.add(
        "precision.png",
        (10.4, 4.2),
        lambda f: draw_precision(f, metrics, SHOWN_SNR, 0.55),
        "At every threshold",
        "Left: as the threshold on the probability falls, the share of detections that match a galaxy by the rule of "
        "the challenge, against the share of galaxies found. Right: average precision when boxes on the sky and along "
        "frequency must overlap by so much. A detection of a fainter galaxy is neither right nor wrong.",
    )
    if any(rows is not None for rows in metrics["rankings"].values()):
        out.add(
            "rankings.png",
            (10.4, 4.0),
            lambda f: draw_rankings(f, metrics),
            "The network beside a matched filter",
            "The same candidates in the order of the catalogue's probability and of the signal-to-noise ratio of a "
            "matched filter alone. Right: the score per true galaxy of some cuts; a best cut is chosen on this very "
            "truth and bounds what an order can reach. The bar on the catalogue is one standard deviation between "
            "skies.",
        )
    add_reliability(out, metrics)
    if metrics["n_match"]:
        _measures(out, metrics, matches)


def _measures(out: FigureFolder, metrics: dict[str, Any], matches: pd.DataFrame) -> None:
    out.add(
        "measures.png",
        (10.4, 6.2),
        lambda f: draw_measures(f, metrics, matches),
        "Are the measures right?",
        "Every match by its true signal-to-noise ratio, with the median and 68 % range of each bin. Position angles "
        "are those of the receding side: 180 degrees off is the approaching one.",
    )
    add_coverage(out, metrics)
