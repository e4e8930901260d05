"""Figures that say how real synthetic stamps are."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from pipeline.report.stamp_files import Stamped
from pipeline.report.style import BASELINE, FAINT, INK, MUTED, NETWORK, class_style, light_grid, plain, quantity

REAL = "real"
_COLUMNS = 4
_BINS = 28


def draw_realism(figure: Figure, metrics: dict[str, Any]) -> None:
    """Distance of the statistics, real-or-synthetic AUC and distance to the training set, one bar a method."""
    names = list(metrics["methods"])
    judged = [metrics["methods"][name]["realism"] for name in names]
    panels = figure.subplots(1, 3, sharey=True)
    place = np.arange(len(names))
    shown = (
        ("distance of the statistics (mean W1)", [row["mean_w1"] for row in judged], _floor(judged, "mean_w1_floor")),
        ("real or synthetic? (AUC)", [row["auc"] for row in judged], _floor(judged, "auc_floor")),
        ("distance to the training set", [row["neighbours"]["ratio"] for row in judged], 1.0),
    )
    for axes, (title, values, floor) in zip(panels, shown, strict=True):
        known = np.array([np.nan if value is None else value for value in values], float)
        colours = [NETWORK if name == metrics["product"] else BASELINE for name in names]
        axes.barh(place, np.nan_to_num(known), color=colours, alpha=0.85, height=0.62)
        if floor is not None:
            axes.axvline(floor, color=INK, lw=1, ls=":")
        axes.set_title(title)
        light_grid(axes, "x")
    panels[1].set_xlim(left=0.4)
    panels[0].set_yticks(place, [plain(name, 22) for name in names])
    panels[0].invert_yaxis()


def draw_statistics(figure: Figure, table: pd.DataFrame, metrics: dict[str, Any]) -> None:
    """The distribution of every statistic over real stamps (filled) and those of the product (line).

    What is the same in all of them, such as the noise of a sky that was set to 0, is left out.
    """
    judged = metrics["methods"][metrics["product"]]["realism"]["statistics"]
    varying = _varying(table, metrics)
    grid = figure.subplots(_rows(varying), _COLUMNS, squeeze=False).ravel()
    for axes in grid[len(varying) :]:
        axes.axis("off")
    for axes, (name, (parts, edges)) in zip(grid, varying.items(), strict=False):
        axes.hist(parts[0], edges, density=True, color=FAINT)
        axes.hist(parts[1], edges, density=True, color=NETWORK, histtype="step", lw=1.5)
        if edges[0] > 0 and edges[-1] > 50 * edges[0]:
            axes.set_xscale("log")
        row = judged.get(name)
        told = "" if row is None or row["w1"] is None else f"  {row['w1']:.2f}"
        axes.set_title(name.replace("_", " ") + told, size=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7.5)


def statistics_size(table: pd.DataFrame, metrics: dict[str, Any]) -> tuple[float, float]:
    """Width and height in inches of `draw_statistics`."""
    return 10.4, 0.3 + 1.75 * _rows(_varying(table, metrics))


def _varying(table: pd.DataFrame, metrics: dict[str, Any]) -> dict[str, tuple[list[np.ndarray], np.ndarray]]:
    """The finite values of real stamps and of the product, and edges of bins, of each statistic that has a range."""
    found = {}
    for name in table.columns.drop("source"):
        parts = [table.loc[table["source"] == source, name].to_numpy(float) for source in (REAL, metrics["product"])]
        parts = [part[np.isfinite(part)] for part in parts]
        edges = _edges(np.concatenate(parts))
        if edges is not None:
            found[name] = parts, edges
    return found


def _rows(varying: dict[str, Any]) -> int:
    return max(1, -(-len(varying) // _COLUMNS))


def draw_power(figure: Figure, metrics: dict[str, Any]) -> None:
    """Mean power spectra, and their ratios to that of real stamps in dex."""
    left, right = figure.subplots(1, 2, sharex=True)
    drawn = False
    for number, (name, method) in enumerate(metrics["methods"].items()):
        row = method["realism"]["power_spectrum"]
        frequency, held, made = (_numbers(row[key]) for key in ("frequency", "held", "synthetic"))
        good = (frequency > 0) & (held > 0) & (made > 0)
        if not drawn:
            left.plot(frequency[good], held[good], color=INK, lw=2.2, label="real", zorder=5)
            drawn = True
        left.plot(frequency[good], made[good], lw=1.2, **class_style(number))
        label = f"{plain(name, 20)}  {_short(row['dex'])}"
        right.plot(frequency[good], np.log10(made[good] / held[good]), lw=1.2, label=label, **class_style(number))
    right.axhline(0, color=INK, lw=1)
    left.set(xscale="log", yscale="log", xlabel="frequency [cycles a pixel]", ylabel="power, in network units")
    right.set(xlabel="frequency [cycles a pixel]", ylabel="synthetic / real [dex]")
    for axes in (left, right):
        _few_ticks(axes.xaxis)
        light_grid(axes)
    left.legend(loc="best")
    right.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7.5)


def draw_fidelity(figure: Figure, product: Stamped, metrics: dict[str, Any]) -> None:
    """What was asked for against what the product's stamps are measured to be, one panel a condition."""
    met = shown_conditions(product, metrics)
    for axes, (name, row) in zip(figure.subplots(1, len(met), squeeze=False)[0], met.items(), strict=True):
        asked, measured = product.columns[name], product.columns[f"measured_{row['measured_as']}"]
        good = np.isfinite(asked) & np.isfinite(measured)
        logarithmic = row["unit"] == "dex"
        if logarithmic:
            good &= (asked > 0) & (measured > 0)
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                _few_ticks(axis)
        axes.plot(asked[good], measured[good], ".", color=NETWORK, ms=3, alpha=0.5, mew=0)
        if good.any() and name == row["measured_as"]:
            ends = [asked[good].min(), asked[good].max()]
            axes.plot(ends, ends, color=INK, lw=1, ls=":")
        axes.set_xlabel(quantity(f"{plain(name)} asked for", metrics["conditions"].get(name) or ""))
        axes.set_ylabel(f"{row['measured_as'].replace('_', ' ')} measured")
        axes.set_title(f"r = {_short(row['correlation'])}, scatter {_short(row['scatter'])} {row['unit']}", size=9)
        light_grid(axes)


def _few_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of a logarithmic axis: within a decade every tick would have a label, each over the next."""
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(4, 4)))


def shown_conditions(product: Stamped, metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The conditions that were asked for and are measured, at most four."""
    met = metrics["methods"][metrics["product"]]["realism"]["conditions"]
    there = {
        name: row
        for name, row in met.items()
        if name in product.columns and f"measured_{row['measured_as']}" in product.columns and row["n"]
    }
    return dict(list(there.items())[:4])


def draw_histories(figure: Figure, histories: dict[str, dict[str, list[float]]]) -> None:
    """Loss on training and validation by epoch, one panel a method: their losses cannot be compared."""
    columns = min(_COLUMNS, len(histories))
    grid = figure.subplots(-(-len(histories) // columns), columns, squeeze=False).ravel()
    for axes, (name, history) in zip(grid, histories.items(), strict=False):
        axes.plot(history["epoch"], history["train_loss"], color=BASELINE, lw=1.3, label="training")
        if np.isfinite(history["val_loss"]).any():
            axes.plot(history["epoch"], history["val_loss"], color=NETWORK, lw=1.3, label="validation")
        axes.set_title(plain(name, 24), size=9)
        axes.tick_params(labelsize=7.5)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=4)
        light_grid(axes, "y")
    for axes in grid[len(histories) :]:
        axes.axis("off")
    grid[0].legend(loc="best")
    figure.supxlabel("epoch", size=9.5)


def histories_size(count: int) -> tuple[float, float]:
    """Width and height in inches of `draw_histories`."""
    return 10.4, 0.6 + 2.0 * -(-count // _COLUMNS)


def draw_plane(figure: Figure, latent: dict[str, Any]) -> None:
    """Samples in the plane of the latent space by their class, and the way from one to another."""
    axes = figure.subplots()
    points, labels = np.array(latent["points"], float).reshape(-1, 2), np.array(latent["labels"] or [], dtype=str)
    for number, name in enumerate(sorted(set(labels)) if len(labels) == len(points) else []):
        own = points[labels == name]
        axes.plot(*own.T, ".", ms=3.5, mew=0, alpha=0.7, color=class_style(number)["color"], label=plain(name, 20))
    if len(labels) != len(points):
        axes.plot(*points.T, ".", ms=3.5, mew=0, alpha=0.7, color=NETWORK)
    way = np.array(latent["path"], float).reshape(-1, 2)
    axes.plot(*way.T, color=MUTED, marker="o", ms=3, lw=1, zorder=4)
    shares = [f"{100 * share:.0f} % of the variance" for share in latent["explained"]]
    axes.set(xlabel=f"first latent axis ({shares[0]})", ylabel=f"second ({shares[1]})")
    light_grid(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", markerscale=2)


def _edges(values: np.ndarray) -> np.ndarray | None:
    """Bins over all but the outermost per cent, logarithmic over decades; None of values that do not vary."""
    if not len(values):
        return None
    low, high = np.percentile(values, [0.5, 99.5])
    if not high > low:
        return None
    return np.geomspace(low, high, _BINS + 1) if low > 0 and high > 50 * low else np.linspace(low, high, _BINS + 1)


def _floor(judged: list[dict[str, Any]], key: str) -> float | None:
    known = [row[key] for row in judged if row[key] is not None]
    return max(known) if known else None


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
