"""Samples as cells of decorrelated numbers of unit variance, by a linear map that is taken from the training set."""

from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from pipeline.generate.wiener import Wiener
from pipeline.nn.resample import pixel_shuffle, pixel_unshuffle
from pipeline.nn.unet import UNet
from pipeline.nn.unet_line import UNetLine

# Least standard deviation of a number, against the largest: what never varies is not blown up.
_FLOOR = 1e-4


class Whitening(nn.Module):
    """A cell of pixels becomes its principal components, each with mean 0 and variance 1 at every place of a sample.

    Pixels of a picture are nearly equal to their neighbours, and those of its middle vary far more than the sky about
    it. Where noise is added to the pixels themselves, most of what a network learns is to take noise away that has
    nothing to do with the picture, and the texture of the sky is told from it at the very end alone. Of whitened
    numbers every one is as uncertain as the noise: without any training they are right in mean, variance and
    correlation within a cell, and what remains to be learnt is how cells depend on each other.

    Axes that are no multiple of the cell are filled up with zeros.

    Buffers: `centre` and `spread` (numbers, *cells), `basis` (numbers, numbers) with a component a column.
    """

    def __init__(self, factor: tuple[int, ...], input_shape: tuple[int, ...]):
        super().__init__()
        channel, *axes = input_shape
        self.factor, self.axes = tuple(factor), tuple(axes)
        numbers = channel * prod(factor)
        self.shape = (numbers, *(-(-length // k) for length, k in zip(axes, factor, strict=True)))
        self.register_buffer("centre", torch.zeros(self.shape))
        self.register_buffer("basis", torch.eye(numbers))
        self.register_buffer("spread", torch.ones(self.shape))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take the map from samples x ``(n, channel, *axes)``, turned and mirrored as those of the training."""
        cells = pixel_unshuffle(x, self.factor)
        self.centre.copy_(cells.mean(0))
        flat = (cells - self.centre).movedim(1, -1).flatten(0, -2)  # (n * cells, numbers)
        self.basis.copy_(torch.linalg.eigh((flat.T @ flat / len(flat)).double()).eigenvectors)
        spread = (flat @ self.basis).unflatten(0, (len(x), *self.shape[1:])).square().mean(0).sqrt().movedim(-1, 0)
        self.spread.copy_(spread.clamp(min=_FLOOR * max(float(spread.max()), 1e-12)))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channel, *axes)`` to ``(n, numbers, *cells)``."""
        cells = pixel_unshuffle(x, self.factor) - self.centre
        return _mixed(cells, self.basis.T) / self.spread

    def inverse(self, y: Tensor) -> Tensor:
        """``(n, numbers, *cells)`` to ``(n, channel, *axes)``: undoes `forward`."""
        return pixel_shuffle(_mixed(y * self.spread, self.basis) + self.centre, self.factor, self.axes)


class WhitenedUNet(nn.Module):
    """A U-Net on whitened samples, which is told where each cell lies, as their mean no longer says it.

    `line`, `ndim`, `input_shape` and `outputs` are those of a network on the samples themselves; a cell is what the
    line's _p says.
    """

    def __init__(self, line: str, ndim: int, input_shape: tuple[int, ...], read: UNetLine, axes: int):
        super().__init__()
        self.line, self.ndim, self.input_shape, self.outputs = line, ndim, tuple(input_shape), input_shape[0]
        self.whitening = Whitening(read.factor, input_shape)
        self.wiener = Wiener(prod(self.whitening.shape), axes, read.condition)
        numbers, *cells = self.whitening.shape
        places = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, length) for length in cells), indexing="ij"))
        self.register_buffer("places", torch.cat([places, places.square().sum(0, keepdim=True)]), persistent=False)
        inner = replace(read, factor=(1,) * ndim).line
        self.network = UNet(inner, ndim, (numbers + len(self.places), *cells), numbers)

    def forward(self, y: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """As `UNet.forward`, of whitened samples ``(n, numbers, *cells)``."""
        places = self.places.to(y.dtype).expand(len(y), *self.places.shape)
        return self.network(torch.cat([y, places], 1), t, condition)


def _mixed(cells: Tensor, matrix: Tensor) -> Tensor:
    """The numbers of each cell times a matrix."""
    return torch.tensordot(cells, matrix.to(cells.dtype), dims=([1], [1])).movedim(-1, 1)
