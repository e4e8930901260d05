"""Noise-conditional score networks (Song & Ermon 2019, arXiv:1907.05600; 2020, arXiv:2006.09011)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.generate.convert import Level, noised
from pipeline.generate.diffusion import answer, build_network, spread_shares
from pipeline.generate.ncsn_settings import NCSNSettings
from pipeline.generate.noise import SampleNoise, normal_like


class NCSN:
    """The score of the data with noise of many levels, and Langevin dynamics from the highest level to the lowest.

    The network gives sigma times the score (technique 3 of 2020), which is -eps and has unit variance at every level.
    """

    def __init__(self, settings: NCSNSettings):
        self.settings = settings

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
        """The U-Net of the settings for samples (channel, *axes) and conditions (width,), with fresh weights.

        Raises
        ------
        UserError : the line of the network is wrong.
        """
        return build_network(self.settings.network, ndim, input_shape, width)

    def noises(self) -> Tensor:
        """The noise of the levels (levels,), falling, float64."""
        ends = math.log(self.settings.sigma_max), math.log(self.settings.sigma_min)
        return torch.linspace(*ends, self.settings.levels, dtype=torch.float64).exp()

    def objective(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """{"score": mean of |sigma score + eps|^2} at random levels, equations 5 and 6 of 2019 with the weight sigma^2.

        Denoising score matching (Vincent 2011): the score of x0 + sigma eps at a known x0 is -eps / sigma.
        """
        x, condition = batch
        chosen = (spread_shares(x, generator) * self.settings.levels).ceil().long().clamp(1, self.settings.levels) - 1
        level = Level(1.0, self.noises().to(x.device)[chosen])
        eps = normal_like(x, generator)
        found = answer(module, noised(x, eps, level), level, condition)
        return {"score": functional.mse_loss(found.float(), -eps)}

    @torch.no_grad()
    def sample(
        self,
        module: nn.Module,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample (n, channel, *axes) for every row of `condition`, see `Method`: algorithm 1 of 2019.

        A step of length h goes h sigma^2 along the score and adds noise of sqrt(h (2 - h)) sigma, where the algorithm
        has sqrt(2 h) sigma: then noise of a level keeps exactly its amount, whatever h (it is the Ornstein-Uhlenbeck
        process; Jolicoeur-Martineau et al. 2021, arXiv:2009.05475, section 3), where it has 1 / (1 - h / 2) of its
        variance else. The last step is to the mean of x0, without noise.

        steps : Langevin steps a level.
        """
        h, stream = self.settings.step, SampleNoise(len(condition), generator)
        x = self.settings.sigma_max * stream.normal(module.input_shape, condition.device)
        for sigma in self.noises().tolist():
            level = Level(1.0, sigma)
            for _ in range(steps or self.settings.steps):
                toward = sigma * answer(module, x, level, condition, guidance)
                x = x + h * toward + math.sqrt(h * (2 - h)) * sigma * stream.normal(x.shape[1:], x.device)
        return x + sigma * answer(module, x, level, condition, guidance)

    def evaluations(self, steps: int | None = None) -> int:
        """Evaluations of the network a sample, without guidance."""
        return self.settings.levels * (steps or self.settings.steps) + 1
