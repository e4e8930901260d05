"""How far samples are from those that they shall be like, where no loss tells it from one epoch to the next."""

import torch
from torch import Tensor

from pipeline.generate.noise import normal_like

DIRECTIONS = 64


def sliced_wasserstein(a: Tensor, b: Tensor, generator: torch.Generator | None, directions: int = DIRECTIONS) -> Tensor:
    """The mean Wasserstein-1 distance of two sets of equal size ``(n, d)`` along random directions.

    Bonneel et al. (2015, J. Math. Imaging Vis. 51, 22), definition 8, for the distance of order 1.
    """
    axes = normal_like(a.new_empty(a.shape[1], directions), generator)
    axes = axes / axes.norm(dim=0)
    return ((a @ axes).sort(0).values - (b @ axes).sort(0).values).abs().mean()
