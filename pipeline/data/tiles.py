"""Tiles: a frame of any size in pieces with a halo, every position owned by one piece, read ahead of their use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

Section = tuple[slice, ...]
Reader = Callable[[Section], np.ndarray]


@dataclass(frozen=True)
class Tile:
    """One piece of a frame of `shape`, N axes.

    Attributes
    ----------
    shape : of the frame.
    core : the part of the frame that is this tile's own; the cores of all tiles cover the frame exactly once.
    window : the core and its halo, in frame coordinates; it may begin below 0 and end beyond the frame.
    """

    shape: tuple[int, ...]
    core: Section
    window: Section

    @property
    def origin(self) -> np.ndarray:
        """The frame coordinate of the window's first pixel, int (N,)."""
        return np.array([part.start for part in self.window])

    @property
    def size(self) -> tuple[int, ...]:
        """The window's pixels an axis."""
        return tuple(part.stop - part.start for part in self.window)

    @property
    def inside(self) -> Section:
        """The part of the window that lies in the frame, in frame coordinates."""
        return tuple(
            slice(max(part.start, 0), min(part.stop, size)) for part, size in zip(self.window, self.shape, strict=True)
        )

    @property
    def pad(self) -> tuple[tuple[int, int], ...]:
        """Per axis the pixels of the window before and after the frame, as `numpy.pad` takes them."""
        return tuple(
            (inside.start - part.start, part.stop - inside.stop)
            for part, inside in zip(self.window, self.inside, strict=True)
        )

    def owns(self, centres: np.ndarray) -> np.ndarray:
        """Which positions `(n, N)`, in frame coordinates, belong to this tile, bool (n,).

        Pixel i covers [i - 0.5, i + 0.5); the outermost cores also own what lies beyond the frame, so that every
        position that is not NaN has exactly one owner.
        """
        low = [part.start - 0.5 if part.start else -np.inf for part in self.core]
        high = [
            part.stop - 0.5 if part.stop < size else np.inf for part, size in zip(self.core, self.shape, strict=True)
        ]
        return np.all((centres >= np.array(low)) & (centres < np.array(high)), axis=-1)


def tiles(
    shape: Sequence[int], core: int | Sequence[int], halo: int | Sequence[int], multiple: int | Sequence[int] = 1
) -> list[Tile]:
    """Cut a frame of `shape`, N axes, into tiles, in NumPy order.

    The cores of an axis are as equal as can be. Windows begin and end at multiples of `multiple`, the reduction of a
    network, counted from pixel 0 of the frame: the cells of its output lie at the same places for any size of tile.

    Parameters
    ----------
    core : the most pixels of a core, one for all axes or one each.
    halo : the least pixels of a window around its core.
    multiple : that a window's borders are multiples of.
    """
    shape = tuple(int(size) for size in shape)
    cores, halos, multiples = (
        (int(value),) * len(shape) if np.ndim(value) == 0 else tuple(int(item) for item in value)
        for value in (core, halo, multiple)
    )
    if not shape or min((*shape, *cores, *multiples)) < 1 or min(halos) < 0:
        raise ValueError(f"a frame {shape} cannot be cut into {cores} with a halo {halos} at multiples of {multiples}")
    along = [_spans(*values) for values in zip(shape, cores, halos, multiples, strict=True)]
    return [
        Tile(shape, tuple(inner for inner, _ in parts), tuple(outer for _, outer in parts)) for parts in product(*along)
    ]


def _spans(size: int, core: int, halo: int, multiple: int) -> list[tuple[slice, slice]]:
    side = -(-size // -(-size // core))
    if (rounded := -(-side // multiple) * multiple) <= core:
        side = rounded
    spans = []
    for start in range(0, size, side):
        stop = min(start + side, size)
        low, high = (start - halo) // multiple * multiple, -(-(stop + halo) // multiple) * multiple
        spans.append((slice(start, stop), slice(low, high)))
    return spans


def read_window(read: Reader, tile: Tile, fill: float = np.nan) -> np.ndarray:
    """The pixels of a tile's window, `(*leading, *tile.size)`, with `fill` where it lies beyond the frame.

    `read` takes one slice an axis and returns that section; axes before those of the frame, bands for instance, stay.
    """
    part = np.asarray(read(tile.inside))
    if not any(sum(sides) for sides in tile.pad):
        return part
    leading = part.ndim - len(tile.shape)
    window = np.full((*part.shape[:leading], *tile.size), fill, part.dtype)
    within = (slice(before, length - after) for (before, after), length in zip(tile.pad, tile.size, strict=True))
    window[(..., *within)] = part
    return window


def read_ahead(
    read: Reader, pieces: Iterable[Tile], fill: float = np.nan, ahead: int = 1
) -> Iterator[tuple[Tile, np.ndarray]]:
    """Every tile with its window, in order; one thread reads the next `ahead` windows while the caller computes.

    An error of `read` is raised at the tile that it belongs to. Leaving early waits for the window being read, no more.
    """
    with ThreadPoolExecutor(1, "read_ahead") as reader:
        waiting = deque()
        try:
            for tile in pieces:
                waiting.append((tile, reader.submit(read_window, read, tile, fill)))
                if len(waiting) > ahead:
                    yield _finished(waiting)
            while waiting:
                yield _finished(waiting)
        finally:
            reader.shutdown(wait=True, cancel_futures=True)


def _finished(waiting: deque) -> tuple[Tile, np.ndarray]:
    tile, window = waiting.popleft()
    return tile, window.result()
