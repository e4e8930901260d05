"""Score, eps, x0, v and velocity: five ways to say the same of a sample between data and noise."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["x0", "eps", "v", "score", "velocity"]


@dataclass(frozen=True)
class Level:
    """Where samples are between data and noise: x = alpha x0 + sigma eps, with eps standard normal.

    Every number is one for all samples or one each ``(n,)``.

    Attributes
    ----------
    alpha, sigma : of the data and of the noise; alpha^2 + sigma^2 = 1 is "variance preserving" (DDPM), alpha = 1 is
        "variance exploding" (NCSN, EDM), alpha + sigma = 1 the straight path of flow matching.
    alpha_rate, sigma_rate : their derivatives in time along the path, which a velocity needs.
    """

    alpha: float | Tensor
    sigma: float | Tensor
    alpha_rate: float | Tensor | None = None
    sigma_rate: float | Tensor | None = None

    @property
    def ratio(self) -> Tensor:
        """Noise to data sigma / alpha, float64."""
        return _exact(self.sigma) / _exact(self.alpha)

    @property
    def size(self) -> Tensor:
        """Standard deviation of x where that of x0 is 1, float64."""
        return torch.hypot(_exact(self.alpha), _exact(self.sigma))


def convert(value: Tensor, x: Tensor, level: Level, given: Prediction, wanted: Prediction) -> Tensor:
    """What `value`, a prediction of kind `given` for the samples x at `level`, says as a prediction of kind `wanted`.

    With x0 the clean sample and eps the noise in x = alpha x0 + sigma eps, each prediction is a sum b x0 + c eps:

    - x0: b, c = 1, 0
    - eps: 0, 1
    - score, the gradient of log p(x): 0, -1 / sigma (Vincent 2011, doi:10.1162/NECO_a_00142; for the mean of x0 it is
      Tweedie's formula)
    - v: -sigma, alpha (Salimans & Ho 2022, arXiv:2202.00512, section 4)
    - velocity dx/dt: alpha_rate, sigma_rate (Albergo, Boffi & Vanden-Eijnden 2023, arXiv:2303.08797)

    Two such sums, x and the given one, have x0 and eps as their solution, and the wanted one follows from these. What
    holds for x0 and eps themselves holds for their means at a given x, which networks learn, under any guidance.

    Parameters
    ----------
    value, x : ``(n, channel, *axes)``.

    Returns
    -------
    Tensor : the shape and type of x. Not finite where the given prediction says nothing: eps at alpha = 0, x0 at
        sigma = 0.

    Raises
    ------
    ValueError : a velocity at a level without rates.
    """
    b, c = _sum(given, level)
    wanted_b, wanted_c = _sum(wanted, level)
    determinant = _exact(level.alpha) * c - _exact(level.sigma) * b
    of_x = (wanted_b * c - wanted_c * b) / determinant
    of_value = (wanted_c * _exact(level.alpha) - wanted_b * _exact(level.sigma)) / determinant
    return _wide(of_x, x) * x + _wide(of_value, x) * value


def predicted(wanted: Prediction, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
    """The prediction of kind `wanted` that is right for clean samples x0 with the noise eps, both (n, channel, *axes).

    Raises
    ------
    ValueError : a velocity at a level without rates.
    """
    b, c = _sum(wanted, level)
    return _wide(b, x0) * x0 + _wide(c, x0) * eps


def noised(x0: Tensor, eps: Tensor, level: Level) -> Tensor:
    """alpha x0 + sigma eps of clean samples and noise (n, channel, *axes)."""
    return _wide(level.alpha, x0) * x0 + _wide(level.sigma, x0) * eps


def _sum(kind: Prediction, level: Level) -> tuple[Tensor, Tensor]:
    """What a prediction has of x0 and of eps."""
    alpha, sigma = _exact(level.alpha), _exact(level.sigma)
    if kind == "velocity":
        if level.alpha_rate is None or level.sigma_rate is None:
            raise ValueError("a velocity needs a level with alpha_rate and sigma_rate")
        return _exact(level.alpha_rate), _exact(level.sigma_rate)
    sums = {
        "x0": (torch.ones_like(alpha), torch.zeros_like(sigma)),
        "eps": (torch.zeros_like(alpha), torch.ones_like(sigma)),
        "v": (-sigma, alpha),
        "score": (torch.zeros_like(alpha), -1 / sigma),
    }
    return sums[kind]


def _exact(number: float | Tensor) -> Tensor:
    # The determinant of a high or low level is a difference that float32 would round away.
    return torch.as_tensor(number, dtype=torch.float64)


def _wide(number: float | Tensor, x: Tensor) -> Tensor:
    """One number for all samples, or (n,) for each, in the type of x and so that it multiplies x."""
    return torch.as_tensor(number, dtype=x.dtype, device=x.device).view(-1, *(1 for _ in x.shape[1:]))
