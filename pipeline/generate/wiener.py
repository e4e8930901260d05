"""The best linear denoiser of samples whose covariance is known along their leading principal axes."""

import torch
from torch import Tensor, nn

_MORE = 8  # axes beyond those wanted, by which the search for them is accurate
_ROUNDS = 2


class Wiener(nn.Module):
    """The mean of x0 in x = x0 + sigma noise for normal x0 of mean 0: v / (v + sigma^2) x along each principal axis.

    v is the variance along the axis; one number stands for all directions that are left (Tipping & Bishop 1999, section
    3.2): the filter of Wiener (1949) for such a covariance. For samples that are not normal it is the best linear one.

    Buffers: `basis` (d, k), `variance` (k,), `rest` (), the variance of every other direction; d numbers a sample.
    """

    def __init__(self, size: int, axes: int):
        super().__init__()
        self.register_buffer("basis", torch.zeros(size, axes))
        self.register_buffer("variance", torch.ones(axes))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take all from samples ``(n, ...)`` of mean 0.

        Of fewer than 2 k samples there are fewer axes; those that are not there are zero in `basis`.
        """
        flat = x.flatten(1)
        n, size = flat.shape
        kept = min(self.variance.numel(), n // 2, size // 2)
        _, values, basis = torch.svd_lowrank(flat, min(kept + _MORE, n, size), _ROUNDS)
        left = float(flat.square().sum() - values[:kept].square().sum()) / n / (size - kept)
        self.rest.fill_(max(left, 1e-6))
        self.basis.zero_()
        self.basis[:, :kept] = basis[:, :kept]
        self.variance.copy_(self.rest.expand_as(self.variance))
        self.variance[:kept] = (values[:kept].square() / n).clamp(min=1e-6)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The mean of x0 ``(n, ...)`` at samples x ``(n, ...)`` with noise of sigma ``(n,)``."""
        flat, noise = x.flatten(1), sigma.to(x).square()[:, None]
        rest, share = self.rest / (self.rest + noise), self.variance / (self.variance + noise)
        along = (share - rest) * (flat @ self.basis)
        return (rest * flat + along @ self.basis.T).view_as(x)

    def error(self, sigma: Tensor) -> Tensor:
        """The root mean square error ``(n,)`` float64 of a number of x0, if samples are normal."""
        noise = sigma.double().square()
        variance, rest, size = self.variance.double(), self.rest.double(), len(self.basis)
        along = (variance / (variance + noise[:, None])).sum(1)
        others = (size - len(variance)) * rest / (rest + noise)
        return (noise * (along + others) / size).sqrt()
