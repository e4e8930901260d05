"""Laws of encoders and decoders, for one to three axes."""

import pytest
import torch

from pipeline.nn.coders import Decoder, Encoder, halved

AXES = (9, 6, 5)
WIDTHS = (4, 8)


def coders(ndim, **options):
    torch.manual_seed(ndim)
    shape = (2, *AXES[:ndim])
    return Encoder(ndim, shape, WIDTHS, 3, **options), Decoder(ndim, shape, WIDTHS, 3, **options)


def inputs(ndim, n=3):
    generator = torch.Generator().manual_seed(ndim)
    return torch.randn(n, 2, *AXES[:ndim], generator=generator), torch.randn(n, 3, generator=generator)


def test_halved_axes_are_those_of_convolutions():
    assert halved((9, 6, 1), 1) == (5, 3, 1) and halved((9, 6, 5), 2) == (3, 2, 2)
    assert all(halved((n,), 3) == halved(halved(halved((n,), 1), 1), 1) for n in range(1, 40))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("widths", [(4,), (4, 6, 8, 10)])
def test_shapes(ndim, widths):
    shape = (2, *AXES[:ndim])
    x, z = inputs(ndim)
    encoder, decoder = Encoder(ndim, shape, widths, 3), Decoder(ndim, shape, widths, 3)
    assert encoder(x).shape == (3, 3) and decoder(z).shape == x.shape
    assert encoder(x[:0]).shape == (0, 3) and decoder(z[:0]).shape == (0, *shape)
    assert (encoder.input_shape, encoder.outputs) == (decoder.output_shape, decoder.inputs) == (shape, 3)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("norm", ["none", "group"])
def test_a_batch_is_its_samples(ndim, norm):
    for coder, given in zip(coders(ndim, norm=norm), inputs(ndim), strict=True):
        together = coder(given)
        for i in range(len(given)):
            torch.testing.assert_close(coder(given[i : i + 1])[0], together[i])


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_zeros_tell_nothing_and_anything_else_tells(ndim):
    told = torch.eye(3)[:, :2]
    for coder, given in zip(coders(ndim, condition=2), inputs(ndim), strict=True):
        silent = coder(given)
        assert torch.equal(coder(given, torch.zeros(3, 2)), silent)
        moved = (coder(given, told) - silent).abs().flatten(1).amax(1)
        assert moved[0] > 1e-3 and moved[1] > 1e-3 and moved[2] == 0


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("norm", ["none", "group"])
def test_gradients_reach_every_parameter_and_every_input(ndim, norm):
    for coder, given in zip(coders(ndim, norm=norm, condition=2), inputs(ndim), strict=True):
        given.requires_grad_()
        coder(given, torch.ones(3, 2)).square().mean().backward()
        assert given.grad.ne(0).all()
        assert not [name for name, parameter in coder.named_parameters() if not parameter.grad.ne(0).any()]


def test_every_pixel_is_decoded_by_itself():
    _, decoder = coders(2)
    z = torch.randn(1, 3)
    jacobian = torch.func.jacrev(lambda z: decoder(z).flatten())(z).reshape(-1, 3)
    assert torch.linalg.matrix_rank(jacobian) == 3
    assert (torch.pdist(jacobian) > 0).all()


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("norm", ["none", "group"])
def test_the_gradient_of_a_gradient(ndim, norm):
    """What the penalty of a WGAN-GP needs, against differences of first gradients."""
    critic, _ = (coder.double() for coder in coders(ndim, norm=norm))
    x = inputs(ndim)[0].double().requires_grad_()

    def slope():
        return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].square().sum()

    weight = critic.layers[0].conv.weight
    (exact,) = torch.autograd.grad(slope(), weight)
    place, step = (0,) * weight.ndim, 1e-5
    moved = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[place] += sign * step
        moved.append(slope().item())
        with torch.no_grad():
            weight[place] -= sign * step
    assert exact[place].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-4, abs=1e-8)


def test_an_autoencoder_learns_a_line_of_images():
    encoder, decoder = coders(2)
    torch.manual_seed(0)
    images = torch.randn(32, 1, 1, 1) * torch.randn(2, 9, 6)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        loss = (decoder(encoder(images)) - images).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.1 * images.var()


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="none, group"):
        Encoder(2, (1, 8, 8), (4,), 2, norm="batch")
