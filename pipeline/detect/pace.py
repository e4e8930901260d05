"""How many epochs fit into the time that a user gives."""

import copy
import itertools
import time
from collections.abc import Callable, Sequence

import torch

from pipeline.detect.crops import Crops, LabelledField
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import Detector, batch_loss, fast_precision
from pipeline.learn.device import pick_device
from pipeline.learn.loop import Batches

_TRIED = 8
# The first steps find the fastest way to compute, and are slow.
_SLOW = 2
# The rest is for validation, checkpoints, calibration and simulation.
_SPENT_TRAINING = 0.8


def paced(
    detector: Detector,
    fields: Sequence[LabelledField],
    settings: DetectorSettings,
    minutes: float,
    *,
    seed: int,
    device: str | None,
    clock: Callable[[], float] = time.perf_counter,
) -> DetectorSettings:
    """As `paced_on`, for crops of labelled fields, which are cut in no time."""
    names = detector.names
    crops = Crops(fields, settings.crop, settings.train.batch, _TRIED, seed, names.values, names.conditions)
    return paced_on(detector, crops, settings, minutes, device=device, clock=clock)


def paced_on(
    detector: Detector,
    batches: Batches,
    settings: DetectorSettings,
    minutes: float,
    *,
    device: str | None,
    making: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> DetectorSettings:
    """The settings with as many epochs as a training of `detector` on this machine does in `minutes`, 2 at least.

    A few steps are tried on a copy, with the first few of `batches`; `making` counts the time that these take to
    make. The number is fixed before the training, which a learning rate that falls to 0 at its end needs to know. A
    `clock` of the processor's time makes it independent of what else the machine does.
    """
    where = pick_device(device or settings.train.device)
    network = copy.deepcopy(detector.network).to(where).train()
    bf16 = fast_precision(settings.train, where).precision == "bf16"
    took, asked = [], clock()
    for batch in itertools.islice(batches.epoch(0), _TRIED):
        made = clock()
        with torch.autocast(where.type, torch.bfloat16, enabled=bf16):
            parts = batch_loss(network, tuple(part.to(where) for part in batch), detector.layout, settings)
        sum(parts.values()).backward()
        done = clock()
        took.append(done - (asked if making else made))
        asked = done
    epochs = max(int(60 * minutes * _SPENT_TRAINING / (settings.steps * min(took[_SLOW:]))), 2)
    return settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": epochs})})
