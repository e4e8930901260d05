"""The noise of a cube: an rms for every channel, times a smooth factor for every place, from a sample of its pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.background import MAD_TO_SIGMA, Background, cell_edges, clipped_statistics, settled
from pipeline.data.tiles import Reader, Section
from pipeline.errors import UserError

_CELLS = 32
_CHANNELS_AT_ONCE = 8
_LEAST_PIXELS, _LEAST_SHARE = 64, 0.1
_MANY_ZEROS = 0.1
_BINS, _GREATEST = 2048, 20.0
_CLIP, _ROUNDS = 5.0, 2
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class CubeNoise:
    """The median and the rms of the noise anywhere in a cube of `shape` (f, y, x), as `Background` gives them.

    Attributes
    ----------
    shape : of the cube.
    median, rms : (f,) float64 of the channels, in the unit of the cube; NaN in a blank one.
    factor : over (y, x); its rms is what the rms of a channel is multiplied by, its median is 0.
    """

    shape: tuple[int, ...]
    median: np.ndarray
    rms: np.ndarray
    factor: Background

    @property
    def blank(self) -> np.ndarray:
        """Which channels hold no noise, bool (f,): all NaN, all zero, or too few valid pixels."""
        return np.isnan(self.rms)

    def at(self, section: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
        """The median (f, 1, 1) and the rms (f, y, x) of a section of the cube, float32; NaN in blank channels."""
        start, stop, step = section[0].indices(self.shape[0])
        if step != 1 or stop < start:
            raise ValueError("a section is read with step 1")
        median, rms = (part[start:stop, None, None].astype(np.float32) for part in (self.median, self.rms))
        return median, rms * self.factor.at(section[1:])[1]

    def at_positions(self, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The median and the rms of the pixels nearest to positions `(n, 3)`, float64 (n,) each.

        In a blank channel those of the nearest channel that is not.
        """
        channel = self._measured()[np.clip(np.rint(np.nan_to_num(centres[:, 0])), 0, self.shape[0] - 1).astype(int)]
        return self.median[channel], self.rms[channel] * self.factor.at_positions(centres[:, 1:])[1]

    def _measured(self) -> np.ndarray:
        measured = np.flatnonzero(~self.blank)
        borders = (measured[1:] + measured[:-1]) / 2
        return measured[np.searchsorted(borders, np.arange(self.shape[0]))]

    def summary(self) -> dict[str, float]:
        """The median, least and greatest rms of the channels, median background, blank channels, range of the factor.

        Those of the noise in the cube's unit.
        """
        return {
            "median_rms": float(np.nanmedian(self.rms)),
            "min_rms": float(np.nanmin(self.rms)),
            "max_rms": float(np.nanmax(self.rms)),
            "median_background": float(np.nanmedian(self.median)),
            "blank_channels": int(self.blank.sum()),
            "min_factor": float(self.factor.rms.min()),
            "max_factor": float(self.factor.rms.max()),
        }

    def to_dict(self) -> dict:
        """Plain numbers and lists for a JSON file; `from_dict` gives exactly the same noise."""
        blank = self.blank
        return {
            "shape": list(self.shape),
            "median": [None if gap else float(number) for gap, number in zip(blank, self.median, strict=True)],
            "rms": [None if gap else float(number) for gap, number in zip(blank, self.rms, strict=True)],
            "edges": [borders.tolist() for borders in self.factor.edges],
            "factor": self.factor.rms.tolist(),
        }

    @classmethod
    def from_dict(cls, told: dict) -> "CubeNoise":
        """The noise that `to_dict` told."""
        median, rms = (np.array([np.nan if item is None else item for item in told[key]]) for key in ("median", "rms"))
        edges = tuple(np.array(borders) for borders in told["edges"])
        return cls(tuple(told["shape"]), median, rms, _factor(tuple(told["shape"]), edges, np.array(told["factor"])))


def _factor(shape: tuple[int, ...], edges: tuple[np.ndarray, ...], cells: np.ndarray) -> Background:
    return Background(shape[1:], edges, np.zeros_like(cells), cells)


def measure_cube_noise(
    read: Reader,
    shape: Sequence[int],
    *,
    mask: np.ndarray | None = None,
    where: object = "cube",
    mesh: int = 32,
    sample: int = 1 << 16,
) -> CubeNoise:
    """Measure the noise of a cube (f, y, x) that `read(section)` gives in sections, in one pass in file order.

    Of every channel about `sample` pixels are used, the whole plane where it has no more: runs of rows in every row
    of cells of the mesh, which move on from one block of channels to the next. Their median and MAD are clipped at 5
    MADs as those of `measure_background`. For n pixels that the beam does not join the rms has a standard deviation of
    1.17 / sqrt(n), 0.5 % for 65536. The pixels in units of their channel's rms then give each cell of the mesh, over
    all channels, its factor. Where the true noise is a product of a spectrum and a map, so is what is measured.

    Zeros count as blank in channels of which they fill more than a tenth. A channel with fewer than 64 valid pixels,
    or a tenth of its sample if that is less, is blank, as is one without noise.

    Parameters
    ----------
    read : takes one slice (step 1) an axis and returns that section, any float type. At most 8 channels of a few rows
        are asked for at once, or of the whole plane if it is small.
    mask : (y, x) bool, true where pixels are to be left out.
    where : the name of the cube in messages.
    mesh : least side of a cell in pixels; there are at most 32 cells an axis.

    Raises
    ------
    UserError : no channel holds noise.
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) != 3 or min(shape) < 1 or mesh < 1 or sample < 1:
        raise ValueError(f"a cube {shape} has no noise on a mesh of {mesh} from {sample} pixels")
    if mask is not None and mask.shape != shape[1:]:
        raise ValueError(f"a mask of {mask.shape} does not fit a cube {shape}")
    edges = tuple(cell_edges(size, max(mesh, -(-size // _CELLS))) for size in shape[1:])
    cells = tuple(len(borders) - 1 for borders in edges)
    counts = np.zeros((cells[0] * cells[1], _BINS), np.int64)
    median, rms = np.full(shape[0], np.nan), np.full(shape[0], np.nan)
    for number, start in enumerate(range(0, shape[0], _CHANNELS_AT_ONCE)):
        channels = slice(start, min(start + _CHANNELS_AT_ONCE, shape[0]))
        values, cell = _sample(read, shape, channels, edges, number * _GOLDEN % 1.0, mask, sample)
        median[channels], rms[channels] = _statistics(values)
        _count(counts, values, cell, median[channels], rms[channels])
    if not np.any(np.isfinite(rms)):
        raise UserError(where, "holds no channel with noise", "check the cube")
    return CubeNoise(shape, median, rms, _factor(shape, edges, settled(_spread(counts).reshape(cells))))


def _sample(
    read: Reader,
    shape: tuple[int, ...],
    channels: slice,
    edges: tuple[np.ndarray, ...],
    phase: float,
    mask: np.ndarray | None,
    sample: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (channels, n), blank ones NaN, and the cell (n,) of each."""
    _, height, width = shape
    column = np.searchsorted(edges[1], np.arange(width), "right") - 1
    across = len(edges[1]) - 1
    # Twice the rows, and every other pixel of them at least: neighbours within a beam tell little new.
    runs = list(_runs(edges[0], -(-2 * sample // width), phase))
    rows = sum(run.stop - run.start for _, run in runs)
    stride = max(1, rows * width // sample) if height * width > sample else 1
    parts, places = [], []
    for row, run in runs:
        first = int(phase * stride)
        section: Section = (channels, run, slice(0, width))
        part = np.array(read(section)[..., first::stride], np.float32)
        if mask is not None:
            part[:, mask[run, first::stride]] = np.nan
        parts.append(part.reshape(len(part), -1))
        places.append(np.tile(row * across + column[first::stride], run.stop - run.start))
    values = np.concatenate(parts, axis=1)
    values[~np.isfinite(values)] = np.nan
    zero = values == 0
    many = zero.sum(1) > _MANY_ZEROS * np.count_nonzero(~np.isnan(values), axis=1)
    values[zero & many[:, None]] = np.nan
    return values, np.concatenate(places)


def _runs(borders: np.ndarray, rows: int, phase: float) -> Iterator[tuple[int, slice]]:
    """In every row of cells a run of its rows, of about `rows` in all."""
    for index, (low, high) in enumerate(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)):
        length = min(high - low, -(-rows * (high - low) // int(borders[-1])))
        first = low + int(phase * (high - low - length + 1))
        yield index, slice(first, first + length)


def _statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    least = min(_LEAST_PIXELS / values.shape[1], _LEAST_SHARE)
    median, rms = clipped_statistics(np.sort(values, axis=1), least)
    blank = ~(rms > 0)
    median[blank], rms[blank] = np.nan, np.nan
    return median, rms


def _count(counts: np.ndarray, values: np.ndarray, cell: np.ndarray, median: np.ndarray, rms: np.ndarray) -> None:
    """Add the distances from the median, in units of the channel's rms, to the histogram (cells, bins)."""
    far = np.abs(values - median[:, None].astype(np.float32)) * (_BINS / _GREATEST / rms[:, None]).astype(np.float32)
    valid = np.isfinite(far)
    places = np.minimum(far[valid], _BINS - 1).astype(np.int64)
    places += np.broadcast_to(cell * _BINS, far.shape)[valid]
    counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)


def _spread(counts: np.ndarray) -> np.ndarray:
    """1.4826 times the median of the distances of each cell, clipped at 5 of them; NaN in a cell of too few."""
    few = counts.sum(1) < _LEAST_PIXELS
    if few.all():
        return np.ones(len(counts))
    below = np.cumsum(counts, axis=1)
    total, bins = below[:, -1], np.arange(1, _BINS + 1)
    for _ in range(_ROUNDS + 1):
        middle = np.array([np.interp(half, line, bins) for half, line in zip(total / 2, below, strict=True)])
        last = np.clip(_CLIP * middle, 1, _BINS).astype(int) - 1
        total = np.take_along_axis(below, last[:, None], 1)[:, 0]
    return np.where(few, np.nan, MAD_TO_SIGMA * middle * _GREATEST / _BINS)
