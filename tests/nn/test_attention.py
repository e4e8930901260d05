"""The sine-cosine position embedding."""

import numpy as np
import pytest
import torch

from pipeline.nn.attention import sincos

SHAPES = [(6,), (5, 6), (3, 4, 5)]


@pytest.mark.parametrize("axes", SHAPES)
def test_every_position_has_its_own_embedding(axes):
    table = sincos(6 * len(axes), axes).flatten(1).T
    distance = torch.cdist(table, table) + torch.eye(len(table)) * 10
    assert distance.min() > 0.01


@pytest.mark.parametrize("axes", SHAPES)
def test_closed_form_and_unused_channels(axes):
    ndim = len(axes)
    channel = 4 * ndim + 1
    table = sincos(channel, axes).numpy()
    for axis, position in enumerate(np.indices(axes)):
        share = table[4 * axis : 4 * axis + 4]
        waves = [position, position / 100]
        expected = np.stack([np.sin(waves[0]), np.sin(waves[1]), np.cos(waves[0]), np.cos(waves[1])])
        np.testing.assert_allclose(share, expected, atol=1e-6)
    assert not table[-1].any()


def test_a_larger_table_begins_with_the_smaller_one():
    assert torch.equal(sincos(8, (9, 7))[:, :4, :5], sincos(8, (4, 5)))
