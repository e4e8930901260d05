"""Denoising diffusion probabilistic models (Ho, Jain & Abbeel 2020, arXiv:2006.11239), sampled as they are or by DDIM.

Why DDIM needs v
----------------
With y = x / alpha and r = sigma / alpha, DDIM without new noise is Euler's method for dy / dr = eps, from r of the last
level down to 0. An error of the network's eps enters y with its full size, and nothing takes it out again but the
network itself, which has to see that the sample has more noise than its level. A network that has learnt little does
not: group norms divide its input by its size, so that it sees the direction of the noise and takes its amount from the
time. If its eps is too small by a share k, a noise of k r_last stays in the sample: 157 k on the linear schedule of
1000 levels, 20,000 k on the cosine one, however many the steps are. The ancestral sampler draws most of the noise of
each step anew, at right angles to an excess e that is left; that adds e^2 / 2r to the size and not e, and is forgotten.

In v, DDIM is Euler's method for dx / da = v in the angle a whose tangent is r (Salimans & Ho 2022, arXiv:2202.00512,
appendix D). The angle goes from pi / 2 to 0, so an error k of v stays in the sample as at most k pi / 2, on any
schedule.

Measured on simulated galaxies of 16 x 16 pixels after 400 steps of training, where eps had 0.987 of its size at the
last level. Standard deviation of the samples (1 in the data), and their noise at the border of a stamp (1.0 in the
data):

- eps, linear: 4.8 and 19 by DDIM in 50 steps, 4.4 and 15 in 200; 1.9 and 5.1 with x0 clipped to the range of the data;
  1.0 and 0.95 by ancestral steps
- v, linear: 1.0 and 1.5 by DDIM, 1.0 and 1.3 by ancestral steps
- v, cosine: 1.0 and 1.2 by DDIM, 1.0 and 1.1 by ancestral steps

What is left from v is the short training. The default is v on the cosine schedule, in ancestral steps.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import UserError
from pipeline.generate.convert import Level, convert, noised, predicted
from pipeline.generate.ddpm_settings import DDPMSettings
from pipeline.generate.diffusion import answer, build_network, spread_shares
from pipeline.generate.noise import SampleNoise, normal_like
from pipeline.generate.schedule import kept_variance


class DDPM:
    """A chain of small steps from data to noise, and a network that goes back.

    Attributes
    ----------
    kept : abar_t ``(levels + 1,)`` float64, see `pipeline.generate.schedule`: x_t = sqrt(abar_t) x0 +
        sqrt(1 - abar_t) eps, equation 4.
    """

    def __init__(self, settings: DDPMSettings):
        self.settings = settings
        self.kept = kept_variance(settings.schedule, settings.levels)

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> nn.Module:
        """The U-Net of the settings for samples (channel, *axes) and conditions (width,), with fresh weights.

        Raises
        ------
        UserError : the line of the network is wrong.
        """
        return build_network(self.settings.network, ndim, input_shape, width)

    def level(self, t: int | np.ndarray) -> Level:
        """The noise after t steps of the chain, one number or (n,)."""
        kept = torch.as_tensor(self.kept[t])
        return Level(kept.sqrt(), (1 - kept).sqrt())

    def objective(
        self, module: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """{"eps", "v" or "x0": mean squared error of the prediction} at random levels; equation 14 where it is eps."""
        x, condition = batch
        kind = self.settings.prediction
        t = (spread_shares(x, generator) * self.settings.levels).ceil().long().clamp(1, self.settings.levels)
        level = self.level(t.cpu().numpy())
        eps = normal_like(x, generator)
        found = answer(module, noised(x, eps, level), level, condition)
        return {kind: functional.mse_loss(found.float(), predicted(kind, x, eps, level))}

    def times(self, steps: int | None = None) -> list[int]:
        """Levels from the last one down to 0 that the sampler stops at; (i / steps)**crowding of all, each once.

        Raises
        ------
        UserError : more steps than levels.
        """
        steps, levels = steps or self.settings.steps, self.settings.levels
        if steps > levels:
            raise UserError("steps", f"{steps} are more than the {levels} levels of the chain", "ask for fewer")
        share = (np.arange(steps + 1) / steps) ** self.settings.crowding
        # Near the data steps shorter than one level become one level.
        times = np.maximum(np.round(share * levels).astype(int), np.arange(steps + 1))
        return times[::-1].tolist()

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
        UserError : more steps than levels.
        """
        noise = SampleNoise(len(condition), generator)
        x = noise.normal(module.input_shape, condition.device)
        for t, then in pairwise(self.times(steps)):
            found = answer(module, x, self.level(t), condition, guidance)
            x = self.back(x, found, t, then, noise)
        return x

    def evaluations(self, steps: int | None = None) -> int:
        """Evaluations of the network a sample, without guidance."""
        return steps or self.settings.steps

    def back(self, x: Tensor, found: Tensor, t: int, then: int, noise: SampleNoise) -> Tensor:
        """From level t to a lower one: equation 12 of Song, Meng & Ermon (2021, arXiv:2010.02502).

        With eta = 1 its noise, equation 16, is that of q(x_then | x_t, x0), equations 6 and 7 of Ho, Jain & Abbeel, for
        levels that are next to each other; for others it is that of the chain of fewer, longer steps.
        """
        kind, now, lower = self.settings.prediction, self.level(t), self.level(then)
        x0 = convert(found, x, now, kind, "x0")
        if self.settings.clip is not None:
            x0 = x0.clamp(-self.settings.clip, self.settings.clip)
            found, kind = x0, "x0"
        eps = convert(found, x, now, kind, "eps")
        eta = 1.0 if self.settings.sampler == "ancestral" else self.settings.eta
        new = float(eta * lower.sigma / now.sigma * (1 - (now.alpha / lower.alpha) ** 2).sqrt())
        x = noised(x0, eps, Level(lower.alpha, (lower.sigma**2 - new**2).clamp(min=0).sqrt()))
        return x + new * noise.normal(x.shape[1:], x.device) if new else x
