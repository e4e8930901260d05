"""What the network sees of a frame."""

import pytest
import torch

from pipeline.detect.inputs import input_channels, network_input
from pipeline.detect.symmetry import symmetries

SHAPES = {1: (9,), 2: (5, 6), 3: (3, 4, 5)}
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("count", [0, 3])
def test_the_responses_come_first_and_the_conditions_are_everywhere(ndim, count):
    snr = torch.randn(2, *SHAPES[ndim]) * 20
    told = torch.randn(2, count)
    seen = network_input(snr, told)
    assert seen.shape == (2, input_channels(count), *SHAPES[ndim])
    torch.testing.assert_close(seen[:, 0], torch.asinh(snr) / 2)
    torch.testing.assert_close(seen[:, 1], torch.tanh(snr / 5))
    torch.testing.assert_close(seen[:, 2], torch.asinh(snr / 50))
    for at in range(count):
        assert (seen[:, input_channels(0) + at].flatten(1) == told[:, at, None]).all()


@pytest.mark.parametrize("count", [0, 3])
def test_a_cube_has_one_response_and_the_conditions_everywhere(count):
    snr, told = torch.randn(2, *SHAPES[3]) * 20, torch.randn(2, count)
    seen = network_input(snr, told)
    assert seen.shape == (2, input_channels(count, 3), *SHAPES[3]) == (2, 1 + count, *SHAPES[3])
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(seen[:, 0], 3 * torch.tanh(snr / 6) + snr / 20)
    torch.testing.assert_close(seen[:, 1:], told[..., None, None, None].expand(2, count, *SHAPES[3]))


@ndims
def test_the_responses_are_odd_rising_and_finite(ndim):
    snr = torch.linspace(-1e6, 1e6, 10001).reshape(1, *[1] * (ndim - 1), -1)
    seen, mirrored = (network_input(part, torch.zeros(1, 0)) for part in (snr, -snr))
    torch.testing.assert_close(mirrored, -seen)
    assert torch.isfinite(seen).all()
    assert (seen.diff(dim=-1) >= 0).all()


@ndims
def test_a_turned_frame_is_seen_turned(ndim):
    snr, told = torch.randn(1, *SHAPES[ndim]), torch.randn(1, 2)
    for turn in symmetries(ndim):
        assert torch.equal(network_input(turn.image(snr), told), turn.image(network_input(snr, told)))
