"""Bringing an array to a common shape: centre crop, pad, block average, and its WCS with it."""

import numpy as np
from astropy.wcs import WCS


def centre_offsets(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Where `target` begins on each axis of an array of `shape` when their centres agree; negative means padding."""
    surplus = [have - want for have, want in zip(shape, target, strict=True)]
    return tuple(more // 2 if more >= 0 else -(-more // 2) for more in surplus)


def window(data: np.ndarray, offsets: tuple[int, ...], target: tuple[int, ...], fill: float) -> np.ndarray:
    """The part of `data` ``(..., *axes)`` that begins at `offsets`, ``(..., *target)``, `fill` outside the data."""
    shape = data.shape[data.ndim - len(target) :]
    inside, into = [], []
    for have, begin, want in zip(shape, offsets, target, strict=True):
        first, last = max(begin, 0), max(min(begin + want, have), max(begin, 0))
        inside.append(slice(first, last))
        into.append(slice(first - begin, last - begin))
    lead = (slice(None),) * (data.ndim - len(target))
    out = np.full(data.shape[: data.ndim - len(target)] + tuple(target), fill, dtype=data.dtype)
    out[(*lead, *into)] = data[(*lead, *inside)]
    return out


def block_average(data: np.ndarray, bins: tuple[int, ...]) -> np.ndarray:
    """Mean over blocks of `bins` pixels of the last axes of ``(..., *axes)``, NaN left out; an all-NaN block is NaN.

    The axes must be multiples of `bins`. Integers are rounded to the nearest, so that 8-bit pictures stay 8-bit.
    """
    if all(size == 1 for size in bins):
        return data
    lead = data.shape[: data.ndim - len(bins)]
    split = [n for axis, size in zip(data.shape[len(lead) :], bins, strict=True) for n in (axis // size, size)]
    within = tuple(range(len(lead) + 1, len(lead) + 2 * len(bins), 2))
    blocks = data.reshape(*lead, *split)
    if data.dtype.kind in "ui":
        return np.rint(blocks.mean(axis=within)).astype(data.dtype)
    finite = np.isfinite(blocks)
    count = finite.sum(axis=within)
    total = np.where(finite, blocks, 0).sum(axis=within, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(data.dtype)


def shifted_wcs(wcs: WCS, offsets: tuple[int, ...], bins: tuple[int, ...]) -> WCS:
    """The WCS of an array that was cut at `offsets` and then averaged over `bins`, both in numpy axis order.

    A pixel centre p (from 1, FITS paper I) moves to (p - offset - 0.5) / bin + 0.5. Distortion tables are left out:
    they do not survive averaging, and stamps are small.
    """
    moved = wcs.deepcopy()
    moved.sip = moved.cpdis1 = moved.cpdis2 = moved.det2im1 = moved.det2im2 = None
    offset = np.array(offsets[::-1], dtype=float)
    scale = np.array(bins[::-1], dtype=float)
    moved.wcs.crpix = (np.asarray(moved.wcs.crpix) - offset - 0.5) / scale + 0.5
    if moved.wcs.has_cd():
        moved.wcs.cd = moved.wcs.cd * scale
    elif np.all(scale == scale[0]):
        moved.wcs.cdelt = np.asarray(moved.wcs.cdelt) * scale[0]
    else:
        moved.wcs.pc = moved.wcs.get_pc() * scale
    return moved
