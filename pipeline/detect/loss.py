"""The loss of the detector: objectness of every cell, and the likelihood of what the positive cells say."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.detect.head import NARROWEST, WIDEST, Layout
from pipeline.detect.settings import LossSettings


@dataclass
class Targets:
    """A batch: the `owner` (b, *cells) of each cell, and centre (t, N), size (t, N), values (t, P), label (t,).

    ignored : bool (t,), objects whose cells teach nothing; None for none.
    """

    owner: Tensor
    centre: Tensor
    size: Tensor
    values: Tensor
    label: Tensor
    ignored: Tensor | None = None


def detection_loss(raw: Tensor, targets: Targets, layout: Layout, settings: LossSettings) -> dict[str, Tensor]:
    """The parts of the loss of network outputs (b, channels, *cells), each a sum over cells by the positive cells.

    - objectness: binary cross-entropy, or focal loss (Lin et al. 2017, equation 4) where `focal` > 0;
    - position, values: minus the log-likelihood of a Laplace or normal distribution of the predicted width
      (Kendall & Gal 2017, equation 5 for the normal one), so that the widths become the error bars;
    - squares: the squared error of the parameters that `means` names, in units of the training spread; their widths
      alone are taught by the likelihood;
    - size: absolute error of ln size in units of the training spread; classes: cross-entropy where the class is known.
    """
    raw = raw.float().movedim(1, -1)
    part = layout.split(raw)
    mask = targets.owner >= 0
    count = mask.sum().clamp(min=1)
    logit, truth = part["objectness"][..., 0], mask.float()
    cross = F.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    if settings.focal:
        # A root of zero has no finite slope: a cell that is certainly right would make the gradient NaN.
        wrong = (-torch.expm1(-cross)).clamp(min=torch.finfo(cross.dtype).tiny)
        cross = cross * wrong**settings.focal
    if targets.ignored is not None:
        cross, mask = _without(targets.ignored, targets.owner, cross, mask)
        count = mask.sum().clamp(min=1)
    losses = {"objectness": settings.objectness * cross.sum() / count}

    found = {name: value[mask] for name, value in part.items()}
    owner = targets.owner[mask]
    cells = mask.nonzero()[:, 1:]
    step = raw.new_tensor(layout.reduction)
    position = (targets.centre[owner].to(raw) + 0.5) / step - cells - 0.5
    size, values = layout.targets(targets.size.to(raw), targets.values.to(raw))
    log_width = found["width"].clamp(NARROWEST, WIDEST)
    n = layout.ndim
    nll = _NEGATIVE_LOG[settings.likelihood]
    losses["position"] = settings.position * nll(found["position"] - position, log_width[:, :n]).sum() / count
    if len(layout.values):
        mean = torch.tensor([name in settings.means for name in layout.values], device=raw.device)
        residual = found["values"] - values[owner]
        # Most sources are too faint to show an angle, and few have a core. To the median of a Laplace distribution each
        # of them says as much as a bright one, so that the network would learn none; squares listen to the others.
        lone = torch.where(mean, residual.detach(), residual)
        losses["values"] = settings.values * nll(lone, log_width[:, n:]).sum() / count
        if mean.any():
            losses["squares"] = settings.squares * (residual[:, mean] ** 2).sum() / count
    losses["size"] = settings.size * (found["size"] - size[owner]).abs().sum() / count
    if len(layout.classes):
        label = targets.label[owner]
        known = label >= 0
        cross = F.cross_entropy(found["classes"][known], label[known], reduction="sum")
        losses["classes"] = settings.classes * cross / count
    return losses


def _without(ignored: Tensor, owner: Tensor, cross: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The cross-entropy of the cells, and which are positive, without those of ignored objects."""
    unheard = mask.clone()
    unheard[mask] = ignored[owner[mask]]
    return cross.masked_fill(unheard, 0.0), mask & ~unheard


def _laplace(residual: Tensor, log_width: Tensor) -> Tensor:
    return residual.abs() * torch.exp(-log_width) + log_width


def _normal(residual: Tensor, log_width: Tensor) -> Tensor:
    return 0.5 * (residual * torch.exp(-log_width)) ** 2 + log_width


_NEGATIVE_LOG = {"laplace": _laplace, "normal": _normal}
