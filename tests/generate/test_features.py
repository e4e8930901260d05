"""Features that were learnt from real stamps, for any number of axes."""

import random

import numpy as np
import pytest
import torch

from pipeline.generate import features as module
from pipeline.generate.features import features, network_line, train_features
from pipeline.nn.network import build
from pipeline.nn.shapes import trace


@pytest.fixture(autouse=True)
def _little_work(monkeypatch):
    monkeypatch.setattr(module, "_WORK", 8e8)
    monkeypatch.setattr(module, "_EPOCHS", (3, 12))


def bumps(n, axes, seed=0):
    """Noise with a bump in the middle, whose height is the first property; the second is nowhere to be seen."""
    rng = np.random.default_rng(seed)
    height = rng.uniform(0, 6, n)
    square = sum(np.meshgrid(*((np.arange(axis) - axis / 2) ** 2 for axis in axes), indexing="ij"))
    stamps = rng.standard_normal((n, 1, *axes)) * 0.3 + height.reshape(-1, 1, *(1,) * len(axes)) * np.exp(-square / 4)
    return stamps.astype(np.float32), np.stack([height, rng.uniform(size=n)], axis=1)


def explained(table, values):
    """Share of the variance of `values` that a linear fit to a feature table explains, on the second half."""
    half = len(values) // 2
    table = np.column_stack([table, np.ones(len(table))])
    fit = np.linalg.lstsq(table[:half], values[:half], rcond=0.01)[0]
    return 1 - np.var(values[half:] - table[half:] @ fit) / np.var(values[half:])


@pytest.mark.parametrize("axes", [(24,), (12, 12), (6, 6, 6)])
def test_features_know_what_objects_differ_in(axes, tmp_path):
    stamps, targets = bumps(160, axes)
    network = train_features(stamps, targets, None, tmp_path, seed=1)
    table = features(network, bumps(100, axes, 1)[0])
    assert table.shape == (100, module.WIDTH) and table.dtype == np.float64
    assert explained(table, bumps(100, axes, 1)[1][:, 0]) > 0.6


def test_units_tails_and_unknown_values_do_not_matter(tmp_path):
    stamps, targets = bumps(60, (12, 12))
    targets[::3, 0] = np.nan
    strange = targets.copy()
    strange[:, 0] = 1e30 * np.exp(strange[:, 0])
    with_constant = np.column_stack([strange, np.full(60, 4.0), np.full(60, np.nan)])
    first, second = (
        train_features(stamps, values, None, tmp_path / str(number), seed=1)
        for number, values in enumerate((targets, with_constant))
    )
    np.testing.assert_array_equal(features(first, stamps), features(second, stamps))


def test_classes_are_learnt_and_random_states_kept(tmp_path):
    stamps, targets = bumps(120, (12, 12))
    labels = (targets[:, 0] > 3).astype(int)
    torch.manual_seed(7), random.seed(7)
    before = torch.get_rng_state(), random.getstate()
    network = train_features(stamps, np.zeros((120, 0)), labels, tmp_path, seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    with torch.inference_mode():
        found = network(torch.from_numpy(stamps)).argmax(1).numpy()
    assert (found == labels).mean() > 0.8
    with pytest.raises(ValueError, match="learn from"):
        train_features(stamps, np.zeros((120, 0)), None, tmp_path, seed=1)
    with pytest.raises(ValueError, match="four"):
        train_features(stamps[:3], targets[:3], None, tmp_path, seed=1)


def test_features_are_what_reaches_the_last_dense_layer_batched_or_not():
    torch.manual_seed(0)
    network = build("C-4.3 GAP D-5 D-2", 2, (1, 8, 8))
    stamps = np.random.default_rng(0).standard_normal((300, 1, 8, 8)).astype(np.float32)
    table = features(network, stamps)
    assert table.shape == (300, 5)
    np.testing.assert_allclose(table[7:8], features(network, stamps[7:8]), rtol=1e-4, atol=1e-6)
    with torch.inference_mode():
        last = network.layers[-1](torch.from_numpy(table).float())
        np.testing.assert_allclose(last, network(torch.from_numpy(stamps)), rtol=1e-4, atol=1e-5)
    holes = stamps.copy()
    holes[0, 0, 0, 0], stamps[0, 0, 0, 0] = np.nan, 0
    np.testing.assert_array_equal(features(network, holes), features(network, stamps))


@pytest.mark.parametrize("axes", [(3,), (512,), (4, 64), (28, 28), (64, 64), (5, 5, 5), (16, 32, 32)])
def test_there_is_a_network_for_every_shape(axes):
    steps = trace(network_line(axes, 7), len(axes), (2, *axes), 7)
    assert sum(step.macs for step in steps) < 5e7
