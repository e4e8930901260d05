"""Figures of a catalogue of HI galaxies against the truth: where they are, how measured, and in which order."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.detections import array, middle, snr_ticks
from pipeline.report.style import BASELINE, FAINT, INK, MUTED, NETWORK, PALETTE, WARNING, light_grid, percent_axis

SHOWN_SNR = 5.0
_FOUND = PALETTE[2]
_MOST_SHOWN = 3000
# Column, kind, label and half-width of the axis of each panel; what is relative is told as a ratio.
_PANELS = (
    ("line_flux", "ratio", "line flux, measured over true", 3.0),
    ("hi_size", "ratio", "HI size, measured over true", 3.0),
    ("w20", "ratio", "line width, measured over true", 3.0),
    ("pa", "angle", "position angle, measured less true [°]", 180.0),
    ("inclination", "difference", "inclination, measured less true [°]", 60.0),
    ("frequency", "width", "frequency, off by [true line widths]", 0.6),
)
_LIGHT_KM_S, _REST_HZ = 299792.458, 1.420405752e9
_RANKINGS = {"network": ("probability", NETWORK, "-"), "matched_filter": ("matched filter", BASELINE, "--")}
_CUTS = {
    "chosen": "threshold from validation", "same_length": "as many as the catalogue", "best": "best cut, in hindsight",
}  # fmt: skip


def draw_cube(figure: Figure, frame: dict[str, Any], matches: pd.DataFrame) -> None:
    """Where in a cube the galaxies are that were found and missed, and the false detections: as on the sky, and deep.

    frame : of metrics.json. matches : its rows of matches.csv.
    """
    left, right = figure.subplots(1, 2, sharex=True)
    true = matches[(matches["true_snr"] > SHOWN_SNR) | (matches["matched"])]
    groups = (
        ("found", true[true["matched"]], "true_", {"facecolors": "none", "edgecolors": _FOUND, "marker": "o"}),
        (f"missed, SNR > {SHOWN_SNR:g}", true[~true["matched"]], "true_", {"color": WARNING, "marker": "x"}),
        ("false", matches[~matches["matched"] & matches["x"].notna()], "", {"color": INK, "marker": "+"}),
    )
    for label, rows, prefix, look in groups:
        rows = rows.iloc[:: max(1, -(-len(rows) // _MOST_SHOWN))]
        size = np.clip(8 * np.nan_to_num(rows[f"{prefix}snr"].to_numpy(float), nan=3.0), 14, 150)
        for axes, along in ((left, "y"), (right, "z")):
            axes.scatter(rows[f"{prefix}x"], rows[f"{prefix}{along}"], s=size, lw=1.1, label=label, **look)
    z, y, x = frame["section"]
    for axes, span, name in ((left, y, "y [pixel]"), (right, z, "channel, by rising frequency")):
        axes.set(xlim=(x[0] - 0.5, x[1] - 0.5), ylim=(span[0] - 0.5, span[1] - 0.5), xlabel="x [pixel]", ylabel=name)
        light_grid(axes)
    left.set_aspect("equal")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)


def draw_measures(figure: Figure, metrics: dict[str, Any], matches: pd.DataFrame) -> None:
    """Every measure of the matches against the truth, by true signal-to-noise ratio; median and 68 % range of each."""
    panels = figure.subplots(2, 3, sharex=True)
    pairs = matches[matches["matched"]]
    for axes, (name, kind, label, reach) in zip(panels.flat, _PANELS, strict=True):
        values, snr = _off(pairs, name, kind), pairs["true_snr"].to_numpy(float)
        axes.axhline(1 if kind == "ratio" else 0, color=MUTED, lw=0.9, ls=":")
        axes.scatter(snr, values, s=7, color=MUTED, alpha=0.5, lw=0)
        _medians(axes, snr, values, metrics["completeness"]["snr"])
        axes.set(xscale="log", ylabel=label)
        if kind == "ratio":
            axes.set(yscale="log", ylim=(1 / reach, reach))
            axes.set_yticks([0.33, 0.5, 0.75, 1, 1.5, 2, 3], ["0.33", "0.5", "0.75", "1", "1.5", "2", "3"])
        else:
            axes.set(ylim=(-reach, reach))
        if kind == "angle":
            axes.set_yticks([-180, -90, 0, 90, 180])
        light_grid(axes)
    for axes in panels.flat:
        snr_ticks(axes)
        axes.minorticks_off()
    for axes in panels[1]:
        axes.set_xlabel("true signal-to-noise ratio")


def draw_rankings(figure: Figure, metrics: dict[str, Any]) -> None:
    """The candidates in the order of the network and of a matched filter: precision, and the score of some cuts."""
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    known = {name: rows for name, rows in metrics["rankings"].items() if rows is not None}
    for name, rows in known.items():
        label, colour, dash = _RANKINGS[name]
        left.plot(rows["curve"]["recall"], rows["curve"]["precision"], color=colour, ls=dash, label=label)
    left.set(xlim=(0, 1.02), ylim=(0, 1.03), xlabel=f"recall, true signal-to-noise ratio above {SHOWN_SNR:g}")
    left.set_ylabel("precision")
    left.legend(loc="lower left")
    percent_axis(left.xaxis)
    percent_axis(left.yaxis)
    light_grid(left)
    bars = [("catalogue", metrics["score_per_truth"], NETWORK)]
    for name, rows in known.items():
        label, colour, _ = _RANKINGS[name]
        for cut, text in _CUTS.items():
            if rows[cut] is not None and not (name == "network" and cut == "same_length"):
                bars.append((f"{label}: {text}", rows[cut]["score_per_truth"], colour))
    scatter = metrics["score_sd"]["score_per_truth"]
    for at, (_, value, colour) in enumerate(bars):
        right.barh(at, value, color=colour, alpha=1 if at == 0 else 0.55, height=0.62)
    if scatter is not None:
        right.errorbar([bars[0][1]], [0], xerr=[scatter], color=INK, elinewidth=1.2, capsize=3)
    right.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    right.invert_yaxis()
    right.axvline(0, color=FAINT, lw=0.8)
    right.set_xlabel("score per true galaxy")
    light_grid(right, "x")


def _off(pairs: pd.DataFrame, name: str, kind: str) -> np.ndarray:
    found, true = pairs[name].to_numpy(float), pairs[f"true_{name}"].to_numpy(float)
    if kind == "ratio":
        return np.divide(found, true, out=np.full(len(true), np.nan), where=(true > 0) & (found > 0))
    if kind == "angle":
        return (found - true + 180) % 360 - 180
    if kind == "width":
        return (found - true) / (pairs["true_w20"].to_numpy(float) * true**2 / (_LIGHT_KM_S * _REST_HZ))
    return found - true


def _medians(axes: Axes, snr: np.ndarray, values: np.ndarray, rows: dict[str, Any]) -> None:
    """Median and 16 to 84 % range of the values in the bins of SNR of `rows`."""
    place = middle(rows)
    ends = np.nan_to_num(array(rows["high"]), nan=np.inf)
    for low, high, at in zip(array(rows["low"]), ends, place, strict=True):
        inside = values[(snr >= low) & (snr < high) & np.isfinite(values)]
        if len(inside) > 2:
            under, centre, over = np.quantile(inside, [0.16, 0.5, 0.84])
            axes.errorbar([at], [centre], [[centre - under], [over - centre]], fmt="o", color=NETWORK, ms=5, lw=1.4)
