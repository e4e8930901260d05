"""Samples as principal coordinates and noise: what the Gaussian, PPCA and the mixture of Gaussians have in common."""

import math
from math import prod

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.generate.joint import JointMixture
from pipeline.generate.noise import normal_rows

_EXACT = 2048  # pixels up to which the whole covariance is diagonalised


class PrincipalMixture(nn.Module):
    """x = centre + basis z + noise: z from a `JointMixture` in k principal axes, equal noise in all other directions.

    The noise variance is the mean of the variances along the d - k directions left out, the maximum of the likelihood
    of Tipping & Bishop (1999), equation 8. With fewer than 2 k samples there are fewer principal axes: the directions
    that samples span exactly would have no noise. Axes that are not there are zero in `basis`.

    Buffers: `centre` (d,), `basis` (d, k), `noise` (), the variance; d is the number of values of a sample.
    """

    def __init__(self, line: str, ndim: int, input_shape: tuple[int, ...], components: int, axes: int, width: int):
        super().__init__()
        self.line, self.ndim, self.input_shape, self.outputs = line, ndim, tuple(input_shape), input_shape[0]
        size = prod(input_shape)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(size, axes))
        self.register_buffer("noise", torch.ones(()))
        self.joint = JointMixture(components, axes, width)

    @torch.no_grad()
    def fit(self, x: Tensor, condition: Tensor, *, ridge: float, seed: int = 0) -> None:
        """Take all from samples ``(n, channel, *axes)`` and their conditions ``(n, width)``.

        Raises
        ------
        UserError : fewer than two samples.
        """
        n = len(x)
        if n < 2:
            raise UserError("training set", f"has {n} sample{'' if n == 1 else 's'}", "give it at least two")
        flat = x.flatten(1).float()
        size = flat.shape[1]
        kept = min(self.joint.axes, size, max(1, (n - 1) // 2))
        solver = "covariance_eigh" if size <= _EXACT else "randomized"
        found = PCA(kept, svd_solver=solver, random_state=seed).fit(flat.cpu().numpy())
        self.centre.copy_(torch.from_numpy(found.mean_))
        self.basis.zero_()
        self.basis[:, :kept] = torch.from_numpy(found.components_.T.copy())
        left = flat.var(0, correction=0).sum() - float(found.explained_variance_.sum()) * (n - 1) / n
        # No noise at all would have no density.
        self.noise.copy_((left / max(size - kept, 1)).clamp(min=1e-6 * float(found.explained_variance_[0]) + 1e-12))
        self.joint.fit(self.encode(x), condition, ridge=ridge, seed=seed)

    def encode(self, x: Tensor) -> Tensor:
        """The principal coordinates ``(n, k)`` of samples."""
        return (x.flatten(1) - self.centre) @ self.basis

    def decode(self, z: Tensor) -> Tensor:
        """Samples without noise ``(n, channel, *axes)`` of principal coordinates ``(n, k)``."""
        return (self.centre + z.to(self.basis.dtype) @ self.basis.T).unflatten(1, self.input_shape)

    @torch.no_grad()
    def sample(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """A sample ``(n, channel, *axes)`` for each condition ``(n, width)``."""
        size, axes = self.basis.shape
        noise = normal_rows(len(condition), 1 + axes + size, generator, condition.device)
        rest = noise[:, 1 + axes :]
        rest = rest - rest @ self.basis @ self.basis.T
        z = self.joint.sample(condition, noise[:, : 1 + axes])
        return self.decode(z) + (self.noise.sqrt() * rest).unflatten(1, self.input_shape)

    @torch.no_grad()
    def log_density(self, x: Tensor) -> Tensor:
        """ln p(x) ``(n,)`` in nats, float64, when nothing is told."""
        shift = (x.flatten(1) - self.centre).double()
        z = shift @ self.basis.double()
        there = self.basis.square().sum(0) > 0.5
        left = len(self.centre) - int(there.sum())
        noise = self.noise.double()
        rest = (shift.square().sum(1) - z.square().sum(1)).clamp(min=0) / noise + left * (2 * math.pi * noise).log()
        return self.joint.log_density(z, there) - 0.5 * (rest if left else 0.0)


class Linear:
    """What the methods of a `PrincipalMixture` share; each sets `components`, `axes` and `ridge`."""

    components = 1
    ridge = 0.0

    def __init__(self, settings):
        self.settings = settings

    def build(self, ndim: int, input_shape: tuple[int, ...], width: int) -> PrincipalMixture:
        """The module, to be fitted, for samples ``(channel, *axes)`` and conditions of `width` numbers."""
        axes = min(self.settings.axes, prod(input_shape))
        several = f"{self.components}." if self.components > 1 else ""
        line = f"{self.settings.name}-{several}{axes}_c{width}"
        return PrincipalMixture(line, ndim, input_shape, self.components, axes, width)

    def fit(self, module: PrincipalMixture, x: Tensor, condition: Tensor) -> None:
        """Set the buffers of `module` from all training samples; see `PrincipalMixture.fit`."""
        module.fit(x, condition, ridge=self.ridge)

    def sample(
        self,
        module: PrincipalMixture,
        condition: Tensor,
        generator: torch.Generator,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """A sample ``(n, channel, *axes)`` for each condition; there are no steps, and nothing to guide."""
        return module.sample(condition, generator)

    def evaluations(self, steps: int | None = None) -> int:
        """No network is evaluated."""
        return 0

    def encode(self, module: PrincipalMixture, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The principal coordinates ``(n, k)`` of samples."""
        return module.encode(x)

    def decode(self, module: PrincipalMixture, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Samples without noise of principal coordinates ``(n, k)``."""
        return module.decode(z)

    def log_density(self, module: PrincipalMixture, x: Tensor) -> Tensor:
        """ln p(x) ``(n,)`` in nats."""
        return module.log_density(x)
