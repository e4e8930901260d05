"""A mixture of Gaussians over data and conditions together, conditioned in closed form on whatever is told."""

import math
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

_ROUNDS = 100
_GAIN = 1e-4  # nats a sample: the search ends when a round gains less
_FLOOR = 1e-6  # least variance of a coordinate, against the largest one


class JointMixture(nn.Module):
    """A mixture of J Gaussians of latent coordinates z ``(n, k)`` and conditions c ``(n, width)``.

    Conditions are vectors of `pipeline.generate.conditions`: (value, 1) for each numeric one, (0, 0) where it is not
    told, then one number a class. Values and classes are coordinates like those of z, absent where they are not told;
    a class, as coordinates of 0 and 1, moves the mean of a Gaussian to the mean of that class. The 1 that says that a
    value is told takes no part.

    Buffers: `weight` (J,), `mean` (J, k + width), `covariance` (J, k + width, k + width), all float64; `numerics`, how
    many conditions are numeric.
    """

    def __init__(self, components: int, axes: int, width: int):
        super().__init__()
        size = axes + width
        self.components, self.axes, self.width = components, axes, width
        self.register_buffer("weight", torch.full((components,), 1 / components, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(components, size, dtype=torch.float64))
        self.register_buffer("covariance", torch.eye(size, dtype=torch.float64).repeat(components, 1, 1))
        self.register_buffer("numerics", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit(self, z: Tensor, condition: Tensor, *, ridge: float = 0.0, seed: int = 0) -> None:
        """Maximise the likelihood of all that is known by expectation and maximisation, from k-means.

        The formulae of a mixture with missing values, Ghahramani & Jordan (1994), section 2.1, equations 6 to 9: what
        is not told is replaced by its expectation given the rest, and its conditional covariance is added. One
        Gaussian without missing values is fitted at once. With fewer than 2 k samples a component there are fewer
        components; the others get no weight.

        ridge : added to the variance of each coordinate of z, as a share of it, so that few samples in many
            dimensions leave no covariance singular.
        """
        z, condition = z.double(), condition.double()
        self.numerics.fill_(numeric_conditions(condition))
        told = self.told(condition)
        values = torch.cat([z, condition * told], 1)  # (n, k + width)
        known = torch.cat([torch.ones_like(z, dtype=torch.bool), told], 1)
        used = max(1, min(self.components, len(z) // (2 * self.axes)))
        self.weight.zero_()
        self.weight[0] = 1.0
        self.mean.zero_()
        self.covariance.copy_(torch.eye(self.axes + self.width).expand_as(self.covariance))
        variance = _variance(values, known)
        largest = variance[: self.axes].max().clamp(min=_FLOOR)
        variance[: self.axes] = variance[: self.axes].clamp(min=_FLOOR * largest)
        variance[self.axes :][variance[self.axes :] == 0] = 1.0
        # Classes that exclude each other have a singular covariance; a small share of their variance mends it.
        share = torch.full_like(variance, max(ridge, 1e-4))
        share[: self.axes] = max(ridge, _FLOOR)
        labels = _clusters(values[:, : self.axes], values[:, self.axes :] * largest.sqrt(), used, seed)
        responsibility = torch.nn.functional.one_hot(labels, used).double()  # (n, J)
        patterns = list(_patterns(known))
        self._maximise(values, patterns, responsibility, share * variance, start=True)
        before = -math.inf
        for _ in range(_ROUNDS):
            density = torch.empty(len(values), used, dtype=torch.float64, device=values.device)
            for pattern, rows in patterns:
                density[rows] = self._log_joint(values[rows][:, pattern], pattern)[:, :used]
            total = density.logsumexp(1)
            gain, before = float(total.mean()) - before, float(total.mean())
            if gain < _GAIN:
                break
            responsibility = (density - total[:, None]).exp()
            self._maximise(values, patterns, responsibility, share * variance)

    def told(self, condition: Tensor) -> Tensor:
        """Which numbers of conditions ``(n, width)`` are known values or classes, bool ``(n, width)``."""
        return told_numbers(condition, int(self.numerics))

    def conditional(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mixture of z given one condition ``(width,)``: weights (J,), means (J, k), covariances (J, k, k).

        Bishop (2006), equations 2.81 and 2.82, for each component; the weights are multiplied by the density of what
        is told.
        """
        known, value = self._known(condition[None])
        log_weight, mean, covariance = self._given(value, known[0])
        return log_weight[0].exp(), mean[:, 0], covariance

    @torch.no_grad()
    def sample(self, condition: Tensor, noise: Tensor) -> Tensor:
        """One z ``(n, k)`` for each condition ``(n, width)`` from standard normal `noise` ``(n, 1 + k)``."""
        noise = noise.double()
        z = torch.empty(len(condition), self.axes, dtype=torch.float64, device=condition.device)
        known, values = self._known(condition)
        choice = torch.special.ndtr(noise[:, :1])  # uniform
        for pattern, rows in _patterns(known):
            log_weight, mean, covariance = self._given(values[rows], pattern)
            component = (log_weight.exp().cumsum(1) < choice[rows]).sum(1).clamp(max=self.components - 1)
            # Rounding of the sum must not choose a component without weight.
            component = torch.where(
                torch.isinf(log_weight.gather(1, component[:, None])[:, 0]), log_weight.argmax(1), component
            )
            for j in component.unique().tolist():
                chosen = component == j
                spread = noise[rows[chosen], 1:] @ torch.linalg.cholesky(covariance[j]).T
                z[rows[chosen]] = mean[j, chosen] + spread
        return z

    @torch.no_grad()
    def log_density(self, z: Tensor, axes: Tensor | None = None) -> Tensor:
        """ln p(z) ``(n,)`` when nothing is told; `axes` (k,) bool leaves coordinates of z out."""
        if axes is None:
            axes = torch.ones(self.axes, dtype=torch.bool, device=z.device)
        pattern = torch.cat([axes, axes.new_zeros(self.width)])
        return self._log_joint(z.double()[:, axes], pattern).logsumexp(1)

    def _known(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        told = self.told(condition)
        nothing = told.new_zeros(len(told), self.axes)
        return torch.cat([nothing, told], 1), torch.cat([nothing.double(), condition.double()], 1)

    def _log_joint(self, values: Tensor, pattern: Tensor) -> Tensor:
        """ln of weight times density of the known coordinates, ``(n, J)``; `values` ``(n, known)``."""
        factor = torch.linalg.cholesky(self.covariance[:, pattern][:, :, pattern])
        constant = factor.diagonal(dim1=1, dim2=2).log().sum(1) + 0.5 * values.shape[1] * math.log(2 * math.pi)
        square = [
            # one component at a time, as the samples may be many
            torch.linalg.solve_triangular(factor[j], (values - self.mean[j, pattern]).T, upper=False).square().sum(0)
            for j in range(self.components)
        ]
        return self.weight.log() - constant - 0.5 * torch.stack(square, 1)

    def _given(self, values: Tensor, pattern: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of z given the conditions of `pattern`: ln of weights (n, J), means (J, n, k), covariances (J, k, k)."""
        log_joint = self._log_joint(values[:, pattern], pattern)
        latent = torch.zeros_like(pattern)
        latent[: self.axes] = True
        mean, covariance = self._regress(values[:, pattern], pattern, latent)
        return log_joint - log_joint.logsumexp(1, keepdim=True), mean, covariance

    def _regress(self, values: Tensor, known: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Means (J, n, wanted) and covariances (J, wanted, wanted), given `values` (n, known) of other coordinates."""
        cross = self.covariance[:, wanted][:, :, known]  # (J, wanted, known)
        gain = torch.linalg.solve(self.covariance[:, known][:, :, known], cross.mT).mT
        mean = self.mean[:, None, wanted] + (values - self.mean[:, None, known]) @ gain.mT
        covariance = self.covariance[:, wanted][:, :, wanted] - gain @ cross.mT
        return mean, (covariance + covariance.mT) / 2

    def _guess(self, values: Tensor, pattern: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance, for each component, of the coordinates of ``(n, size)`` values that are not known."""
        return self._regress(values[:, pattern], pattern, ~pattern)

    def _maximise(
        self,
        values: Tensor,
        patterns: list[tuple[Tensor, Tensor]],
        responsibility: Tensor,
        ridge: Tensor,
        start: bool = False,
    ) -> None:
        """New parameters from ``(n, J)`` responsibilities; at the `start` unknown values are taken as they are, 0."""
        used = responsibility.shape[1]
        guesses = [] if start else [self._guess(values[rows], pattern) for pattern, rows in patterns]
        count = responsibility.sum(0).clamp(min=1e-9)
        for j in range(used):
            completed = values.clone()
            covariance = ridge.diag()
            for (pattern, rows), (mean, extra) in zip(patterns, guesses, strict=not start):
                places = (~pattern).nonzero()[:, 0]
                completed[rows[:, None], places] = mean[j]
                covariance[places[:, None], places] += responsibility[rows, j].sum() / count[j] * extra[j]
            share = responsibility[:, j] / count[j]
            self.weight[j] = count[j] / len(values)
            self.mean[j] = share @ completed
            shift = completed - self.mean[j]
            self.covariance[j] = covariance + (share[:, None] * shift).T @ shift
        self.weight /= self.weight.sum()


def told_numbers(condition: Tensor, numerics: int) -> Tensor:
    """Which numbers of conditions ``(n, width)`` are known values or classes, bool ``(n, width)``.

    The numbers that say whether one of the `numerics` values is known are not.
    """
    pairs = 2 * numerics
    told = torch.zeros_like(condition, dtype=torch.bool)
    told[:, 0:pairs:2] = condition[:, 1:pairs:2] > 0.5
    told[:, pairs:] = (condition[:, pairs:] > 0.5).any(1, keepdim=True)
    return told


def numeric_conditions(condition: Tensor) -> int:
    """How many conditions of training vectors ``(n, width)`` are numeric, that is (value, told) pairs.

    In a pair of numbers the second is 0 or 1, and the first is 0 wherever the second is; of two classes, the first is
    1 where the second is 0, as soon as it occurs.
    """
    pairs = 0
    for k in range(condition.shape[1] // 2):
        value, told = condition[:, 2 * k], condition[:, 2 * k + 1]
        if not (((told == 0) & (value == 0)) | (told == 1)).all():
            break
        pairs += 1
    return pairs


def _patterns(known: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each different row of bool ``(n, size)``, and the rows that are like it."""
    different, index = known.unique(dim=0, return_inverse=True)
    for number, pattern in enumerate(different):
        yield pattern, (index == number).nonzero()[:, 0]


def _variance(values: Tensor, known: Tensor) -> Tensor:
    """Variance of each coordinate over the samples that it is known of; 0 where there is none."""
    count = known.sum(0).clamp(min=1)
    mean = (values * known).sum(0) / count
    return ((values - mean).square() * known).sum(0) / count


def _clusters(z: Tensor, condition: Tensor, number: int, seed: int) -> Tensor:
    """Labels ``(n,)`` of k-means; conditions weigh as much as the leading coordinate of z."""
    if number == 1:
        return torch.zeros(len(z), dtype=torch.int64, device=z.device)
    points = torch.cat([z, condition], 1).cpu().numpy().astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal samples: some clusters are the same
        labels = KMeans(number, n_init=1, random_state=seed).fit_predict(points)
    return torch.from_numpy(labels).long().to(z.device)
