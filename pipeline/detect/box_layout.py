"""What the output channels of a detector mean whose cells hold several boxes: the head of YOLO-CIANNA."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pipeline.detect.association import Targets
from pipeline.detect.box_settings import BoxSettings
from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE
from pipeline.detect.head import LEAST_SPREAD, Decoded, units
from pipeline.detect.objects import Objects
from pipeline.detect.reference_head import ReferenceHead
from pipeline.detect.symmetry import Symmetry
from pipeline.errors import UserError

# The scale of an error of position in units of the mean side: the method predicts none, and the calibrator mends it.
_POSITION_ERROR = 0.1
_LEAST_CHANCE = 1e-6


@dataclass(frozen=True)
class BoxLayout:
    """The channels of a cell: of each of its boxes position, size, probability, objectness, classes, values.

    Values are learnt as numbers from 0 to 1 between the least and the greatest of the training objects.

    values, classes : names. reduction : pixels from cell to cell, an axis. mean, spread : (N + P) of ln size, values
    of the training objects. low, high : (P) what 0 and 1 stand for.
    """

    method: ClassVar[str] = "association"

    values: tuple[str, ...]
    classes: tuple[str, ...]
    reduction: tuple[int, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    settings: BoxSettings

    @classmethod
    def of(
        cls,
        objects: Objects,
        values: Sequence[str],
        classes: Sequence[str],
        reduction: Sequence[int],
        settings: BoxSettings,
    ) -> "BoxLayout":
        """The layout whose units suit the training `objects`."""
        mean, spread = units(objects, values, len(reduction))
        low, high = objects.values.min(0), objects.values.max(0)
        # A symmetry of the sky changes the sign of an angle's cosine and sine, so that their ranges lie about 0.
        angles = [at for at, name in enumerate(values) if name in (COSINE, SINE, ALONG_X, ALONG_Y)]
        low[angles], high[angles] = -1.0, 1.0
        high = np.maximum(high, low + LEAST_SPREAD)
        steps = tuple(int(step) for step in reduction)
        ranges = (tuple(part.tolist()) for part in (mean, spread, low, high))
        return cls(tuple(values), tuple(classes), steps, *ranges, settings)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "BoxLayout":
        settings = BoxSettings.model_validate(content["settings"])
        plain = {name: tuple(value) for name, value in content.items() if name not in ("settings", "method")}
        return cls(**plain, settings=settings)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "method": self.method, "settings": self.settings.model_dump(mode="json")}

    @property
    def ndim(self) -> int:
        return len(self.reduction)

    @property
    def channels(self) -> int:
        """Channels of the network's last layer."""
        return self.head.channels

    @cached_property
    def head(self) -> ReferenceHead:
        """What reads the channels, with the slopes, ends and weights of the settings."""
        return ReferenceHead(
            self.settings.priors,
            self.reduction,
            len(self.classes),
            len(self.values),
            self.settings.reference(self.values),
        )

    def matching(self, **changes: float) -> "BoxLayout":
        """The same layout, with other settings of how targets find boxes."""
        match = self.settings.match.model_copy(update=changes)
        return replace(self, settings=self.settings.model_copy(update={"match": match}))

    @cached_property
    def certain(self) -> "BoxLayout":
        """The same layout, with nothing random in how targets find boxes."""
        return self.matching(startup=0, random=0.0, random_prior=0.0)

    def turn(self, raw: Tensor, symmetry: Symmetry) -> Tensor:
        """Refused: boxes of one prior share the objects of a cell in an order that a turned image need not keep.

        Raises
        ------
        UserError : always.
        """
        what = 'are averaged for the method "cells" alone: a box of the association may mean another object when turned'
        raise UserError("symmetries", what, "search without symmetries, or train with the method cells")

    def targets(
        self, image: Tensor, centre: Tensor, size: Tensor, values: Tensor, label: Tensor, snr: Tensor
    ) -> Targets:
        """What the boxes of a batch are to learn; arguments as in a batch of `pipeline.detect.crops.Crops`."""
        half = size.clamp(*self.settings.sides) / 2
        low, high = values.new_tensor(self.low), values.new_tensor(self.high)
        difficult = torch.zeros_like(label)
        if self.settings.difficult_snr is not None:
            difficult[snr < self.settings.difficult_snr] = self.settings.difficult_level
        return Targets(
            image=image,
            box=torch.stack((centre - half, centre + half), 1),
            difficult=difficult,
            label=label,
            values=(values - low) / (high - low),
        )

    def candidates(self, raw: Tensor, least: float) -> Decoded:
        """The boxes in an output (channels, *cells) whose logit of the objectness is at least `least`."""
        head = self.head
        split = raw.unflatten(0, (head.boxes, head.width))
        slope, (_, most) = self.settings.slopes.objectness, self.settings.clamps.objectness
        found = (split[:, head.slices["objectness"].start] * slope >= min(least, most)).nonzero()
        box, cell = found[:, 0], found[:, 1:]
        said = split.movedim(1, -1)[tuple(found.T)].float()
        parts = head.activate({name: said[:, part] for name, part in head.slices.items()})
        step = said.new_tensor(self.reduction)
        low, high = said.new_tensor(self.low), said.new_tensor(self.high)
        mean, spread = said.new_tensor(self.mean), said.new_tensor(self.spread)
        width = torch.cat([_POSITION_ERROR * mean[: self.ndim].exp(), spread[self.ndim :]])
        return Decoded(
            logit=parts["objectness"][:, 0].logit(),
            centre=(cell + parts["position"]) * step - 0.5,
            size=head.priors.to(said)[box] * parts["size"].exp(),
            values=low + parts["parameters"] * (high - low),
            width=width.expand(len(found), -1),
            # the softmax of these logarithms gives the numbers of the classes again, scaled to a sum of 1
            classes=parts["classes"].clamp(min=_LEAST_CHANCE).log(),
        )
