"""Training the detector on labelled fields: fields in, a network and the layout of its outputs out."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.detect.crops import Batch, Crops, LabelledField
from pipeline.detect.inputs import input_channels, network_input
from pipeline.detect.method import AnyLayout, batch_terms, new_layout, outputs, trained_layout
from pipeline.detect.objects import Objects
from pipeline.detect.settings import DetectorSettings, per_axis
from pipeline.errors import UserError
from pipeline.learn.device import pick_device
from pipeline.learn.loop import Batches, Outcome, fit
from pipeline.learn.settings import TrainSettings
from pipeline.nn.network import Network, build


@dataclass(frozen=True)
class Names:
    """What a detector learns of its objects, and is told of its frames: the names of the numbers."""

    values: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


@dataclass
class Detector:
    """A network that detects, in memory: what it was trained on is in its layout and names."""

    network: Network
    layout: AnyLayout
    names: Names
    outcome: Outcome | None = None


def train_detector(
    fields: Sequence[LabelledField],
    held_out: Sequence[LabelledField],
    names: Names,
    settings: DetectorSettings,
    folder: Path,
    *,
    seed: int,
    device: str | None = None,
    begin: Detector | None = None,
    progress: Callable[[dict], None] | None = None,
    depends: dict[str, Any] | None = None,
) -> Detector:
    """Train on crops of `fields`; the best epoch is chosen by the loss on fixed crops of the fields `held_out`.

    N is the number of axes of the fields. `begin` is a trained detector to go on from, in its own layout. `folder`
    receives the checkpoint and history.csv; a training that was interrupted goes on from there.

    Raises
    ------
    UserError : no learnable object, a network that does not fit, or a loss that is not finite.
    """
    if not sum(len(field.objects) for field in fields):
        what = f"holds no object of a signal-to-noise ratio above {settings.objects.least_snr:g}"
        raise UserError(
            "training area", what, "add labelled sky, lower objects.least_snr, or check units and positions"
        )
    beginning = None if begin is None else replace(begin, layout=trained_layout(begin.layout, settings))
    beginning = beginning or new_detector(
        [field.objects for field in fields], fields[0].snr.ndim, names, settings, seed
    )
    if beginning.names != names:
        raise UserError("model", "was trained for other parameters", "start from a model of the same kind")
    crops = Crops(fields, settings.crop, settings.train.batch, settings.steps, seed, names.values, names.conditions)
    fixed = Crops(
        held_out,
        settings.crop,
        settings.train.batch,
        settings.held_out_steps,
        seed,
        names.values,
        names.conditions,
        False,
    )
    return train_on(
        crops, fixed, beginning, settings, folder, seed=seed, device=device, progress=progress, depends=depends
    )


def train_on(
    batches: Batches,
    fixed: Batches,
    begin: Detector,
    settings: DetectorSettings,
    folder: Path,
    *,
    seed: int,
    device: str | None = None,
    progress: Callable[[dict], None] | None = None,
    depends: dict[str, Any] | None = None,
) -> Detector:
    """Train a detector, new or not, on batches; the best epoch is chosen by the loss on the first epoch of `fixed`.

    `folder`, `progress` and `depends` as in `train_detector`.

    Raises
    ------
    UserError : a loss that is not finite.
    """
    where = pick_device(device or settings.train.device)
    network, layout = begin.network.train(), begin.layout
    outcome = fit(
        network,
        batches,
        lambda network, batch: batch_loss(network, batch, layout, settings),
        lambda network: _validate(network, fixed, layout, settings, where),
        fast_precision(settings.train, where),
        folder,
        seed=seed,
        device=where,
        progress=progress,
        depends=depends,
    )
    return Detector(network, layout, begin.names, outcome)


def fast_precision(settings: TrainSettings, device: torch.device) -> TrainSettings:
    """`auto` becomes bfloat16 on processors that compute with it too: it doubles the speed of large frames."""
    if settings.precision == "auto" and device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return settings.model_copy(update={"precision": "bf16"})
    return settings


def batch_loss(network: nn.Module, batch: Batch, layout: AnyLayout, settings: DetectorSettings) -> dict[str, Tensor]:
    """The parts of the loss on one batch of `Crops`."""
    raw = network(network_input(batch[0], batch[1]))
    return batch_terms(raw, batch, layout, settings, training=network.training)


def new_detector(
    objects: Sequence[Objects], ndim: int, names: Names, settings: DetectorSettings, seed: int
) -> Detector:
    """An untrained detector for frames of `ndim` axes whose layout suits these objects.

    Raises
    ------
    UserError : the network does not fit.
    """
    torch.manual_seed(seed)
    last = outputs(settings, ndim, names.values, names.classes)
    shape = (input_channels(len(names.conditions), ndim), *per_axis(settings.crop, ndim, "crop"))
    network = build(f"{settings.network} C-{last}.1_linear_none", ndim, shape)
    joined = [np.concatenate([getattr(part, name) for part in objects]) for name in Objects.__dataclass_fields__]
    return Detector(network, new_layout(settings, Objects(*joined), names.values, names.classes, network), names)


def _validate(
    network: nn.Module, crops: Batches, layout: AnyLayout, settings: DetectorSettings, device: torch.device
) -> dict[str, float]:
    """The loss, and its parts, over the first epoch of `crops`."""
    sums: dict[str, float] = {}
    for batch in itertools.islice(crops.epoch(0), len(crops)):
        for name, value in batch_loss(network, tuple(part.to(device) for part in batch), layout, settings).items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(crops)
    return {"loss": sum(sums.values()), **sums}
