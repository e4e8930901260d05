"""What the methods that learn to take noise away share: how their network is told the noise, and how it is trained."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.generate.convert import Level
from pipeline.generate.guidance import guided
from pipeline.generate.whitening import WhitenedUNet
from pipeline.nn.unet import UNet
from pipeline.nn.unet_line import read_unet_line


def build_network(line: str, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
    """The U-Net of `line` for samples ``(channel, *axes)`` that is told `width` numbers, with fresh weights.

    Raises
    ------
    UserError : the line is wrong.
    """
    return UNet(f"{line}_c{width}" if width else line, ndim, input_shape, input_shape[0])


def build_whitened(line: str, ndim: int, input_shape: tuple[int, ...], width: int, axes: int) -> nn.Module:
    """The same behind a whitening of the cells of pixels that the line's _p names, beside a linear denoiser of `axes`.

    Raises
    ------
    UserError : the line is wrong.
    """
    read = replace(read_unet_line(line, ndim), condition=width)
    return WhitenedUNet(line, ndim, input_shape, read, axes)


def answer(module: nn.Module, x: Tensor, level: Level, condition: Tensor, guidance: float = 1.0) -> Tensor:
    """What the network says of the samples x at `level`; the level is one for all, or one for each sample.

    Network units have unit variance, so x / sqrt(alpha^2 + sigma^2) has it at every level; with the time
    log(sigma / alpha) / 4 these are c_in and c_noise of Karras et al. (2022, arXiv:2206.00364, table 1), by which a
    network sees the same whichever way the noise was mixed in.

    Parameters
    ----------
    x : (n, channel, *axes).
    condition : (n, width).

    Returns
    -------
    Tensor : the shape of x.
    """
    unit = (1 / level.size).to(x).view(-1, *(1 for _ in x.shape[1:]))
    time = (0.25 * level.ratio.log()).to(x).expand(len(x))
    return guided(module, x * unit, time, condition, guidance)


def spread_shares(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random numbers (n,) float64 uniform in (0, 1], one from each of n equal parts, for the noise levels of a batch.

    Each is uniform on its own, and together they are even, by which the loss and its gradients scatter less (Kingma
    et al. 2021, arXiv:2107.00630, appendix I.1). With the device of x; the global state when `generator` is None.
    """
    where = x.device if generator is None else generator.device
    first = torch.rand((), generator=generator, device=where, dtype=torch.float64).to(x.device)
    rank = torch.arange(1, len(x) + 1, device=x.device, dtype=torch.float64)
    return (rank - first) / len(x)
