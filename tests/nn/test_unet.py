"""Laws of the U-Net, for one to three axes."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.nn.unet import Embedding, SelfAttention, UNet, group_norm

LINE = "unet-8.12_p2_r1_a1_c3"
AXES = (7, 6, 5)


def stirred(net):
    """The network with no weight left at the zero it starts from."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def unet(ndim, line=LINE, channel=2, outputs=3):
    torch.manual_seed(0)
    return stirred(UNet(line, ndim, (channel, *AXES[:ndim]), outputs))


def inputs(ndim, n=3, channel=2, condition=3):
    generator = torch.Generator().manual_seed(ndim)
    x = torch.randn(n, channel, *AXES[:ndim], generator=generator)
    return x, torch.randn(n, generator=generator), torch.randn(n, condition, generator=generator)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("line", [LINE, "unet-4_p1_r2_a0_c3", "unet-4.6.8.10_p3_a4_c3"])
def test_shape_also_of_other_axes_than_it_was_made_for(ndim, line):
    net = unet(ndim, line)
    assert (net.line, net.ndim, net.input_shape, net.outputs) == (line, ndim, (2, *AXES[:ndim]), 3)
    with torch.no_grad():
        for axes in (AXES, (8, 8, 4), (1, 1, 1)):
            _, t, told = inputs(ndim)
            assert net(torch.zeros(3, 2, *axes[:ndim]), t, told).shape == (3, 3, *axes[:ndim])
        assert net(torch.zeros(0, 2, *AXES[:ndim]), t[:0], told[:0]).shape == (0, 3, *AXES[:ndim])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_batch_is_its_samples(ndim):
    net, (x, t, told) = unet(ndim), inputs(ndim)
    with torch.no_grad():
        together = net(x, t, told)
        for i in range(len(x)):
            torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1], told[i : i + 1])[0], together[i])
        # one time for all samples is that time for each
        torch.testing.assert_close(net(x, t[0], told), net(x, t[:1].repeat(3), told))
    assert together.std() > 0.01


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_zeros_tell_nothing_and_anything_else_tells(ndim):
    net, (x, t, told) = unet(ndim), inputs(ndim)
    with torch.no_grad():
        silent = net(x, t)
        assert torch.equal(net(x, t, torch.zeros_like(told)), silent)
        for column in range(3):
            only = torch.zeros_like(told)
            only[:, column] = 1
            assert (net(x, t, only) - silent).abs().max() > 1e-3
        later = net(x, t + 0.1, None)
    assert (later - silent).abs().flatten(1).amax(1).min() > 1e-3


def test_a_network_that_is_told_nothing_takes_an_empty_condition():
    net, (x, t, _) = unet(2, "unet-4.8_p2"), inputs(2)
    assert torch.equal(net(x, t, torch.zeros(3, 0)), net(x, t))
    assert net.condition == 0


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients_reach_every_parameter_and_every_pixel(ndim):
    net, (x, t, told) = unet(ndim, "unet-8.12.16_p2_r2_a2_c3"), inputs(ndim)
    x.requires_grad_()
    net(x, t, told).square().mean().backward()
    assert x.grad.ne(0).all()
    assert not [name for name, parameter in net.named_parameters() if not parameter.grad.ne(0).any()]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_it_starts_as_zero_and_its_blocks_as_their_skip_connections(ndim):
    torch.manual_seed(0)
    net, (x, t, told) = UNet(LINE, ndim, (2, *AXES[:ndim]), 3), inputs(ndim)
    assert not net(x, t, told).any()
    inside = torch.randn(3, 12, *AXES[:ndim])
    with torch.no_grad():
        torch.testing.assert_close(net.middle(inside, torch.randn(3, 32)), inside)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own, on first use
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_derivative_in_the_forward_direction_and_its_gradient(ndim):
    """What the mean velocity of one-step models needs: d/dt along a path, and gradients beside it."""
    net = unet(ndim, outputs=2).double()
    x, t, told = (value.double() for value in inputs(ndim))
    direction, step = torch.randn_like(x), 1e-5

    def along(x, t):
        return net(x, t, told)

    value, slope = torch.func.jvp(along, (x, t), (direction, torch.ones_like(t)))
    ahead, behind = (along(x + sign * step * direction, t + sign * step) for sign in (1, -1))
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6)
    (value - slope.detach()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_it_learns_what_it_is_told():
    torch.manual_seed(0)
    net = UNet("unet-8.8_p2_a0_c1", 2, (1, 4, 4), 1)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(100):
        # new samples each step, so that nothing can be learnt by heart
        told, x, t = torch.randn(64, 1), torch.randn(64, 1, 4, 4), torch.rand(64)
        target = (told + t[:, None])[:, :, None, None].expand_as(x)
        optimiser.zero_grad()
        loss = (net(x, t, told) - target).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.1 * target.var()


def test_attention_sees_all_positions_and_knows_no_order():
    torch.manual_seed(0)
    attention = stirred(SelfAttention(64))
    assert attention.heads == 2
    x, order = torch.randn(2, 64, 9), torch.randperm(9)
    with torch.no_grad():
        out = attention(x)
        torch.testing.assert_close(attention(x[..., order]), out[..., order])
        torch.testing.assert_close(attention(x.reshape(2, 64, 3, 3)).flatten(2), out)
        x[..., 4] += 1
        moved = (attention(x) - out).abs().amax(1)
    assert moved.min() > 1e-6


def test_times_of_every_range_are_told_apart():
    """Distances of embeddings grow with the distance of times, over log noise from -7 to 5 as over 0 to 1."""
    waves = []
    embedding = Embedding(8, 0)
    embedding.time.register_forward_pre_hook(lambda _, given: waves.append(given[0]))
    t = torch.linspace(-7, 5, 601)
    embedding(t, None)
    distance = torch.cdist(waves[0], waves[0])
    apart = (t[:, None] - t).abs()
    assert distance[apart > 0.5].min() > distance[(apart > 0) & (apart < 0.025)].max()


@pytest.mark.parametrize("channel, groups", [(1, 1), (3, 1), (8, 2), (12, 3), (33, 3), (48, 8), (128, 8)])
def test_groups_divide_their_channels(channel, groups):
    assert group_norm(channel).num_groups == groups
    assert group_norm(channel)(torch.randn(2, channel, 3)).isfinite().all()


def test_a_wrong_line_is_refused():
    with pytest.raises(UserError, match="answers again"):
        UNet("unet-8_p1_p2", 2, (1, 4, 4), 1)
