"""Images to a few numbers and back: the halves of auto-encoders, critics and generators, for any number of axes."""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from pipeline.nn.layers import CONVOLUTION, activation, sequence
from pipeline.nn.network import MEMORY_FORMAT
from pipeline.nn.resample import double, pixel_shuffle
from pipeline.nn.unet import group_norm, order_memory

NORMS = ("none", "group")


class Encoder(nn.Module):
    """Convolutions of stride 2, then a dense layer: (n, channel, *axes) to (n, outputs).

    Parameters
    ----------
    ndim : number of axes, 1 to 3.
    input_shape : (channel, *axes) of one sample.
    widths : channels of each convolution; each halves the axes, rounded up.
    outputs : how many numbers it returns.
    condition : how many numbers are told; they join the input of the dense layer.
    norm : none or group; group normalisation keeps samples apart, as the penalty of a WGAN-GP needs.
    activate : activation of the convolutions, by its name in the notation.
    """

    def __init__(
        self,
        ndim: int,
        input_shape: tuple[int, ...],
        widths: tuple[int, ...],
        outputs: int,
        condition: int = 0,
        norm: str = "none",
        activate: str = "silu",
    ):
        super().__init__()
        self.ndim, self.input_shape, self.outputs, self.condition = ndim, tuple(input_shape), outputs, condition
        channel, *axes = input_shape
        self.layers = nn.ModuleList(
            _layer(ndim, before, width, norm, activate, stride=2) for before, width in pairwise([channel, *widths])
        )
        self.dense = nn.Linear(widths[-1] * prod(halved(axes, len(widths))) + condition, outputs)
        order_memory(self, ndim)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """`x` is (n, channel, *axes), `condition` (n, condition), zeros or None where nothing is told."""
        x = x.contiguous(memory_format=MEMORY_FORMAT[self.ndim])
        for layer in self.layers:
            x = layer(x)
        return self.dense(_with(x.flatten(1), condition, self.condition))


class Decoder(nn.Module):
    """A dense layer, then convolutions between doublings of the axes: (n, inputs) to (n, channel, *axes).

    The last doubling writes the pixels of each cell as channels (Shi et al. 2016, CVPR, equation 4), which costs a
    quarter of a convolution at full resolution in two dimensions.

    Parameters
    ----------
    ndim : number of axes, 1 to 3.
    output_shape : (channel, *axes) of one sample.
    widths : channels from the finest to the coarsest resolution, as those of an `Encoder`; each doubles the axes.
    inputs : how many numbers it gets.
    condition, norm, activate : as in `Encoder`.
    """

    def __init__(
        self,
        ndim: int,
        output_shape: tuple[int, ...],
        widths: tuple[int, ...],
        inputs: int,
        condition: int = 0,
        norm: str = "none",
        activate: str = "silu",
    ):
        super().__init__()
        self.ndim, self.output_shape, self.inputs, self.condition = ndim, tuple(output_shape), inputs, condition
        channel, *axes = output_shape
        self.coarse = (widths[-1], *halved(axes, len(widths)))
        self.dense = nn.Linear(inputs + condition, prod(self.coarse))
        self.start = sequence(norm=_norm(norm, widths[-1]), activation=activation(activate))
        self.layers = nn.ModuleList(
            _layer(ndim, before, width, norm, activate, stride=1) for before, width in pairwise(reversed(widths))
        )
        self.factor = (2,) * ndim
        self.last = CONVOLUTION[ndim](widths[0], channel * 2**ndim, 3, padding=1)
        order_memory(self, ndim)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """`z` is (n, inputs), `condition` (n, condition), zeros or None where nothing is told."""
        x = self.dense(_with(z, condition, self.condition)).unflatten(1, self.coarse)
        x = self.start(x.contiguous(memory_format=MEMORY_FORMAT[self.ndim]))
        axes = self.output_shape[1:]
        for done, layer in enumerate(self.layers, 1):
            x = layer(double(x, halved(axes, len(self.layers) + 1 - done)))
        return pixel_shuffle(self.last(x), self.factor, axes)


def halved(axes: tuple[int, ...], times: int) -> tuple[int, ...]:
    """The axes after so many convolutions of stride 2: half the pixels each time, rounded up."""
    return tuple(-(-length // 2**times) for length in axes)


def _layer(ndim: int, channel: int, width: int, norm: str, activate: str, stride: int) -> nn.Sequential:
    convolution = CONVOLUTION[ndim](channel, width, 3, stride, 1)
    return sequence(conv=convolution, norm=_norm(norm, width), activation=activation(activate))


def _norm(name: str, channel: int) -> nn.Module | None:
    if name not in NORMS:
        raise ValueError(f"norm is {name!r}, not one of {', '.join(NORMS)}")
    return None if name == "none" else group_norm(channel)


def _with(x: Tensor, condition: Tensor | None, width: int) -> Tensor:
    """`x` (n, features) with what is told beside it."""
    if not width:
        return x
    return torch.cat([x, x.new_zeros(len(x), width) if condition is None else condition], 1)
