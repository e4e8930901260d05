"""Leaving out of a cube what lies on bright continuum, whose residuals look like lines."""

import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from pipeline.errors import FlemingWarning, UserError
from pipeline.sky.cube import CubeReader
from pipeline.sky.frame import frame_info
from pipeline.sky.geometry import pixel_to_sky, sky_to_pixel
from pipeline.sky.window import FrameReader

_ROWS = 256
_SAME = 0.1  # pixel


class MaskedReader:
    """A `CubeReader` whose pixels are NaN where `mask` (y, x) is true; all else is that of the reader."""

    def __init__(self, reader: CubeReader, mask: np.ndarray):
        if mask.shape != tuple(reader.shape[1:]):
            raise ValueError(f"a mask of {mask.shape} does not fit a cube {reader.shape}")
        self._reader, self.mask = reader, mask

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def __enter__(self) -> "MaskedReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def read(self, section: Sequence[slice]) -> np.ndarray:
        """As `CubeReader.read`."""
        pixels = self._reader.read(section)
        pixels[:, self.mask[tuple(section[1:])]] = np.nan
        return pixels


def continuum_mask(
    source: str | os.PathLike, cube: CubeReader, limit_jy: float, *, hdu: int | str | None = None
) -> np.ndarray:
    """Where on the plane of `cube` the continuum is brighter than `limit_jy`, bool (y, x).

    Parameters
    ----------
    source : an image, or a cube of which any channel counts, in any unit that converts. On another grid of pixels than
        the cube's the nearest pixel counts, or any of those that a wider pixel of the cube holds; beyond its borders
        nothing is masked. Without a beam it has that of the cube.
    limit_jy : Jy/beam, of the beam of the continuum.

    Raises
    ------
    UserError : as the readers; on another grid without celestial coordinates; or if no pixel is valid.
    """
    with _open(source, cube, hdu) as continuum:
        bright, valid = np.zeros(continuum.shape[-2:], bool), False
        for section in _strips(continuum.shape):
            pixels = continuum.read(section)
            valid = valid or bool(np.isfinite(pixels).any())
            # A comparison with NaN is false.
            part = pixels > limit_jy
            bright[section[-2]] |= part if part.ndim == 2 else part.any(0)
    if not valid:
        raise UserError(source, "holds no valid pixel (all are NaN)", "give another continuum")
    if _same_grid(continuum, cube):
        return bright
    if continuum.wcs is None or cube.wcs is None:
        size = " x ".join(str(length) for length in bright.shape)
        what = f"has {size} pixels and no coordinates that tell where {cube.path} lies in it"
        raise UserError(source, what, "give a continuum on the pixels of the cube")
    wide = int(np.ceil(cube.pixel_scale / continuum.pixel_scale - 0.01))
    if wide > 1:
        bright = ndimage.maximum_filter(bright, wide + 1 - wide % 2, mode="constant")
    return _resampled(bright, continuum, cube)


def _open(source: str | os.PathLike, cube: CubeReader, hdu: int | str | None) -> FrameReader:
    kind = CubeReader if frame_info(source, hdu=hdu).kind == "cube" else FrameReader
    with warnings.catch_warnings():
        # What the first look warns of the second would again; that a continuum has no line is no matter.
        warnings.simplefilter("ignore", FlemingWarning)
        own = kind(source, hdu=hdu, unit=None).beam
        return kind(source, hdu=hdu, beam=None if own else cube.beam)


def _strips(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    for channel in range(shape[0]) if len(shape) == 3 else [None]:
        leading = () if channel is None else (slice(channel, channel + 1),)
        for start in range(0, shape[-2], _ROWS):
            yield (*leading, slice(start, min(start + _ROWS, shape[-2])), slice(0, shape[-1]))


def _same_grid(continuum: FrameReader, cube: CubeReader) -> bool:
    if continuum.shape[-2:] != cube.shape[1:]:
        return False
    if continuum.wcs is None or cube.wcs is None:
        return True
    y, x = (np.array([0, 0, size - 1, size - 1, size / 2], float) for size in cube.shape[1:])
    x[[1, 2]] = x[[2, 1]]
    there = sky_to_pixel(continuum.wcs, *pixel_to_sky(cube.wcs, x, y))
    return bool(np.all(np.hypot(there[0] - x, there[1] - y) < _SAME))


def _resampled(bright: np.ndarray, continuum: FrameReader, cube: CubeReader) -> np.ndarray:
    height, width = cube.shape[1:]
    mask = np.zeros((height, width), bool)
    for start in range(0, height, _ROWS):
        y, x = np.mgrid[start : min(start + _ROWS, height), 0:width]
        there = sky_to_pixel(continuum.wcs, *pixel_to_sky(cube.wcs, x, y))
        place = [np.rint(np.nan_to_num(part, nan=-1.0)) for part in there]
        inside = np.all([(part >= 0) & (part < size) for part, size in zip(place, bright.shape[::-1], strict=True)], 0)
        mask[start : start + _ROWS][inside] = bright[place[1][inside].astype(int), place[0][inside].astype(int)]
    return mask
