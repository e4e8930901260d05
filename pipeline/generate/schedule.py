"""How fast data turn into noise: the levels of the forward chain of DDPM."""

import math
from typing import Literal

import numpy as np

# Of the cosine schedule: noise at the first level is not less than that of 8 bits a pixel; the last step keeps 0.1 %.
_OFFSET, _MOST = 0.008, 0.999


def kept_variance(schedule: Literal["linear", "cosine"], levels: int) -> np.ndarray:
    """abar_t, the share of the data in the variance of a sample after t of `levels` steps of the chain.

    A step is x_t = sqrt(1 - beta_t) x_(t-1) + sqrt(beta_t) noise, and abar_t the product of 1 - beta up to t.

    - linear: beta from 1e-4 to 0.02 in 1000 levels (Ho, Jain & Abbeel 2020, arXiv:2006.11239, section 4), with other
      numbers of levels as much in all.
    - cosine: abar = cos^2 of an angle that grows evenly up to pi / 2, beta at most 0.999 (Nichol & Dhariwal 2021,
      arXiv:2102.09672, equation 17).

    Returns
    -------
    numpy.ndarray : ``(levels + 1,)`` float64, falling from 1.
    """
    if schedule == "linear":
        beta = np.linspace(1e-4, 0.02, levels) * (1000 / levels)
    else:
        angle = (np.arange(levels + 1) / levels + _OFFSET) / (1 + _OFFSET) * math.pi / 2
        kept = np.cos(angle) ** 2
        beta = 1 - kept[1:] / kept[:-1]
    return np.concatenate([[1.0], np.cumprod(1 - np.minimum(beta, _MOST))])
