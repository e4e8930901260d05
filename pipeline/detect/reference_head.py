"""The output channels of YOLO-CIANNA (Cornu et al. 2024) and what they say, without its dead axes.

The channels of each of the B boxes of a cell follow one another: position (N), size (N), probability, objectness,
classes (C), parameters (P).
"""

from itertools import accumulate, pairwise

import torch
from torch import Tensor

from pipeline.detect.association_settings import PartSettings, ReferenceSettings
from pipeline.errors import UserError


class ReferenceHead:
    """The layout of the raw output (n, channels, *cells) of a network.

    Parameters
    ----------
    priors : one size (N) a box, in pixels and NumPy axis order; below 1 pixel they count as 1.
    reduction : pixels a cell, one number an axis.
    classes, parameters : how many.

    Attributes
    ----------
    width, channels : channels of one box, and of a cell, which the last convolution has to give.
    slices : where the channels of each part are among those of a box.

    Raises
    ------
    UserError : as many weights in the settings as do not fit the priors or the parameters.
    """

    def __init__(
        self,
        priors: tuple[tuple[float, ...], ...],
        reduction: tuple[float, ...],
        classes: int = 0,
        parameters: int = 0,
        settings: ReferenceSettings | None = None,
    ):
        self.settings = settings or ReferenceSettings()
        self.priors = torch.tensor(priors, dtype=torch.float64).clamp(min=1.0)
        self.boxes, self.ndim = self.priors.shape
        self.reduction = tuple(float(step) for step in reduction)
        if len(self.reduction) != self.ndim:
            raise ValueError(f"priors have {self.ndim} axes, reduction has {len(self.reduction)}")
        if len(self.settings.background) not in (1, self.boxes):
            what = f"{len(self.settings.background)} weights are given for {self.boxes} priors"
            raise UserError("background", what, "give one weight, or one for each prior")
        if len(self.settings.parameter_weights) not in (0, parameters):
            what = f"{len(self.settings.parameter_weights)} weights are given for {parameters} parameters"
            raise UserError("parameter_weights", what, "leave them out, or give one for each parameter")
        widths = {
            "position": self.ndim,
            "size": self.ndim,
            "probability": 1,
            "objectness": 1,
            "classes": classes,
            "parameters": parameters,
        }
        ends = list(accumulate(widths.values(), initial=0))
        self.slices = {name: slice(*pair) for name, pair in zip(widths, pairwise(ends), strict=True)}
        self.width = ends[-1]
        self.channels = self.boxes * self.width

    def raw(self, output: Tensor) -> dict[str, Tensor]:
        """The raw numbers of every part: (n, channels, *cells) to (n, *cells, B, width of the part)."""
        if output.ndim != self.ndim + 2 or output.shape[1] != self.channels:
            raise ValueError(f"the output {tuple(output.shape)} is not {self.channels} channels of {self.ndim} axes")
        # sums over whole maps need more digits than half precision has
        exact = output if output.dtype == torch.float64 else output.float()
        split = exact.unflatten(1, (self.boxes, self.width)).movedim((1, 2), (-2, -1))
        return {name: split[..., part] for name, part in self.slices.items()}

    def activate(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        """Positions within the cell, logarithms of size over prior, and the other parts as they are meant.

        The clamp lets gradients pass, so that a part that has run into its end can still learn.
        """
        parts = {}
        for name, values in raw.items():
            part: PartSettings = getattr(self.settings, name)
            scaled = part.slope * values
            clamped = scaled.detach().clamp(*part.clamp) + (scaled - scaled.detach())
            if name == "classes" and self.settings.class_softmax:
                # cross-entropy does not saturate, so it has neither slope nor ends
                parts[name] = values.softmax(-1)
            else:
                parts[name] = clamped if name in ("size", "parameters") else clamped.sigmoid()
        return parts

    def corners(self, parts: dict[str, Tensor]) -> Tensor:
        """Corners (n, *cells, B, 2, N) in pixels of activated parts."""
        position = parts["position"]
        steps = position.new_tensor(self.reduction)
        axes = [torch.arange(count, device=position.device) for count in position.shape[1 : 1 + self.ndim]]
        cell = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[..., None, :]
        # the first cell begins half a pixel before the centre of the first pixel
        centre = (cell + position) * steps - 0.5
        half = self.priors.to(position) * parts["size"].exp() / 2
        return torch.stack((centre - half, centre + half), -2)

    def decode(self, output: Tensor) -> dict[str, Tensor]:
        """What an output (n, channels, *cells) says of every box (n, *cells, B, ...).

        `boxes` (..., 2, N) are corners in pixels; `probability` and `objectness` (...) and `classes` (..., C) are from
        0 to 1; `parameters` are (..., P).
        """
        parts = self.activate(self.raw(output))
        return {
            "boxes": self.corners(parts),
            "probability": parts["probability"][..., 0],
            "objectness": parts["objectness"][..., 0],
            "classes": parts["classes"],
            "parameters": parts["parameters"],
        }
