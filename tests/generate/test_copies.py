"""Copies are found however they are turned, and new stamps are not taken for copies."""

import numpy as np
import pytest

from pipeline.generate.copies import copying, nearest_distance


def stamps(n, *shape, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 6, 9), (2, 40), (1, 5, 6, 6)])
def test_the_distance_is_that_of_a_plain_search(shape):
    training, seen = stamps(30, *shape), stamps(7, *shape, seed=1)
    views = [seen]
    if len(shape) > 2:
        turns = range(4) if shape[-1] == shape[-2] else (0, 2)
        views = [np.rot90(view, turn, (-2, -1)) for view in (seen, seen[..., ::-1]) for turn in turns]
    plain = np.min([[np.linalg.norm((v - t).ravel()) for t in training] for view in views for v in view], axis=1)
    expected = plain.reshape(len(views), len(seen)).min(axis=0)
    np.testing.assert_allclose(nearest_distance(seen, training), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 48, 48), (1, 3000), (1, 12, 12, 12)])
def test_a_turned_copy_is_found_at_no_distance(shape):
    training = stamps(40, *shape)
    copies = training[[3, 17]]
    if len(shape) > 2:
        copies = np.rot90(copies, 1, (-2, -1))[..., ::-1]
    new = stamps(2, *shape, seed=5)
    distance = nearest_distance(np.concatenate([copies, new]), training)
    np.testing.assert_allclose(distance[:2], 0, atol=1e-5)
    assert (distance[2:] > 0.8 * np.sqrt(2 * np.prod(shape))).all()


def test_copying_tells_a_few_copies_from_none():
    rng = np.random.default_rng(2)
    held, new = rng.normal(6, 0.5, (2, 1000))
    found = copying(new, held)
    assert found["ratio"] == pytest.approx(1, abs=0.02)
    assert found["copies"] == pytest.approx(0.01, abs=0.01)
    new[:100] = 0.01
    found = copying(new, held)
    assert found["ratio"] > 0.97  # the median does not see one in ten
    assert found["copies"] == pytest.approx(0.11, abs=0.01)
    assert copying(0.1 * held, held)["ratio"] == pytest.approx(0.1)
