"""Diffusion with the preconditioning, training and Heun sampler of Karras et al. (2022, arXiv:2206.00364), "EDM"."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.generate.convert import Level, noised
from pipeline.generate.diffusion import answer, build_network, build_whitened, spread_shares
from pipeline.generate.edm_settings import EDMSettings
from pipeline.generate.guidance import guided
from pipeline.generate.noise import SampleNoise, normal_like
from pipeline.generate.ode import Field, integrate

# How much the noise may grow in one step of churning (algorithm 2).
_MOST_CHURN = math.sqrt(2) - 1
_WHITENED = 8192  # augmented training samples that a whitening is taken from


class EDM:
    """A denoiser D(x; sigma) of x = x0 + sigma eps, equation 7, with the constants of table 1.

    D = c_skip x + c_out F, where the network F sees x at unit variance and has a target of unit variance at every
    noise, so that its errors are amplified as little as possible. In units of the data's spread F is -v of the variance
    preserving path (see `pipeline.generate.convert`). With `whiten` all of this is in whitened samples, of which each
    number has unit variance (see `pipeline.generate.whitening`); x of the denoiser and of its field are those then.
    """

    def __init__(self, settings: EDMSettings):
        self.settings = settings

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
        """The U-Net of the settings for samples (channel, *axes) and conditions (width,), with fresh weights.

        Raises
        ------
        UserError : the line of the network is wrong.
        """
        if self.settings.whiten:
            return build_whitened(self.settings.network, ndim, input_shape, width, self.settings.axes)
        return build_network(self.settings.network, ndim, input_shape, width)

    def prepare(self, module: nn.Module, draw: Callable[[int], tuple[Tensor, Tensor]]) -> None:
        """Take the whitening from training samples, where it is asked for.

        draw : gives so many samples, augmented, and what is known of them.
        """
        if self.settings.whiten:
            x, condition = draw(_WHITENED)
            module.whitening.fit(x, condition)
            module.wiener.fit(module.whitening(x, condition))

    def objective(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """{"denoiser": mean squared error of F}, equation 8, at log-normal noises."""
        x, condition = batch
        x = module.whitening(x, condition) if self.settings.whiten else x
        # the shares begin above 0, where the quantile is not finite; at 1 it is not, either
        share = spread_shares(x, generator).clamp(1e-6, 1 - 1e-6)
        log_noise = self.settings.log_noise_mean + self.settings.log_noise_spread * torch.special.ndtri(share)
        sigma = log_noise.exp()
        noisy = noised(x, normal_like(x, generator), Level(1.0, sigma))
        mean, out = self._linear(module, noisy, sigma)
        found = self._network(module, noisy, sigma, condition)
        return {"denoiser": functional.mse_loss(found.float(), (x - mean) / out)}

    def denoise(self, module: nn.Module, x: Tensor, sigma: Tensor, condition: Tensor, guidance: float = 1.0) -> Tensor:
        """D(x; sigma), the mean of x0 at samples x (n, channel, *axes) with noise of sigma (n,)."""

        def denoised(x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
            mean, out = self._linear(module, x, sigma)
            return mean + out * self._network(module, x, sigma, condition)

        return guided(denoised, x, sigma.double(), condition, guidance)

    def field(self, module: nn.Module, condition: Tensor, guidance: float = 1.0) -> Field:
        """dx / dsigma = (x - D) / sigma of the probability flow, equation 1, as `pipeline.generate.ode` takes it."""
        return lambda x, sigma: (x - self.denoise(module, x, sigma, condition, guidance)) / _wide(sigma, x)

    def noises(self, steps: int | None = None) -> Tensor:
        """The noises that the sampler stops at, (steps + 1,) float64: equation 5, down to sigma_min, and 0."""
        steps = steps or self.settings.steps
        root = 1 / self.settings.rho
        high, low = self.settings.sigma_max**root, self.settings.sigma_min**root
        noises = torch.linspace(high, low, steps, dtype=torch.float64) ** self.settings.rho
        return torch.cat([noises, noises.new_zeros(1)])

    @torch.no_grad()
    def sample(
        self,
        module: nn.Module,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample (n, channel, *axes) for every row of `condition`, see `Method`: algorithm 2, with S_noise = 1 and
        churning at every noise."""
        shape = module.whitening.shape if self.settings.whiten else module.input_shape
        noise, noises = SampleNoise(len(condition), generator), self.noises(steps).tolist()
        field = self.field(module, condition, guidance)
        growth = 1 + min(self.settings.churn / (len(noises) - 1), _MOST_CHURN)
        x = noises[0] * noise.normal(shape, condition.device)
        for sigma, then in pairwise(noises):
            more = sigma * growth
            if more > sigma:
                x = x + math.sqrt(more**2 - sigma**2) * noise.normal(x.shape[1:], x.device)
            x = integrate(field, x, torch.tensor([more, then], dtype=torch.float64), "heun", corrected=then > 0)
        return module.whitening.inverse(x, condition) if self.settings.whiten else x

    def evaluations(self, steps: int | None = None) -> int:
        """Evaluations of the network a sample, without guidance."""
        return 2 * (steps or self.settings.steps) - 1

    def _linear(self, module: nn.Module, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip x and c_out; of whitened samples the linear denoiser and its error, which they are for equal axes."""
        if self.settings.whiten:
            return module.wiener(x, sigma), _wide(module.wiener.error(sigma), x)
        spread = self.settings.data_spread
        size = sigma.square() + spread**2
        return _wide(spread**2 / size, x) * x, _wide(sigma * spread * size.rsqrt(), x)

    def _network(self, module: nn.Module, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        spread = self.settings.data_spread
        return answer(module, x / spread, Level(1.0, sigma / spread), condition)


def _wide(number: Tensor, x: Tensor) -> Tensor:
    return number.to(x).view(-1, *(1 for _ in x.shape[1:]))
