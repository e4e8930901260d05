"""Training a classifier: a data set and the settings in, one complete model file out."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.classify.calibrate import fit_temperature
from pipeline.classify.predict import batch_size, predict_logits, raw_batches
from pipeline.classify.settings import ClassifySettings
from pipeline.data.batches import Batches
from pipeline.data.normalise import Normaliser
from pipeline.data.order import balance_weights
from pipeline.data.store import Store, open_store
from pipeline.errors import UserError
from pipeline.files import check_output, sha256
from pipeline.learn.device import pick_device
from pipeline.learn.loop import Outcome, fit
from pipeline.learn.model_file import save_model
from pipeline.learn.record import checkpoint_folder, write_record
from pipeline.nn.network import build
from pipeline.provenance import provenance

Progress = Callable[[dict], None] | None


@dataclass
class Trained:
    """A trained classifier in memory: network, constants and what the training was like."""

    network: nn.Module
    normaliser: Normaliser
    temperature: float
    outcome: Outcome


def train_classifier(
    store: Store,
    train: np.ndarray,
    validation: np.ndarray,
    settings: ClassifySettings,
    folder: Path,
    *,
    seed: int,
    device: str | None = None,
    progress: Progress = None,
    depends: dict[str, Any] | None = None,
) -> Trained:
    """Train on the rows `train` of `store`, choose the epoch and the temperature on the rows `validation`.

    Normalisation constants come from `train` alone. `folder` receives the checkpoint and history.csv;
    a run that was interrupted goes on from there.

    Raises
    ------
    UserError : a class has no training object, the network does not fit the data, or the loss is not finite.
    """
    labels = store.labels
    _check_classes(store, labels[train])
    where = pick_device(device or settings.train.device)
    normaliser = Normaliser.fit(settings.normalise, raw_batches(store, train))
    torch.manual_seed(seed)
    shape = (normaliser.channels(store.shape[0]), *store.shape[1:])
    network = build(settings.network, len(store.shape) - 1, shape, outputs=len(store.classes)).to(where)
    objective = _objective(settings)
    batches = Batches(
        store,
        labels[train],
        settings.train.batch,
        seed,
        indices=train,
        normaliser=normaliser,
        augment=settings.augment,
        rebalance=balance_weights(labels[train]) if settings.train.rebalance else None,
        device=where,
    )
    held_out = Batches(
        store,
        labels[validation],
        batch_size(shape),
        seed,
        indices=validation,
        normaliser=normaliser,
        shuffle=False,
        device=where,
    )
    outcome = fit(
        network,
        batches,
        objective,
        lambda network: validation_scores(network, held_out, settings.multilabel),
        settings.train,
        folder,
        seed=seed,
        device=where,
        progress=progress,
        depends=depends,
    )
    logits = predict_logits(network, raw_batches(store, validation), normaliser, settings.symmetries)
    temperature = fit_temperature(logits, labels[validation], settings.multilabel)
    return Trained(network, normaliser, temperature, outcome)


def train(
    dataset: Path,
    settings: ClassifySettings,
    out: Path,
    *,
    seed: int,
    device: str | None = None,
    progress: Progress = None,
) -> None:
    """Train on the data set's own split; write the model file `out`, and its training.json, cost.json and history.csv.

    Until the model file is there, a folder beside it holds what an interrupted training goes on from; it is
    kept apart for each combination of data, settings and seed, so that a change of settings starts afresh.
    """
    check_output(out)
    with open_store(dataset) as store:
        depends = origin_of(dataset, settings, seed)
        folder = checkpoint_folder(out, depends)
        trained = train_classifier(
            store,
            store.indices("train"),
            store.indices("validation"),
            settings,
            folder,
            seed=seed,
            device=device,
            progress=progress,
            depends=depends,
        )
        if int(os.environ.get("RANK", "0")) > 0:
            return
        training = write_record(out.parent, trained.network, trained.outcome, folder)
        description = _description(trained, settings, store, seed) | {
            "training": {name: training[name] for name in ("best_epoch", "epochs_run", "parameters", "macs")}
        }
    save_model(out, trained.network, description)
    shutil.rmtree(folder.parent, ignore_errors=True)


def origin_of(dataset: Path, settings: ClassifySettings, seed: int) -> dict[str, Any]:
    """All that a training depends on, as JSON; the device is left out, so that a run may move."""
    told = settings.model_dump(mode="json", exclude={"train": {"device"}})
    return {"data": sha256(dataset), "settings": told, "seed": seed}


def _description(trained: Trained, settings: ClassifySettings, store: Store, seed: int) -> dict[str, Any]:
    """What the model file says beside its weights: all that prediction needs, and where the model comes from."""
    return {
        "kind": "classify",
        "classes": list(store.classes),
        "multilabel": settings.multilabel,
        "symmetries": settings.symmetries,
        "temperature": trained.temperature,
        "normaliser": trained.normaliser.to_dict(),
        "input": store.input | {"manifest": None},
        "sample_shape": list(store.shape),
        "unit": store.unit,
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "provenance": provenance(seed),
    }


def validation_scores(network: nn.Module, batches: Batches, multilabel: bool) -> dict[str, float]:
    """Mean loss, accuracy and balanced accuracy over `batches`, computed where the data are."""
    logits, truth = [], []
    for x, y in batches.epoch(0):
        logits.append(network(x).float())
        truth.append(y)
    logits, truth = torch.cat(logits), torch.cat(truth)
    if multilabel:
        right = (logits > 0) == (truth > 0.5)
        loss = F.binary_cross_entropy_with_logits(logits, truth.float())
        return {
            "loss": float(loss),
            "accuracy": float(right.float().mean()),
            "balanced_accuracy": _balanced(right, truth),
        }
    right = logits.argmax(1) == truth
    recall = [right[truth == k].float().mean() for k in truth.unique()]
    return {
        "loss": float(F.cross_entropy(logits, truth)),
        "accuracy": float(right.float().mean()),
        "balanced_accuracy": float(torch.stack(recall).mean()),
    }


def _balanced(right: Tensor, truth: Tensor) -> float:
    """Mean over labels of the mean recall of present and absent, for labels that occur in both ways."""
    scores = []
    for hit, label in zip(right.T, truth.T, strict=True):
        sides = [hit[label > 0.5], hit[label <= 0.5]]
        if all(len(side) for side in sides):
            scores.append(sum(float(side.float().mean()) for side in sides) / 2)
    return float(np.mean(scores)) if scores else 0.0


def _objective(settings: ClassifySettings) -> Callable[[nn.Module, tuple[Tensor, ...]], dict[str, Tensor]]:
    smoothing = settings.train.label_smoothing
    if settings.multilabel:

        def objective(network: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
            x, y = batch
            target = y.float() * (1 - smoothing) + smoothing / 2
            return {"cross_entropy": F.binary_cross_entropy_with_logits(network(x), target)}

    else:

        def objective(network: nn.Module, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
            x, y = batch
            return {"cross_entropy": F.cross_entropy(network(x), y, label_smoothing=smoothing)}

    return objective


def _check_classes(store: Store, labels: np.ndarray) -> None:
    present = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=len(store.classes))
    absent = [name for name, count in zip(store.classes, present, strict=True) if count == 0]
    if absent:
        what = f"has no training object of class {', '.join(absent)}"
        raise UserError(store.path, what, "add objects, merge the class with another, or change the split")
