"""Flow matching: a velocity field that carries noise into data (Lipman et al. 2023, arXiv:2210.02747)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.generate.flow_settings import FlowSettings
from pipeline.generate.guidance import guided
from pipeline.generate.noise import SampleNoise, normal_like
from pipeline.generate.ode import EVALUATIONS, Counted, Field, integrate
from pipeline.generate.pairing import pair
from pipeline.nn.unet import UNet


class Flow:
    """The conditional optimal-transport path: z_t = (1 - t) noise + t x, noise at t = 0 and data at t = 1.

    The network learns the velocity E[x - noise | z_t, t] (Lipman et al. 2023, equations 20 to 23, sigma_min = 0), and a
    sample follows it from noise to data. Times of training are logit-normal, as most of the path's difficulty lies in
    its middle (Esser et al. 2024, arXiv:2403.03206, section 3.1).
    """

    def __init__(self, settings: FlowSettings):
        self.settings = settings
        self._calls = 0

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
        """The U-Net of the settings for samples (channel, *axes) and conditions (width,), with fresh weights.

        Raises
        ------
        UserError : the line of the network is wrong.
        """
        return UNet(with_condition(self.settings.network, width), ndim, input_shape, input_shape[0])

    def objective(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """{"velocity": mean squared error of the velocity}, equation 23, of samples x and what is told of them."""
        x, condition = batch
        noise = normal_like(x, generator)
        if self.settings.pairing == "ot":
            noise = noise[pair(noise, x, condition, self.settings.pairing_weight)]
        t = self.training_times(x, generator)
        velocity = module(between(noise, x, t), t, condition)
        return {"velocity": functional.mse_loss(velocity.float(), x - noise)}

    def training_times(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """A time (n,) for each sample of x."""
        logit = normal_like(x.new_empty(len(x)), generator)
        if self.settings.time == "uniform":
            return torch.special.ndtr(logit)  # a normal number at its own quantile is uniform
        return torch.sigmoid(self.settings.time_mean + self.settings.time_spread * logit)

    def times(self, steps: int | None = None) -> Tensor:
        """The grid of the sampler, (steps + 1,) float64: t_i = 1 - (1 - i / steps)**crowding."""
        return grid(steps or self.settings.steps, self.settings.crowding)

    def field(self, module: nn.Module, condition: Tensor, guidance: float = 1.0) -> Field:
        """The velocity of samples that are told `condition` (n, width), as `pipeline.generate.ode` takes it."""
        return lambda x, t: guided(module, x, t, condition, guidance)

    @torch.no_grad()
    def sample(
        self,
        module: nn.Module,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample (n, channel, *axes) for every row of `condition`; see `Method`.

        Raises
        ------
        UserError : the adaptive solver cannot follow the field.
        """
        noise = SampleNoise(len(condition), generator).normal(module.input_shape, condition.device)
        return self._follow(self.field(module, condition, guidance), noise, self.times(steps))

    @torch.no_grad()
    def encode(self, module: nn.Module, x: Tensor, condition: Tensor, steps: int | None = None) -> Tensor:
        """The noise (n, channel, *axes) that flows to x: the same path backwards."""
        return self._follow(self.field(module, condition), x, self.times(steps).flip(0))

    def evaluations(self, steps: int | None = None) -> int:
        """Evaluations a sample, without guidance; of the adaptive solver, those of its last use."""
        if self.settings.solver == "adaptive":
            return self._calls
        return EVALUATIONS[self.settings.solver] * (steps or self.settings.steps)

    def _follow(self, field: Field, x: Tensor, times: Tensor) -> Tensor:
        counted = Counted(field)
        x = integrate(counted, x, times, self.settings.solver, tolerance=self.settings.tolerance)
        self._calls = counted.calls
        return x


def between(noise: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The point at time t (n,) on the straight way from noise to x: (1 - t) noise + t x."""
    return torch.lerp(noise, x, wide(t, x))


def wide(value: Tensor, x: Tensor) -> Tensor:
    """Numbers (n,) as a factor of x (n, ...), of its type and on its device."""
    return value.to(x).view(-1, *(1 for _ in x.shape[1:]))


def grid(steps: int, crowding: float, start: Tensor | None = None) -> Tensor:
    """Times t_i from `start` (n,), or 0, to 1: 1 - t_i is (1 - i / steps)**crowding of what it is at the start.

    Returns
    -------
    Tensor : (steps + 1,), or (steps + 1, n); float64.
    """
    left = torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** crowding
    return 1 - left if start is None else 1 - left[:, None] * (1 - start)


def with_condition(line: str, width: int) -> str:
    """The line of a U-Net that is told `width` numbers."""
    return f"{line}_c{width}" if width else line
