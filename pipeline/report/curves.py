"""Figures with curves: learning, ROC and precision against recall, reliability."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.style import BASELINE, INK, MUTED, NETWORK, WARNING, class_style, light_grid, percent_axis, plain

_MOST_IN_PANEL = 10
_COLUMNS = 6


def over_training_epoch(history: dict[str, list[float]]) -> float | None:
    """The epoch of the lowest validation loss, if training went on after it; else None."""
    loss = np.array(history["val_loss"], dtype=float)
    if not np.isfinite(loss).any():
        return None
    lowest = int(np.nanargmin(loss))
    return None if lowest == len(loss) - 1 else history["epoch"][lowest]


def draw_learning(figure: Figure, history: dict[str, list[float]], best_epoch: int) -> None:
    """Loss on training and validation, and accuracy on validation, by epoch.

    A vertical line marks the epoch whose weights were kept; the band starts at the over-training point.
    """
    epoch = history["epoch"]
    marks = None if len(epoch) > 12 else "o"
    shown = [name for name in ("val_accuracy", "val_balanced_accuracy") if name in history]
    panels = figure.subplots(1, 2 if shown else 1, squeeze=False)[0]
    panels[0].plot(epoch, history["train_loss"], color=BASELINE, label="training", marker=marks, ms=4)
    panels[0].plot(epoch, history["val_loss"], color=NETWORK, label="validation", marker=marks, ms=4)
    panels[0].set_ylabel("loss")
    names = {"val_accuracy": ("accuracy", "-"), "val_balanced_accuracy": ("balanced accuracy", "--")}
    for name in shown:
        label, dash = names[name]
        panels[1].plot(epoch, history[name], color=NETWORK, ls=dash, label=f"validation {label}", marker=marks, ms=4)
    if shown:
        panels[1].set_ylabel("share classified correctly")
        percent_axis(panels[1].yaxis)
    worse = over_training_epoch(history)
    for axes in panels:
        # Said once: the right panel repeats the marks, not their names.
        quiet = "_" if axes is not panels[0] else ""
        if worse is not None:
            axes.axvspan(
                worse, max(epoch), color=WARNING, alpha=0.08, lw=0, label=f"{quiet}past the over-training point"
            )
        axes.axvline(best_epoch, color=INK, lw=1, ls=":", label=f"{quiet}weights kept: epoch {best_epoch}")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.02)
        light_grid(axes, "y")
        axes.legend(loc="best")


def draw_roc_pr(figure: Figure, metrics: dict[str, Any]) -> None:
    """True against false positive rate, and precision against recall, one curve a class."""
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=":")
    classes = metrics["classes"]
    inside = len(classes) <= _MOST_IN_PANEL
    for index, name in enumerate(classes):
        scores, look = metrics["per_class"][name], class_style(index)
        roc, pr = metrics["roc"][name], metrics["pr"][name]
        label = plain(name, 14)
        if roc:
            text = f"{label}  {scores['auc']:.3f}" if inside else label
            left.plot(roc["fpr"], roc["tpr"], label=text, lw=1.4, **look)
        if pr:
            text = f"{label}  {scores['ap']:.3f}" if inside else label
            right.plot(pr["recall"], pr["precision"], label=text, lw=1.4, drawstyle="steps-pre", **look)
    left.set(
        xlabel="false positive rate", ylabel="true positive rate (recall)", title="Receiver operating characteristic"
    )
    right.set(xlabel="recall", ylabel="precision", title="Precision against recall")
    for axes, area, place in ((left, "area (AUC)", "lower right"), (right, "average precision", "lower left")):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), aspect="equal")
        light_grid(axes)
        if inside and axes.get_legend_handles_labels()[0]:
            axes.legend(loc=place, title=area, alignment="left", title_fontsize=8.5)
    if not inside:
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_COLUMNS)


def roc_pr_size(k: int) -> tuple[float, float]:
    """Width and height in inches of the figure with the curves of `k` classes and their legend."""
    return 10.4, 5.1 if k <= _MOST_IN_PANEL else 5.1 + 0.2 * -(-k // _COLUMNS)


def draw_reliability(figure: Figure, metrics: dict[str, Any], uncalibrated: dict[str, Any], temperature: float) -> None:
    """Share right against confidence in bins, with the number of decisions in each bin below.

    The uncalibrated curve is drawn where the evaluation wrote one.
    """
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=":", label="perfectly calibrated")
    before = uncalibrated.get("reliability")
    if before:
        label = f"as trained, ECE {_short(uncalibrated.get('ece'))}"
        upper.plot(
            before["confidence"], before["accuracy"], color=MUTED, marker="s", ms=3, lw=0.9, alpha=0.7, label=label
        )
    after = metrics["reliability"]
    label = f"at temperature {temperature:.2f}, ECE {_short(metrics['ece'])}"
    limits = np.array([after["accuracy_low"], after["accuracy_high"]])
    error = np.abs(limits - np.array(after["accuracy"]))
    upper.errorbar(
        after["confidence"], after["accuracy"], error, fmt="o-", color=NETWORK, ms=5, elinewidth=1, label=label
    )
    upper.set(ylabel="share that is correct", ylim=(-0.02, 1.03))
    percent_axis(upper.yaxis)
    figure.legend(loc="outside upper left")
    light_grid(upper)
    _bars(lower, after)
    left = min([*after["confidence"], *(before or after)["confidence"], 0.5])
    lower.set_xlim(max(0.0, left - 0.05), 1.02)
    lower.set(xlabel="confidence: probability given to the predicted class", ylabel="decisions")
    percent_axis(lower.xaxis)


def _bars(axes: Axes, diagram: dict[str, list]) -> None:
    axes.bar(diagram["confidence"], diagram["count"], width=0.028, color=NETWORK, alpha=0.75)
    axes.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    light_grid(axes, "y")


def _short(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def over_training_text(history: dict[str, list[float]], best: int) -> str:
    """The caption of `draw_learning`: which weights were kept, and whether training on would have helped."""
    text = f"Loss after each epoch. The weights of epoch {best} were kept. "
    worse = over_training_epoch(history)
    if worse is None:
        return text + "The validation loss was still lowest at the last epoch: no over-training was seen."
    return text + f"The validation loss was lowest at epoch {worse:g}: training on (shaded) did not lower it."
