"""From brightness to what the network sees: the signal-to-noise ratio on three scales, and the beam."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Responses to the signal-to-noise ratio: faint sources, the noise itself, and the flux of bright ones.
SCALES = ("asinh(x)", "tanh(x / 5)", "asinh(x / 50)")


def input_channels(conditions: int) -> int:
    """Channels of the network's input."""
    return len(SCALES) + conditions


def network_input(snr: Tensor, conditions: Tensor) -> Tensor:
    """(b, *axes) signal-to-noise ratio and (b, K) numbers of each image to (b, channel, *axes)."""
    constant = conditions.reshape(*conditions.shape, *[1] * (snr.ndim - 1)).expand(*conditions.shape, *snr.shape[1:])
    seen = torch.stack([torch.asinh(snr) * 0.5, torch.tanh(snr / 5), torch.asinh(snr / 50)], dim=1)
    memory = {4: torch.channels_last, 5: torch.channels_last_3d}.get(seen.ndim, torch.contiguous_format)
    return torch.cat([seen, constant], dim=1).contiguous(memory_format=memory)


def beam_conditions(major: float, minor: float, theta: float, typical: float) -> Sequence[float]:
    """The beam as three numbers: ln of its geometric mean over `typical` [pixel], and its ellipticity vector.

    major, minor : FWHM [pixel]; theta : pixel angle of the major axis from +x to +y [rad].
    """
    size = torch.log(torch.tensor((major * minor) ** 0.5 / typical)).item()
    ellipticity = (major - minor) / (major + minor)
    angle = torch.tensor(2 * theta)
    return [size, ellipticity * torch.cos(angle).item(), ellipticity * torch.sin(angle).item()]
