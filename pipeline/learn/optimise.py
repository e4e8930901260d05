"""Optimisers and the learning rate over a run."""

import math
from collections.abc import Iterable

import torch

from pipeline.learn.settings import TrainSettings


def make_optimiser(parameters: Iterable[torch.nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of `settings` over the trainable `parameters`.

    Weight decay holds for weight matrices and kernels only: shrinking a bias or the scale of a norm does not make
    a network simpler. `adamw` decouples the decay from the gradient (Loshchilov & Hutter 2019, algorithm 2).
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate = settings.learning_rate
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, fused=True)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, betas=(settings.momentum, 0.999), fused=True)


def learning_rate(step: int, steps_per_epoch: int, settings: TrainSettings) -> float:
    """The factor on `settings.learning_rate` at gradient step `step` (from 0), in (0, 1].

    With w warm-up steps and T steps in all, for step t: (t + 1) / w while t < w, then with s = t - w

    - constant: 1
    - exponential: decay ** (s / steps_per_epoch)
    - cosine: (1 + cos(pi s / (T - w))) / 2, one period of Loshchilov & Hutter (2017), equation 5, down to 0.
    """
    warmup = round(settings.warmup * steps_per_epoch)
    if step < warmup:
        return (step + 1) / warmup
    since = step - warmup
    if settings.schedule == "exponential":
        return settings.decay ** (since / steps_per_epoch)
    if settings.schedule == "cosine":
        length = settings.epochs * steps_per_epoch - warmup
        return 0.5 * (1 + math.cos(math.pi * min(since / length, 1.0))) if length > 0 else 1.0
    return 1.0
