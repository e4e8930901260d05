import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline.generate.gan import GAN, WGANGP, AdversarialModule, critic_gradient
from pipeline.generate.gan_settings import GANSettings, WGANGPSettings
from pipeline.learn.average import WeightAverage
from pipeline.learn.settings import TrainSettings

SMALL = {"widths": (6, 8), "latent": 4}
METHODS = [
    GAN(GANSettings(**SMALL)),
    GAN(GANSettings(**SMALL, loss="min_max", penalty=0.0)),
    WGANGP(WGANGPSettings(**SMALL, critic_steps=1)),
]
each = pytest.mark.parametrize("method", METHODS, ids=["gan", "min_max", "wgan_gp"])


@pytest.fixture(autouse=True)
def seeded():
    """The same fresh weights in whatever order the tests run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Told(nn.Module):
    """A small network of flat samples, in place of the coders."""

    def __init__(self, inputs, outputs, shape=(), hidden=0):
        super().__init__()
        self.shape = shape
        layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs)] if hidden else None
        self.net = nn.Sequential(*layers) if layers else nn.Linear(inputs, outputs, bias=False)

    def forward(self, x, condition):
        y = self.net(torch.cat([x.flatten(1), condition], 1))
        return y.unflatten(1, self.shape) if self.shape else y


def linear_critic(slope):
    module = AdversarialModule("x", (1, 3), Told(4, 3, (1, 3)), Told(3, 1), 0.0)
    with torch.no_grad():
        module.critic.net.weight.copy_(torch.tensor([slope]))
    return module


def test_the_gradient_of_a_linear_critic_is_its_weight():
    x = torch.randn((5, 1, 3), generator=torch.Generator().manual_seed(0))
    judged, square = critic_gradient(linear_critic([2.0, -1.0, 2.0]), x, torch.zeros(5, 0))
    assert square.tolist() == pytest.approx([9.0] * 5)
    assert judged[:, 0].tolist() == pytest.approx((x[:, 0] @ torch.tensor([2.0, -1.0, 2.0])).tolist(), abs=1e-5)


def test_the_losses_of_a_linear_critic_are_those_of_the_papers():
    module, empty = linear_critic([2.0, -1.0, 2.0]), torch.zeros(6, 0)
    x, fake = torch.randn((2, 6, 1, 3), generator=torch.Generator().manual_seed(1))
    real, made = (module.critic(part, empty).detach() for part in (x, fake))
    wasserstein = METHODS[2].critic_loss(module, x, fake, empty, torch.Generator().manual_seed(0))
    assert wasserstein.item() == pytest.approx(float(made.mean() - real.mean()) + 10.0 * (3 - 1) ** 2, rel=1e-5)
    assert METHODS[2].generator_loss(made).item() == pytest.approx(-float(made.mean()))
    value = -(real.sigmoid().log().mean() + (1 - made.sigmoid()).log().mean())
    assert METHODS[1].critic_loss(module, x, fake, empty, None).item() == pytest.approx(float(value), rel=1e-4)
    assert METHODS[0].critic_loss(module, x, fake, empty, None).item() == pytest.approx(
        float(value) + 1.0 / 2 * 9, rel=1e-4
    )
    saturating, other = METHODS[1].generator_loss(made), METHODS[0].generator_loss(made)
    assert float(saturating) == pytest.approx(float((1 - made.sigmoid()).log().mean()), rel=1e-4)
    assert float(other) == pytest.approx(-float(made.sigmoid().log().mean()), rel=1e-4)


@each
def test_each_player_follows_its_own_loss_alone(method):
    module = method.build(1, (1, 8), 2)
    batch = (torch.randn((6, 1, 8), generator=torch.Generator().manual_seed(0)), torch.ones(6, 2))
    parts = method.objective(module, batch, torch.Generator().manual_seed(1))
    critic, maker = list(module.critic.parameters()), [*module.generator.parameters(), module.noise]

    def gradients(loss, of):
        return torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True)

    assert all(slope is None for slope in gradients(parts["critic"], maker))
    assert all(slope is None for slope in gradients(parts["generator"], critic))
    assert all(slope is not None for slope in gradients(parts["generator"], maker))
    assert any(slope.abs().max() > 0 for slope in gradients(parts["critic"], critic) if slope is not None)


def test_the_generator_waits_for_the_critic():
    method = WGANGP(WGANGPSettings(**SMALL, critic_steps=3))
    module = method.build(1, (1, 8), 0)
    batch = (torch.zeros(4, 1, 8), torch.zeros(4, 0))
    learns = []
    for _ in range(6):
        module.zero_grad()
        sum(method.objective(module, batch).values()).backward()
        learns.append(all(weight.grad is not None for weight in module.generator.parameters()))
        assert any(weight.grad is not None for weight in module.critic.parameters())
    assert learns == [False, False, True] * 2
    module.eval()
    with torch.no_grad():
        assert method.objective(module, batch).keys() == {"distance"}
    assert int(module.step) == 6


@pytest.mark.parametrize("kind", ["gan", "wgan_gp", "wrong"])
def test_they_learn_a_distribution_and_what_they_are_told(kind):
    rate, steps = (1e-3, 1400) if kind == "wgan_gp" else (3e-3, 400)
    method = WGANGP(WGANGPSettings(penalty=1.0, critic_steps=5)) if kind == "wgan_gp" else GAN(GANSettings())
    method.settings = method.settings.model_copy(update={"latent": 4})
    if kind == "wrong":
        method.generator_loss = lambda judged: judged.mean()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = AdversarialModule("x", (1, 2), Told(6, 2, (1, 2), hidden=32), Told(4, 1, hidden=32), 0.1)
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.Adam(module.parameters(), lr=rate, betas=(0.0, 0.9))
    average = WeightAverage(module, 0.99)
    for _ in range(steps):
        told = functional.one_hot(torch.randint(2, (64,), generator=generator), 2).float()
        x = 1.5 * told[:, None] + 0.4 * torch.randn((64, 1, 2), generator=generator)
        optimiser.zero_grad()
        sum(method.objective(module, (x, told), generator).values()).backward()
        optimiser.step()
        average.update()
    with average.applied():
        drawn = [method.sample(module, told.repeat(500, 1), torch.Generator().manual_seed(3)) for told in torch.eye(2)]
    far = max(float((x[:, 0].mean(0) - 1.5 * told).abs().max()) for x, told in zip(drawn, torch.eye(2), strict=True))
    spread = torch.stack([x[:, 0].std(0) for x in drawn])
    good = far < 0.4 and bool(((spread > 0.2) & (spread < 0.7)).all())
    assert good == (kind != "wrong"), (far, spread)


@each
@pytest.mark.parametrize("shape", [(1, 9), (3, 8, 6), (1, 4, 5, 6)])
@pytest.mark.parametrize("width", [0, 3])
def test_any_number_of_axes(method, shape, width):
    module = method.build(len(shape) - 1, shape, width)
    x = torch.randn((5, *shape), generator=torch.Generator().manual_seed(0))
    condition = torch.eye(3)[torch.arange(5) % 3, :width]
    sum(method.objective(module, (x, condition), torch.Generator().manual_seed(0)).values()).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in module.parameters() if weight.grad is not None)
    whole = method.sample(module, condition, torch.Generator().manual_seed(1))
    few = method.sample(module, condition[:2], torch.Generator().manual_seed(1))
    assert whole.shape == x.shape
    assert torch.allclose(whole[:2], few, atol=1e-5)
    assert (module.ndim, module.input_shape, module.outputs) == (len(shape) - 1, shape, shape[0])


@each
def test_a_critic_sees_whether_sample_and_condition_belong_together(method):
    critic = method.build(1, (1, 8), 2).critic
    x = 10 * torch.randn((2, 1, 8), generator=torch.Generator().manual_seed(0))
    told = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    with torch.no_grad():
        (right, other), (wrong, same) = (critic(x, part.repeat(2, 1))[:, 0].tolist() for part in told)
    assert abs((right - wrong) - (other - same)) > 1e-5  # nothing is left of this in a sum of two functions


def test_without_noise_nothing_is_learnt_of_it():
    module = GAN(GANSettings(**SMALL, noise=0.0)).build(1, (1, 8), 0)
    assert not module.noise.requires_grad
    assert "noise" in module.state_dict()


def test_the_training_of_opponents_has_no_momentum_unless_asked_for():
    common = TrainSettings(epochs=7, momentum=0.9)
    assert GANSettings().training(common).momentum == 0.0
    assert GANSettings().training(common).epochs == 7
    changed = WGANGPSettings.model_validate({"train": {"momentum": 0.5}}).training(common)
    assert (changed.momentum, changed.ema) == (0.5, 0.99)
