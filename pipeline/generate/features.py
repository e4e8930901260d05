"""Features in which samples are compared: those of a classifier of one's own, or of a small network trained for it."""

import os
import random
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor, nn
from torch.nn import functional

from pipeline.classify.predict import batch_size
from pipeline.data.batches import Batches
from pipeline.data.normalise import Normaliser
from pipeline.learn.loop import fit
from pipeline.learn.settings import TrainSettings
from pipeline.nn.network import Network, build

WIDTH = 64  # features of a network that `train_features` makes
_FIRST = {1: 16, 2: 16, 3: 8}  # filters, by the number of axes
_SMALLEST = 8
_HELD = 0.1
_WORK = 1.2e11  # multiply-adds of a training, forwards and backwards: some 5 s of one core
_EPOCHS = (3, 20)


@torch.inference_mode()
def features(network: Network, stamps: np.ndarray, normaliser: Normaliser | None = None) -> np.ndarray:
    """What reaches the last dense layer of `network` for `stamps` `(n, channel, *axes)`, float64 `(n, features)`.

    normaliser : of the classifier that the network belongs to, for raw stamps; None where the stamps are what the
        network takes, with NaN counted as 0.
    """
    network.eval()
    device = next(network.parameters()).device
    size = batch_size(network.input_shape)
    rows = []
    for start in range(0, len(stamps), size):
        block = stamps[start : start + size]
        ready = normaliser.apply(block) if normaliser else np.nan_to_num(block.astype(np.float32))
        rows.append(network.features(torch.from_numpy(ready).to(device)).double().cpu().numpy())
    return np.concatenate(rows) if rows else np.zeros((0, 0))


def train_features(
    stamps: np.ndarray,
    targets: np.ndarray,
    labels: np.ndarray | None,
    folder: str | os.PathLike,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> Network:
    """A small network that learnt to see what real objects differ in, for `features`.

    It regresses `targets` and classifies by `labels`, whichever are given. A target is replaced by the normal score of
    its rank, so that neither its unit nor its tail matters. Epochs, and stamps where they are many, follow from a fixed
    number of operations, about 5 s of one core.

    Parameters
    ----------
    stamps : `(n, channel, *axes)` real stamps in network units.
    targets : `(n, k)` properties (conditions or statistics); NaN where unknown, k may be 0.
    labels : `(n,)` whole numbers from 0 on, or None.
    folder : for the checkpoints of the training; one that was interrupted goes on.

    Raises
    ------
    ValueError : less than four stamps, or nothing to learn.
    UserError : the loss is not finite.
    """
    targets = _scores(np.asarray(targets, dtype=np.float64))
    classes = 0 if labels is None else int(np.max(labels)) + 1
    if len(stamps) < 4 or not targets.shape[1] + classes:
        raise ValueError("features need four stamps or more, and targets or labels to learn from")
    names = np.full(len(stamps), np.nan) if labels is None else labels
    truth = np.column_stack([targets, names]).astype(np.float32)  # (n, k + 1)
    shape = tuple(stamps.shape[1:])
    kept = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(network_line(shape[1:], targets.shape[1] + classes), len(shape) - 1, shape)
            work = 3 * sum(step.macs for step in network.steps)
            used = np.random.default_rng([seed, 0]).permutation(len(stamps))
            used = used[: max(4, int(_WORK / (work * _EPOCHS[0])))]
            held, learnt = np.split(used, [max(1, int(_HELD * len(used)))])
            epochs = int(np.clip(_WORK / (work * len(learnt)), *_EPOCHS))
            settings = TrainSettings(epochs=epochs, batch=32, learning_rate=2e-3, precision="fp32")
            sets = [
                Batches(stamps[rows], truth[rows], settings.batch, seed, shuffle=rows is learnt, device=device)
                for rows in (learnt, held)
            ]
            fit(
                network,
                sets[0],
                lambda network, batch: _losses(network(batch[0]), batch[1], targets.shape[1]),
                lambda network: {"loss": _held_loss(network, sets[1], targets.shape[1])},
                settings,
                Path(folder),
                seed=seed,
                device=device,
            )
    finally:
        random.setstate(kept)
    return network


def network_line(axes: tuple[int, ...], outputs: int) -> str:
    """Convolutions and pooling until an axis is short, then the layer of the features and that of the `outputs`."""
    width, shortest = _FIRST[len(axes)], min(axes)
    tokens = [f"C-{width}.3"]
    while shortest >= _SMALLEST:
        width, shortest = min(2 * width, WIDTH), shortest // 2
        tokens += ["P-2", f"C-{width}.3"]
    return " ".join([*tokens, f"D-{WIDTH}", f"D-{outputs}"])


def _scores(targets: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks of each column, NaN kept; columns of one value or none are left out."""
    columns = []
    for values in targets.T:
        known = np.isfinite(values)
        if known.any() and np.ptp(values[known]) > 0:
            column = np.full(len(values), np.nan)
            column[known] = norm.ppf((rankdata(values[known]) - 0.5) / known.sum())
            columns.append(column)
    return np.stack(columns, axis=1) if columns else np.zeros((len(targets), 0))


def _losses(found: Tensor, truth: Tensor, k: int) -> dict[str, Tensor]:
    """Mean squared error of the known targets, and cross-entropy of the classes."""
    parts = {}
    if k:
        known = torch.isfinite(truth[:, :k])
        error = torch.where(known, found[:, :k] - truth[:, :k].nan_to_num(), 0.0)
        parts["targets"] = error.square().sum() / known.sum().clamp(min=1)
    if found.shape[1] > k:
        parts["classes"] = functional.cross_entropy(found[:, k:], truth[:, k].long())
    return parts


def _held_loss(network: nn.Module, batches: Batches, k: int) -> float:
    total, count = 0.0, 0
    for x, truth in batches.epoch(0):
        total += float(sum(_losses(network(x), truth, k).values())) * len(x)
        count += len(x)
    return total / count
