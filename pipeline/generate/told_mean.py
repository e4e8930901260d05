"""What is to be expected of numbers when conditions are told, by regression, whichever of them are told."""

import torch
from torch import Tensor, nn

from pipeline.generate.joint import numeric_conditions, told_numbers

_RIDGE = 1e-2  # against the variance of a standardised condition


class ToldMean(nn.Module):
    """The mean of k numbers given a condition ``(n, width)``, by ridge regression: quadratic in it, or linear.

    Conditions are vectors of `pipeline.generate.conditions`. What is not told is replaced by its expectation given the
    rest, as for normal conditions (Bishop 2006, equation 2.81); where nothing is told that is the mean condition. For
    what is linear in a condition that is the mean, for what is quadratic it leaves out how uncertain the condition is.
    Without conditions it is the mean of all.

    Buffers: `numerics`, how many conditions are numeric; `centre` (m,) and `covariance` (m, m) of the m values and
    classes; `weight` (features, k).
    """

    def __init__(self, width: int, outputs: int, quadratic: bool = True):
        super().__init__()
        self.width, self.quadratic = width, quadratic
        self.register_buffer("numerics", torch.zeros((), dtype=torch.int64))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("covariance", torch.eye(width))
        features = 1 + width + (width * (width + 1) // 2 if quadratic else 0)
        self.register_buffer("weight", torch.zeros(features, outputs))

    @torch.no_grad()
    def fit(self, condition: Tensor, numbers: Tensor) -> None:
        """Take all from conditions ``(n, width)`` and the numbers ``(n, k)`` that go with them."""
        self.numerics.fill_(numeric_conditions(condition))
        told, values = told_numbers(condition, int(self.numerics)), condition.float()
        count = told.sum(0).clamp(min=1)
        self.centre.copy_((values * told).sum(0) / count)
        away = (values - self.centre) * told
        self.covariance.copy_(away.T @ away / count + _RIDGE * torch.eye(self.width, device=away.device))
        features = self._features(condition)
        square = features.double().T @ features.double()
        ridge = _RIDGE * len(features) * torch.eye(len(square), dtype=square.dtype, device=square.device)
        ridge[0, 0] = 0
        # features that never vary have an equation of zeros
        self.weight.copy_(torch.linalg.lstsq(square + ridge, (features.T @ numbers).double()).solution)

    def forward(self, condition: Tensor) -> Tensor:
        """``(n, k)``; zeros of a condition tell nothing."""
        return self._features(condition) @ self.weight

    def _features(self, condition: Tensor) -> Tensor:
        """1, the completed values and classes, and the products of two of them, ``(n, features)``."""
        told = told_numbers(condition, int(self.numerics)).to(self.covariance)
        away = (condition - self.centre) * told
        both = told[:, :, None] * told[:, None, :]
        known = both * self.covariance + torch.diag_embed(1 - told)
        away = torch.linalg.solve(known, away) @ self.covariance
        features = torch.cat([away.new_ones(len(away), 1), away], 1)
        if not self.quadratic:
            return features
        row, column = torch.triu_indices(self.width, self.width, device=away.device)
        return torch.cat([features, away[:, row] * away[:, column]], 1)
