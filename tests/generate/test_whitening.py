import pytest
import torch

from pipeline.generate.diffusion import build_whitened
from pipeline.generate.whitening import Whitening

SHAPES = [((4,), (2, 30)), ((2, 4), (3, 16, 15)), ((2, 2, 1), (1, 5, 6, 4))]


def samples(n, shape):
    """Smooth along the first axis, brighter towards its end, with a mean."""
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1)).cumsum(2)
    return x + torch.linspace(1, 9, shape[1]).view(-1, *(1,) * (len(shape) - 2))


def nothing(n):
    return torch.zeros(n, 0)


@pytest.mark.parametrize(("factor", "shape"), SHAPES)
@pytest.mark.parametrize("width", [0, 2])
def test_the_inverse_undoes_it(factor, shape, width):
    whitening, x = Whitening(factor, shape, width), samples(50, shape)
    told = torch.stack([x[:, 0].flatten(1).mean(1), torch.ones(50)], 1)[:, :width]
    torch.testing.assert_close(whitening.inverse(whitening(x, told), told), x)
    whitening.fit(x, told)
    torch.testing.assert_close(whitening.inverse(whitening(x, told), told), x, rtol=1e-4, atol=1e-3)


def test_numbers_have_unit_variance_at_every_place_and_are_not_correlated_in_a_cell():
    x = torch.randn(4000, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    x = 3 + x + 2 * x.mean((2, 3), keepdim=True)
    whitening = Whitening((2, 2), (1, 6, 6), 0)
    whitening.fit(x, nothing(4000))
    y = whitening(x, nothing(4000))
    assert y.shape == (4000, *whitening.shape) == (4000, 4, 3, 3)
    torch.testing.assert_close(y.mean(0), torch.zeros(4, 3, 3), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.square().mean(0), torch.ones(4, 3, 3), rtol=0, atol=1e-3)
    flat = y.movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(flat.T @ flat / len(flat), torch.eye(4), rtol=0, atol=0.03)


def test_mean_and_variance_are_those_of_what_is_told():
    """Pixels of mean c and a standard deviation of exp(c / 2), told c."""
    generator = torch.Generator().manual_seed(3)
    value = torch.randn(8000, generator=generator)
    x = value[:, None, None] + (value / 2).exp()[:, None, None] * torch.randn(8000, 1, 6, generator=generator)
    told = torch.stack([value, torch.ones(8000)], 1)
    whitening = Whitening((3,), (1, 6), 2)
    whitening.fit(x, told)
    y = whitening(x, told)
    for chosen in (value < -0.7, value.abs() < 0.3, value > 0.7):
        torch.testing.assert_close(y[chosen].mean(0), torch.zeros(3, 2), rtol=0, atol=0.1)
        torch.testing.assert_close(y[chosen].std(0), torch.ones(3, 2), rtol=0.15, atol=0)
    asked = torch.tensor([[-1.0, 1.0], [1.0, 1.0]])
    low, high = whitening.inverse(torch.ones(2, 3, 2), asked) - whitening.inverse(torch.zeros(2, 3, 2), asked)
    assert float(high.norm() / low.norm()) == pytest.approx(torch.e, rel=0.1)


def test_a_pixel_that_never_varies_stays_finite():
    x = samples(20, (1, 8))
    x[:, :, :4] = 7.0
    whitening = Whitening((4,), (1, 8), 0)
    whitening.fit(x, nothing(20))
    y = whitening(x, nothing(20))
    assert y.isfinite().all()
    torch.testing.assert_close(whitening.inverse(y, nothing(20)), x, rtol=1e-4, atol=1e-4)


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
