"""How every figure looks: one style, a palette that colour-blind readers can tell apart, one way to save."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.files import atomic

DPI = 110
INK = "#1b2430"
MUTED = "#6a7484"
FAINT = "#d9dee5"
NETWORK = "#0b5fa5"
BASELINE = "#c8691c"
WARNING = "#b3402e"
SHARE_MAP = "Blues"
SKY_MAP = "magma"

# Okabe & Ito (2008) without the yellow, which a thin line on white hides.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#4d4d4d")
_DASHES = ("-", "--", ":", "-.")

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8b95a3",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e8ebef",
    "grid.linewidth": 0.8,
    "xtick.color": "#5b6472",
    "ytick.color": "#5b6472",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "lines.linewidth": 1.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of `width` x `height` inches in the report's style, for use in a `with` block."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **STYLE}):
        made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        made.get_layout_engine().set(w_pad=0.09, h_pad=0.09, wspace=0.03, hspace=0.03)
        FigureCanvasAgg(made)
        yield made


def save(made: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all; the same figure gives the same bytes."""
    with atomic(path) as beside:
        made.savefig(beside, dpi=DPI, metadata={"Software": None})


def class_style(index: int) -> dict[str, str]:
    """Colour and dash of class number `index`; four times seven classes differ."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": _DASHES[index // len(PALETTE) % len(_DASHES)]}


def plain(text: object, most: int = 28) -> str:
    """Text from a user's file for a figure: no mathematics in it, and not longer than `most` characters."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(text))
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"
    return text.replace("$", r"\$")


def percent_axis(axis: object) -> None:
    """Write an axis from 0 to 1 in per cent."""
    axis.set_major_formatter(lambda value, position: f"{100 * value:.0f} %")


def quantity(name: str, unit: str) -> str:
    """An axis label with its unit in brackets, or the bare name for what has none."""
    return f"{name} [{plain(unit)}]" if unit else name


def light_grid(axes: Axes, which: str = "both") -> None:
    """Hair lines behind the data."""
    axes.grid(True, axis=which)
