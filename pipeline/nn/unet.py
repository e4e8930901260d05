"""The U-Net of the generative models: an image at a time of its noise, and what is told, to an image of its axes."""

import math

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from pipeline.nn.layers import CONVOLUTION, EPSILON
from pipeline.nn.network import MEMORY_FORMAT
from pipeline.nn.resample import double, pixel_shuffle, pixel_unshuffle
from pipeline.nn.unet_line import read_unet_line

# Periods of the waves of time: from longer than any range in use (log noise from -7 to 5) to a tenth of the unit.
PERIODS = (16.0, 0.125)
WAVES = 32
GROUPS = 8
HEAD = 32


class UNet(nn.Module):
    """U-Net of Ronneberger et al. (2015) with time as in Ho, Jain & Abbeel (2020, appendix B), for any number of axes.

    A cell of pixels enters as one pixel of more channels; a level is some residual blocks, then a convolution of stride
    2 leads to the next one; on the way back a level sees what it made on the way down. The last convolution starts as
    zero, and so does every residual block as its skip connection.

    Axes of any length are allowed, other ones than `input_shape` too.

    Parameters
    ----------
    line : ``unet-32.64.128_p2_r1_a1_c10``, see `pipeline.nn.unet_line`.
    ndim : number of axes, 1 to 3.
    input_shape : (channel, *axes) of one sample.
    outputs : channels of what it returns.

    Raises
    ------
    UserError : the line is wrong.
    """

    def __init__(self, line: str, ndim: int, input_shape: tuple[int, ...], outputs: int):
        super().__init__()
        read = read_unet_line(line, ndim)
        self.line, self.ndim, self.input_shape, self.outputs = line, ndim, tuple(input_shape), outputs
        self.condition, self.factor = read.condition, read.factor
        convolution, widths, cell = CONVOLUTION[ndim], read.widths, math.prod(read.factor)
        first, embedding = widths[0], 4 * widths[0]
        attends = [level >= len(widths) - read.attention for level in range(len(widths))]
        self.embedding = Embedding(embedding, read.condition)
        self.stem = convolution(cell * input_shape[0], first, 3, padding=1)
        self.down, self.reduce, self.widen, self.up = (nn.ModuleList() for _ in range(4))
        for level, (width, below) in enumerate(zip(widths, widths[1:], strict=False)):
            self.down.append(Stage(ndim, width, width, embedding, read.blocks, attends[level]))
            self.reduce.append(convolution(width, below, 3, stride=2, padding=1))
            self.widen.append(convolution(below, width, 1))
            self.up.append(Stage(ndim, 2 * width, width, embedding, read.blocks, attends[level]))
        self.middle = Stage(ndim, widths[-1], widths[-1], embedding, read.blocks + 1, attends[-1])
        self.norm = group_norm(first)
        self.last = convolution(first, cell * outputs, 3, padding=1)
        start_at_zero(self.last)
        order_memory(self, ndim)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """The image that belongs to `x` at time `t`.

        Parameters
        ----------
        x : (n, channel, *axes).
        t : (n,) or one number for all, any real numbers of order 1, such as 0 to 1 or a logarithm of the noise.
        condition : (n, width of the line's _c); zeros, or None for all of it, where nothing is told.

        Returns
        -------
        Tensor : (n, outputs, *axes).
        """
        axes = tuple(x.shape[2:])
        told = self.embedding(t.expand(len(x)), condition)
        x = pixel_unshuffle(x, self.factor).contiguous(memory_format=MEMORY_FORMAT[self.ndim])
        x = self.stem(x)
        seen: list[Tensor] = []
        for stage, reduce in zip(self.down, self.reduce, strict=True):
            seen.append(stage(x, told))
            x = reduce(seen[-1])
        x = self.middle(x, told)
        for stage, widen in zip(reversed(self.up), reversed(self.widen), strict=True):
            before = seen.pop()
            # one pixel wide, thus the same before doubling as after it, for a quarter of the cost
            x = torch.cat([double(widen(x), before.shape[2:]), before], 1)
            x = stage(x, told)
        return pixel_shuffle(self.last(functional.silu(self.norm(x))), self.factor, axes)


class Embedding(nn.Module):
    """One vector of a time (n,) and a condition (n, condition): (n, width); a condition of zeros adds nothing."""

    def __init__(self, width: int, condition: int):
        super().__init__()
        slowest, fastest = (math.log2(1 / period) for period in PERIODS)
        self.register_buffer("rates", 2 * math.pi * torch.logspace(slowest, fastest, WAVES, 2.0), persistent=False)
        self.time = nn.Sequential(nn.Linear(2 * WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.told = None
        if condition:
            self.told = nn.Sequential(
                nn.Linear(condition, width, bias=False), nn.SiLU(), nn.Linear(width, width, bias=False)
            )

    def forward(self, t: Tensor, condition: Tensor | None) -> Tensor:
        phase = t[:, None] * self.rates
        vector = self.time(torch.cat([phase.sin(), phase.cos()], 1))
        if self.told is not None and condition is not None:
            vector = vector + self.told(condition)
        return functional.silu(vector)


class Stage(nn.Module):
    """The residual blocks of one level, with self-attention behind the first of them where it is asked for."""

    def __init__(self, ndim: int, channel: int, width: int, embedding: int, blocks: int, attention: bool):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(ndim, width if index else channel, width, embedding) for index in range(blocks)
        )
        self.attention = SelfAttention(width) if attention else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        first, *others = self.blocks
        x = self.attention(first(x, told))
        for block in others:
            x = block(x, told)
        return x


class Block(nn.Module):
    """Pre-activation residual block, scaled and shifted by what is told (Perez et al. 2018, AAAI, equation 1)."""

    def __init__(self, ndim: int, channel: int, width: int, embedding: int):
        super().__init__()
        convolution = CONVOLUTION[ndim]
        self.norm1 = group_norm(channel)
        self.conv1 = convolution(channel, width, 3, padding=1, bias=False)
        self.norm2 = group_norm(width, affine=False)
        self.film = nn.Linear(embedding, 2 * width)
        self.conv2 = convolution(width, width, 3, padding=1)
        start_at_zero(self.conv2)
        self.skip = nn.Identity() if channel == width else convolution(channel, width, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(x)))
        told = self.film(told).reshape(len(x), 2, inner.shape[1], *(1 for _ in x.shape[2:]))
        scale, shift = told.unbind(1)
        inner = torch.addcmul(shift, self.norm2(inner), 1 + scale)
        return self.skip(x) + self.conv2(functional.silu(inner))


class SelfAttention(nn.Module):
    """Attention of every position to every other (Vaswani et al. 2017, equation 1), added to its input.

    Written as matrix products: torch's own fused attention knows no derivative in the forward direction, which
    methods of one step need.
    """

    def __init__(self, channel: int):
        super().__init__()
        self.heads = _divisor(channel, channel // HEAD)
        self.norm = group_norm(channel)
        self.query_key_value = nn.Linear(channel, 3 * channel)
        self.project = nn.Linear(channel, channel)
        start_at_zero(self.project)

    def forward(self, x: Tensor) -> Tensor:
        n, channel, *axes = x.shape
        positions = self.norm(x).flatten(2).transpose(1, 2)  # (n, position, channel)
        parts = self.query_key_value(positions).unflatten(2, (3, self.heads, channel // self.heads))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (n, head, position, channel of a head)
        weight = (query * (channel // self.heads) ** -0.5 @ key.transpose(-1, -2)).softmax(-1)
        seen = (weight @ value).transpose(1, 2).flatten(2)
        return x + self.project(seen).reshape(n, *axes, channel).movedim(-1, 1)


def order_memory(network: nn.Module, ndim: int) -> None:
    """Lay the kernels of all convolutions out in the order that is fastest for `ndim` axes."""
    for module in network.modules():
        if isinstance(module, CONVOLUTION[ndim]):
            module.to(memory_format=MEMORY_FORMAT[ndim])


def start_at_zero(layer: nn.Module) -> None:
    """Let a layer that ends a branch or a network begin as if it were not there."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


class GroupNorm(nn.GroupNorm):
    """Group normalisation that has a derivative in the forward direction whatever the order of numbers in memory.

    torch 2.13 refuses that derivative where channels are next to each other ("view size is not compatible").
    """

    def forward(self, x: Tensor) -> Tensor:
        if forward_ad.unpack_dual(x).tangent is not None:
            x = x.contiguous()
        return super().forward(x)


def group_norm(channel: int, affine: bool = True) -> nn.GroupNorm:
    """Group normalisation (Wu & He 2018) with up to eight groups of at least four channels, for any channel."""
    return GroupNorm(_divisor(channel, min(GROUPS, channel // 4)), channel, eps=EPSILON, affine=affine)


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is not above `most`, at least 1."""
    return max(k for k in range(1, max(most, 1) + 1) if number % k == 0)
