"""What a network costs, layer by layer: shapes, parameters and multiply-adds. Needs no torch for a line of text."""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.nn.shapes import trace
from pipeline.nn.tokens import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.nn.network import Network

_NAMES = {
    "C": "convolution",
    "P": "maximum pooling",
    "A": "average pooling",
    "GAP": "global average",
    "GMP": "global maximum",
    "D": "dense",
    "F": "flatten",
    "N": "normalisation",
    "R": "residual block",
    "U": "upsampling",
    "T": "transformer block",
    "E": "positions",
    "[": "branch",
    "]": "concatenation",
}


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer for one sample.

    `output_shape` is (channel, *axes), or (features,) once flattened. `macs` are the multiply-adds of convolutions,
    dense layers and attention; a floating-point operation count is twice as much.
    """

    name: str
    token: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


def describe(
    network: "Network | str",
    ndim: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    outputs: int | None = None,
) -> list[LayerCost]:
    """The cost of every layer of a built network, or of a line for `ndim` axes and an input (channel, *axes).

    Raises
    ------
    UserError : the line is wrong or does not fit the shape.
    """
    if isinstance(network, str):
        if ndim is None or input_shape is None:
            raise ValueError("a line needs ndim and input_shape")
        steps = trace(network, ndim, input_shape, outputs)
    else:
        steps = network.steps
    return [
        LayerCost(_name(step.layer), step.layer.token, step.output_shape, step.parameters, step.macs) for step in steps
    ]


def total(rows: list[LayerCost]) -> LayerCost:
    """The sum of the parameters and multiply-adds, with the output shape of the last layer."""
    return LayerCost("total", "", rows[-1].output_shape, sum(r.parameters for r in rows), sum(r.macs for r in rows))


def macs(module: "nn.Module", *inputs: "Tensor | None") -> int:
    """The multiply-adds of `module(*inputs)`: convolutions, matrix products and attention, for the whole batch.

    Nothing is computed and nothing changes: a copy on the meta device runs in evaluation mode. A module that makes
    tensors on a device of its own choice cannot be counted.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    shadow = copy.deepcopy(module).to("meta").eval()
    shapes = [value.to("meta") if isinstance(value, torch.Tensor) else value for value in inputs]
    # torch counts attention only where it is made of matrix products
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(*shapes)
    return counter.get_total_flops() // 2


def format_table(rows: list[LayerCost]) -> str:
    """A table for the terminal, one line a layer and a last line with the total."""
    cells = [("", "token", "layer", "output", "parameters", "multiply-adds")]
    for number, row in enumerate([*rows, total(rows)], 1):
        shape = "x".join(str(n) for n in row.output_shape)
        index = str(number) if number <= len(rows) else ""
        cells.append((index, row.token, row.name, shape, f"{row.parameters:,}", f"{row.macs:,}"))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(_pad(text, width, column) for column, (text, width) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column in (1, 2) else text.rjust(width)


def _name(layer: Layer) -> str:
    details = [_NAMES[layer.kind]]
    if layer.norm != "none":
        details.append(layer.norm)
    if layer.activation != "linear":
        details.append(layer.activation)
    if layer.dropout:
        details.append(f"dropout {layer.dropout:g}")
    return ", ".join(details)
