"""A page of the galaxies of a cube: the line's flux, its velocities and its spectrum beside each other."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import QTable, Row
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from pipeline.data.background import Background
from pipeline.hi.cutout import Cutout, cut_out
from pipeline.hi.products import rows_of
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.style import BASELINE, FAINT, INK, MUTED, NETWORK

if TYPE_CHECKING:
    from pipeline.sky.cube import CubeReader

FILE = "galaxies.png"
_ACROSS = 2
_LEVELS = (3, 5, 8, 13, 21, 34, 55, 89, 144, 233)


def thumbnails(
    table: QTable,
    cube: "CubeReader",
    noise: Background,
    folder: str | os.PathLike,
    ids: Iterable[int] | None = None,
    most: int = 16,
) -> dict[str, str] | None:
    """Draw galaxies of a catalogue into `folder`/galaxies.png; the figure's file, title and caption, or None of none.

    Parameters
    ----------
    ids : of the galaxies; None takes the `most` of the highest signal-to-noise ratio.

    Raises
    ------
    UserError : an id that the catalogue has not, or the file cannot be written.
    """
    rows = rows_of(table, ids, folder)
    if ids is None:
        rows = rows[np.argsort(-np.asarray(rows["snr"]), kind="stable")[:most]]
    if not len(rows):
        return None
    shown = [(row, cut_out(row, cube, noise)) for row in rows]
    down = -(-len(shown) // _ACROSS)
    across = min(len(shown), _ACROSS)
    made, count = FigureFolder(Path(folder)), "galaxy" if len(shown) == 1 else "galaxies"
    caption = (
        f"{len(shown)} of {len(table)}, by signal-to-noise ratio. Left: all channels of the line, with contours at "
        f"{', '.join(map(str, _LEVELS[:4]))} ... times the noise, the predicted ellipse widened by the beam, and the "
        "beam. Middle: mean velocity where the line is significant, with the predicted direction of the receding "
        "side. Right: flux density within the ellipse with its error, and the predicted width of the line. "
        "North is up and east left where the cube is so."
    )
    made.add(
        FILE,
        (6.4 * across, 2.25 * down + 0.15),
        lambda figure: draw_galaxies(figure, shown),
        f"{len(shown)} {count}",
        caption,
    )
    return made.captions[0]


def draw_galaxies(figure: Figure, shown: Sequence[tuple[Row, Cutout]]) -> None:
    """Three panels a galaxy: the map of its flux, of its velocity, and its spectrum."""
    across = min(len(shown), _ACROSS)
    down = -(-len(shown) // across)
    grid = figure.add_gridspec(down, 3 * across, width_ratios=[1, 1, 1.8] * across)
    for at, (row, cut) in enumerate(shown):
        line, side = divmod(at, across)
        flux, velocity, spectrum = (figure.add_subplot(grid[line, 3 * side + part]) for part in range(3))
        draw_flux_map(flux, row, cut)
        draw_velocity_map(figure, velocity, row, cut)
        draw_spectrum(spectrum, row, cut)


def draw_flux_map(axes: Axes, row: Row, cut: Cutout) -> None:
    """All channels of the line, contours in units of their noise, the predicted ellipse and the beam."""
    shown, noise = cut.line_map, cut.line_map_error
    top = max(np.nanmax(shown, initial=0), 5 * noise)
    axes.imshow(shown, origin="lower", cmap="Greys", vmin=-2 * noise, vmax=top, interpolation="nearest")
    levels = [level * noise for level in _LEVELS if level * noise < top]
    if levels:
        axes.contour(np.nan_to_num(shown), levels, colors=NETWORK, linewidths=0.8)
    axes.contour(cut.radius, [1.0], colors=BASELINE, linewidths=1.1)
    width = cut.beam
    corner = (0.3 + width / 2, 0.3 + width / 2)
    axes.add_patch(Ellipse(corner, width, width, facecolor=MUTED, edgecolor="none", alpha=0.8))
    _bare(axes, cut)
    axes.set_title(f"{row['id']}   SNR {float(row['snr']):.1f}   p {float(row['probability']):.2f}", fontsize=8.5)


def draw_velocity_map(figure: Figure, axes: Axes, row: Row, cut: Cutout) -> None:
    """Mean velocities less that of the galaxy, and where the receding side is predicted."""
    middle = float(row["velocity"].value)
    relative = cut.moment1 - middle
    reach = np.nanmax(np.abs(relative), initial=1.0)
    shown = axes.imshow(relative, origin="lower", cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
    axes.set_facecolor(FAINT)
    angle = np.radians(cut.pa)
    step = np.linalg.solve(cut.turn, (np.sin(angle), np.cos(angle)))
    length = 0.42 * min(cut.ellipse.shape)
    (dx, dy), (y, x) = length * step / np.linalg.norm(step), cut.centre
    axes.annotate("", (x + dx, y + dy), (x, y), arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.1})
    _bare(axes, cut)
    # Hung on the map, so that this is as large as the other.
    bar = figure.colorbar(shown, cax=axes.inset_axes([1.03, 0, 0.06, 1]))
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.outline.set_visible(False)
    axes.set_title("km/s", fontsize=8, loc="right")


def draw_spectrum(axes: Axes, row: Row, cut: Cutout) -> None:
    """Flux density in the ellipse against velocity, its error and the predicted line."""
    flux, error = (1e3 * part for part in cut.spectrum)
    middle, half = float(row["velocity"].value), float(row["w20"].value) / 2
    velocity = cut.velocity - middle
    axes.axvspan(-half, half, color=BASELINE, alpha=0.13, lw=0)
    axes.axhline(0, color=MUTED, lw=0.7, ls=":")
    axes.fill_between(velocity, flux - error, flux + error, step="mid", color=NETWORK, alpha=0.2, lw=0)
    axes.step(velocity, flux, where="mid", color=NETWORK, lw=1.0)
    axes.tick_params(labelsize=7)
    axes.xaxis.get_major_locator().set_params(nbins=4)
    axes.set_xlim(sorted((velocity[0], velocity[-1])))
    axes.set_title(f"mJy, 0 is {middle:.0f} km/s", fontsize=8, loc="right")


def _bare(axes: Axes, cut: Cutout) -> None:
    rows, columns = cut.ellipse.shape
    axes.set(xticks=[], yticks=[], xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
