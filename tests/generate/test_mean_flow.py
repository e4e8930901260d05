import pytest
import torch
from torch import nn

from pipeline.generate.flow import Flow
from pipeline.generate.flow_settings import FlowSettings
from pipeline.generate.mean_flow import INTERVAL, MeanFlow, derivative, told
from pipeline.generate.mean_flow_settings import MeanFlowSettings
from pipeline.generate.noise import SampleNoise

MEAN, SPREAD = 1.5, 0.4


def width(t):
    return ((1 - t) ** 2 + (t * SPREAD) ** 2).sqrt()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Velocity(nn.Module):
    """The exact velocity of data N(MEAN, SPREAD^2), for any axes."""

    def forward(self, z, t, condition):
        t = t.view(-1, *(1 for _ in z.shape[1:]))
        return MEAN + (t * SPREAD**2 - (1 - t)) / width(t) ** 2 * (z - t * MEAN)


class Average(nn.Module):
    """Its exact average: the flow maps a normal distribution to a normal one, linearly."""

    input_shape = (1, 3)

    def __init__(self, wrong=0.0):
        super().__init__()
        self.wrong = nn.Parameter(torch.tensor(wrong, dtype=torch.float64))

    def forward(self, z, t, condition):
        # the first wave of the interval, sin(pi gap / 2), tells its length
        gap = torch.asin(condition[:, -INTERVAL].clamp(max=1)) * 2 / torch.pi
        t, gap = (value.view(-1, *(1 for _ in z.shape[1:])) for value in (t, gap))
        gap = gap.clamp(min=1e-4)
        end = t + gap
        reached = end * MEAN + width(end) / width(t) * (z - t * MEAN)
        return (reached - z) / gap * (1 + self.wrong * gap)


class Dense(nn.Module):
    """A small network with the signature of the U-Net, for one number a sample."""

    input_shape = (1, 1)

    def __init__(self, told):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            sizes = [(3 + told, 64), (64, 64), (64, 1)]
            first, second, last = (nn.Linear(*size) for size in sizes)
        self.layers = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)

    def forward(self, x, t, condition):
        t = t[:, None]
        return self.layers(torch.cat([condition, x.flatten(1), t, torch.sin(3 * t)], 1)).view(x.shape)


def batch(n=64, axes=(3,)):
    return MEAN + SPREAD * torch.randn(n, 1, *axes, generator=seeded(1)).double(), torch.zeros(n, 0).double()


def test_the_derivative_is_that_along_the_path():
    module, generator = Average(), seeded(2)
    z = torch.randn(5, 1, 3, generator=generator).double()
    t, end = torch.rand(5, generator=generator).double() * 0.4 + 0.1, torch.full((5,), 0.9).double()
    velocity = Velocity()(z, t, None)
    step = 1e-5

    def mean(shift):
        return module(z + shift * velocity, t + shift, told(z.new_zeros(5, 0), end - t - shift))

    expected = (mean(step) - mean(-step)) / (2 * step)
    found = derivative(module, z, t, end, z.new_zeros(5, 0), velocity)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    # the identity: what is trained on is what the average is
    target = velocity + (end - t).view(-1, 1, 1) * found
    torch.testing.assert_close(target, mean(0.0), rtol=1e-5, atol=1e-6)


def test_only_the_exact_average_has_no_loss():
    method = MeanFlow(MeanFlowSettings(instant=0.5, weight_power=0.0))
    method.teacher = Velocity()

    def loss(wrong):
        return method.objective(Average(wrong), batch(), seeded())["mean_velocity"].item()

    assert loss(0.0) < 1e-6
    assert min(loss(0.3), loss(-0.3)) > 1e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_the_better_network_of_two_is_that_of_better_samples(steps):
    method = MeanFlow(MeanFlowSettings(steps=steps))

    def distance(wrong):
        with torch.no_grad():
            return method.objective(Average(wrong).eval(), batch(1000), seeded())["distance"].item()

    ranks = [distance(wrong) for wrong in (0.0, 0.15, 0.3, 0.6)]
    assert ranks == sorted(ranks)
    assert ranks[0] < 0.1 * SPREAD < ranks[2]


def test_the_target_is_held_fixed():
    method = MeanFlow(MeanFlowSettings(instant=0.0, weight_power=0.0))
    method.teacher = Velocity()
    module = Average(0.3)
    method.objective(module, batch(), seeded())["mean_velocity"].backward()
    # by finite differences with the target of the present weights: only the prediction moves
    x, condition = batch()
    generator = seeded()
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    t, end = method.intervals(x, generator)
    z = torch.lerp(noise, x, t.view(-1, 1, 1))
    velocity = Velocity()(z, t, None)
    target = velocity + (end - t).view(-1, 1, 1) * derivative(module, z, t, end, condition, velocity)

    def loss(wrong):
        mean = Average(wrong)(z, t, told(condition, end - t))
        return (mean - target).square().mean().item()

    expected = (loss(0.3 + 1e-4) - loss(0.3 - 1e-4)) / 2e-4
    assert module.wrong.grad.item() == pytest.approx(expected, rel=1e-3)


def test_the_adaptive_weight_evens_out():
    class Far(nn.Module):
        def forward(self, x, t, condition):
            return x * 0 + torch.linspace(0, 100, len(x)).view(-1, 1, 1)

    plain, even = (
        MeanFlow(MeanFlowSettings(weight_power=power)).objective(Far(), batch(), seeded())["mean_velocity"]
        for power in (0.0, 1.0)
    )
    assert even == pytest.approx(1, abs=0.05)
    assert plain > 1000


@pytest.mark.parametrize("instant", [0.0, 0.75, 0.99])
def test_the_share_of_intervals_without_length(instant):
    method = MeanFlow(MeanFlowSettings(instant=instant))
    t, end = method.intervals(torch.empty(100, 1), seeded())
    assert (end > t).sum() == pytest.approx(100 * (1 - instant), abs=1)
    assert (end >= t).all() and (t > 0).all() and (end < 1).all()
    assert (method.intervals(torch.empty(1, 1), seeded())[0] > 0).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_of_the_exact_average_end_where_the_flow_does(steps):
    method = MeanFlow(MeanFlowSettings())
    with torch.no_grad():
        samples = method.sample(Average(), torch.zeros(200, 0), seeded(), steps=steps)
    noise = SampleNoise(200, seeded()).normal((1, 3))
    torch.testing.assert_close(samples.float(), MEAN + SPREAD * noise, rtol=1e-3, atol=2e-3)
    assert method.evaluations(steps) == steps and method.evaluations() == 1


def test_a_sample_does_not_depend_on_what_follows_it():
    method, generator = MeanFlow(MeanFlowSettings()), seeded()
    together = method.sample(Average(), torch.zeros(5, 0), seeded())
    parts = [method.sample(Average(), torch.zeros(n, 0), generator) for n in (2, 3)]
    torch.testing.assert_close(torch.cat(parts), together)


def draw(generator):
    """Two classes at -2 and 2, the class told to most."""
    side = torch.randint(2, (256,), generator=generator)
    x = (4 * side - 2)[:, None, None] + 0.3 * torch.randn(256, 1, 1, generator=generator)
    return x, torch.eye(2)[side] * (torch.rand(256, 1, generator=generator) > 0.3)


def train(method, module, steps):
    generator = seeded(5)
    optimiser = torch.optim.Adam(module.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(method.objective(module, draw(generator), generator).values()).backward()
        optimiser.step()
        schedule.step()


@pytest.fixture(scope="module")
def flow():
    trained = Dense(2)
    train(Flow(FlowSettings(time_spread=2)), trained, 300)
    return trained.eval()


@pytest.mark.parametrize("distilled", [False, True])
def test_one_step_draws_what_one_step_of_the_flow_cannot(distilled, flow):
    # of single numbers the errors are not alike, and their weight would make medians of means
    method, module = MeanFlow(MeanFlowSettings(instant=0.5, weight_power=0.0)), Dense(2 + INTERVAL)
    method.teacher = flow if distilled else None
    train(method, module, 400)
    module.eval()
    for side in (0, 1):
        found = method.sample(module, torch.eye(2)[[side]].repeat(1000, 1), seeded(6)).flatten()
        assert found.mean() == pytest.approx(4 * side - 2, abs=0.4)
        assert 0.1 < found.std() < 0.7

    def apart(samples):
        assert 0.3 < (samples > 0).float().mean() < 0.7
        return (samples.abs() > 1).float().mean()

    free = torch.zeros(1000, 2)
    assert apart(method.sample(module, free, seeded(6))) > 0.5
    assert apart(method.sample(module, free, seeded(6), steps=4)) > 0.6
    # a straight line along the velocity goes to the middle of the two
    single = Flow(FlowSettings(solver="euler", steps=1)).sample(flow, free, seeded(6))
    assert (single.abs() > 1).float().mean() < 0.35


@pytest.mark.parametrize("axes", [(9,), (6, 7), (4, 5, 6)])
@pytest.mark.parametrize("told_before", [0, 3])
def test_it_begins_as_the_flow_it_begins_with(axes, told_before):
    """Also: forward differentiation goes through every layer of the U-Net."""
    line = "unet-8.8_p1_a1"
    flow = Flow(FlowSettings(network=line)).build(len(axes), (2, *axes), told_before)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(3)))
    method = MeanFlow(MeanFlowSettings(network=line))
    module = method.build(len(axes), (2, *axes), told_before)
    method.begin(module, flow)
    x, condition = torch.randn(4, 2, *axes, generator=seeded()), torch.randn(4, told_before, generator=seeded())
    t = torch.rand(4, generator=seeded())
    torch.testing.assert_close(module(x, t, told(condition, 0 * t)), flow(x, t, condition))
    method.objective(module, (x, condition), seeded())["mean_velocity"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in flow.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        half = method.objective(module, (x, condition), seeded())["mean_velocity"]
    assert half.isfinite()
    module, x, t, condition, step = module.double(), x.double(), t.double(), condition.double(), 1e-5
    ahead = derivative(module, x, t, t + 0.5, condition, x)
    ends = [module(x + s * x, t + s, told(condition, 0.5 - t.new_full((4,), s))) for s in (step, -step)]
    torch.testing.assert_close(ahead, (ends[0] - ends[1]).detach() / (2 * step), rtol=1e-4, atol=1e-5)
