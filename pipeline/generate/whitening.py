"""Samples as cells of decorrelated numbers of mean 0 and variance 1 given what is told, by linear maps of pixels."""

from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from pipeline.generate.told_mean import ToldMean
from pipeline.generate.wiener import Wiener
from pipeline.nn.resample import pixel_shuffle, pixel_unshuffle
from pipeline.nn.unet import UNet
from pipeline.nn.unet_line import UNetLine

# Least standard deviation of a number, against the largest: what never varies is not blown up.
_FLOOR = 1e-4


class Whitening(nn.Module):
    """A cell of pixels becomes its principal components, each with mean 0 and variance 1 at every place of a sample.

    Pixels of a picture are nearly equal to their neighbours, those of its middle vary far more than the sky about it,
    and those of a bright galaxy more than those of a faint one. Where noise is added to the pixels themselves, most of
    what a network learns is to take noise away that has nothing to do with the picture, and the texture of the sky is
    told from it at the very end alone. Of whitened numbers every one is as uncertain as the noise: without any training
    they are right in mean, variance and correlation within a cell, given what is told (see
    `pipeline.generate.told_mean`), and what remains to be learnt is how cells depend on each other.

    Axes that are no multiple of the cell are filled up with zeros.

    `centre` and `log_variance` give (numbers * cells) numbers of a condition; the buffer `basis` (numbers, numbers) has
    a component a column; `least` () is the least variance.
    """

    def __init__(self, factor: tuple[int, ...], input_shape: tuple[int, ...], width: int):
        super().__init__()
        channel, *axes = input_shape
        self.factor, self.axes = tuple(factor), tuple(axes)
        numbers = channel * prod(factor)
        self.shape = (numbers, *(-(-length // k) for length, k in zip(axes, factor, strict=True)))
        self.centre = ToldMean(width, prod(self.shape))
        self.log_variance = ToldMean(width, prod(self.shape), quadratic=False)
        self.register_buffer("basis", torch.eye(numbers))
        self.register_buffer("least", torch.zeros(()))

    @torch.no_grad()
    def fit(self, x: Tensor, condition: Tensor) -> None:
        """Take the maps from samples ``(n, channel, *axes)``, turned and mirrored as those of the training, and
        conditions ``(n, width)``."""
        cells = pixel_unshuffle(x, self.factor)
        self.centre.fit(condition, cells.flatten(1))
        cells = cells - self._centre(condition)
        flat = cells.movedim(1, -1).flatten(0, -2)  # (n * cells, numbers)
        self.basis.copy_(torch.linalg.eigh((flat.T @ flat / len(flat)).double()).eigenvectors)
        square = _mixed(cells, self.basis.T).flatten(1).square()
        self.least.copy_((_FLOOR**2 * square.mean(0).max()).clamp(min=1e-24))
        square.clamp_(min=float(self.least))
        self.log_variance.fit(condition, square.log())
        # the mean of a logarithm is below the logarithm of the mean
        excess = (square / self.log_variance(condition).exp()).mean(0)
        self.log_variance.weight[0] += excess.log()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(n, channel, *axes)`` and what is told ``(n, width)`` to ``(n, numbers, *cells)``."""
        cells = pixel_unshuffle(x, self.factor) - self._centre(condition)
        return _mixed(cells, self.basis.T) / self._spread(condition)

    def inverse(self, y: Tensor, condition: Tensor) -> Tensor:
        """``(n, numbers, *cells)`` to ``(n, channel, *axes)``: undoes `forward`."""
        cells = _mixed(y * self._spread(condition), self.basis) + self._centre(condition)
        return pixel_shuffle(cells, self.factor, self.axes)

    def _centre(self, condition: Tensor) -> Tensor:
        return self.centre(condition).unflatten(1, self.shape)

    def _spread(self, condition: Tensor) -> Tensor:
        return self.log_variance(condition).exp().clamp(min=self.least).sqrt().unflatten(1, self.shape)


class WhitenedUNet(nn.Module):
    """A U-Net on whitened samples, which is told where each cell lies, as their mean no longer says it.

    `line`, `ndim`, `input_shape` and `outputs` are those of a network on the samples themselves; a cell is what the
    line's _p says.
    """

    def __init__(self, line: str, ndim: int, input_shape: tuple[int, ...], read: UNetLine, axes: int):
        super().__init__()
        self.line, self.ndim, self.input_shape, self.outputs = line, ndim, tuple(input_shape), input_shape[0]
        self.whitening = Whitening(read.factor, input_shape, read.condition)
        self.wiener = Wiener(prod(self.whitening.shape), axes)
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
