"""Convolutions along frequency are those of torch, in numbers, in gradients and in the order of numbers in memory."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.nn.convolution import Conv3d
from pipeline.nn.network import build

LAST = torch.channels_last_3d
# kernel, stride, padding, groups, and whether the sky can be taken as one axis
CASES = [
    ((5, 1, 1), (1, 1, 1), (2, 0, 0), 1, True),
    ((6, 1, 1), (2, 1, 1), (2, 0, 0), 1, True),
    ((3, 1, 1), (3, 1, 1), (0, 0, 0), 2, True),
    ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1, False),
    ((1, 3, 3), (1, 1, 1), (0, 1, 1), 1, False),
    ((3, 3, 1), (1, 1, 1), (1, 1, 0), 1, False),
    ((3, 1, 1), (1, 2, 1), (1, 0, 0), 1, False),
    ((3, 1, 1), (1, 1, 1), (1, 1, 1), 1, False),
    ((4, 4, 4), (4, 4, 4), (0, 0, 0), 1, False),
]


@pytest.fixture
def flat(monkeypatch):
    """How often a convolution of images was asked for."""
    calls = []
    plain = functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda *given: calls.append(1) or plain(*given))
    return calls


def _pair(kernel, stride, padding, groups, channel=4):
    torch.manual_seed(0)
    ours = Conv3d(channel, 6, kernel, stride, padding, groups=groups).to(memory_format=LAST).double()
    theirs = nn.Conv3d(channel, 6, kernel, stride, padding, groups=groups).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_numbers_gradients_and_memory_are_those_of_torch(case, n, flat):
    *shape, along = case
    ours, theirs = _pair(*shape)
    x = torch.randn(n, 4, 12, 5, 7, dtype=torch.float64).contiguous(memory_format=LAST)
    with torch.no_grad():
        seen, expected = ours(x), theirs(x)
        assert bool(flat) is along
        torch.testing.assert_close(seen, expected)
        # an axis of length 1 too, by whose stride torch tells the orders apart
        assert not along or seen.stride() == torch.empty(seen.shape, memory_format=LAST).stride()
    gradients = []
    for convolution in (ours, theirs):
        given = x.clone(memory_format=torch.preserve_format).requires_grad_()
        # in place, as the activations of a network are
        functional.leaky_relu_(convolution(given), 0.1).square().sum().backward()
        gradients.append([given.grad, *(parameter.grad for parameter in convolution.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("channel", [1, 4])
@pytest.mark.parametrize("order", [torch.contiguous_format, LAST])
def test_any_order_in_memory_gives_the_same(channel, order):
    ours, theirs = _pair((5, 1, 1), (1, 1, 1), (2, 0, 0), 1, channel)
    x = torch.randn(2, channel, 9, 4, 6, dtype=torch.float64).contiguous(memory_format=order)
    torch.testing.assert_close(ours(x), theirs(x))
    # a view with gaps, and one sample without its axis
    torch.testing.assert_close(ours(x[..., ::2]), theirs(x[..., ::2]))
    torch.testing.assert_close(ours(x[0]), theirs(x[0]))


def test_half_precision_is_that_of_torch_within_its_steps(flat):
    ours, theirs = (part.float() for part in _pair((5, 1, 1), (1, 1, 1), (2, 0, 0), 1))
    x = torch.randn(2, 4, 9, 4, 6).contiguous(memory_format=LAST)
    with torch.autocast("cpu", torch.bfloat16):
        seen, expected = ours(x), theirs(x)
    assert flat and seen.dtype == torch.bfloat16
    torch.testing.assert_close(seen, expected, rtol=2**-6, atol=2**-6)


def test_a_cube_of_one_row_of_channels_is_a_spectrum():
    torch.manual_seed(0)
    cube = build("C-4.3x1x1 R-4.5x1x1+3x1x1 C-2.4x1x1_s2x1x1_p1x0x0", 3, (2, 16, 1, 1)).eval()
    line = build("C-4.3 R-4.5+3 C-2.4_s2_p1", 1, (2, 16)).eval()
    nn.init.normal_(cube.layers[1][0].inner.conv2.weight)
    line.load_state_dict(
        {name: value.reshape(line.state_dict()[name].shape) for name, value in cube.state_dict().items()}
    )
    x = torch.randn(3, 2, 16)
    with torch.no_grad():
        torch.testing.assert_close(cube(x[..., None, None])[..., 0, 0], line(x))


def test_models_of_torchs_own_convolution_can_be_read():
    ours, theirs = _pair((5, 1, 1), (1, 1, 1), (2, 0, 0), 1)
    assert isinstance(ours, nn.Conv3d)
    assert list(ours.state_dict()) == list(theirs.state_dict())
