"""The local background and noise of a frame, on a mesh of cells, measured and given out section by section."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
from scipy import ndimage

from pipeline.data.tiles import Reader, Section
from pipeline.errors import UserError

MAD_TO_SIGMA = 1.4826
_LEAST_VALID, _CLIP, _ROUNDS = 0.1, 5.0, 2
_PIXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Background:
    """The median and the rms of the noise anywhere in a frame of `shape`.

    Attributes
    ----------
    shape : of the frame, N axes.
    edges : per axis the borders of the cells in pixels, ascending, first 0 and last the size of the axis.
    median, rms : float64 (*cells), in the unit of the frame.
    """

    shape: tuple[int, ...]
    edges: tuple[np.ndarray, ...]
    median: np.ndarray
    rms: np.ndarray

    def at(self, section: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
        """The median and the rms of a section of the frame, float32 (*section) each.

        Linear between the centres of the cells, constant beyond the outermost ones. A pixel's values do not depend
        on the section that it is asked for in.
        """
        spans = [part.indices(size) for part, size in zip(section, self.shape, strict=True)]
        if any(step != 1 or stop < start for start, stop, step in spans):
            raise ValueError("a section is read with step 1")
        return _interpolate(self.median, self.edges, spans), _interpolate(self.rms, self.edges, spans)

    def at_positions(self, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The median and the rms of the pixels nearest to positions `(n, N)`, float64 (n,) each."""
        last = np.array(self.shape) - 1
        pixels = np.clip(np.rint(np.nan_to_num(centres)), 0, last).astype(int)
        middles = [(borders[:-1] + borders[1:] - 1) / 2 for borders in self.edges]
        places = [np.interp(pixels[:, axis], middle, np.arange(len(middle))) for axis, middle in enumerate(middles)]
        return tuple(
            ndimage.map_coordinates(cells, places, order=1, mode="nearest") for cells in (self.median, self.rms)
        )

    def summary(self) -> dict[str, float]:
        """The median, least and greatest rms of the cells, and their median background, in the frame's unit."""
        return {
            "median_rms": float(np.median(self.rms)),
            "min_rms": float(self.rms.min()),
            "max_rms": float(self.rms.max()),
            "median_background": float(np.median(self.median)),
        }


def measure_background(
    read: Reader,
    shape: Sequence[int],
    mesh: int | Sequence[int] = 128,
    where: object = "frame",
) -> Background:
    """Measure the background of a frame, N axes, that `read(section)` gives in sections.

    In every cell the median, and 1.4826 times the median absolute deviation (MAD), of the valid pixels, after two
    rounds in which the pixels further than 5 MADs from the median are left out: these are 3.4 sigma, which costs pure
    Gaussian noise 0.1 % of its rms and holds the sources off. Infinite and NaN pixels are not valid.
    Cells of fewer than a tenth of valid pixels, and cells without noise (a border filled with zeros) when others
    have some, take the mean of their neighbours. A median filter of three cells then removes what a bright source
    does to one cell. A rest of less than half a cell at the end of an axis belongs to the last cell.

    Parameters
    ----------
    read : takes one slice (step 1) an axis and returns that section, any float type.
    shape : of the frame.
    mesh : side of a cell in pixels, one for all axes or one each.
    where : the name of the frame in messages.

    Raises
    ------
    UserError : no cell has enough valid pixels.
    """
    shape, mesh = _shapes(shape, mesh)
    edges = tuple(cell_edges(size, side) for size, side in zip(shape, mesh, strict=True))
    median, rms = (np.full([len(borders) - 1 for borders in edges], np.nan) for _ in range(2))
    for cells, section in _strips(edges):
        median[cells], rms[cells] = clipped_statistics(_blocks(read(section), cells[-1]))
    if not np.any(np.isfinite(rms)):
        raise UserError(where, "holds no valid pixels or too few to measure its noise", "check the frame")
    if np.any(rms > 0):
        noiseless = rms == 0
        median[noiseless], rms[noiseless] = np.nan, np.nan
    return Background(shape, edges, settled(median), settled(rms))


def _shapes(shape: Sequence[int], mesh: int | Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = tuple(int(size) for size in shape)
    mesh = (int(mesh),) * len(shape) if np.ndim(mesh) == 0 else tuple(int(side) for side in mesh)
    if not shape or min(shape) < 1 or len(mesh) != len(shape) or min(mesh) < 1:
        raise ValueError(f"a mesh {mesh} does not fit a frame {shape}")
    return shape, mesh


def settled(cells: np.ndarray) -> np.ndarray:
    """Cells, N axes, with the NaN ones filled from their neighbours, and a median filter of three over all."""
    return ndimage.median_filter(_filled(cells), 3, mode="nearest")


def cell_edges(size: int, side: int) -> np.ndarray:
    """Borders of the cells of `side` pixels of an axis; a rest of less than half a cell belongs to the last one."""
    starts = np.arange(0, size, side)
    if len(starts) > 1 and 2 * (size - starts[-1]) < side:
        starts = starts[:-1]
    return np.append(starts, size)


def _strips(edges: tuple[np.ndarray, ...]) -> Iterator[tuple[tuple, Section]]:
    """Runs of cells of one size along the last axis: their indices, and the section of the frame that they cover."""
    *leading, last = edges
    widths = np.diff(last)
    for index in product(*(range(len(borders) - 1) for borders in leading)):
        spans = [slice(int(borders[at]), int(borders[at + 1])) for at, borders in zip(index, leading, strict=True)]
        pixels = int(np.prod([span.stop - span.start for span in spans], dtype=int)) * int(widths[0])
        step = max(1, _PIXELS_AT_ONCE // pixels)
        regular = len(widths) if widths[-1] == widths[0] else len(widths) - 1
        runs = [(at, min(at + step, regular)) for at in range(0, regular, step)]
        for start, stop in runs if regular == len(widths) else [*runs, (regular, len(widths))]:
            yield (*index, slice(start, stop)), (*spans, slice(int(last[start]), int(last[stop])))


def _blocks(data: np.ndarray, run: slice) -> np.ndarray:
    """(cells of the run, pixels of a cell) float32, each row ascending with what is not valid as NaN at its end."""
    data = np.asarray(data)
    count = run.stop - run.start
    parted = data.reshape(*data.shape[:-1], count, data.shape[-1] // count)
    blocks = np.array(np.moveaxis(parted, -2, 0), np.float32, order="C").reshape(count, -1)
    blocks[~np.isfinite(blocks)] = np.nan
    blocks.sort(axis=-1)
    return blocks


def clipped_statistics(blocks: np.ndarray, least: float = _LEAST_VALID) -> tuple[np.ndarray, np.ndarray]:
    """Median and rms (n,) of the rows `(n, pixels)`, each ascending with NaN at its end, as `measure_background`.

    least : the share of a row that must be valid; the statistics of other rows are NaN.
    """
    # With the pixels of a cell in order, medians, clipping and deviations are places in the row: one sort serves all.
    start, stop = np.zeros(len(blocks), int), np.count_nonzero(~np.isnan(blocks), axis=-1)
    valid = stop >= max(1.0, least * blocks.shape[-1])
    blocks, start, stop = blocks[valid], start[valid], stop[valid]
    median, mad = _median(blocks, start, stop), _mad(blocks, start, stop)
    for _ in range(_ROUNDS):
        low, high = median - _CLIP * mad, median + _CLIP * mad
        start, stop = (
            _first(start, stop, lambda at, low=low: _take(blocks, at) >= low),
            _first(start, stop, lambda at, high=high: _take(blocks, at) > high),
        )
        median, mad = _median(blocks, start, stop), _mad(blocks, start, stop)
    results = np.full((2, len(valid)), np.nan)
    results[:, valid] = median, MAD_TO_SIGMA * mad
    return results[0], results[1]


def _take(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.take_along_axis(rows, np.clip(at, 0, rows.shape[-1] - 1)[:, None], -1)[:, 0].astype(np.float64)


def _median(rows: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    return (_take(rows, (start + stop - 1) // 2) + _take(rows, (start + stop) // 2)) / 2


def _mad(rows: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    centre, count = _median(rows, start, stop), stop - start
    return sum(_distance(rows, start, stop, centre, rank) for rank in ((count + 1) // 2, count // 2 + 1)) / 2


def _distance(rows, start, stop, centre: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """The distance of the `rank`-th nearest (from 1) of the ordered values of each row from `centre`."""
    # The nearest values are neighbours in the row: the first window whose left end is no further than the next right.
    left = _first(
        start, stop - rank, lambda at: centre - _take(rows, at) <= _take(rows, np.minimum(at + rank, stop - 1)) - centre
    )
    return np.maximum(centre - _take(rows, left), _take(rows, left + rank - 1) - centre)


def _first(start: np.ndarray, stop: np.ndarray, holds: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """By bisection the first index of [start, stop) at which `holds`, which stays true once it is; else `stop`."""
    low, high = start.copy(), stop.copy()
    while np.any(low < high):
        middle = (low + high) // 2
        yes = holds(middle)
        searching = low < high
        high = np.where(searching & yes, middle, high)
        low = np.where(searching & ~yes, middle + 1, low)
    return low


def _filled(cells: np.ndarray) -> np.ndarray:
    """Every NaN cell as the mean of its neighbours, those next to valid cells first."""
    cells = cells.copy()
    around = np.ones((3,) * cells.ndim)
    while np.any(empty := np.isnan(cells)):
        count = ndimage.correlate((~empty).astype(np.float64), around, mode="constant")
        total = ndimage.correlate(np.where(empty, 0.0, cells), around, mode="constant")
        reached = empty & (count > 0.5)
        cells[reached] = total[reached] / count[reached]
    return cells


def _interpolate(cells: np.ndarray, edges: tuple[np.ndarray, ...], spans: list[tuple[int, int, int]]) -> np.ndarray:
    single = cells.astype(np.float32)
    return reduce(lambda values, axis: _along(values, axis, edges[axis], spans[axis]), range(cells.ndim), single)


def _along(values: np.ndarray, axis: int, borders: np.ndarray, span: tuple[int, int, int]) -> np.ndarray:
    centres = (borders[:-1] + borders[1:] - 1) / 2
    place = np.interp(np.arange(span[0], span[1]), centres, np.arange(len(centres)))
    below = np.minimum(place.astype(int), max(len(centres) - 2, 0))
    above = np.minimum(below + 1, len(centres) - 1)
    fraction = (place - below).astype(np.float32).reshape([-1 if at == axis else 1 for at in range(values.ndim)])
    result, step = np.take(values, below, axis), np.take(values, above, axis)
    step -= result
    step *= fraction
    result += step
    return result
