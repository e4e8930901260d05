import csv
import logging
import math
import os
import random
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.learn import parallel
from pipeline.learn.loop import fit, seed_everything
from pipeline.learn.settings import TrainSettings

CPU = "cpu"
START = f"""
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("problem", {str(Path(__file__).with_name("conftest.py"))!r})
p = importlib.util.module_from_spec(spec)
spec.loader.exec_module(p)
import torch
torch.set_num_threads(1)
from pipeline.learn.loop import fit
from pipeline.learn.settings import TrainSettings
"""


def train(problem, folder, settings=None, *, net=None, batches=None, objective=None, validate=None, **options):
    """(network, outcome) of a run of the tiny problem."""
    net = net or problem.network()
    outcome = fit(
        net,
        problem.Vectors() if batches is None else batches,
        objective or problem.objective,
        validate or problem.validate,
        settings or TrainSettings(epochs=3, learning_rate=0.05),
        folder,
        **{"seed": 5, "device": CPU, **options},
    )
    return net, outcome


def same(one, two):
    one, two = one.state_dict(), two.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


def timeless(outcome):
    """History without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "data_wait")} for row in outcome.history]


def read(folder):
    with open(folder / "history.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_parity_with_a_loop_by_hand(problem, tmp_path):
    """Plain SGD with momentum and a cosine, no dropout: the same weights as the formulas of the textbook."""
    settings = TrainSettings(
        epochs=4, batch=4, optimiser="sgd", learning_rate=0.1, momentum=0.8, weight_decay=0.01, warmup=1
    )
    best_is_last = iter(range(4, 0, -1))
    mine, outcome = train(
        problem, tmp_path, settings, net=problem.network(dropout=0.0), validate=lambda _: {"loss": next(best_is_last)}
    )
    net, batches, step = problem.network(dropout=0.0), problem.Vectors(), 0
    speed = [torch.zeros_like(p) for p in net.parameters()]
    for epoch in range(4):
        for batch in batches.epoch(epoch):
            warm, total = 7, 28
            factor = (step + 1) / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
            gradients = torch.autograd.grad(sum(problem.objective(net, batch).values()), list(net.parameters()))
            with torch.no_grad():
                for p, v, g in zip(net.parameters(), speed, gradients, strict=True):
                    v.copy_(0.8 * v + g + (0.01 * p if p.ndim > 1 else 0))
                    p -= 0.1 * factor * v
            step += 1
    for a, b in zip(mine.state_dict().values(), net.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert outcome.history[-1]["learning_rate"] == pytest.approx(0.1 * factor)


def test_it_learns_and_writes_one_row_an_epoch(problem, tmp_path, caplog):
    seen = []
    settings = TrainSettings(epochs=6, learning_rate=0.05)
    with caplog.at_level(logging.INFO, "fleming"):
        net, outcome = train(problem, tmp_path, settings, progress=seen.append)
    rows = read(tmp_path)
    assert len(rows) == len(seen) == len(caplog.records) == 6
    fixed = ["epoch", "learning_rate", "train_loss", "loss_class", "loss_size", "val_loss", "val_accuracy", "seconds"]
    assert list(rows[0]) == [*fixed, "data_wait"]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, told, kept in zip(rows, seen, outcome.history, strict=True):
        assert {name: float(value) for name, value in row.items()} == kept
        assert told.items() >= kept.items() and told["epochs"] == 6
        assert kept["train_loss"] == pytest.approx(kept["loss_class"] + kept["loss_size"])
        assert 0 <= kept["data_wait"] <= 1
    assert seen[-1]["best_epoch"] == outcome.best_epoch
    assert outcome.history[-1]["train_loss"] < outcome.history[0]["train_loss"]
    assert outcome.stopped == "finished" and not net.training
    assert outcome.seconds == pytest.approx(sum(row["seconds"] for row in outcome.history))
    assert 0 <= outcome.data_wait_share <= 1 and outcome.samples_per_second > 26 * 6 / outcome.seconds
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "history.csv"]


def test_train_loss_of_one_part_is_the_mean_over_samples(problem, tmp_path):
    """With a learning rate of almost nothing, the loss of the untrained network."""
    settings = TrainSettings(epochs=1, learning_rate=1e-30, optimiser="sgd", weight_decay=0)
    net, outcome = train(
        problem,
        tmp_path,
        settings,
        net=problem.network(norm=False, dropout=0),
        objective=lambda model, batch: {"class": nn.functional.cross_entropy(model(batch[0]), batch[1])},
    )
    data = problem.Vectors()
    expected = nn.functional.cross_entropy(net(data.x), data.y).item()
    assert outcome.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert "loss_class" not in outcome.history[0]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(problem, tmp_path):
    first, outcome = train(problem, tmp_path / "a")
    torch.manual_seed(99)
    again, repeated = train(problem, tmp_path / "b")
    other, _ = train(problem, tmp_path / "c", seed=6)
    assert same(first, again) and timeless(outcome) == timeless(repeated) and not same(first, other)


KILLED = """
def touch(epoch, step):
    if (epoch, step) == (2, 3):
        os.kill(os.getpid(), signal.SIGKILL)
settings = TrainSettings.model_validate_json(sys.argv[2])
fit(p.network(), p.Vectors(touch=touch), p.objective, p.validate, settings, sys.argv[1], seed=5, device="cpu")
"""


def test_killed_and_resumed_equals_unbroken_bit_for_bit(problem, tmp_path):
    settings = TrainSettings(epochs=5, learning_rate=0.05, ema=0.9, warmup=1.5, clip=0.5)
    unbroken, expected = train(problem, tmp_path / "unbroken", settings)
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", START + KILLED, str(folder), settings.model_dump_json()]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    assert [row["epoch"] for row in read(folder)] == ["1", "2"]
    batches = problem.Vectors()
    resumed, found = train(problem, folder, settings, batches=batches)
    assert batches.asked == [2, 3, 4]
    assert same(unbroken, resumed) and timeless(found) == timeless(expected)
    assert (found.best_epoch, found.stopped) == (expected.best_epoch, expected.stopped)


@pytest.mark.parametrize(
    "kind",
    [
        {"precision": "fp16"},
        {"precision": "bf16", "optimiser": "adam", "schedule": "constant"},
        {"optimiser": "sgd", "schedule": "exponential"},
    ],
)
def test_interrupts_leave_a_run_that_can_go_on(problem, tmp_path, kind):
    settings = TrainSettings(epochs=3, learning_rate=0.05, **kind)
    unbroken, _ = train(problem, tmp_path / "unbroken", settings)
    folder = tmp_path / "broken"
    for place in ((0, 3), (1, 0), (2, 6)):

        def touch(epoch, step, place=place):
            if (epoch, step) == place:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(problem, folder, settings, batches=problem.Vectors(touch=touch))
    resumed, _ = train(problem, folder, settings)
    assert same(unbroken, resumed)


def test_a_finished_run_returns_at_once(problem, tmp_path):
    first, outcome = train(problem, tmp_path)
    (tmp_path / "history.csv").unlink()
    batches = problem.Vectors()
    again, repeated = train(problem, tmp_path, batches=batches, validate=None)
    assert same(first, again) and repeated == outcome and batches.asked == [] and len(read(tmp_path)) == 3


@pytest.mark.parametrize("change", [{"seed": 6}, {"depends": {"data": "other"}}, {"settings": TrainSettings(epochs=4)}])
def test_the_checkpoint_of_another_run_is_refused(problem, tmp_path, change):
    train(problem, tmp_path)
    with pytest.raises(UserError, match="belongs to another run"):
        train(problem, tmp_path, **change)


def script(values, name="loss"):
    """A validation that gives `values` one after another, and remembers the weights it saw."""
    seen = []

    def validate(model):
        seen.append({key: tensor.clone() for key, tensor in model.state_dict().items()})
        return {"loss": 1.0, name: values[len(seen) - 1]}

    return validate, seen


@pytest.mark.parametrize(
    "monitor, values, best, epochs, stopped",
    [
        ("loss", [3, 1, 2, 1, 1.5, 0], 2, 4, "early"),
        ("loss", [5, 4, 3, 4, 2, 3], 5, 6, "finished"),
        ("accuracy", [0.1, 0.9, 0.2, 0.3, 1, 1], 2, 4, "early"),
        ("loss", [6, 5, 4, 3, 4, 4], 4, 6, "finished"),
    ],
)
@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_early_stopping_and_the_best_weights(problem, tmp_path, monitor, values, best, epochs, stopped, ema):
    validate, seen = script(values, monitor)
    settings = TrainSettings(epochs=6, patience=2, monitor=monitor, ema=ema, learning_rate=0.05)
    net, outcome = train(problem, tmp_path, settings, validate=validate)
    assert (outcome.best_epoch, len(outcome.history), outcome.stopped) == (best, epochs, stopped)
    assert all(torch.equal(tensor, seen[best - 1][name]) for name, tensor in net.state_dict().items())


def test_validation_sees_averaged_weights_and_training_goes_on_without_them(problem, tmp_path):
    plain_validate, plain = script([1, 1, 1])
    averaged_validate, averaged = script([1, 1, 1])
    train(problem, tmp_path / "a", validate=plain_validate)
    settings = TrainSettings(epochs=3, learning_rate=0.05, ema=0.5)
    train(problem, tmp_path / "b", settings, validate=averaged_validate)
    live = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)["parts"]["network"]
    assert all(torch.equal(tensor, plain[-1][name]) for name, tensor in live.items())
    assert not torch.equal(averaged[-1]["0.weight"], plain[-1]["0.weight"])


def test_validation_has_its_own_mode_and_the_same_random_numbers_every_epoch(problem, tmp_path):
    seen = []

    def validate(model):
        assert not model.training and not torch.is_grad_enabled()
        seen.append((torch.rand(1).item(), random.random()))
        return {"loss": 1.0}

    train(problem, tmp_path, validate=validate)
    assert len(set(seen)) == 1 and len(seen) == 3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_bounds_the_step(problem, tmp_path, precision):
    """SGD without momentum moves by the clipped gradient; the small loss keeps half precision from overflowing."""
    plain = {"optimiser": "sgd", "momentum": 0, "weight_decay": 0, "learning_rate": 1, "schedule": "constant"}
    before = problem.network(norm=False, dropout=0)
    net, _ = train(
        problem,
        tmp_path,
        TrainSettings(epochs=1, clip=1e-3, precision=precision, **plain),
        net=problem.network(norm=False, dropout=0),
        batches=problem.Vectors(n=4),
        objective=lambda model, batch: {"class": 0.01 * problem.objective(model, batch)["class"]},
    )
    moved = sum((a - b).square().sum() for a, b in zip(net.parameters(), before.parameters(), strict=True)).sqrt()
    assert moved.item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(problem, tmp_path, bad):
    train_ok = TrainSettings(epochs=3)
    calls = iter(range(1, 100))

    def objective(model, batch):
        parts = problem.objective(model, batch)
        return {**parts, "size": parts["size"] * (bad if next(calls) == 7 + 2 else 1)}

    with pytest.raises(
        UserError, match=r"epoch 2, batch 2: the loss is not finite \(class [\d.]+, size (nan|inf)\); lower"
    ):
        train(problem, tmp_path, train_ok, objective=objective)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["state"]["epoch"] == 1 and len(read(tmp_path)) == 1
    assert all(tensor.isfinite().all() for tensor in state["parts"]["network"].values())


def test_a_last_step_that_breaks_the_weights_is_found_in_validation(problem, tmp_path):
    """The loss before the step is finite, its gradient is not."""

    def objective(model, batch):
        return {"root": (model(batch[0]) * 0).sum().abs().sqrt()}

    with pytest.raises(UserError, match="epoch 1: loss on validation is nan"):
        train(problem, tmp_path, batches=problem.Vectors(n=4), objective=objective)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_an_unknown_monitor_names_the_known_ones(problem, tmp_path):
    with pytest.raises(UserError, match='"ap" is not measured in validation; choose one of loss, accuracy'):
        train(problem, tmp_path, TrainSettings(epochs=1, monitor="ap"))


def test_an_empty_training_set(problem, tmp_path):
    with pytest.raises(UserError, match="training set: is empty"):
        train(problem, tmp_path, batches=problem.Vectors(n=0))


def test_measures_of_any_number_type_can_be_saved_and_read(problem, tmp_path):
    def validate(model):
        return {"loss": torch.tensor(0.5), "auc": None, "count": 3}

    _, outcome = train(problem, tmp_path, validate=validate)
    _, again = train(problem, tmp_path, validate=validate)
    assert again == outcome and outcome.history[0]["val_auc"] is None and read(tmp_path)[0]["val_auc"] == ""


def test_seeds_of_different_epochs_differ():
    drawn = []
    for parts in [(1, 0, 0), (1, 1, 0), (1, 0, 1), (2, 0, 0), (1, "validation"), (1, 0, 0)]:
        seed_everything(*parts)
        drawn.append((torch.rand(1).item(), random.random()))
    assert len(set(drawn)) == 5 and drawn[0] == drawn[-1]


SECOND = """
settings = TrainSettings.model_validate_json(sys.argv[2])
net = p.network(norm=False, dropout=0)
torch.nn.init.zeros_(net[0].weight)
done = fit(net, p.Vectors(n=11, batch=5), p.objective, p.validate, settings, sys.argv[1], seed=5, device="cpu")
losses = [row["train_loss"] for row in done.history]
torch.save({"net": net.state_dict(), "best": done.best_epoch, "losses": losses}, sys.argv[3])
"""


def test_two_processes_equal_one(problem, tmp_path, monkeypatch):
    """The last batch of 11 samples by 5 holds one: a process without a sample takes part all the same.

    The second process starts from other weights, as it would with a seed of its own.
    """
    settings = TrainSettings(epochs=3, batch=5, learning_rate=0.02, clip=1.0, ema=0.5)

    def run(folder):
        batches = problem.Vectors(n=11, batch=5)
        return train(problem, tmp_path / folder, settings, net=problem.network(norm=False, dropout=0), batches=batches)

    alone, expected = run("one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        "WORLD_SIZE": 2,
        "RANK": 1,
        "LOCAL_RANK": 1,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }.items():
        monkeypatch.setenv(name, str(value))
    arguments = [str(tmp_path / "two"), settings.model_dump_json(), str(tmp_path / "second")]
    with subprocess.Popen([sys.executable, "-c", START + SECOND, *arguments]) as second:
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("LOCAL_RANK", "0")
        monkeypatch.setattr(parallel, "_PATIENCE", timedelta(seconds=60))
        first, outcome = run("two")
    assert second.returncode == 0
    found = torch.load(tmp_path / "second", weights_only=True)
    losses = [row["train_loss"] for row in outcome.history]
    assert losses == pytest.approx([row["train_loss"] for row in expected.history], abs=1e-6) == found["losses"]
    assert outcome.best_epoch == expected.best_epoch == found["best"]
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], tensor, rtol=0, atol=1e-6)
        assert torch.equal(first.state_dict()[name], found["net"][name])
    assert len(read(tmp_path / "two")) == 3
