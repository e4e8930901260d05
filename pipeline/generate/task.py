"""Training the methods of a generative task: a data set and the settings in, one complete model file out."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.data.batches import Batches
from pipeline.data.evenly import evenly
from pipeline.data.order import balance_weights
from pipeline.data.store import Store, open_store
from pipeline.errors import UserError
from pipeline.files import check_output, sha256, write_json
from pipeline.generate.conditions import Conditions
from pipeline.generate.method import Method, is_closed, method
from pipeline.generate.model import Generator, save_generator
from pipeline.generate.scale import Scale, valid_stamps
from pipeline.generate.stamps import check_stamps, fit_scale, network_limits, stamp_facts, stamp_names, told_table
from pipeline.generate.task_settings import GenerateSettings
from pipeline.learn.device import describe_device, pick_device
from pipeline.learn.loop import Outcome, fit
from pipeline.learn.record import checkpoint_folder
from pipeline.provenance import provenance

Progress = Callable[[dict], None] | None

_POPULATION = 2000  # a model remembers the conditions of so many
_CHECKED = 1000  # validation stamps whose loss is measured each epoch


class Scaled:
    """A scale in the place of a normaliser: raw stamps to the numbers that a network sees."""

    def __init__(self, scale: Scale, blank: bool):
        self.scale, self.blank = scale, blank

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Stamps `(n, channel, *axes)` as float32 in network units."""
        return self.scale.forward(valid_stamps(raw, blank=self.blank).astype(np.float64)).astype(np.float32)

    def channels(self, channels: int) -> int:
        """Channels of what comes out of so many."""
        return channels

    def mask_channels(self, channels: int) -> tuple[int, ...]:
        """The channels that are masks: none."""
        return ()


class ToldInPart:
    """Batches of stamps and their conditions, some of which are not told, the same ones for the same epoch."""

    def __init__(self, batches: Batches, conditions: Conditions, share: float, seed: int):
        self.batches, self.conditions, self.share, self.seed = batches, conditions, share, seed

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, index: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """As `Batches.epoch`: stamps ``(n, channel, *axes)``, conditions ``(n, width)``."""
        for number, (x, condition) in enumerate(self.batches.epoch(index, rank, world)):
            state = np.random.SeedSequence([self.seed, index, number, rank]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(state >> 1))
            yield x, self.conditions.drop(condition, self.share, generator)


def train(
    dataset: Path,
    task: GenerateSettings,
    name: str,
    out: Path,
    *,
    seed: int,
    begin: Path | None = None,
    device: str | None = None,
    progress: Progress = None,
) -> None:
    """Train the method `name` of the task; write the model file `out`, and training.json and history.csv beside it.

    A method in closed form has no history. `begin` is the model of the method that this one starts from, where its
    settings name one. Until the model file is there, a folder beside it holds what an
    interrupted training goes on from, apart for each combination of data, settings and seed.

    Raises
    ------
    UserError : no such method, too few stamps, or stamps and conditions that cannot be learnt from.
    """
    if name not in task.methods:
        raise UserError(f"method {name}", "is none of this task's methods", f"choose among {', '.join(task.methods)}")
    wanted = task.begun(name)
    if (wanted is None) != (begin is None):
        what = f"starts from the method {wanted}" if wanted else "starts from no other model"
        raise UserError(f"method {name}", what, "name its model by --begin" if wanted else "leave --begin out")
    check_output(out)
    chosen = method(task.methods[name])
    with open_store(dataset) as store:
        depends = {"data": sha256(dataset), "settings": task.told(name), "seed": seed}
        depends |= {"begin": sha256(begin)} if begin is not None else {}
        folder = checkpoint_folder(out, depends)
        where = pick_device(device or chosen.settings.training(task.train).device)
        generator, record = learn(store, task, name, chosen, folder, seed, where, depends, begin, progress)
    if int(os.environ.get("RANK", "0")) > 0:
        return
    write_json(out.parent / "training.json", record)
    if (folder / "history.csv").is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "history.csv", out.parent / "history.csv")
    save_generator(out, generator)
    shutil.rmtree(folder.parent, ignore_errors=True)


def learn(
    store: Store,
    task: GenerateSettings,
    name: str,
    chosen: Method,
    folder: Path,
    seed: int,
    device: torch.device,
    depends: dict[str, Any],
    begin: Path | None = None,
    progress: Progress = None,
) -> tuple[Generator, dict[str, Any]]:
    """The trained generator, and what training.json says of its training."""
    rows, held = store.indices("train"), store.indices("validation")[:_CHECKED]
    check_stamps(store, np.concatenate([rows, held]), task)
    scale = fit_scale(store, rows, task)
    table, units = told_table(store, rows, task.conditions, task.scale.blank)
    conditions = Conditions.fit(table, task.conditions, units, store.classes if task.labels else ())
    shape = store.shape
    torch.manual_seed(seed)
    module = chosen.build(len(shape) - 1, shape, conditions.width).to(device)
    if begin is not None:
        _begin(chosen, module, begin, scale, conditions)
    settings = chosen.settings.training(task.train)
    condition = conditions.encode(table, stamp_names(store, rows)).numpy()
    common = {"normaliser": Scaled(scale, task.scale.blank), "device": device}
    began = time.perf_counter()
    outcome = None
    if is_closed(chosen):
        x = torch.from_numpy(common["normaliser"].apply(store.read(rows))).to(device)
        chosen.fit(module, x, torch.from_numpy(condition).to(device))
    else:
        weights = balance_weights(store.labels[rows]) if settings.rebalance else None
        batches = Batches(
            store, condition, settings.batch, seed, indices=rows, augment=task.augment, rebalance=weights, **common
        )
        if hasattr(chosen, "prepare"):
            chosen.prepare(module, lambda n: _augmented(batches, n))
        held_table, _ = told_table(store, held, task.conditions, task.scale.blank)
        known = conditions.encode(held_table, stamp_names(store, held)).numpy()
        checked = Batches(store, known, settings.batch, seed, indices=held, shuffle=False, **common)
        outcome = fit(
            module,
            ToldInPart(batches, conditions, task.untold, seed),
            chosen.objective,
            lambda network: _validate(chosen, network, checked),
            settings,
            folder,
            seed=seed,
            device=device,
            progress=progress,
            depends=depends,
        )
        if hasattr(chosen, "fit_latent"):
            x = torch.from_numpy(common["normaliser"].apply(store.read(rows))).to(device)
            chosen.fit_latent(module, x, torch.from_numpy(condition).to(device))
    module.eval()
    record = _record(chosen, module, outcome, time.perf_counter() - began, len(rows), device, conditions.width)
    description = {
        "sample_shape": list(shape),
        "unit": store.unit,
        "bytes": store.dtype == np.uint8,
        "input": store.input | {"manifest": None},
        "stamps": stamp_facts(store, task, scale),
        "limits": network_limits(store, rows, scale),
        "guidance": task.guidance,
        "settings": task.model_dump(mode="json", exclude_defaults=True),
        "training": {key: record[key] for key in ("best_epoch", "epochs_run", "parameters", "macs", "stamps")},
        "provenance": provenance(seed),
    }
    return Generator(name, chosen, module, scale, conditions, _population(table), description), record


def _begin(chosen: Method, module: nn.Module, model: Path, scale: Scale, conditions: Conditions) -> None:
    """Start a method from the model of another, which must have learnt from the same stamps."""
    before = Generator.load(model, str(next(module.parameters()).device))
    if (before.scale, before.conditions) != (scale, conditions):
        raise UserError(model, "was trained on other stamps or conditions", "train it on this data set first")
    chosen.begin(module, before.module)


def _augmented(batches: Batches, n: int) -> tuple[Tensor, Tensor]:
    """The first n stamps of the training ``(n, channel, *axes)``, of as many epochs as hold them, and conditions."""
    parts: list[tuple[Tensor, Tensor]] = []
    for epoch in range(-(-n // batches.n)):
        parts += batches.epoch(epoch)
    return tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))


def _validate(chosen: Method, module: nn.Module, batches: Batches) -> dict[str, float]:
    """The parts of the loss over the validation stamps, and their sum, "loss"."""
    sums: dict[str, float] = {}
    for x, condition in batches.epoch(0):
        for part, value in chosen.objective(module, (x, condition)).items():
            sums[part] = sums.get(part, 0.0) + float(value) * len(x)
    means = {part: value / batches.n for part, value in sums.items()}
    return {"loss": sum(means.values()), **(means if len(means) > 1 else {})}


def _population(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the training table that stand for it, evenly spread."""
    if not len(table.columns):
        return pd.DataFrame()
    return table.iloc[evenly(len(table), _POPULATION)]


def _record(
    chosen: Method,
    module: nn.Module,
    outcome: Outcome | None,
    seconds: float,
    stamps: int,
    device: torch.device,
    width: int,
) -> dict[str, Any]:
    return {
        "method": chosen.settings.name,
        "line": module.line,
        "best_epoch": outcome.best_epoch if outcome else None,
        "epochs_run": len(outcome.history) if outcome else 0,
        "stopped": outcome.stopped if outcome else "in closed form",
        "seconds": outcome.seconds if outcome else seconds,
        "samples_per_second": outcome.samples_per_second if outcome else None,
        "data_wait_share": outcome.data_wait_share if outcome else None,
        "energy_joule": outcome.energy_joule if outcome else None,
        "device": describe_device(device),
        "stamps": stamps,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "macs": evaluation_macs(chosen, module, width, device),
        "evaluations": chosen.evaluations(),
    }


def evaluation_macs(chosen: Method, module: nn.Module, width: int, device: torch.device) -> int:
    """Multiply-adds of one evaluation of the network for one stamp; of the whole sampling, where there is none."""
    # torch counts attention only where it is made of matrix products
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        chosen.sample(module, torch.zeros((1, width), device=device), torch.Generator().manual_seed(0))
    return counter.get_total_flops() // 2 // max(1, chosen.evaluations())
