import math

import pytest
import torch
from torch import nn

from pipeline.learn.optimise import learning_rate, make_optimiser
from pipeline.learn.settings import TrainSettings

STEPS = 7


def factors(**settings):
    chosen = TrainSettings(**{"epochs": 5, **settings})
    return [learning_rate(step, STEPS, chosen) for step in range(chosen.epochs * STEPS)]


def test_constant():
    assert factors(schedule="constant") == [1.0] * 35


def test_exponential_falls_by_decay_every_epoch():
    found = factors(schedule="exponential", decay=0.8)
    assert found[::STEPS] == pytest.approx([0.8**epoch for epoch in range(5)])
    assert all(late / early == pytest.approx(0.8 ** (1 / STEPS)) for early, late in zip(found, found[1:], strict=False))


def test_cosine_is_symmetric_about_the_middle():
    chosen = TrainSettings(epochs=4)
    found = [learning_rate(step, 5, chosen) for step in range(21)]
    assert found[0] == 1 and found[10] == pytest.approx(0.5) and found[20] == pytest.approx(0)
    assert found[5] == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert [early + late for early, late in zip(found, found[::-1], strict=True)] == pytest.approx([1.0] * 21)


@pytest.mark.parametrize("schedule", ["constant", "exponential", "cosine"])
def test_warmup_rises_linearly_and_then_the_schedule_begins(schedule):
    found = factors(schedule=schedule, warmup=2)
    assert found[:14] == pytest.approx([(step + 1) / 14 for step in range(14)])
    shorter = TrainSettings(epochs=3, schedule=schedule)
    assert found[14:] == pytest.approx([learning_rate(step, STEPS, shorter) for step in range(21)])


@pytest.mark.parametrize("warmup", [0, 0.5, 2.9])
@pytest.mark.parametrize("schedule", ["constant", "exponential", "cosine"])
def test_factors_are_in_range(schedule, warmup):
    assert all(0 < factor <= 1 for factor in factors(epochs=3, schedule=schedule, warmup=warmup))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_parity_with_the_unfused_optimiser_and_no_decay_of_biases_and_norms(name):
    """Three steps against PyTorch's single-tensor code with the groups written by hand."""

    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(12, 2)).double()

    ours, theirs = net(), net()
    settings = TrainSettings(optimiser=name, learning_rate=0.05, momentum=0.8, weight_decay=0.1)
    groups = [
        {"params": [theirs[0].weight, theirs[3].weight], "weight_decay": 0.1},
        {"params": [theirs[0].bias, theirs[1].weight, theirs[1].bias, theirs[3].bias], "weight_decay": 0.0},
    ]
    kind, options = {
        "sgd": (torch.optim.SGD, {"momentum": 0.8}),
        "adam": (torch.optim.Adam, {"betas": (0.8, 0.999)}),
        "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.999)}),
    }[name]
    pairs = [
        (ours, make_optimiser(ours.parameters(), settings)),
        (theirs, kind(groups, lr=0.05, foreach=False, **options)),
    ]
    x = torch.randn(4, 2, 6, dtype=torch.float64)
    for model, optimiser in pairs:
        for _ in range(3):
            optimiser.zero_grad()
            model(x).square().sum().backward()
            optimiser.step()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-12)


def test_frozen_parameters_are_left_out():
    frozen, free = nn.Parameter(torch.ones(2, 2), requires_grad=False), nn.Parameter(torch.ones(2, 2))
    optimiser = make_optimiser([frozen, free], TrainSettings())
    assert [p for group in optimiser.param_groups for p in group["params"]] == [free]
