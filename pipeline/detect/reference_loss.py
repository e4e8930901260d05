"""The loss of YOLO-CIANNA (Cornu et al. 2024), in any number of axes and with the true overlap of each."""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.detect.association import BACKGROUND, MATCHED, Association, Targets, associate
from pipeline.detect.reference_head import ReferenceHead

YES, NO, NEUTRAL = 0.98, 0.02, 0.5
# difficult targets from these levels on do not teach these parts
_NO_NATURE, _NO_PLACE = 2, 3


class ReferenceLoss:
    """Half the squared errors of position, size, probability, objectness, classes and parameters, each with its scale.

    Errors are summed over cells and boxes and divided by the images of the batch alone. A matched box learns all parts
    for which its quality, the metric with its target, is above the limit of the part; its objectness learns
    (1 + quality)/2. Other boxes learn that they are empty, unless they lie well on a target.
    """

    def __init__(self, head: ReferenceHead):
        self.head, self.settings = head, head.settings

    def associate(
        self, output: Tensor, targets: Targets, seen: int = 0, generator: torch.Generator | None = None
    ) -> Association:
        """The association of an output (n, channels, *cells) with the targets of its images."""
        decoded = self.head.decode(output.detach())
        return associate(
            decoded["boxes"],
            decoded["objectness"],
            targets,
            self.head.priors,
            self.head.reduction,
            self.settings.association,
            seen=seen,
            size_clamp=self.settings.size.clamp,
            generator=generator,
        )

    def __call__(
        self, output: Tensor, targets: Targets, seen: int = 0, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The terms by name, whose sum is the loss; each is a number that can be differentiated.

        Parameters
        ----------
        output : (n, channels, *cells), what the network gives.
        seen : how many images training has used, for the random start of the association.
        """
        found = self.associate(output, targets, seen, generator)
        raw = self.head.raw(output)
        parts = self.head.activate(raw)
        matched = found.state == MATCHED
        index, quality = found.target[matched], found.quality[matched]
        own = {name: values[matched] for name, values in parts.items()}
        hard = targets.difficult[index]
        goals, masks = self._goals(own, targets, index, quality, matched), self._masks(quality, hard)
        # an object of unknown class is none of another class
        masks["classes"] = masks["classes"] & (targets.label[index] >= 0)
        terms = {}
        for name in parts:
            if name == "classes" and self.settings.class_softmax:
                terms[name] = self._cross_entropy(raw[name][matched], targets.label[index], masks[name])
            else:
                terms[name] = self._pull(name, own[name], goals[name], masks[name][:, None])
        background = (found.state == BACKGROUND) * parts["probability"].new_tensor(self.settings.background)
        for name in ("probability", "objectness"):
            empty = parts[name][..., 0]
            terms[name] = terms[name] + self._pull(name, empty, torch.full_like(empty, NO), background)
        return {name: term / len(output) for name, term in terms.items()}

    def _goals(
        self, own: dict[str, Tensor], targets: Targets, index: Tensor, quality: Tensor, matched: Tensor
    ) -> dict[str, Tensor]:
        """What the parts of the m matched boxes are to be, each (m, width)."""
        corner = targets.box[index].to(own["size"])
        *cell, box = (place[:, None] for place in matched.nonzero(as_tuple=True)[1:])
        centre, size = corner.mean(1), corner[:, 1] - corner[:, 0]
        priors = self.head.priors.to(corner)[box[:, 0]]
        return {
            "position": (centre + 0.5) / corner.new_tensor(self.head.reduction) - torch.cat(cell, 1),
            "size": (size / priors).log().clamp(*self.settings.size.clamp),
            "probability": torch.full_like(own["probability"], YES),
            "objectness": (1 + quality[:, None]) / 2,
            "classes": self._one_hot(own["classes"], targets.label[index]),
            "parameters": targets.values[index].to(corner),
        }

    def _masks(self, quality: Tensor, hard: Tensor) -> dict[str, Tensor]:
        """Which of the m matched boxes learn which part."""
        limit = self.settings.association.limit
        place, nature = hard < _NO_PLACE, hard < _NO_NATURE
        return {
            "position": place,
            "size": place,
            "probability": quality > limit("probability"),
            "objectness": quality > limit("objectness"),
            "classes": (quality > limit("classes")) & nature,
            "parameters": (quality > limit("parameters")) & nature,
        }

    def _pull(self, name: str, values: Tensor, goal: Tensor, weight: Tensor) -> Tensor:
        """Half the weighted squares of one part; a neutral fit heeds no limits, but the weight of empty boxes."""
        part = getattr(self.settings, name)
        if part.fit == -1:
            return values.sum() * 0
        if part.fit == 0:
            goal = torch.full_like(values, 0.0 if name == "size" else NEUTRAL)
            weight = weight if weight.dtype != torch.bool else torch.ones_like(weight)
        if name == "parameters":
            weight = weight * values.new_tensor(self.settings.parameter_weights or (1.0,))
        # the goal of what is not to be learned may be unknown, and not a number
        error = torch.where(weight > 0, values - goal, 0.0)
        return part.scale / 2 * (weight * error.square()).sum()

    def _cross_entropy(self, raw: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        part = self.settings.classes
        if part.fit != 1:
            return raw.sum() * 0
        return part.scale * functional.cross_entropy(raw[mask], label[mask], reduction="sum")

    def _one_hot(self, values: Tensor, label: Tensor) -> Tensor:
        places = torch.arange(values.shape[1], device=values.device)
        return torch.where(places == label[:, None], values.new_tensor(YES), values.new_tensor(NO))
