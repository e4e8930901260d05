"""Objects: taken together, and as boxes."""

from dataclasses import fields

import numpy as np
import pytest

from pipeline.detect.objects import Objects


def objects(ndim, count=7):
    random = np.random.default_rng(ndim)
    return Objects(
        centre=random.uniform(-1, 9, (count, ndim)),
        size=random.uniform(0, 4, (count, ndim)),
        values=random.normal(0, 1, (count, 2)),
        label=random.integers(-1, 3, count),
        snr=random.uniform(2, 9, count),
        row=np.arange(count),
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_box_has_its_centre_and_its_sides(ndim):
    some = objects(ndim)
    boxes = some.boxes()
    assert boxes.shape == (7, 2, ndim)
    np.testing.assert_allclose(boxes.mean(1), some.centre)
    np.testing.assert_allclose(boxes[:, 1] - boxes[:, 0], some.size)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_mask_and_its_indices_take_the_same(ndim):
    some = objects(ndim)
    mask = some.snr > 5
    one, other = some.take(mask), some.take(np.flatnonzero(mask))
    assert len(one) == mask.sum() > 0
    for part in fields(Objects):
        np.testing.assert_array_equal(getattr(one, part.name), getattr(other, part.name))
        np.testing.assert_array_equal(getattr(one, part.name), getattr(some, part.name)[mask])
    assert len(some.take(np.zeros(0, int))) == 0
