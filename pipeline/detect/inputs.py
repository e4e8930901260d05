"""From brightness to what the network sees: the signal-to-noise ratio on one scale or three, and the beam."""

import torch
from torch import Tensor

_SCALES = 3


def input_channels(conditions: int, ndim: int = 2) -> int:
    """Channels of the network's input for frames of `ndim` axes."""
    return (1 if ndim == 3 else _SCALES) + conditions


def network_input(snr: Tensor, conditions: Tensor) -> Tensor:
    """(b, *axes) signal-to-noise ratio and (b, K) numbers of each image to (b, channel, *axes).

    The first channels respond to faint sources, to the noise itself, and to the flux of bright sources. Cubes have one
    channel, steep for faint sources and straight for bright ones: their first layers wait for memory, not arithmetic.
    """
    constant = conditions.reshape(*conditions.shape, *[1] * (snr.ndim - 1)).expand(*conditions.shape, *snr.shape[1:])
    if snr.ndim == 4:
        seen = (torch.tanh(snr / 6) * 3 + snr / 20)[:, None]
    else:
        seen = torch.stack([torch.asinh(snr) * 0.5, torch.tanh(snr / 5), torch.asinh(snr / 50)], dim=1)
    memory = {4: torch.channels_last, 5: torch.channels_last_3d}.get(seen.ndim, torch.contiguous_format)
    seen = torch.cat([seen, constant], dim=1) if constant.shape[1] else seen
    return seen.contiguous(memory_format=memory)
