"""Laws of the batches: every sample once, the same for every way of reading, evenly shared and balanced."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.data import batches as module
from pipeline.data.augment_settings import AugmentSettings
from pipeline.data.batches import Batches
from pipeline.data.normalise import Normaliser
from pipeline.data.order import balance_weights, draw, local_shuffle
from pipeline.data.store import Dataset, open_store, write_store
from pipeline.errors import UserError

AXES = {1: (20,), 2: (6, 6), 3: (3, 4, 4)}
SPECS = [{"standardise": {"per": "set"}}, {"tanh": 1.5}, "mask"]


def samples(ndim, n=53):
    rng = np.random.default_rng(ndim)
    x = rng.normal(5, 2, (n, 2, *AXES[ndim])).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, np.arange(n)


def stored(path, x):
    names = [str(i) for i in range(len(x))]
    write_store(path, Dataset(x, np.zeros(len(x)), names, names, ["train"] * len(x), ["a"]))
    return open_store(path)


def epochs(batches, count=2, **share):
    return [tuple(torch.cat(column) for column in zip(*batches.epoch(i, **share), strict=True)) for i in range(count)]


def same(one, other):
    return all(torch.equal(a, b) for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_every_sample_once_with_its_own_truth(ndim):
    x, y = samples(ndim)
    normaliser = Normaliser.fit(SPECS, [x])
    batches = Batches(x, y, 8, seed=1, normaliser=normaliser)
    assert len(batches) == len(list(batches.epoch(0))) == 7
    assert [len(part) for part, _ in batches.epoch(0)] == [8] * 6 + [5]
    (first, truth), (_, other) = epochs(batches)
    assert sorted(truth.tolist()) == y.tolist()
    assert truth.tolist() != y.tolist()
    assert truth.tolist() != other.tolist()
    assert torch.equal(first, torch.from_numpy(normaliser.apply(x))[truth])
    assert first.dtype == torch.float32
    assert first.shape[1:] == batches.shape


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_memory_budget_and_batch_order_do_not_change_anything(ndim):
    x, y = samples(ndim)
    options = {"normaliser": Normaliser.fit(SPECS, [x]), "augment": AugmentSettings(flip=True, noise=0.1)}
    assert same(*(epochs(Batches(x, y, 8, 1, memory=memory, **options)) for memory in (2**30, 0)))
    assert not same(*(epochs(Batches(x, y, 8, seed, **options)) for seed in (1, 2)))
    later = list(Batches(x, y, 8, 1, **options).epoch(1))
    assert same(later, list(Batches(x, y, 8, 1, **options).epoch(1)))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 16 << 10, 1 << 30])
def test_a_store_is_the_same_streamed_or_loaded(tmp_path, monkeypatch, ndim, window):
    monkeypatch.setattr(module, "_WINDOW_BYTES", window)
    monkeypatch.setattr("pipeline.data.store._CHUNK_BYTES", 2 << 10)
    x, _ = samples(ndim, n=200)
    rows = np.random.default_rng(0).permutation(200)[:150]
    normaliser = Normaliser.fit(SPECS, [x])
    with stored(tmp_path / "a.h5", x) as store:
        assert store.chunk < 20
        results = [
            epochs(Batches(store, rows, 16, 1, indices=rows, normaliser=normaliser, memory=memory))
            for memory in (2**30, 0)
        ]
        in_order = epochs(Batches(store, rows, 16, 1, indices=rows, normaliser=normaliser, memory=0, shuffle=False), 1)
    assert same(*results)
    for batch, truth in results[0]:
        assert sorted(truth.tolist()) == sorted(rows.tolist())
        assert torch.equal(batch, torch.from_numpy(normaliser.apply(x[truth.numpy()])))
    assert in_order[0][1].tolist() == rows.tolist()


def test_a_reader_that_stops_early_leaves_nothing_behind(tmp_path):
    x, y = samples(2, n=200)
    with stored(tmp_path / "a.h5", x) as store:
        running = Batches(store, y, 8, 1, memory=0).epoch(0)
        next(running)
        running.close()
        assert len(epochs(Batches(store, y, 8, 1, memory=0), 1)[0][1]) == 200


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batch_of_one(ndim, world):
    x, y = samples(ndim, n=54)
    batches = Batches(x, y, 12, 1, augment=AugmentSettings(flip=True, shift=1, noise=0.1))
    shares = [list(batches.epoch(0, rank, world)) for rank in range(world)]
    for number, (whole, truth) in enumerate(batches.epoch(0)):
        for rank in range(world):
            torch.testing.assert_close(shares[rank][number][0], whole[rank::world], rtol=0, atol=1e-6)
            assert torch.equal(shares[rank][number][1], truth[rank::world])


def test_the_shares_of_all_processes_are_the_batch():
    x, y = samples(1, n=13)
    augment = AugmentSettings(shift=1, noise=0.1)
    shares = [list(Batches(x, y, 6, 1, augment=augment).epoch(0, rank, 4)) for rank in range(4)]
    assert [[len(part) for part, _ in share] for share in shares] == [[2, 2, 1], [2, 2, 0], [1, 1, 0], [1, 1, 0]]


def test_rebalanced_classes_are_drawn_equally_often():
    labels = np.repeat([0, 1, 2, -1], [90, 9, 3, 10])
    batches = Batches(np.zeros((112, 1, 4)), labels, 16, 1, rebalance=balance_weights(labels))
    for _, truth in epochs(batches, 4):
        counts = np.bincount(truth.numpy(), minlength=3)
        assert counts.sum() == 112
        assert counts.min() >= 36
    rows = Batches(np.zeros((112, 1, 4)), np.arange(112), 16, 1, rebalance=balance_weights(labels))
    seen = np.unique(torch.cat([truth for _, truth in epochs(rows, 8)]).numpy())
    assert seen.max() == 101
    assert len(seen) > 95


def test_draws_follow_their_weights():
    rng = np.random.default_rng(0)
    weights = rng.random(200)
    weights[:5] = 0
    expected = 200 * weights / weights.sum()
    total = np.zeros(200)
    for _ in range(200):
        count = np.bincount(draw(weights, rng), minlength=200)
        assert (count >= np.floor(expected) - 1e-9).all()
        assert (count <= np.ceil(expected) + 1e-9).all()
        total += count
    np.testing.assert_allclose(total / 200, expected, atol=0.25)


def test_weights_of_several_labels_go_by_the_rarest():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    np.testing.assert_allclose(balance_weights(labels), np.array([1 / 3, 1 / 3, 1, 1]) / (8 / 3))


def test_local_shuffle_keeps_chunks_near_and_loses_nothing():
    chosen = np.arange(1000)
    result = local_shuffle(chosen, chosen // 10, 100, np.random.default_rng(0))
    assert sorted(result) == chosen.tolist()
    assert all(len(np.unique(result[start : start + 100] // 10)) == 10 for start in range(0, 1000, 100))
    assert (result != chosen).mean() > 0.9


@pytest.mark.parametrize(
    ("y", "dtype"),
    [
        (np.arange(6, dtype=np.int16), torch.int64),
        (np.ones((6, 3), dtype=np.uint8), torch.float32),
        (np.linspace(0, 1, 6), torch.float32),
    ],
)
def test_types_of_truths(y, dtype):
    ((_, truth),) = Batches(np.zeros((6, 1, 4)), y, 6, 1).epoch(0)
    assert truth.dtype == dtype
    assert truth.shape == y.shape


def test_without_truths_and_without_shuffling():
    x, _ = samples(2)
    ((result,),) = Batches(x, None, 100, 1, shuffle=False).epoch(0)
    np.testing.assert_array_equal(result.numpy(), np.nan_to_num(x))


def test_wrong_calls():
    x, y = samples(1)
    with pytest.raises(ValueError, match="truths"):
        Batches(x, y[1:], 8, 1)
    with pytest.raises(ValueError, match="weights"):
        Batches(x, y, 8, 1, rebalance=np.ones(3))
    with pytest.raises(ValueError, match="at least one"):
        Batches(x[:0], y[:0], 8, 1)
    with pytest.raises(UserError, match="rotate"):
        Batches(x, y, 8, 1, augment=AugmentSettings(rotate=90))


def test_settings_and_store_need_no_torch():
    rooms = ("store", "normalise", "normalise_settings", "splits", "augment_settings", "order")
    program = "import sys;" + "".join(f"import pipeline.data.{room};" for room in rooms)
    subprocess.run([sys.executable, "-c", program + "assert 'torch' not in sys.modules"], check=True)
