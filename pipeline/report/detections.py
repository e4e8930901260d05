"""Figures of a catalogue against the truth: found and listed by brightness, precision, errors, error bars."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.style import BASELINE, FAINT, INK, MUTED, NETWORK, PALETTE, light_grid, percent_axis

_ONE_SIGMA = 0.6827
_TICKS = [1, 2, 3, 5, 10, 30, 100, 300, 1000]
_NAMES = {
    "ra": "right ascension", "dec": "declination", "flux": "flux", "peak_flux": "peak flux", "major": "major axis",
    "minor": "minor axis", "pa": "position angle", "deconvolved_major": "major axis, deconvolved",
    "deconvolved_minor": "minor axis, deconvolved", "deconvolved_pa": "position angle, deconvolved",
    "core_fraction": "core fraction", "frequency": "frequency", "line_flux": "line flux", "hi_size": "HI size",
    "w20": "line width", "inclination": "inclination",
}  # fmt: skip


def draw_completeness(figure: Figure, metrics: dict[str, Any]) -> None:
    """Share of the true sources that are found, and of the detections that are true, by signal-to-noise ratio."""
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, rows, colour, label, name in (
        (left, metrics["completeness"]["snr"], NETWORK, "true signal-to-noise ratio", "completeness"),
        (right, metrics["purity_by"]["snr"], BASELINE, "measured signal-to-noise ratio", "purity"),
    ):
        _steps(axes, rows, colour)
        axes.set(xlabel=label, ylabel=name, ylim=(-0.02, 1.03))
        axes.yaxis.set_tick_params(labelleft=True)
        percent_axis(axes.yaxis)
        light_grid(axes, "y")


def draw_precision(figure: Figure, metrics: dict[str, Any], limit: float = 3, widest: float = 0.8) -> None:
    """Precision against recall by the score's match, and average precision by the overlap that is asked for.

    limit : least true signal-to-noise ratio of the curve. widest : the overlap at which the axis ends.
    """
    left, right = figure.subplots(1, 2)
    curve, ap = metrics["curve"], metrics["ap"]
    left.plot(curve["recall"], curve["precision"], color=NETWORK)
    left.set(
        xlim=(0, 1.02), ylim=(0, 1.03), xlabel=f"recall, true signal-to-noise ratio above {limit:g}", ylabel="precision"
    )
    for (key, rows), colour, marker in zip(ap.items(), (NETWORK, BASELINE, PALETTE[2]), "oDs", strict=False):
        level = [float(name) for name in rows["box"]]
        label = f"signal-to-noise ratio above {key.removeprefix('snr_above_')}"
        values = [np.nan if row["ap"] is None else row["ap"] for row in rows["box"].values()]
        right.plot(level, values, color=colour, marker=marker, ms=5, label=label)
    right.set(xlim=(0, widest), ylim=(0, 1.03), xlabel="overlap of the boxes (IoU)", ylabel="average precision")
    right.legend(loc="lower left")
    for axes in (left, right):
        percent_axis(axes.yaxis)
        light_grid(axes)
    percent_axis(left.xaxis)


def draw_probability(figure: Figure, metrics: dict[str, Any]) -> None:
    """Share of true sources against the stated probability, with the number of detections in each bin below."""
    rows = metrics["reliability"]
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=":", label="perfectly calibrated")
    mean, share, low, high = (array(rows[name]) for name in ("mean", "fraction", "fraction_low", "fraction_high"))
    filled = np.isfinite(mean)
    error = np.abs(np.stack([low, high]) - share)[:, filled]
    upper.errorbar(mean[filled], share[filled], error, fmt="o-", color=NETWORK, ms=5, elinewidth=1, label="detections")
    upper.set(ylabel="share that is true", ylim=(-0.02, 1.03))
    upper.legend(loc="upper left")
    low, high = array(rows["low"]), array(rows["high"])
    lower.bar((low + high) / 2, rows["count"], width=0.9 * (high - low), color=NETWORK, alpha=0.75)
    lower.set(xlabel="probability in the catalogue", ylabel="detections", xlim=(-0.02, 1.02))
    lower.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    for axes in (upper, lower):
        light_grid(axes, "y")
    percent_axis(upper.yaxis)
    percent_axis(lower.xaxis)


def draw_flux(figure: Figure, metrics: dict[str, Any], matches: pd.DataFrame) -> None:
    """Measured over true flux of every match, and their median and scatter in bins of true signal-to-noise ratio."""
    axes = figure.add_subplot()
    pairs = matches[matches["matched"] & (matches["true_flux"] > 0) & (matches["flux"] > 0)]
    ratio = (pairs["flux"] / pairs["true_flux"]).to_numpy(float)
    axes.axhline(1, color=MUTED, lw=0.9, ls=":")
    axes.scatter(pairs["true_snr"], ratio, s=6, color=MUTED, alpha=0.5, lw=0, label="one source")
    rows = metrics["parameters"]["flux"]
    bias, scatter = (array(rows[name]) for name in ("bias", "scatter"))
    axes.errorbar(
        middle(rows), 1 + bias, scatter, fmt="o", color=NETWORK, ms=5, elinewidth=1.4, label="median and 68 % range"
    )
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(0.3, 3.3),
        xlabel="true signal-to-noise ratio",
        ylabel="flux, measured over true",
    )
    snr_ticks(axes)
    axes.set_yticks([0.33, 0.5, 0.75, 1, 1.5, 2, 3], ["0.33", "0.5", "0.75", "1", "1.5", "2", "3"])
    axes.minorticks_off()
    axes.legend(loc="upper right")
    light_grid(axes)


def draw_coverage(figure: Figure, metrics: dict[str, Any]) -> None:
    """How many of the errors that truly were made lie within the error bar of the catalogue."""
    axes, rows = figure.add_subplot(), metrics["coverage"]
    names = [name for name in rows if rows[name]["coverage"] is not None]
    share = np.array([rows[name]["coverage"] for name in names])
    ends = np.array([[rows[name][key] for name in names] for key in ("coverage_low", "coverage_high")])
    axes.axvspan(0.6, 0.76, color=FAINT, alpha=0.6, lw=0)
    axes.axvline(_ONE_SIGMA, color=INK, lw=1, ls=":")
    axes.errorbar(share, range(len(names)), xerr=np.abs(ends - share), fmt="o", color=NETWORK, ms=5.5, elinewidth=1.4)
    axes.set_yticks(range(len(names)), [_NAMES.get(name, name) for name in names])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel="share of matches within one error bar", ylabel="measure")
    percent_axis(axes.xaxis)
    light_grid(axes)


def _steps(axes: Axes, rows: dict[str, Any], colour: str) -> None:
    share, low, high = (array(rows[name]) for name in ("fraction", "fraction_low", "fraction_high"))
    axes.errorbar(
        middle(rows), share, np.abs(np.stack([low, high]) - share), fmt="o-", color=colour, ms=5, elinewidth=1.2
    )
    axes.set_xscale("log")
    snr_ticks(axes)
    axes.minorticks_off()


def snr_ticks(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis of signal-to-noise ratios."""
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])


def middle(rows: dict[str, Any]) -> np.ndarray:
    """The geometric middle of each bin; the last one, which has no end, is taken to be twice its beginning wide."""
    low, high = array(rows["low"]), array(rows["high"])
    return np.sqrt(low * np.where(np.isfinite(high), high, 4 * low))


def array(values: list[float | None]) -> np.ndarray:
    """Numbers of a JSON file, None as NaN."""
    return np.array(values, dtype=float)
