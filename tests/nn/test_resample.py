"""Pixels into channels and back, for one to three axes."""

import pytest
import torch
from torch.nn import functional

from pipeline.nn.resample import double, pixel_shuffle, pixel_unshuffle

CASES = [((6,), (2,)), ((7,), (3,)), ((4, 6), (2, 2)), ((5, 7), (2, 3)), ((1, 1), (2, 2)), ((3, 4, 5), (1, 2, 2))]


@pytest.mark.parametrize("axes, factor", CASES)
def test_shuffling_undoes_unshuffling(axes, factor):
    x = torch.randn(2, 3, *axes)
    cells = pixel_unshuffle(x, factor)
    assert cells.shape[2:] == tuple(-(-length // k) for length, k in zip(axes, factor, strict=True))
    assert torch.equal(pixel_shuffle(cells, factor, axes), x)
    # what fills odd axes up is zero, and nothing is lost
    torch.testing.assert_close(cells.square().sum(), x.square().sum())


def test_channels_are_in_the_order_of_torch():
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(pixel_unshuffle(x, (2, 2)), functional.pixel_unshuffle(x, 2))
    x = torch.randn(2, 8, 4, 6)
    assert torch.equal(pixel_shuffle(x, (2, 2), (8, 12)), functional.pixel_shuffle(x, 2))


def test_a_cell_holds_neighbours():
    x = torch.arange(24.0).reshape(1, 1, 2, 3, 4)
    cells = pixel_unshuffle(x, (2, 1, 2))
    assert cells.shape == (1, 4, 1, 3, 2)
    assert cells[0, :, 0, 1, 1].tolist() == [x[0, 0, f, 1, s] for f in (0, 1) for s in (2, 3)]


def test_unshuffled_channels_are_neighbours_in_memory():
    cells = pixel_unshuffle(torch.randn(2, 1, 8, 8), (2, 2))
    assert cells.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("axes", [(5,), (4, 5), (1, 2, 3)])
def test_doubling_repeats_pixels_and_cuts(axes):
    x = torch.randn(2, 3, *(-(-length // 2) for length in axes))
    found = double(x, axes)
    assert found.shape == (2, 3, *axes)
    index = [torch.arange(length) // 2 for length in axes]
    assert torch.equal(found, x[(slice(None), slice(None), *torch.meshgrid(*index, indexing="ij"))])
