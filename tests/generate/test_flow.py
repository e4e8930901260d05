import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.generate.flow import Flow, between, grid
from pipeline.generate.flow_settings import FlowSettings
from pipeline.generate.noise import SampleNoise

MEAN = torch.tensor([0.5, -1.0])
COVARIANCE = torch.tensor([[1.0, 0.45], [0.45, 0.25]])


class GaussianField(nn.Module):
    """The exact velocity of N(mean, covariance), of samples (n, 2, 1): for what is told as (1,) the mean is doubled."""

    input_shape = (2, 1)

    def __init__(self, wrong=1.0):
        super().__init__()
        self.wrong = wrong

    def forward(self, x, t, condition):
        t = t[:, None]
        mean = MEAN.to(x) * (1 + condition.sum(1, keepdim=True).to(x)) if condition.shape[1] else MEAN.to(x)
        eye = torch.eye(2, dtype=x.dtype)
        inner = t[..., None] ** 2 * COVARIANCE.to(x) + (1 - t[..., None]) ** 2 * eye
        outer = t[..., None] * COVARIANCE.to(x) - (1 - t[..., None]) * eye
        shifted = torch.linalg.solve(inner, (x[..., 0] - t * mean)[..., None])
        return self.wrong * (mean[..., None] + outer @ shifted)


class RingField(nn.Module):
    """The exact velocity of a ring of eight normal distributions, of samples (n, 2, 1)."""

    input_shape = (2, 1)
    spread = 0.15

    def __init__(self, wrong=1.0):
        super().__init__()
        self.wrong = wrong
        angle = torch.arange(8) * torch.pi / 4
        self.centres = 2 * torch.stack([angle.cos(), angle.sin()], 1)

    def forward(self, x, t, condition):
        t = t[:, None, None]
        square = self.spread**2
        variance = (1 - t) ** 2 + square * t**2
        away = x.movedim(1, 2) - t * self.centres  # (n, 8, 2)
        share = torch.softmax(-0.5 * away.square().sum(2, keepdim=True) / variance, 1)
        velocity = share * (self.centres + (square * t - (1 - t)) / variance * away)
        return self.wrong * velocity.sum(1)[..., None]

    def draw(self, n, generator):
        """Samples of the distribution itself."""
        which = torch.randint(8, (n,), generator=generator)
        return (self.centres[which] + self.spread * torch.randn(n, 2, generator=generator))[..., None]


class Dense(nn.Module):
    """A small network with the signature of the U-Net, of samples (n, channel, *axes) with few numbers."""

    def __init__(self, input_shape, width, hidden=64):
        super().__init__()
        self.input_shape, self.size = input_shape, torch.Size(input_shape).numel()
        self.layers = nn.Sequential(
            nn.Linear(self.size + 3 + width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, self.size),
        )  # fmt: skip

    def forward(self, x, t, condition):
        t = t[:, None]
        seen = torch.cat([x.flatten(1), t, torch.sin(3 * t), torch.cos(3 * t), condition], 1)
        return self.layers(seen).view(x.shape)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dense(width, input_shape=(2, 1)):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Dense(input_shape, width)


def nothing(n, width=0):
    return torch.zeros(n, width)


def train(method, module, draw, steps, rate=5e-3):
    generator = seeded(5)
    optimiser = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(method.objective(module, draw(generator), generator).values()).backward()
        optimiser.step()
        schedule.step()


def is_gaussian(samples, mean=MEAN):
    """Whether 4000 samples have the mean and the covariance: within 0.06, three to four standard errors."""
    flat = samples.flatten(1)
    return bool((flat.mean(0) - mean).abs().max() < 0.06 and (flat.T.cov() - COVARIANCE).abs().max() < 0.06)


@pytest.mark.parametrize(
    "settings", [{}, {"solver": "euler", "steps": 300}, {"solver": "heun"}, {"solver": "adaptive"}], ids=str
)
def test_every_solver_draws_the_distribution_of_an_exact_field(settings):
    flow = Flow(FlowSettings(**settings))
    assert is_gaussian(flow.sample(GaussianField(), nothing(4000), seeded()))


def test_the_check_refuses_broken_samplers():
    flow = Flow(FlowSettings())
    assert not is_gaussian(flow.sample(GaussianField(wrong=-1.0), nothing(4000), seeded()))
    assert not is_gaussian(flow.sample(GaussianField(wrong=0.7), nothing(4000), seeded()))
    short = Flow(FlowSettings())
    short.times = lambda steps: grid(12, 2.0)[:-3]
    assert not is_gaussian(short.sample(GaussianField(), nothing(4000), seeded()))


def sliced_distance(one, other):
    """Mean first Wasserstein distance of the projections of as many samples each, over 32 directions of the plane."""
    angle = torch.arange(32) * torch.pi / 32
    directions = torch.stack([angle.cos(), angle.sin()])
    ends = [(samples.flatten(1) @ directions).sort(0).values for samples in (one, other)]
    return (ends[0] - ends[1]).abs().mean().item()


@pytest.mark.parametrize("solver", ["midpoint", "heun", "adaptive"])
def test_every_solver_draws_a_ring(solver):
    flow, exact = Flow(FlowSettings(solver=solver)), RingField()
    real = exact.draw(4000, seeded(1))
    floor = sliced_distance(exact.draw(4000, seeded(2)), real)
    assert sliced_distance(flow.sample(exact, nothing(4000), seeded()), real) < 0.03 + floor
    assert sliced_distance(flow.sample(RingField(wrong=0.7), nothing(4000), seeded()), real) > 0.06 + floor
    if solver != "adaptive":
        flow.times = lambda steps: grid(12, 2.0)[:-4]
        assert sliced_distance(flow.sample(exact, nothing(4000), seeded()), real) > 0.06 + floor


def test_the_default_grid_keeps_the_width_of_narrow_and_wide_data():
    class Narrow(nn.Module):
        input_shape = (1, 1)

        def __init__(self, spread):
            super().__init__()
            self.square = spread**2

        def forward(self, x, t, condition):
            t = t[:, None, None]
            return x * (t * self.square - (1 - t)) / ((1 - t) ** 2 + t**2 * self.square)

    for spread in (0.03, 0.1, 0.3, 1.0, 3.0):
        ratios = {}
        for name, chosen in {"default": {}, "equal": {"solver": "euler", "steps": 24, "crowding": 1}}.items():
            flow = Flow(FlowSettings(**chosen))
            assert flow.evaluations() == 24
            noise = SampleNoise(8, seeded()).normal((1, 1))
            samples = flow.sample(Narrow(spread), nothing(8), seeded())
            ratios[name] = (samples / noise).mean().item() / spread
        assert ratios["default"] == pytest.approx(1, abs=0.015)
        assert spread > 1 or ratios["equal"] < 0.955


def test_times_begin_at_noise_and_end_at_data():
    torch.testing.assert_close(grid(4, 1.0), torch.linspace(0, 1, 5).double())
    times = grid(10, 2.0)
    assert times[0] == 0 and times[-1] == 1
    assert (times.diff().diff() < 0).all()
    start = torch.tensor([0.0, 0.5]).double()
    torch.testing.assert_close(grid(10, 2.0, start)[:, 1], 0.5 + 0.5 * times)


def test_noise_flows_to_data_and_back():
    flow = Flow(FlowSettings(steps=60))
    module = GaussianField()
    samples = flow.sample(module, nothing(50), seeded())
    noise = flow.encode(module, samples, nothing(50))
    again = Flow(FlowSettings(solver="adaptive", tolerance=1e-5)).encode(module, samples, nothing(50))
    torch.testing.assert_close(noise, again, atol=5e-3, rtol=0)
    # white: the whitened data, as a Gaussian's field maps linearly
    white = torch.linalg.solve(torch.linalg.cholesky(COVARIANCE), samples.flatten(1).T - MEAN[:, None])
    assert torch.allclose(white.square().sum(0), noise.flatten(1).square().sum(1), atol=0.05)


def test_a_sample_does_not_depend_on_what_follows_it():
    module = GaussianField()
    for solver in ("midpoint", "adaptive"):
        flow = Flow(FlowSettings(solver=solver))
        condition = torch.linspace(-1, 1, 6)[:, None]
        together = flow.sample(module, condition, seeded())
        generator = seeded()
        parts = [flow.sample(module, part, generator) for part in condition.split([1, 3, 2])]
        torch.testing.assert_close(torch.cat(parts), together)


def test_guidance_moves_the_mean_by_the_difference_it_multiplies():
    flow = Flow(FlowSettings(steps=40))
    told = torch.ones(4000, 1)
    for guidance, factor in ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0)):
        assert is_gaussian(flow.sample(GaussianField(), told, seeded(), guidance=guidance), factor * MEAN)


def test_training_times_are_logit_normal_or_uniform():
    x = torch.empty(20000, 1, 1)
    logit = Flow(FlowSettings(time_mean=0.5, time_spread=2.0)).training_times(x, seeded()).logit()
    assert logit.mean() == pytest.approx(0.5, abs=0.05) and logit.std() == pytest.approx(2.0, abs=0.05)
    uniform = Flow(FlowSettings(time="uniform")).training_times(x, seeded()).sort().values
    assert (uniform - torch.linspace(0, 1, 20000)).abs().max() < 0.015


def test_the_exact_field_has_the_least_loss():
    factor = torch.linalg.cholesky(COVARIANCE)
    x = (MEAN + torch.randn(4000, 2, generator=seeded(9)) @ factor.T)[..., None]

    def loss(wrong):
        return Flow(FlowSettings()).objective(GaussianField(wrong), (x, nothing(4000)), seeded())["velocity"].item()

    assert loss(1.0) < min(loss(0.9), loss(1.1), loss(-1.0))


@pytest.mark.parametrize("pairing", ["none", "ot"])
def test_a_trained_field_is_the_analytic_one_of_a_gaussian(pairing):
    factor = torch.linalg.cholesky(COVARIANCE)

    def draw(generator):
        return (MEAN + torch.randn(128, 2, generator=generator) @ factor.T)[..., None], nothing(128)

    flow, module = Flow(FlowSettings(pairing=pairing)), dense(0)
    train(flow, module, draw, 400)
    samples = flow.sample(module, nothing(4000), seeded(2)).flatten(1)
    assert (samples.mean(0) - MEAN).abs().max() < 0.15
    assert (samples.T.cov() - COVARIANCE).abs().max() < 0.15
    if pairing == "none":
        t = torch.rand(500, generator=seeded(3)) * 0.8 + 0.1
        x, _ = draw(seeded(4))
        z = between(torch.randn(128, 2, 1, generator=seeded(8)), x, t[:128])
        error = module(z, t[:128], nothing(128)) - GaussianField()(z, t[:128], nothing(128))
        assert error.square().mean().sqrt() < 0.3  # of a velocity with a standard deviation of about 1.3


@pytest.mark.parametrize("pairing", ["none", "ot"])
def test_what_is_told_is_what_is_drawn(pairing):
    def draw(generator):
        side = torch.randint(2, (128,), generator=generator)
        x = (4 * side - 2)[:, None, None] + 0.3 * torch.randn(128, 1, 1, generator=generator)
        told = torch.eye(2)[side] * (torch.rand(128, 1, generator=generator) > 0.2)
        return x, told

    # No part of these data is faint: times about the middle of the path teach most.
    flow = Flow(FlowSettings(pairing=pairing, time_mean=0.0, time_spread=1.0))
    module = dense(2, (1, 1))
    train(flow, module, draw, 400)
    for side in (0, 1):
        found = flow.sample(module, torch.eye(2)[[side]].repeat(1000, 1), seeded(6)).flatten()
        assert found.mean() == pytest.approx(4 * side - 2, abs=0.2)
        assert found.std() == pytest.approx(0.3, abs=0.15)
    free = flow.sample(module, nothing(1000, 2), seeded(6)).flatten()
    assert 0.35 < (free > 0).float().mean() < 0.65


@pytest.mark.parametrize("axes", [(9,), (6, 7), (4, 5, 6)])
def test_the_network_of_the_settings_trains_and_samples(axes):
    flow = Flow(FlowSettings(network="unet-8.8_p1", steps=2, pairing="ot"))
    module = flow.build(len(axes), (2, *axes), 3)
    assert module.line == "unet-8.8_p1_c3" and module.outputs == 2
    batch = torch.randn(4, 2, *axes, generator=seeded()), torch.randn(4, 3, generator=seeded())
    losses = flow.objective(module, batch, seeded())
    losses["velocity"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters() if parameter.grad is not None)
    assert flow.sample(module, batch[1], seeded(), guidance=1.5).shape == (4, 2, *axes)
    assert Flow(FlowSettings(network="unet-8")).build(len(axes), (1, *axes), 0).line == "unet-8"


def test_a_wrong_line_is_a_sentence():
    with pytest.raises(UserError):
        Flow(FlowSettings(network="resnet-8")).build(2, (1, 8, 8), 0)


def test_evaluations_of_the_adaptive_solver_are_those_it_took():
    flow = Flow(FlowSettings(solver="adaptive"))
    flow.sample(GaussianField(), nothing(3), seeded())
    loose = flow.evaluations()
    tight = Flow(FlowSettings(solver="adaptive", tolerance=1e-5))
    tight.sample(GaussianField(), nothing(3), seeded())
    assert 7 <= loose < tight.evaluations()
    assert Flow(FlowSettings(solver="euler")).evaluations(5) == 5
