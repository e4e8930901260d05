"""Tiny problems to learn: noisy classes of short vectors, a small network with dropout and a norm."""

import threading

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are faster, and sums come in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_thread_stays():
    """Whatever happens in a test, the threads that it started end."""
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


class Vectors:
    """`n` samples of 6 numbers in 3 classes; epoch i is shuffled by (seed, i). `touch(epoch, step)` may interfere."""

    def __init__(self, n=26, batch=4, seed=7, touch=None):
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.arange(n) % 3
        self.x = torch.randn(n, 6, generator=generator) + self.y[:, None]
        self.batch, self.seed, self.touch, self.asked = batch, seed, touch, []

    def __len__(self):
        return -(-len(self.x) // self.batch)

    def epoch(self, index, rank=0, world=1):
        self.asked.append(index)
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        order = torch.randperm(len(self.x), generator=generator)
        for step, rows in enumerate(order.split(self.batch)):
            if self.touch:
                self.touch(index, step)
            yield self.x[rows[rank::world]], self.y[rows[rank::world]]


def network(norm=True, dropout=0.3):
    """The same start every time."""
    torch.manual_seed(3)
    middle = nn.BatchNorm1d(16) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(6, 16), middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 3))


def objective(model, batch):
    """Two parts, so that there is something to sum."""
    answer = model(batch[0])
    return {"class": cross_entropy(answer, batch[1]), "size": 1e-3 * answer.square().mean()}


def validate(model):
    """The loss on a fixed set, and a measure."""
    held = Vectors(n=12, seed=8)
    answer = model(held.x)
    return {
        "loss": cross_entropy(answer, held.y).item(),
        "accuracy": (answer.argmax(1) == held.y).double().mean().item(),
    }


class Problem:
    Vectors = Vectors
    network = staticmethod(network)
    objective = staticmethod(objective)
    validate = staticmethod(validate)


@pytest.fixture
def problem():
    return Problem
