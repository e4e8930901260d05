"""Attention over the positions of a feature map, for any number of axes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.nn.layers import activation

# the shortest and the longest wave of the sine-cosine embedding, as in Vaswani et al. (2017, section 3.5)
LONGEST = 10_000.0
SPREAD = 0.02


def sincos(channel: int, axes: tuple[int, ...]) -> Tensor:
    """Sine-cosine position embedding, (channel, *axes).

    The formula of Vaswani et al. (2017, section 3.5) for each axis on its own share of the channels: with N axes, each
    has channel // (2 N) waves, sines first; channels that are left over stay zero.
    """
    ndim = len(axes)
    waves = channel // (2 * ndim)
    table = torch.zeros(channel, *axes)
    rates = LONGEST ** (-torch.arange(waves, dtype=torch.float64) / max(waves, 1))
    for axis, length in enumerate(axes):
        phase = rates[:, None] * torch.arange(length, dtype=torch.float64)
        shape = (2 * waves, *(length if a == axis else 1 for a in range(ndim)))
        table[2 * waves * axis : 2 * waves * (axis + 1)] = torch.cat([phase.sin(), phase.cos()]).reshape(shape).float()
    return table


class Positions(nn.Module):
    """Add an embedding of the position to (n, channel, *axes): fixed sine-cosine waves, or learned for the given axes.

    The fixed one follows the axes of its input, so that the network also runs on another shape than it was made for.
    """

    def __init__(self, kind: str, channel: int, axes: tuple[int, ...]):
        super().__init__()
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(channel, *axes))
            nn.init.trunc_normal_(self.table, std=SPREAD)
        else:
            self.register_buffer("table", sincos(channel, axes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.table.shape[1:] and not isinstance(self.table, nn.Parameter):
            return x + sincos(x.shape[1], tuple(x.shape[2:])).to(x)
        return x + self.table


class Transformer(nn.Module):
    """One pre-norm transformer block over all positions of (n, channel, *axes), which keeps the shape.

    Dosovitskiy et al. (2021), equations 2 and 3: attention, then two dense layers with `ratio` times as many inner
    units, each after a layer normalisation and with a skip connection.
    """

    def __init__(self, channel: int, heads: int, ratio: int, activate: str, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(channel), nn.LayerNorm(channel)
        self.query_key_value = nn.Linear(channel, 3 * channel)
        self.project = nn.Linear(channel, channel)
        self.inner = nn.Linear(channel, ratio * channel)
        self.outer = nn.Linear(ratio * channel, channel)
        self.activation = activation(activate) or nn.Identity()

    def start(self) -> None:
        """Draw the weights as Dosovitskiy et al. do: normal with a small width, cut at two widths; biases zero."""
        for dense in (self.query_key_value, self.project, self.inner, self.outer):
            nn.init.trunc_normal_(dense.weight, std=SPREAD)
            nn.init.zeros_(dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        positions = x.flatten(2).transpose(1, 2)  # (n, position, channel)
        positions = positions + self._drop(self._attend(self.norm1(positions)))
        inner = self._drop(self.activation(self.inner(self.norm2(positions))))
        positions = positions + self._drop(self.outer(inner))
        return positions.transpose(1, 2).reshape(x.shape)

    def _attend(self, x: Tensor) -> Tensor:
        n, length, channel = x.shape
        parts = self.query_key_value(x).view(n, length, 3, self.heads, channel // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (3, n, head, position, channel of a head)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return self.project(seen.transpose(1, 2).reshape(n, length, channel))

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training) if self.dropout else x
