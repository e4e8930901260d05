"""The one training loop, for every task."""

import contextlib
import csv
import functools
import hashlib
import io
import logging
import math
import operator
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.learn import checkpoint
from pipeline.learn.average import WeightAverage
from pipeline.learn.checkpoint import State
from pipeline.learn.energy import POWERCAP, EnergyMeter
from pipeline.learn.optimise import learning_rate, make_optimiser
from pipeline.learn.parallel import Team, team
from pipeline.learn.prefetch import Prefetch
from pipeline.learn.settings import TrainSettings
from pipeline.learn.tally import Tally

Batch = tuple[Tensor, ...]
Objective = Callable[[nn.Module, Batch], dict[str, Tensor]]

log = logging.getLogger("fleming")


class Batches(Protocol):
    """A training set: the same batches for the same seed and epoch, whatever was asked for before."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, index: int, rank: int = 0, world: int = 1) -> Iterable[Batch]:
        """The batches of epoch `index` (from 0); process `rank` of `world` gets its share of each, maybe no sample."""


@dataclass
class Outcome:
    """What a training run came to; `history` has one row an epoch, `best_epoch` counts from 1.

    `seconds` and `energy_joule` are sums over all sittings of a resumed run, `data_wait_share` is the share of the
    training time spent waiting for batches, `samples_per_second` leaves validation out, `stopped` is "finished" or
    "early".
    """

    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float
    data_wait_share: float
    energy_joule: float | None
    stopped: str
    samples_per_second: float


def fit(
    network: nn.Module,
    batches: Batches,
    objective: Objective,
    validate: Callable[[nn.Module], dict[str, float]],
    settings: TrainSettings,
    folder: str | os.PathLike,
    *,
    seed: int,
    device: torch.device | str,
    progress: Callable[[dict[str, Any]], None] | None = None,
    depends: Any = None,
) -> Outcome:
    """Train `network` in place; on return it holds the weights of the best epoch on validation.

    `objective(network, batch)` gives the named parts of the loss as scalar tensors, each a mean over the batch; the
    loss is their sum. `validate(network)` gives measures, "loss" among them; it runs in evaluation mode without
    gradients, in full precision, with the averaged weights when `settings.ema` is on, and from the same random
    state every epoch. `progress` gets a copy of every history row, with "epochs" and "best_epoch".

    After each epoch `folder` holds checkpoint.pt and history.csv. Random numbers are seeded anew each epoch from
    (seed, epoch), so that a killed run continues to the identical result, and a finished one returns at once.
    `depends` is anything else (as JSON) that the result depends on, e.g. a checksum of the data: a checkpoint made
    with another value is refused. The global random state of PyTorch and `random` is changed.

    Under torchrun each process trains on its share of every batch with the gradients of the whole; norms use the
    statistics of their own share. Only the first process validates, reports and writes.

    Raises
    ------
    UserError : no batches, a loss that is not finite, an unknown monitor, a checkpoint of another run.
    """
    device = torch.device(device)
    if len(batches) == 0:
        raise UserError("training set", "is empty", "give it samples, or change the split")
    with team(device) as processes, _meter(device, processes) as meter:
        run = _Run(network.to(device), batches, objective, validate, settings, Path(folder), seed, depends, processes)
        run.resume()
        while not run.state.stopped:
            row = run.next_epoch(meter)
            if progress and processes.first:
                progress({**row, "epochs": settings.epochs, "best_epoch": run.state.best_epoch})
        return run.outcome()


def seed_everything(*parts: int | str) -> None:
    """Seed PyTorch (all devices) and `random` from any numbers and words."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    value = int.from_bytes(digest, "little") >> 1
    torch.manual_seed(value)
    random.seed(value)


def _meter(device: torch.device, processes: Team) -> EnergyMeter:
    # Processes of one machine share its processors, each has its own GPU.
    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else None
    return EnergyMeter(gpu, root=POWERCAP if int(os.environ.get("LOCAL_RANK", processes.rank)) == 0 else None)


def _number_type(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if able else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


class _Run:
    """One training run: what it needs, and where it is (`state`)."""

    def __init__(self, network, batches, objective, validate, settings, folder, seed, depends, processes):
        self.network, self.batches, self.objective, self.validate = network, batches, objective, validate
        self.settings, self.seed, self.team, self.device = settings, seed, processes, processes.device
        self.checkpoint, self.table = folder / "checkpoint.pt", folder / "history.csv"
        self.state = State()
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimiser = make_optimiser(self.parameters, settings)
        self.average = WeightAverage(network, settings.ema) if settings.ema else None
        self.type = _number_type(settings.precision, self.device)
        # Gradients of half precision underflow unless the loss is scaled up (Micikevicius et al. 2018, section 3.2).
        self.scaler = torch.amp.GradScaler(self.device.type) if self.type == torch.float16 else None
        self.fingerprint = checkpoint.fingerprint(network, len(batches), settings, seed, depends)

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimiser": self.optimiser, "average": self.average, "scaler": self.scaler}
        return {name: part for name, part in parts.items() if part is not None}

    def resume(self) -> None:
        """Continue from the last whole epoch, if there is one."""
        saved = checkpoint.load(self.checkpoint, self.fingerprint)
        if saved:
            self.state, states = saved
            for name, part in self._parts().items():
                part.load_state_dict(states[name])
        if self.team.first and saved:
            self._write_table()
            log.info("resumed after epoch %d of %d", self.state.epoch, self.settings.epochs)
        self.team.share_weights(self.network)

    def outcome(self) -> Outcome:
        """Put the best weights into the network and sum the run up."""
        if self.team.first:
            self.network.load_state_dict(self.state.best)
        self.team.share_weights(self.network)
        self.network.eval()
        state = self.state
        return Outcome(
            history=state.history,
            best_epoch=state.best_epoch,
            seconds=state.seconds,
            data_wait_share=state.waited / state.trained,
            energy_joule=state.joule,
            stopped=state.stopped,
            samples_per_second=state.samples / state.trained,
        )

    def next_epoch(self, meter: EnergyMeter) -> dict[str, Any]:
        """Train, validate and save one epoch; its row of the history."""
        state, began = self.state, time.perf_counter()
        seed_everything(self.seed, state.epoch, self.team.rank)
        tally, waited = self._train()
        means, samples = tally.close(self.team)
        self.team.mean_buffers(self.network)
        trained, joule = time.perf_counter() - began, meter.take()
        used, waited = self.team.total([math.nan if joule is None else joule, waited / self.team.world])
        state.epoch += 1
        state.samples += samples
        state.trained += trained
        state.waited += waited
        state.joule = None if state.joule is None or math.isnan(used) else state.joule + used
        row = {
            "epoch": state.epoch,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "train_loss": sum(means.values()),
            **({f"loss_{name}": value for name, value in means.items()} if len(means) > 1 else {}),
        }
        if self.team.first:
            row |= {f"val_{name}": value for name, value in self._judge().items()}
        state.best_epoch = self.team.agree(state.best_epoch)
        patience = self.settings.patience
        if state.epoch == self.settings.epochs:
            state.stopped = "finished"
        elif patience and state.epoch - state.best_epoch >= patience:
            state.stopped = "early"
        seconds = time.perf_counter() - began
        state.seconds += seconds
        row |= {"seconds": seconds, "data_wait": waited / trained}
        state.history.append(row)
        if self.team.first:
            self._save()
            shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if isinstance(value, float))
            log.info("epoch %d/%d: %s", state.epoch, self.settings.epochs, shown)
        return row

    def _train(self) -> tuple[Tally, float]:
        steps = len(self.batches)
        first_step = self.state.epoch * steps
        tally = Tally(self.state.epoch + 1)
        self.network.train()
        with Prefetch(self.batches.epoch(self.state.epoch, self.team.rank, self.team.world), self.device) as stream:
            for step, batch in enumerate(stream):
                rate = self.settings.learning_rate * learning_rate(first_step + step, steps, self.settings)
                for group in self.optimiser.param_groups:
                    group["lr"] = rate
                self._step(batch, tally)
            return tally, stream.waited

    def _step(self, batch: Batch, tally: Tally) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        count = len(batch[0])
        if count:
            with self._precision():
                parts = self.objective(self.network, batch)
                loss = functools.reduce(operator.add, parts.values())
            (self.scaler.scale(loss) if self.scaler else loss).backward()
            tally.add(parts, count)
        self.team.mean_gradients(self.parameters, count)
        if self.settings.clip:
            if self.scaler:
                self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        if self.scaler:
            self.scaler.step(self.optimiser)
            self.scaler.update()
        else:
            self.optimiser.step()
        if self.average:
            self.average.update()

    def _precision(self) -> contextlib.AbstractContextManager:
        if self.type == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.type)

    def _judge(self) -> dict[str, float | None]:
        """Validate, and remember the weights when no epoch before was better."""
        state, monitor = self.state, self.settings.monitor
        seed_everything(self.seed, "validation")
        self.network.eval()
        with torch.no_grad(), self.average.applied() if self.average else contextlib.nullcontext():
            found = self.validate(self.network)
            # A checkpoint holds plain numbers only, whatever a measure was computed with.
            measures = {name: None if value is None else float(value) for name, value in found.items()}
            if monitor not in measures:
                known = ", ".join(measures)
                raise UserError("monitor", f'"{monitor}" is not measured in validation', f"choose one of {known}")
            for name in {"loss", monitor} & set(measures):
                if measures[name] is None or not math.isfinite(measures[name]):
                    what = f"{name} on validation is {measures[name]}"
                    raise UserError(f"epoch {state.epoch}", what, "lower learning_rate, set clip, or check the input")
            score = measures[monitor] if self.settings.higher_is_better else -measures[monitor]
            if not state.best_epoch or score > state.best_score:
                state.best_epoch, state.best_score = state.epoch, score
                state.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return measures

    def _save(self) -> None:
        states = {name: part.state_dict() for name, part in self._parts().items()}
        checkpoint.save(self.checkpoint, self.state, states, self.fingerprint)
        self._write_table()

    def _write_table(self) -> None:
        columns = list(dict.fromkeys(name for row in self.state.history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.state.history)
        write_text(self.table, text.getvalue())
