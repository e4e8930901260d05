"""The two methods to detect: every cell near an object answers for it, or the best box does ("association").

All else is shared: crops, the training loop, the search of a frame, the calibrator and the catalogue.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.detect.box_layout import BoxLayout
from pipeline.detect.crops import Batch
from pipeline.detect.head import Layout, channels, start
from pipeline.detect.loss import Targets, detection_loss
from pipeline.detect.objects import Objects
from pipeline.detect.reference_loss import ReferenceLoss
from pipeline.detect.settings import DetectorSettings, ObjectSettings, per_axis
from pipeline.detect.targets import assign
from pipeline.errors import UserError

AnyLayout = Layout | BoxLayout


def outputs(settings: DetectorSettings, ndim: int, values: Sequence[str], classes: Sequence[str]) -> int:
    """Channels of the last layer for frames of `ndim` axes.

    Raises
    ------
    UserError : boxes with another number of axes, or weights of parameters that there are not.
    """
    if settings.method == "cells":
        return channels(ndim, len(values), len(classes))
    boxes = settings.association
    if len(boxes.priors[0]) != ndim:
        what = f"have {len(boxes.priors[0])} sides where frames have {ndim} axes"
        raise UserError("association.priors", what, f"give {ndim} a prior")
    unknown = [name for name in boxes.weights if name not in values] if "weights" in boxes.model_fields_set else []
    if unknown:
        what = f"names {', '.join(unknown)}, which the detector does not learn"
        raise UserError("association.weights", what, f"choose from {', '.join(values) or 'nothing'}")
    return len(boxes.priors) * (2 * ndim + 2 + len(values) + len(classes))


def new_layout(
    settings: DetectorSettings, objects: Objects, values: Sequence[str], classes: Sequence[str], network: nn.Module
) -> AnyLayout:
    """The layout of a fresh network's outputs, whose last layer is made ready to learn."""
    if settings.method == "cells":
        start(network)
        return Layout.of(objects, values, classes, network.reduction)
    start(network, 0.5)
    return BoxLayout.of(objects, values, classes, network.reduction, settings.association)


def trained_layout(layout: AnyLayout, settings: DetectorSettings) -> AnyLayout:
    """The layout to go on with from a trained detector's.

    Raises
    ------
    UserError : the settings ask for the other method.
    """
    if layout.method != settings.method:
        what = f'was trained by the method "{layout.method}", not "{settings.method}"'
        raise UserError("model", what, f"set detector.method to {layout.method}, or train without a model")
    # Boxes that know their objects must not be dealt out at random again.
    return layout.matching(startup=0) if isinstance(layout, BoxLayout) else layout


def read_layout(content: dict[str, Any]) -> AnyLayout:
    """The layout that `to_dict` of either wrote."""
    return (BoxLayout if content.get("method") == BoxLayout.method else Layout).from_dict(content)


def batch_terms(
    raw: Tensor, batch: Batch, layout: AnyLayout, settings: DetectorSettings, *, training: bool
) -> dict[str, Tensor]:
    """The parts of the loss of network outputs (b, channels, *cells) on a batch of `Crops`.

    Outside `training` nothing is random, so that epochs can be compared.
    """
    snr, _, image, centre, size, values, label, brightness, seen = batch
    if isinstance(layout, BoxLayout):
        targets = layout.targets(image, centre, size, values, label, brightness)
        head = layout.head if training else layout.certain.head
        return ReferenceLoss(head)(raw, targets, int(seen))
    owner = assign(
        centre, image, brightness, len(snr), raw.shape[2:], layout.reduction, _margin(size, settings.objects)
    )
    ignored = brightness < settings.objects.least_snr if settings.objects.faint == "ignore" else None
    return detection_loss(raw, Targets(owner, centre, size, values, label, ignored), layout, settings.loss)


def _margin(size: Tensor, objects: ObjectSettings) -> Tensor:
    """How far (t, N) beyond half a cell each object of box sides (t, N) has cells [pixel]."""
    ndim = size.shape[1]
    margin, share = (
        size.new_tensor(per_axis(getattr(objects, name), ndim, f"objects.{name}")) for name in ("margin", "share")
    )
    return torch.maximum(margin, share * size)
