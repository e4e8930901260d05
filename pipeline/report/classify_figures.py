"""The figures of a classification task, drawn from the files that its stages wrote."""

from pathlib import Path
from typing import Any

from pipeline.data.store import open_store
from pipeline.report.confusion import (
    bars_size,
    draw_confusion,
    draw_counts,
    draw_label_table,
    draw_recall,
    matrix_size,
)
from pipeline.report.curves import draw_learning, draw_reliability, draw_roc_pr, over_training_epoch, roc_pr_size
from pipeline.report.examples import draw_examples, examples_size, load_examples
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.samples import Sample
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "training.json", "history.csv", "catalogue.fits", "dataset.h5")


def classify_figures(task_folder: Path, out: FigureFolder) -> None:
    """Draw every figure of a classification task.

    Raises
    ------
    UserError : a file that a figure needs is absent or damaged; the stage that writes it is named.
    """
    files = TaskFiles(task_folder, NEEDED)
    metrics, training, history = files.json("metrics.json"), files.json("training.json"), files.history()
    _matrix(out, metrics)
    _recall(out, metrics)
    _examples(out, files, metrics)
    out.add(
        "roc_pr.png",
        roc_pr_size(len(metrics["classes"])),
        lambda f: draw_roc_pr(f, metrics["network"]),
        "At every threshold",
        "Each class against all others, as the threshold on its probability falls. Left: an area of 0.5 is chance. "
        "Right: what share of a selected sample is real when a given share of the class is to be found.",
    )
    temperature = metrics["temperature"]
    out.add(
        "reliability.png",
        (5.8, 4.9),
        lambda f: draw_reliability(f, metrics["network"], metrics["uncalibrated"], temperature),
        "Can the probabilities be believed?",
        f"Of the decisions made with a given confidence, the share that was correct; the dotted line is ideal. "
        f"Logits were divided by the temperature {temperature:.2f}, fitted on the validation objects.",
    )
    out.add(
        "counts.png",
        bars_size(len(metrics["classes"])),
        lambda f: draw_counts(f, metrics["counts"], metrics["classes"]),
        "The data",
        "Objects of each class in the training, validation and test sets, at the data's own proportions. "
        "Objects of one group are in one set only.",
    )
    best = training["best_epoch"]
    out.add(
        "learning.png", (10.4, 3.7), lambda f: draw_learning(f, history, best), "Training", _learning(history, best)
    )


def _matrix(out: FigureFolder, metrics: dict[str, Any]) -> None:
    network = metrics["network"]
    if metrics["multilabel"]:
        out.add(
            "confusion.png",
            (6.6, max(3.4, 1.9 + 0.62 * len(network["classes"]))),
            lambda f: draw_label_table(f, network),
            "Labels found and missed",
            f"The {network['n']:,} objects of the {metrics['split']} set. Shaded by the share of the objects that have "
            "the label (first two columns) or lack it (next two).",
        )
        return
    out.add(
        "confusion.png",
        matrix_size(len(network["classes"])),
        lambda f: draw_confusion(f, network),
        "Confusion matrix",
        f"The {network['n']:,} objects of the {metrics['split']} set at the data's own class proportions. Shaded by "
        "the share of each row; recall ends each row, precision each column.",
    )


def _recall(out: FigureFolder, metrics: dict[str, Any]) -> None:
    out.add(
        "recall.png",
        bars_size(len(metrics["classes"])),
        lambda f: draw_recall(f, metrics["network"], metrics["baseline"]),
        "Network against logistic regression",
        "Recall of each class by the network and by logistic regression on the same inputs, with Wilson 95 % "
        "intervals. Where the intervals overlap widely, the network has shown no advantage.",
    )


def _learning(history: dict[str, list[float]], best: int) -> str:
    text = f"Loss and accuracy after each epoch. The weights of epoch {best} were kept. "
    worse = over_training_epoch(history)
    if worse is None:
        return text + "The validation loss was still lowest at the last epoch: no over-training was seen."
    return text + (
        f"The over-training point, where the validation loss was lowest, is epoch {worse:g}: training on (shaded) did "
        "not lower it."
    )


def _examples(out: FigureFolder, files: TaskFiles, metrics: dict[str, Any]) -> None:
    with open_store(files.path("dataset.h5")) as store:
        # A row of a table has no picture.
        if store.kind == "table":
            return
        catalogue = files.path("catalogue.fits")
        correct, wrong = load_examples(catalogue, store, metrics["split"], metrics["classes"])
    _gallery(
        out,
        "examples.png",
        correct,
        "Typical objects",
        "Correctly classified objects of middling confidence, as measured and before normalisation. Above each: its "
        "class, its name and the probability of the class.",
    )
    _gallery(
        out,
        "mistakes.png",
        wrong,
        "Most confident mistakes",
        "Wrongly classified objects with the highest probability of the wrong class. Look here first: some will be the "
        "network's errors and some the catalogue's.",
    )


def _gallery(out: FigureFolder, file: str, samples: list[Sample], title: str, caption: str) -> None:
    if samples:
        out.add(file, examples_size(samples), lambda f: draw_examples(f, samples), title, caption)
