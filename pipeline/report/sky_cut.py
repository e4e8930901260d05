"""A cut of an image with what a catalogue lists in it, beside the same cut with what truly is there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from astropy.visualization import AsinhStretch, ImageNormalize
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from pipeline.report.style import NETWORK, PALETTE, WARNING
from pipeline.sky.window import FrameReader

SHOWN_SNR = 3.0
_MOST = 400  # pixels along an axis: what a figure can show
_BEAMS = 90
_FOUND = PALETTE[2]
# Dark where most detections are, on a pale sky.
_PROBABILITY = "plasma_r"


@dataclass(frozen=True)
class SkyCut:
    """Pixels (y, x) [Jy/beam] with the corner that they begin at, the rms, and the rows of matches.csv inside."""

    pixels: np.ndarray
    corner: tuple[int, int]
    rms: float
    matches: pd.DataFrame


def read_cut(frame: dict[str, Any], matches: pd.DataFrame) -> SkyCut | None:
    """The middle of the judged part of a frame of metrics.json, some 90 beams wide; None where the image is gone.

    Raises
    ------
    UserError : the image cannot be read.
    """
    if not os.path.exists(frame["image"]):
        return None
    side = int(np.clip(_BEAMS * frame["beam_pixel"][0], 64, _MOST))
    section = [_middle(span, side) for span in frame["section"]]
    with FrameReader(frame["image"]) as reader:
        pixels = reader.read(section)
    inside = np.zeros(len(matches), bool)
    for prefix in ("", "true_"):
        place = matches[[f"{prefix}y", f"{prefix}x"]].to_numpy(float)
        low, high = (np.array([getattr(part, end) for part in section]) - 0.5 for end in ("start", "stop"))
        inside |= ((place >= low) & (place < high)).all(1)
    return SkyCut(pixels, (section[0].start, section[1].start), frame["median_rms"], matches[inside])


def draw_cut(figure: Figure, cut: SkyCut) -> None:
    """Left the listed ellipses, coloured by probability; right the true sources, found or missed."""
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    norm = ImageNormalize(vmin=-2 * cut.rms, vmax=30 * cut.rms, stretch=AsinhStretch(0.1), clip=True)
    grey = matplotlib.colormaps["Greys"].with_extremes(bad="#d9cfc4")
    (bottom, begin), (height, width) = cut.corner, cut.pixels.shape
    extent = (begin - 0.5, begin + width - 0.5, bottom - 0.5, bottom + height - 0.5)
    for axes, title in ((left, "in the catalogue"), (right, "in truth")):
        axes.imshow(cut.pixels, origin="lower", extent=extent, norm=norm, cmap=grey, interpolation="nearest")
        axes.set(xlabel="x [pixel]", ylabel="y [pixel]", title=title)
    listed = cut.matches[cut.matches["x"].notna() & cut.matches["major"].notna()]
    # Twice the FWHM, so that the ellipse does not hide what it stands for.
    outlines = EllipseCollection(
        *(2 * listed[name].to_numpy(float) for name in ("major", "minor")),
        listed["theta"].to_numpy(float),
        units="xy",
        offsets=listed[["x", "y"]].to_numpy(float),
        offset_transform=left.transData,
        facecolors="none",
        linewidths=1.1,
        cmap=_PROBABILITY,
        clim=(0, 1),
    )
    probability = listed["probability"].to_numpy(float)
    if np.isfinite(probability).all():
        outlines.set_array(probability)
        figure.colorbar(outlines, ax=left, fraction=0.046, pad=0.02, label="probability")
    else:
        outlines.set_edgecolor(NETWORK)
    left.add_collection(outlines)
    true = cut.matches[cut.matches["true_snr"] > SHOWN_SNR]
    found = true["matched"].to_numpy(bool)
    for rows, colour, marker, label in ((true[found], _FOUND, "+", "found"), (true[~found], WARNING, "x", "missed")):
        right.scatter(rows["true_x"], rows["true_y"], s=34, marker=marker, color=colour, lw=1.1, label=label)
    left.set(xlim=extent[:2], ylim=extent[2:])
    # Above the sky, which it would hide a corner of.
    right.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2, columnspacing=1.2)


def cut_size(cut: SkyCut) -> tuple[float, float]:
    """Width and height of the figure in inches."""
    height, width = cut.pixels.shape
    return 11.0, float(np.clip(4.55 * height / width + 0.75, 2.6, 6.2))


def _middle(span: Sequence[int], side: int) -> slice:
    start = max(span[0], (span[0] + span[1] - side) // 2)
    return slice(start, min(start + side, span[1]))
