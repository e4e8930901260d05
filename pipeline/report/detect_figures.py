"""The figures of a detection task, drawn from the files that its stages wrote."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.confusion import draw_confusion, matrix_size
from pipeline.report.curves import draw_learning, over_training_text
from pipeline.report.detections import (
    draw_completeness,
    draw_flux,
    draw_precision,
)
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.shared_figures import add_coverage, add_reliability
from pipeline.report.sky_cut import SHOWN_SNR, cut_size, draw_cut, read_cut
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "matches.csv")


def detect_figures(task_folder: Path, out: FigureFolder) -> None:
    """Draw every figure that the task has the data for: none of the truth without one, none of a training it had not.

    Raises
    ------
    UserError : a file that a figure needs is absent or damaged; the stage that writes it is named.
    """
    files = TaskFiles(task_folder, NEEDED, "detect")
    metrics = files.json("metrics.json")
    if metrics["n_truth"] is not None:
        _against_truth(out, metrics, files.matches())
    if files.has("training.json", "history.csv"):
        history, best = files.history(), files.json("training.json")["best_epoch"]
        caption = over_training_text(history, best)
        out.add("learning.png", (6.4, 3.9), lambda f: draw_learning(f, history, best), "Training", caption)


def _against_truth(out: FigureFolder, metrics: dict[str, Any], matches: pd.DataFrame) -> None:
    cut = read_cut(metrics["frames"][0], matches[matches["frame"] == 0])
    if cut is not None:
        out.add(
            "sky.png",
            cut_size(cut),
            lambda f: draw_cut(f, cut),
            "A piece of the judged sky",
            "Left: what the catalogue lists, as ellipses of twice the fitted width at half maximum, coloured by the "
            f"probability of being real. Right: the sources brighter than {SHOWN_SNR:g} times the noise that truly are "
            "there, found or missed.",
        )
    out.add(
        "completeness.png",
        (10.4, 3.9),
        lambda f: draw_completeness(f, metrics),
        "How deep, and how pure",
        "Left: of the sources of a given true peak over noise, the share that the catalogue lists. Right: of the "
        "detections of a given measured peak over noise, the share that is real. Bars hold 68 %.",
    )
    out.add(
        "precision.png",
        (10.4, 4.2),
        lambda f: draw_precision(f, metrics),
        "At every threshold",
        "Left: as the threshold on the probability falls, the share of detections that match a source by the rule of "
        "the challenge, against the share of sources found. Right: average precision when boxes around twice the "
        "fitted width must overlap by so much. A detection of a fainter source is neither right nor wrong.",
    )
    add_reliability(out, metrics)
    if metrics["n_match"]:
        _measures(out, metrics, matches)


def _measures(out: FigureFolder, metrics: dict[str, Any], matches: pd.DataFrame) -> None:
    out.add(
        "flux.png",
        (5.8, 4.9),
        lambda f: draw_flux(f, metrics, matches),
        "Are fluxes right?",
        "Integrated flux in the catalogue over the true one, by true peak over noise. Faint sources are listed more "
        "often where noise lifts them, so that some excess below 5 is no fault of the measurement.",
    )
    add_coverage(out, metrics)
    out.add(
        "classes.png",
        matrix_size(3),
        lambda f: draw_confusion(f, _per_class(metrics["classes"])),
        "Classes",
        f"The {metrics['n_match']:,} matches by true and listed class. Shaded by the share of each row; recall ends "
        "each row, precision each column.",
    )


def _per_class(classes: dict[str, Any]) -> dict[str, Any]:
    """What `draw_confusion` needs."""
    counts, names = (
        np.array(classes["confusion"]),
        [name.removesuffix("_spectrum").replace("_", " ") for name in classes["names"]],
    )
    right, true, given = np.diag(counts), counts.sum(1), counts.sum(0)
    scores = {
        name: {
            "recall": right[k] / true[k] if true[k] else None,
            "precision": right[k] / given[k] if given[k] else None,
        }
        for k, name in enumerate(names)
    }
    return {"classes": names, "confusion": counts, "per_class": scores}
