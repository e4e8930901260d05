"""Figures about classes: the confusion matrix, recall beside the baseline's, and how many objects there are."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.style import BASELINE, FAINT, INK, MUTED, NETWORK, SHARE_MAP, light_grid, percent_axis, plain

_GAP = 0.18
_MOST_WITH_COUNTS = 24


def draw_confusion(figure: Figure, metrics: dict[str, Any]) -> None:
    """Counts by true class (row) and predicted class (column), shaded by the share of the row.

    Recall stands at the end of each row and precision under each column, as in the field's survey papers.
    """
    counts = np.array(metrics["confusion"])  # (k, k)
    classes, scores = metrics["classes"], metrics["per_class"]
    k = len(classes)
    axes = figure.add_subplot()
    total = counts.sum(axis=1, keepdims=True)
    _cells(axes, counts, counts / np.maximum(total, 1), 0, 0)
    recall = np.array([[scores[name]["recall"]] for name in classes], dtype=float)
    precision = np.array([[scores[name]["precision"] for name in classes]], dtype=float)
    _shares(axes, recall, k + _GAP, 0)
    _shares(axes, precision, 0, k + _GAP)
    _frame(axes, k + 1 + _GAP, k + 1 + _GAP)
    names = [plain(name, 16) for name in classes]
    places = [*range(k), k + _GAP]
    axes.set_xticks(places, [*names, "recall"])
    axes.set_yticks(places, [*names, "precision"])
    if max(len(name) for name in names) * k > 42:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    centre = 0.5 * k / (k + 1 + _GAP)
    axes.set_xlabel("predicted class", x=centre)
    axes.set_ylabel("true class", y=1 - centre)


def draw_label_table(figure: Figure, metrics: dict[str, Any]) -> None:
    """For labels that overlap: how often each was found, missed, falsely given and rightly left out."""
    pairs = np.array(metrics["confusion"])  # (k, true, predicted)
    classes, scores = metrics["classes"], metrics["per_class"]
    counts = np.stack([pairs[:, 1, 1], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 0]], axis=1)
    with_label, without = pairs[:, 1].sum(axis=1), pairs[:, 0].sum(axis=1)
    total = np.stack([with_label, with_label, without, without], axis=1)
    axes = figure.add_subplot()
    _cells(axes, counts, counts / np.maximum(total, 1), 0, 0)
    margin = [[scores[name]["recall"], scores[name]["precision"]] for name in classes]
    _shares(axes, np.array(margin, dtype=float), 4 + _GAP, 0)
    _frame(axes, 6 + _GAP, len(classes))
    axes.set_xticks(
        [0, 1, 2, 3, 4 + _GAP, 5 + _GAP],
        ["found", "missed", "false alarm", "rightly absent", "recall", "precision"],
        rotation=30,
        ha="left",
    )
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(classes)), [plain(name, 20) for name in classes])
    axes.set_ylabel("label")


def matrix_size(k: int) -> tuple[float, float]:
    """Width and height in inches of a figure that holds a `k` x `k` matrix with margins."""
    side = min(11.0, max(4.6, 1.5 + 0.56 * (k + 1)))
    return side + 0.2, side - 0.2


def draw_recall(figure: Figure, network: dict[str, Any], baseline: dict[str, Any]) -> None:
    """Recall of each class with its 95 % interval: the network's and the logistic regression's."""
    axes = figure.add_subplot()
    classes = network["classes"]
    for metrics, colour, shift, name, marker in (
        (network, NETWORK, -0.13, "network", "o"),
        (baseline, BASELINE, 0.13, "logistic regression", "D"),
    ):
        scores = [metrics["per_class"][label] for label in classes]
        seen = [place for place, score in enumerate(scores) if score["recall"] is not None]
        recall = np.array([scores[place]["recall"] for place in seen])
        spread = [[scores[place][key] for place in seen] for key in ("recall_low", "recall_high")]
        error = np.abs(np.array(spread) - recall)
        axes.errorbar(
            recall,
            np.array(seen) + shift,
            xerr=error,
            color=colour,
            fmt=marker,
            markersize=5.5 if marker == "o" else 4.5,
            elinewidth=1.6,
            label=name,
        )
    axes.set_yticks(range(len(classes)), [f"{plain(c, 20)}  ({network['per_class'][c]['n']})" for c in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("recall: share of the class that is found")
    axes.set_ylabel("true class (objects)")
    percent_axis(axes.xaxis)
    light_grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper right", ncols=2)


def draw_counts(figure: Figure, counts: dict[str, dict[str, int]], classes: list[str]) -> None:
    """Objects of each class in each split, as stacked bars with the numbers written in them."""
    axes = figure.add_subplot()
    left = np.zeros(len(classes))
    shades = {"train": NETWORK, "validation": "#6fa8d6", "test": INK}
    longest = max(sum(counts[split].get(name, 0) for split in counts) for name in classes)
    for split, per_class in counts.items():
        number = np.array([per_class.get(name, 0) for name in classes])
        axes.barh(range(len(classes)), number, left=left, color=shades.get(split, MUTED), height=0.68, label=split)
        for place, value in enumerate(number):
            if value > 0.045 * longest:
                text = f"{value:,}"
                axes.text(left[place] + value / 2, place, text, ha="center", va="center", color="white", size=8)
        left += number
    for place, value in enumerate(left):
        axes.text(value + 0.012 * longest, place, f"{int(value):,}", va="center", color=MUTED, size=8)
    axes.set_yticks(range(len(classes)), [plain(name, 20) for name in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * max(longest, 1))
    axes.set_xlabel("objects")
    axes.set_ylabel("class")
    axes.tick_params(axis="y", length=0)
    light_grid(axes, "x")
    figure.legend(loc="outside upper right", ncols=3)


def bars_size(k: int) -> tuple[float, float]:
    """Width and height in inches of a figure with one row a class."""
    return 5.8, max(3.2, 1.5 + 0.4 * k)


def _cells(axes: Axes, counts: np.ndarray, share: np.ndarray, x: float, y: float) -> None:
    _shade(axes, share, x, y)
    rows, columns = counts.shape
    if max(rows, columns) > _MOST_WITH_COUNTS:
        return
    size = 10 if rows <= 8 else 8 if rows <= 14 else 6.5
    for row, column in np.ndindex(rows, columns):
        colour = "white" if share[row, column] > 0.55 else INK if counts[row, column] else "#aab2bd"
        text = f"{counts[row, column]:,}"
        axes.text(x + column, y + row, text, ha="center", va="center", color=colour, size=size)


def _shares(axes: Axes, share: np.ndarray, x: float, y: float) -> None:
    """Cells of a margin: the share in per cent, a dash where it is not defined."""
    rows, columns = share.shape
    _shade(axes, np.zeros(share.shape), x, y)
    size = 8.5 if max(rows, columns) <= 8 else 7 if max(rows, columns) <= 14 else 6
    for row, column in np.ndindex(rows, columns):
        text = f"{100 * share[row, column]:.0f} %" if np.isfinite(share[row, column]) else "–"
        axes.text(x + column, y + row, text, ha="center", va="center", color=NETWORK, size=size, weight="bold")


def _shade(axes: Axes, share: np.ndarray, x: float, y: float) -> None:
    rows, columns = share.shape
    edges = np.arange(columns + 1) + x - 0.5, np.arange(rows + 1) + y - 0.5
    axes.pcolormesh(*edges, share, cmap=SHARE_MAP, vmin=0, vmax=1.08, edgecolors=FAINT, linewidth=0.8)


def _frame(axes: Axes, width: float, height: float) -> None:
    axes.set_xlim(-0.55, width - 0.45)
    axes.set_ylim(height - 0.45, -0.55)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
