"""A network built from its line of text."""

from itertools import islice
from math import prod

import torch
from torch import Tensor, nn

from pipeline.nn.attention import Positions, Transformer
from pipeline.nn.layers import (
    AVERAGE,
    CONVOLUTION,
    MAXIMUM,
    GlobalPool,
    Residual,
    Upsample,
    activation,
    initialise,
    normalisation,
    sequence,
)
from pipeline.nn.notation import head
from pipeline.nn.shapes import Step, trace
from pipeline.nn.tokens import HEADS

# The order of numbers in memory that convolutions are fastest with, on processors and on tensor cores.
MEMORY_FORMAT = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}


class Network(nn.Module):
    """A network of the notation: (n, channel, *axes) to (n, outputs), or to feature maps (n, width, *axes).

    Attributes
    ----------
    line, ndim, input_shape : what it was built from; `input_shape` is (channel, *axes).
    outputs : how many numbers were asked for; None for any end. `build` makes the same network of these four again.
    output_shape : (outputs,) or (width, *axes), for one sample.
    head : "linear", "softmax" or "sigmoid", how to finish what `forward` returns, which leaves the last two out.
    layers : one module a layer; those of brackets do nothing, as `forward` itself keeps what entered a branch.
    steps : the shapes, parameters and multiply-adds of each layer.
    reduction, field : input pixels between two neighbouring outputs, and input pixels that one output sees, one number
        an axis; () where the axes are gone.
    """

    def __init__(self, line: str, ndim: int, steps: list[Step], outputs: int | None = None):
        super().__init__()
        self.line, self.ndim, self.outputs, self.steps = line, ndim, outputs, steps
        self.head = head([step.layer for step in steps])
        self.input_shape, self.output_shape = steps[0].input_shape, steps[-1].output_shape
        self.reduction, self.field = steps[-1].reduction, steps[-1].field
        self.layers = nn.Sequential(*(_module(step, ndim, last=step is steps[-1]) for step in steps))
        dense = [index for index, step in enumerate(steps) if step.layer.kind == "D"]
        self._last_dense = dense[-1] if dense else None

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, len(self.layers))

    def features(self, x: Tensor) -> Tensor:
        """What reaches the last dense layer, (n, features); the whole output where there is no dense layer."""
        if self._last_dense is None:
            return self(x)
        return self._run(x, self._last_dense).flatten(1)

    def _run(self, x: Tensor, stop: int) -> Tensor:
        entered: list[Tensor] = []
        for step, layer in islice(zip(self.steps, self.layers, strict=True), stop):
            if step.layer.kind == "[":
                entered.append(x)
            x = torch.cat([entered.pop(), x], 1) if step.layer.kind == "]" else layer(x)
        return x


def build(line: str, ndim: int, input_shape: tuple[int, ...], outputs: int | None = None) -> Network:
    """Build the network of a line, with its weights drawn from torch's global seed.

    Parameters
    ----------
    line : the notation of `pipeline.nn.notation`.
    ndim : number of axes, 1 to 3.
    input_shape : (channel, *axes) of one sample. Networks without a dense layer and without learned positions also
        run on other axes.
    outputs : how many numbers the network has to return for a sample; None allows any end, feature maps too.

    Raises
    ------
    UserError : the line is wrong or does not fit the shape; see `pipeline.nn.shapes.trace`.
    """
    steps = trace(line, ndim, input_shape, outputs)
    network = Network(line, ndim, steps, outputs)
    slopes = [step.layer.activation for step in steps if step.layer.activation.startswith("leaky")]
    initialise(network, float(slopes[0].removeprefix("leaky")) if slopes else 0.0)
    for module in network.modules():
        if isinstance(module, Transformer):
            module.start()
        if isinstance(module, CONVOLUTION[ndim]):
            module.to(memory_format=MEMORY_FORMAT[ndim])
    return network


def _module(step: Step, ndim: int, last: bool) -> nn.Module:
    """The module of one layer."""
    layer, (channel, *axes) = step.layer, step.input_shape
    unfinished = last and layer.activation in HEADS
    finish = {
        "activation": None if unfinished else activation(layer.activation, inplace=layer.kind in "CD"),
        "dropout": nn.Dropout(layer.dropout) if layer.dropout else None,
    }
    if layer.kind == "C":
        convolution = CONVOLUTION[ndim](
            channel, layer.width, layer.size, layer.stride, layer.padding, groups=layer.groups, bias=layer.bias
        )
        return sequence(conv=convolution, norm=normalisation(layer.norm, layer.width), **finish)
    if layer.kind == "R":
        return sequence(residual=Residual(layer, channel), dropout=finish["dropout"])
    if layer.kind == "D":
        dense = nn.Linear(prod(step.input_shape), layer.width, bias=layer.bias)
        return sequence(flatten=nn.Flatten() if axes else None, dense=dense, **finish)
    if layer.kind == "N":
        return sequence(norm=normalisation(layer.norm, channel), **finish)
    if layer.kind in "[]":
        return nn.Identity()
    if layer.kind in ("GAP", "GMP"):
        return sequence(pool=GlobalPool(layer.kind == "GMP"), **finish)
    if layer.kind == "T":
        return Transformer(channel, layer.width, layer.ratio, layer.activation, layer.dropout)
    if layer.kind == "E":
        return Positions(layer.positions, channel, tuple(axes))
    if layer.kind == "P":
        return MAXIMUM[ndim](layer.size, layer.stride, layer.padding)
    if layer.kind == "A":
        # padding is not sky: it does not enter the average
        return AVERAGE[ndim](layer.size, layer.stride, layer.padding, count_include_pad=False)
    return Upsample(layer.size) if layer.kind == "U" else nn.Flatten()
