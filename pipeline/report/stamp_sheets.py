"""Many stamps in one figure: rows and columns of spectra, images or cubes (as their sum over the first axis)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.style import FAINT, INK, NETWORK, SKY_MAP, plain

_GAP = 1  # pixels between stamps
_SOFTENING = 3.0  # times the noise below which brightness is shown linearly
_HIGH = 99.7  # per cent of the pixels of the reference that are not cut off


@dataclass(frozen=True)
class Look:
    """How stamps are shown, all those of a figure alike: brightness from `low` to `high`, asinh above `soft`.

    picture : of a PNG, JPEG or idx file, whose rows run down; those of a FITS file run up.
    """

    low: float
    high: float
    soft: float | None
    picture: bool = False

    @classmethod
    def of(cls, stamps: np.ndarray, noise: float | None, picture: bool = False) -> "Look":
        """That which suits `stamps` ``(n, channel, *axes)``; without `noise`, and of pictures, it is linear."""
        pixels = as_pictures(stamps)
        low, high = np.nanpercentile(pixels, [0.3, _HIGH])
        # A cube is shown as a sum of channels, whose noise grows as their root.
        depth = np.sqrt(stamps.shape[2]) if stamps.ndim == 5 else 1.0
        high = max(float(high), float(low) + 1e-30)
        return cls(float(low), high, _SOFTENING * noise * depth if noise and not picture else None, picture)

    def __call__(self, stamps: np.ndarray) -> np.ndarray:
        """Stamps ``(n, channel, *axes)`` as shades from 0 to 1, ``(n, y, x)`` or with three colours last, top first."""
        pixels = as_pictures(stamps)
        if not self.picture:
            pixels = pixels[:, ::-1]
        if self.soft is None:
            return np.clip((pixels - self.low) / (self.high - self.low), 0, 1)
        low, high, value = (np.arcsinh(part / self.soft) for part in (self.low, self.high, pixels))
        return np.clip((value - low) / (high - low), 0, 1)


def as_pictures(stamps: np.ndarray) -> np.ndarray:
    """Stamps ``(..., channel, *axes)`` of two or three axes as ``(..., y, x)``, three colours ``(..., y, x, 3)``.

    Of a cube it is the sum over its first axis, of several channels that are no colours the mean.
    """
    ndim = stamps.ndim - 2
    if ndim == 1:
        return stamps.mean(axis=-2)
    if ndim == 3:
        stamps = np.nansum(stamps, axis=-3)
    if stamps.shape[-3] == 3:
        return np.moveaxis(stamps, -3, -1)
    return stamps.mean(axis=-3)


def draw_rows(figure: Figure, rows: dict[str, np.ndarray], look: Look) -> None:
    """A row of stamps ``(columns, channel, *axes)`` for each name, which stands before it."""
    first = next(iter(rows.values()))
    if first.ndim == 3:
        _lines(figure, rows)
        return
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, stamps) in zip(panels, rows.items(), strict=True):
        _show(axes, montage(look(stamps)[None]))
        axes.set_ylabel(plain(name, 18), rotation=0, ha="right", va="center", color=INK, size=9)


def draw_grid(figure: Figure, stamps: np.ndarray, look: Look) -> None:
    """Stamps ``(rows, columns, channel, *axes)``, the first row at the bottom, as a second coordinate rises."""
    if stamps.ndim == 4:
        _lines(figure, {str(number): row for number, row in reversed(list(enumerate(stamps)))}, named=False)
        return
    shades = look(stamps.reshape(-1, *stamps.shape[2:]))
    _show(figure.subplots(), montage(shades.reshape(*stamps.shape[:2], *shades.shape[1:])[::-1]))


def draw_polar(figure: Figure, stamps: np.ndarray, look: Look) -> None:
    """Stamps ``(rings, spokes, channel, *axes)`` around the middle of a figure, the first ring innermost."""
    rings, spokes = stamps.shape[:2]
    axes = figure.subplots()
    flat = stamps.reshape(-1, *stamps.shape[2:])
    angle, radius = 2 * np.pi * np.arange(spokes) / spokes, np.arange(1, rings + 1)
    # No stamp reaches its neighbour on the innermost ring.
    half = 0.92 * min(0.5, np.sin(np.pi / spokes) * radius[0])
    shades = None if flat.ndim == 3 else look(flat)
    for ring in range(rings):
        for spoke in range(spokes):
            x, y = radius[ring] * np.cos(angle[spoke]), radius[ring] * np.sin(angle[spoke])
            extent = (x - half, x + half, y - half, y + half)
            number = ring * spokes + spoke
            if shades is None:
                inset = axes.inset_axes((extent[0], extent[2], 2 * half, 2 * half), transform=axes.transData)
                _line(inset, flat[number])
            else:
                axes.imshow(shades[number], extent=extent, cmap=SKY_MAP, vmin=0, vmax=1)
    axes.set(xlim=(-rings - 0.6, rings + 0.6), ylim=(-rings - 0.6, rings + 0.6), aspect="equal")
    axes.axis("off")


def montage(shades: np.ndarray) -> np.ndarray:
    """Pictures ``(rows, columns, y, x)``, or with colours last, side by side as one picture; gaps are NaN."""
    rows, columns, height, width = shades.shape[:4]
    gap = [(0, 0), (0, 0), (0, _GAP), (0, _GAP)] + [(0, 0)] * (shades.ndim - 4)
    padded = np.pad(shades, gap, constant_values=1.0 if shades.ndim == 5 else np.nan)
    joined = np.moveaxis(padded, 2, 1).reshape(rows * (height + _GAP), columns * (width + _GAP), *shades.shape[4:])
    return joined[:-_GAP, :-_GAP]


def sheet_size(rows: int, columns: int, stamp: Sequence[int], width: float = 10.4) -> tuple[float, float]:
    """Width and height in inches of `draw_rows` for stamps of the axes `stamp`."""
    if len(stamp) == 1:
        return width, 0.3 + 0.9 * rows
    return width, 0.2 + rows * (width - 1.2) / columns * stamp[-2] / stamp[-1] + 0.08 * rows


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap=SKY_MAP, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def _lines(figure: Figure, rows: dict[str, np.ndarray], named: bool = True) -> None:
    most = max(len(stamps) for stamps in rows.values())
    grid = figure.subplots(len(rows), most, squeeze=False, sharex=True)
    for panels, (name, stamps) in zip(grid, rows.items(), strict=True):
        for axes, stamp in zip(panels, stamps, strict=False):
            _line(axes, stamp)
        for axes in panels[len(stamps) :]:
            axes.axis("off")
        if named:
            panels[0].set_ylabel(plain(name, 18), rotation=0, ha="right", va="center", size=9)


def _line(axes: Axes, stamp: np.ndarray) -> None:
    for channel in stamp:
        axes.plot(channel, color=NETWORK, lw=0.7)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color(FAINT)
