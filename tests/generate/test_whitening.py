import pytest
import torch

from pipeline.generate.diffusion import build_whitened
from pipeline.generate.whitening import Whitening

SHAPES = [((4,), (2, 30)), ((2, 4), (3, 16, 15)), ((2, 2, 1), (1, 5, 6, 4))]


def samples(n, shape):
    """Smooth along the first axis, brighter towards its end, with a mean."""
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1)).cumsum(2)
    return x + torch.linspace(1, 9, shape[1]).view(-1, *(1,) * (len(shape) - 2))


@pytest.mark.parametrize(("factor", "shape"), SHAPES)
def test_the_inverse_undoes_it(factor, shape):
    whitening, x = Whitening(factor, shape), samples(50, shape)
    torch.testing.assert_close(whitening.inverse(whitening(x)), x)
    whitening.fit(x)
    torch.testing.assert_close(whitening.inverse(whitening(x)), x, rtol=1e-4, atol=1e-4)


def test_numbers_have_unit_variance_at_every_place_and_are_not_correlated_in_a_cell():
    x = torch.randn(4000, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    x = 3 + x + 2 * x.mean((2, 3), keepdim=True)
    whitening = Whitening((2, 2), (1, 6, 6))
    whitening.fit(x)
    y = whitening(x)
    assert y.shape == (4000, *whitening.shape) == (4000, 4, 3, 3)
    torch.testing.assert_close(y.mean(0), torch.zeros(4, 3, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.square().mean(0), torch.ones(4, 3, 3), rtol=0, atol=1e-3)
    flat = y.movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(flat.T @ flat / len(flat), torch.eye(4), rtol=0, atol=0.03)


def test_a_pixel_that_never_varies_stays_finite():
    x = samples(20, (1, 8))
    x[:, :, :4] = 7.0
    whitening = Whitening((4,), (1, 8))
    whitening.fit(x)
    assert whitening(x).isfinite().all()
    torch.testing.assert_close(whitening.inverse(whitening(x)), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("line", "shape"), [("unet-8.8_p4", (2, 30)), ("unet-8.8_p2x4_a0", (3, 16, 15))])
def test_the_network_answers_in_whitened_cells_and_sees_where_they_are(line, shape):
    network = build_whitened(line, len(shape) - 1, shape, 5, 3)
    assert (network.line, network.input_shape, network.outputs) == (line, shape, shape[0])
    torch.nn.init.normal_(network.network.last.weight)
    y = torch.zeros(2, *network.whitening.shape)
    found = network(y, torch.zeros(2), torch.zeros(2, 5))
    assert found.shape == y.shape
    assert found[0].flatten(1).std(1).min() > 0
    network.places.zero_()
    assert not torch.equal(network(y, torch.zeros(2), torch.zeros(2, 5)), found)
