"""Pixels into channels and back, and doubled axes, for any number of axes; tensors are (n, channel, *axes)."""

from math import prod

from torch import Tensor
from torch.nn import functional


def pixel_unshuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Cells of `factor` pixels become channels: (n, c, *axes) to (n, c * prod(factor), *ceil(axes / factor)).

    The inverse of the rearrangement of Shi et al. (2016, CVPR, equation 4), for each axis its own factor; axes that
    are no multiple of it are filled up with zeros at their ends. Channels are left next to each other in memory.
    """
    n, channel, *axes = x.shape
    # functional.pad counts axes from the last one
    missing = [-length % k for length, k in zip(axes, factor, strict=True)]
    x = functional.pad(x, [end for amount in reversed(missing) for end in (0, amount)]) if any(missing) else x
    cells = [-(-length // k) for length, k in zip(axes, factor, strict=True)]
    ndim = len(axes)
    x = x.reshape(n, channel, *(part for pair in zip(cells, factor, strict=True) for part in pair))
    x = x.permute(0, *range(2, 2 + 2 * ndim, 2), 1, *range(3, 3 + 2 * ndim, 2))
    return x.reshape(n, *cells, channel * prod(factor)).movedim(-1, 1)


def pixel_shuffle(x: Tensor, factor: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """The inverse of `pixel_unshuffle`, cut to `axes`: (n, c * prod(factor), *cells) to (n, c, *axes)."""
    n, channel, *cells = x.shape
    ndim = len(cells)
    channel //= prod(factor)
    x = x.reshape(n, channel, *factor, *cells)
    x = x.permute(0, 1, *(part for axis in range(ndim) for part in (2 + ndim + axis, 2 + axis)))
    x = x.reshape(n, channel, *(count * k for count, k in zip(cells, factor, strict=True)))
    return crop(x, axes)


def double(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Every pixel twice along each axis, cut to `axes`: undoes the shape of a convolution of stride 2."""
    return crop(functional.interpolate(x, scale_factor=2.0, mode="nearest"), axes)


def crop(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The first pixels of each axis, as many as `axes` says."""
    return x[(..., *(slice(length) for length in axes))]
