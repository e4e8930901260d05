import pytest
import torch

from pipeline.generate.convert import Level, convert, noised, predicted

KINDS = ("x0", "eps", "v", "score", "velocity")
LEVELS = {
    "variance preserving": Level(0.6, 0.8, -0.8, 0.6),
    "variance exploding": Level(1.0, 5.0, 0.0, 1.0),
    "straight": Level(0.3, 0.7, 1.0, -1.0),
    "one each": Level(*torch.tensor([[0.9, 0.2], [0.1, 1.3], [-0.3, -2.0], [0.8, 0.1]])),
    "far": Level(1e-4, 1.0, -1.0, 1e-4),
    "near": Level(1.0, 1e-3, -1e-3, 1.0),
}


@pytest.fixture(params=LEVELS)
def level(request):
    return LEVELS[request.param]


@pytest.fixture
def clean():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64).unbind(0)


@pytest.mark.parametrize("given", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_all_kinds_say_the_same(given, wanted, level, clean):
    x0, eps = clean
    x = noised(x0, eps, level)
    found = convert(predicted(given, x0, eps, level), x, level, given, wanted)
    torch.testing.assert_close(found, predicted(wanted, x0, eps, level), rtol=1e-7, atol=1e-7)


def test_definitions(clean):
    x0, eps = clean
    level = LEVELS["variance preserving"]
    assert torch.equal(predicted("x0", x0, eps, level), x0) and torch.equal(predicted("eps", x0, eps, level), eps)
    torch.testing.assert_close(predicted("v", x0, eps, level), 0.6 * eps - 0.8 * x0)
    torch.testing.assert_close(predicted("score", x0, eps, level), -eps / 0.8)
    # v is the velocity of the variance preserving path in its angle
    torch.testing.assert_close(predicted("v", x0, eps, level), predicted("velocity", x0, eps, level))


def test_the_score_is_the_gradient_of_the_density():
    mean, variance = 1.5, 0.4
    alpha, sigma = 0.7, 0.9
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).view(7, 1, 1).requires_grad_()
    total = alpha**2 * variance + sigma**2
    (score,) = torch.autograd.grad((-((x - alpha * mean) ** 2) / (2 * total)).sum(), x)
    x = x.detach()
    clean = mean + alpha * variance / total * (x - alpha * mean)  # the mean of x0 at x, by Bayes
    torch.testing.assert_close(convert(clean, x, Level(alpha, sigma), "x0", "score"), score)


def test_the_velocity_is_the_derivative_of_the_path(clean):
    x0, eps = clean
    angle, step = 0.4, 1e-6
    angles = torch.tensor([angle - step, angle + step], dtype=torch.float64)
    before, after = (noised(x0, eps, Level(a.cos(), a.sin())) for a in angles)
    middle = Level(0.921060994, 0.389418342, -0.389418342, 0.921060994)  # cos and sin of 0.4
    torch.testing.assert_close(predicted("velocity", x0, eps, middle), (after - before) / (2 * step))


def test_each_sample_has_its_own_level(clean):
    x0, eps = clean
    level = LEVELS["one each"]
    x = noised(x0, eps, level)
    v = predicted("v", x0, eps, level)
    for i in range(2):
        own = Level(float(level.alpha[i]), float(level.sigma[i]))
        row = slice(i, i + 1)
        torch.testing.assert_close(x[row], noised(x0[row], eps[row], own))
        torch.testing.assert_close(convert(v, x, level, "v", "x0")[row], convert(v[row], x[row], own, "v", "x0"))


def test_the_same_kind_is_left_as_it_is(level, clean):
    value, x = (part.float() for part in clean)
    for kind in KINDS:
        assert torch.equal(convert(value, x, level, kind, kind), value)


def test_a_velocity_needs_rates(clean):
    with pytest.raises(ValueError, match="alpha_rate"):
        convert(*clean, Level(0.6, 0.8), "eps", "velocity")
