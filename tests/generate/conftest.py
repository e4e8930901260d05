"""Toy densities with known scores, as networks that have learnt all there is, and how far samples are from them."""

import math

import pytest
import torch
from torch import nn

DIRECTIONS = 16


class Toy(nn.Module):
    """A mixture of normal distributions in the place of a network: its answers are exact.

    kind : what is answered: "x0", "eps", "v", "score" (times the noise) or "denoiser" (F of EDM for unit data).
    mean : (k, d), spread : (k, d) standard deviations along the columns of `axes` (d, d).
    """

    def __init__(self, kind, mean, spread, axes=None, shape=None):
        super().__init__()
        self.kind, self.mean, self.variance = kind, mean.double(), spread.double().square()
        d = mean.shape[1]
        self.axes = torch.eye(d, dtype=torch.float64) if axes is None else axes.double()
        self.input_shape = shape or (1, d)
        self.calls = self.rows = 0

    def forward(self, x, t, condition):
        self.calls, self.rows = self.calls + 1, self.rows + len(x)
        r = torch.exp(4 * t.double())[:, None]
        y = x.double().flatten(1) * (1 + r**2).sqrt()
        x0 = self.clean(y, r) + self.told(condition)
        eps = (y - x0) / r
        v = (eps - r * x0) / (1 + r**2).sqrt()
        answers = {"x0": x0, "eps": eps, "v": v, "score": -eps, "denoiser": -v}
        return answers[self.kind].to(x.dtype).view_as(x)

    def told(self, condition):
        return 0.1 * condition.double().sum(1, keepdim=True)

    def clean(self, y, r):
        """The mean of x0 (n, d) where y = x0 + r eps."""
        away = (y[:, None] - self.mean) @ self.axes  # (n, k, d)
        width = self.variance + r[:, :, None] ** 2
        weight = torch.softmax(-0.5 * (away**2 / width + width.log()).sum(2), 1)
        near = self.mean + away * (self.variance / width) @ self.axes.T
        return (weight[:, :, None] * near).sum(1)

    def moments(self):
        """Mean (d,) and covariance (d, d)."""
        within = self.axes @ torch.diag(self.variance.mean(0)) @ self.axes.T
        return self.mean.mean(0).double(), within + self.mean.double().T.cov(correction=0)

    def draw(self, n, seed=1):
        """Real samples (n, *shape)."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.mean), (n,), generator=generator)
        normal = torch.randn(n, self.mean.shape[1], generator=generator, dtype=torch.float64)
        x = self.mean[chosen] + (normal * self.variance[chosen].sqrt()) @ self.axes.T
        return x.float().view(n, *self.input_shape)


def normal(kind):
    turn = torch.tensor([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])
    return Toy(kind, torch.tensor([[0.5, -1.0]]), torch.tensor([[1.2, 0.3]]), turn)


def moons(kind):
    """Two half circles, one in the arm of the other."""
    angle = torch.linspace(0, math.pi, 8)
    one = torch.stack([angle.cos(), angle.sin()], 1)
    mean = torch.cat([one, torch.tensor([1.0, 0.5]) - one]) - torch.tensor([0.5, 0.25])
    return Toy(kind, mean, torch.full_like(mean, 0.12))


TOYS = {"normal": normal, "moons": moons}


@pytest.fixture
def make_toy():
    """The toy density of a name, answering as a network of a kind: (name, kind) to Toy."""
    return lambda name, kind: TOYS[name](kind)


@pytest.fixture
def exact():
    """The class of toys."""
    return Toy


@pytest.fixture
def distance():
    """How far x (n, ...) is from a toy: its mean, its covariance, and sliced Wasserstein-1 to as many real samples."""

    def measure(x, toy):
        x, real = x.double().flatten(1), toy.draw(len(x), seed=5).double().flatten(1)
        angle = torch.linspace(0, math.pi, DIRECTIONS + 1, dtype=torch.float64)[:-1]
        to = torch.stack([angle.cos(), angle.sin()])
        sliced = ((x @ to).sort(0).values - (real @ to).sort(0).values).abs().mean()
        mean, covariance = toy.moments()
        means, covariances = (x.mean(0) - mean).abs().max(), (x.T.cov() - covariance).abs().max()
        return {"mean": float(means), "covariance": float(covariances), "sliced": float(sliced)}

    return measure
