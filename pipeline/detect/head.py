"""What the output channels of the detector mean."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE
from pipeline.detect.objects import Objects
from pipeline.detect.symmetry import Symmetry

# The spread of a quantity that all training objects share.
LEAST_SPREAD = 0.05
# Bounds of the logarithm of a width in units of the training spread: beyond them an outlier would outweigh all else.
NARROWEST, WIDEST = -4.0, 3.0


@dataclass(frozen=True)
class Decoded:
    """The boxes of n cells, or of a grid of them in front of the last axis.

    logit : (n,) of being an object. centre, size : (n, N) [pixel]. values : (n, P). width : (n, N + P) the Laplace
    scale of centre and values, in their units. classes : (n, C) logits.
    """

    logit: Tensor
    centre: Tensor
    size: Tensor
    values: Tensor
    width: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Layout:
    """The channels of a cell: objectness, position, size, values, log-widths, classes; one box a cell.

    Sizes (their logarithm) and values are learnt in units of the training objects' spread about their mean.

    values, classes : names. reduction : pixels from cell to cell, an axis. mean, spread : (N + P) of ln size, values.
    """

    method: ClassVar[str] = "cells"

    values: tuple[str, ...]
    classes: tuple[str, ...]
    reduction: tuple[int, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, objects: Objects, values: Sequence[str], classes: Sequence[str], reduction: Sequence[int]) -> "Layout":
        """The layout whose units suit the training `objects`."""
        mean, spread = units(objects, values, len(reduction))
        steps = tuple(int(step) for step in reduction)
        return cls(tuple(values), tuple(classes), steps, tuple(mean.tolist()), tuple(spread.tolist()))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Layout":
        return cls(**{name: tuple(value) for name, value in content.items()})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def ndim(self) -> int:
        return len(self.reduction)

    @property
    def channels(self) -> int:
        """Channels of the network's last layer."""
        return channels(self.ndim, len(self.values), len(self.classes))

    def split(self, raw: Tensor) -> dict[str, Tensor]:
        """The parts of (..., channels): objectness, position, size, values, width, classes."""
        n, p = self.ndim, len(self.values)
        sizes = [1, n, n, p, n + p, len(self.classes)]
        return dict(
            zip(("objectness", "position", "size", "values", "width", "classes"), raw.split(sizes, -1), strict=True)
        )

    def turn(self, raw: Tensor, symmetry: Symmetry) -> Tensor:
        """What `raw` (channels, *cells) would be for a frame turned by `symmetry`."""
        part = self.split(symmetry.image(raw).movedim(0, -1))
        part["position"] = symmetry.offsets(part["position"])
        part["size"] = symmetry.sizes(part["size"])
        part["values"] = symmetry.values(part["values"], self.values)
        width = part["width"]
        spread = symmetry.spreads(width[..., self.ndim :], self.values)
        part["width"] = torch.cat([symmetry.sizes(width[..., : self.ndim]), spread], -1)
        return torch.cat(list(part.values()), -1).movedim(-1, 0)

    def targets(self, objects_size: Tensor, objects_values: Tensor) -> tuple[Tensor, Tensor]:
        """ln size (n, N) and values (n, P) in the units that the network learns."""
        n = self.ndim
        mean, spread = objects_size.new_tensor(self.mean), objects_size.new_tensor(self.spread)
        return (objects_size.log() - mean[:n]) / spread[:n], (objects_values - mean[n:]) / spread[n:]

    def candidates(self, raw: Tensor, least: float) -> Decoded:
        """The boxes in an output (channels, *cells) whose logit is at least `least`."""
        cells = (raw[0] >= least).nonzero()
        return self.decode(raw[(slice(None), *cells.T)].T, cells)

    def decode(self, raw: Tensor, cells: Tensor) -> Decoded:
        """Boxes from the channels (n, channels) of the cells whose indices are (n, N)."""
        part = self.split(raw.float())
        n = self.ndim
        step = part["position"].new_tensor(self.reduction)
        mean, spread = step.new_tensor(self.mean), step.new_tensor(self.spread)
        width = part["width"].clamp(NARROWEST, WIDEST).exp() * torch.cat([step, spread[n:]])
        return Decoded(
            logit=part["objectness"][..., 0],
            centre=(cells + 0.5 + part["position"]) * step - 0.5,
            size=(mean[:n] + part["size"] * spread[:n]).exp(),
            values=mean[n:] + part["values"] * spread[n:],
            width=width,
            classes=part["classes"],
        )


def units(objects: Objects, values: Sequence[str], ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (N + P) of ln size and of the values of training objects, as alike as the symmetries ask."""
    learnt = np.concatenate([np.log(objects.size), objects.values], axis=1)
    mean, spread = learnt.mean(0), np.maximum(learnt.std(0), LEAST_SPREAD)
    names = ["size"] * ndim + list(values)
    # What a symmetry of the sky exchanges must have one unit, and what it reverses no mean.
    angles = [[at for at, name in enumerate(names) if name in pair] for pair in ((COSINE, SINE), (ALONG_X, ALONG_Y))]
    for group in filter(len, [range(max(ndim - 2, 0), ndim), *angles]):
        mean[group], spread[group] = mean[group].mean(), spread[group].mean()
    mean[angles[0] + angles[1]] = 0.0
    return mean, spread


def channels(ndim: int, values: int, classes: int) -> int:
    """Channels of one box: 1 + 2 N + P + (N + P) + C."""
    return 1 + 3 * ndim + 2 * values + classes


def start(network: torch.nn.Module, prior: float = 0.01) -> None:
    """Let every cell begin with the probability `prior` (Lin et al. 2017, section 4.1), all else at its mean.

    A `prior` of one half suits heads whose channels have another order.
    """
    last = [module for module in network.modules() if isinstance(module, torch.nn.modules.conv._ConvNd)][-1]
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
        last.bias[0] = float(np.log(prior / (1 - prior)))
