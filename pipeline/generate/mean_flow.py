"""Mean flows: the average velocity over an interval, which brings noise to data in one step (Geng et al. 2025)."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.generate.flow import between, wide, with_condition
from pipeline.generate.forward import forward_derivative
from pipeline.generate.guidance import guided
from pipeline.generate.mean_flow_settings import MeanFlowSettings
from pipeline.generate.noise import SampleNoise, normal_like
from pipeline.generate.sliced import sliced_wasserstein
from pipeline.nn.unet import UNet

# Numbers behind the condition, in which the network is told the length of the interval.
INTERVAL = 4
_FLOOR = 1e-3  # of the squared error in the adaptive weight, in units of one pixel


class MeanFlow:
    """Geng et al. (2025, arXiv:2505.13447), with time as in `Flow`: noise at t = 0 and data at t = 1.

    The network u(z, t, e) is the velocity averaged over the path of the flow from time t to a later time e (equation
    3), so z_e = z_t + (e - t) u(z_t, t, e) in one step (equation 12). Differentiating that along the path gives what it
    is trained on, the mean-flow identity (equation 6, with their r = e, which here is ahead of t): u = v + (e - t)
    du/dt with du/dt = v grad_z u + d_t u (equation 8). That is a product of the Jacobian with (v, 1), which forward
    differentiation has for the price of about two evaluations.

    The network is the U-Net of the flow; the length of the interval is told behind the condition, by numbers that are 0
    for an interval of no length. So a trained flow is a mean flow of such intervals, from which to begin: see `begin`.
    """

    def __init__(self, settings: MeanFlowSettings):
        self.settings = settings
        self.teacher: nn.Module | None = None

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
        """The U-Net of the settings for samples (channel, *axes) and conditions (width,), with fresh weights.

        Raises
        ------
        UserError : the line of the network is wrong.
        """
        return UNet(with_condition(self.settings.network, width + INTERVAL), ndim, input_shape, input_shape[0])

    @torch.no_grad()
    def begin(self, module: nn.Module, flow: nn.Module) -> None:
        """Start `module` with the weights of `flow`, the trained network of a `Flow`, and distil that flow.

        Both come from the same line, shape and width of the condition. From then on `objective` takes the velocity from
        `flow`: it is the mean over all noise and data that meet at a point, of which a single pair is a noisy estimate.
        A good velocity is also what long intervals wait for when both are learned at once (Kim et al. 2025,
        arXiv:2511.19065). `flow` does not become a part of `module`, nor of the model file.
        """
        own = module.state_dict()
        for name, tensor in flow.state_dict().items():
            if own[name].shape == tensor.shape:
                own[name].copy_(tensor)
            else:
                # The layer that reads the condition has more columns, for the interval, which say nothing at first.
                own[name].zero_()[:, : tensor.shape[1]] = tensor
        self.teacher = flow.eval().requires_grad_(False)

    def objective(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """{"mean_velocity": mean squared error against v + (e - t) du/dt, which is held fixed} (equations 9 and 10).

        The error of each sample is divided by (itself + constant)**weight_power, also held fixed, which keeps rare
        large ones from ruling (their adaptive weight, with p = weight_power).

        In evaluation mode the objective is the sliced Wasserstein distance between the batch and as many samples, in as
        many steps as the settings say: what the error is measured against moves with the network, so that it rises
        while the samples become better, and the epoch of the least would be the first.
        """
        x, condition = batch
        noise = normal_like(x, generator)
        if not module.training:
            made = self.carry(module, noise, condition)
            return {"distance": sliced_wasserstein(x.flatten(1), made.flatten(1), generator)}
        t, end = self.intervals(x, generator)
        z, velocity = between(noise, x, t), x - noise
        if self.teacher is not None:
            with torch.no_grad():
                velocity = self.teacher(z, t, condition).float()
        mean = module(z, t, told(condition, end - t)).float()
        target = velocity.clone()
        moving = end > t  # a sample's average over no time needs no derivative
        if moving.any():
            parts = (part[moving] for part in (z, t, end, condition, velocity))
            target[moving] += derivative(module, *parts) * wide((end - t)[moving], x)
        error = (mean - target).square().flatten(1).mean(1)
        return {"mean_velocity": (error / (error.detach() + _FLOOR) ** self.settings.weight_power).mean()}

    @torch.no_grad()
    def sample(
        self,
        module: nn.Module,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample (n, channel, *axes) for every row of `condition` in equal steps; see `Method`."""
        z = SampleNoise(len(condition), generator).normal(module.input_shape, condition.device)
        return self.carry(module, z, condition, steps, guidance)

    def carry(
        self, module: nn.Module, z: Tensor, condition: Tensor, steps: int | None = None, guidance: float = 1.0
    ) -> Tensor:
        """The noise `z` (n, channel, *axes) carried to data in equal steps (equation 12).

        Guidance combines averages as it would velocities, which is exact in the limit of many steps only.
        """
        for now, then in pairwise(torch.linspace(0, 1, (steps or self.settings.steps) + 1).tolist()):
            gap = then - now

            def mean(z: Tensor, t: Tensor, condition: Tensor, gap: float = gap) -> Tensor:
                return module(z, t, told(condition, torch.full_like(t, gap)))

            z = z + gap * guided(mean, z, z.new_full((len(z),), now), condition, guidance)
        return z

    def evaluations(self, steps: int | None = None) -> int:
        """Evaluations a sample, without guidance."""
        return steps or self.settings.steps

    def intervals(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Begin and end (n,) of the intervals of a batch, of which the last `instant` share has no length."""
        pair = normal_like(x.new_empty(2, len(x)), generator)
        t, end = torch.sigmoid(self.settings.time_mean + self.settings.time_spread * pair).sort(0).values
        still = len(x) - math.ceil((1 - self.settings.instant) * len(x))
        moving = torch.arange(len(x), device=x.device) < len(x) - still
        return t, torch.where(moving, end, t)


def told(condition: Tensor, gap: Tensor) -> Tensor:
    """The condition (n, width) and the length (n,) of the interval: (n, width + INTERVAL), all smooth in `gap`."""
    waves = 0.5 * math.pi * torch.arange(1, INTERVAL + 1, device=gap.device)
    return torch.cat([condition, torch.sin(gap[:, None] * waves)], 1)


@torch.no_grad()
def derivative(module: nn.Module, z: Tensor, t: Tensor, end: Tensor, condition: Tensor, velocity: Tensor) -> Tensor:
    """du/dt of u(z_t, t, end) along a path of this velocity (equation 8), the shape of z; without gradients.

    In single precision whatever the training has: it is a small difference, and autocast knows no forward derivative.
    """

    def mean(z: Tensor, t: Tensor) -> Tensor:
        return module(z, t, told(condition, end - t))

    with torch.autocast(z.device.type, enabled=False):
        return forward_derivative(mean, (z, t), (velocity, torch.ones_like(t)))
