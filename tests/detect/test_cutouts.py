"""Cutouts are the frame's pixels around each position, in any number of axes and any batch."""

import numpy as np
import pytest

from pipeline.detect.cutouts import cutouts


@pytest.mark.parametrize("shape", [(40,), (20, 30), (9, 12, 15)])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_they_are_what_lies_there_and_nothing_beyond_the_edges(shape, batch):
    frame = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    size = (6, 4, 5)[: len(shape)]
    random = np.random.default_rng(0)
    lower = np.stack([random.integers(1 - side, last, 17) for side, last in zip(size, shape, strict=True)], axis=1)
    padded = np.pad(frame, [(8, 8)] * len(shape))
    seen, first = [], []
    for rows, pixels in cutouts(lambda part: frame[part], shape, lower, size, batch):
        assert pixels.shape == (len(rows), *size)
        assert len(rows) <= batch
        seen.extend(rows)
        for row, cut in zip(rows, pixels, strict=True):
            where = tuple(slice(low + 8, low + 8 + side) for low, side in zip(lower[row], size, strict=True))
            np.testing.assert_array_equal(cut, padded[where])
            first.append(lower[row][0])
    assert sorted(seen) == list(range(17))
    assert first == sorted(first)


def test_no_positions_are_no_batches():
    assert list(cutouts(lambda part: None, (5, 5), np.zeros((0, 2), int), (3, 3), 4)) == []
