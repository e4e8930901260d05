"""The symmetries of the sky on a pixel grid: flips, and the exchange of the two sky axes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE


@dataclass(frozen=True)
class Symmetry:
    """Axis k of the result is axis `order[k]` of the input, reversed where `flips[k]`."""

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def image(self, x: Tensor) -> Tensor:
        """Apply to (..., *axes)."""
        lead = x.ndim - len(self.order)
        x = x.permute(*range(lead), *(lead + axis for axis in self.order))
        turned = [lead + axis for axis, flip in enumerate(self.flips) if flip]
        return x.flip(turned) if turned else x

    def positions(self, centre: Tensor, shape: Sequence[int]) -> Tensor:
        """Apply to pixel coordinates (..., N) of a frame that has `shape` before."""
        centre = centre[..., list(self.order)]
        last = centre.new_tensor([shape[axis] - 1 for axis in self.order])
        return torch.where(self._flips(centre), last - centre, centre)

    def offsets(self, offset: Tensor) -> Tensor:
        """Apply to differences of coordinates (..., N)."""
        offset = offset[..., list(self.order)]
        return torch.where(self._flips(offset), -offset, offset)

    def sizes(self, size: Tensor) -> Tensor:
        """Apply to lengths along the axes (..., N)."""
        return size[..., list(self.order)]

    def values(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Apply to parameters (..., P) called `names`; only position angles change.

        Reversing the frequency of a cube makes the receding side of a galaxy the approaching one.
        """
        signs = [1.0] * len(names)
        if COSINE in names and self.order[-1] != len(self.order) - 1:
            signs[names.index(COSINE)] = -1.0
        if SINE in names and sum(self.flips[-2:]) == 1 and len(self.flips) > 1:
            signs[names.index(SINE)] = -1.0
        if ALONG_X in names and len(self.flips) > 1:
            turned = sum(self.flips[:-2])
            signs[names.index(ALONG_X)] = (-1.0) ** (turned + self.flips[-1])
            signs[names.index(ALONG_Y)] = (-1.0) ** (turned + self.flips[-2])
        return self.spreads(values, names) * values.new_tensor(signs)

    def spreads(self, spread: Tensor, names: Sequence[str]) -> Tensor:
        """Apply to widths (..., P) of the distributions of parameters called `names`: they move, but have no sign."""
        if ALONG_X not in names or self.order[-1] == len(self.order) - 1:
            return spread
        order = list(range(len(names)))
        x, y = names.index(ALONG_X), names.index(ALONG_Y)
        order[x], order[y] = y, x
        return spread[..., order]

    @property
    def inverse(self) -> "Symmetry":
        """What undoes it."""
        back = tuple(self.order.index(axis) for axis in range(len(self.order)))
        return Symmetry(back, tuple(self.flips[axis] for axis in back))

    def _flips(self, like: Tensor) -> Tensor:
        return torch.tensor(self.flips, device=like.device)


def symmetries(ndim: int) -> list[Symmetry]:
    """All of them, the identity first: 2 of a spectrum, 8 of an image, 16 of a cube (frequency, y, x)."""
    straight = tuple(range(ndim))
    orders = [straight] if ndim == 1 else [straight, (*straight[:-2], ndim - 1, ndim - 2)]
    return [Symmetry(order, flips) for order in orders for flips in itertools.product((False, True), repeat=ndim)]
