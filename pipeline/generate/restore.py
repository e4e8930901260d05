"""Denoising and restoration: what images may have been, drawn from the posterior with a velocity field as the prior.

The field is that of a trained flow (`Flow.field`), on the path z_t = (1 - t) noise + t x. The mean over the draws is
the estimate, their standard deviation its uncertainty.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.generate.flow import grid, wide
from pipeline.generate.forward import forward_derivative
from pipeline.generate.noise import SampleNoise
from pipeline.generate.ode import Field

# Images x (n, channel, *axes) in network units to what an instrument without noise would observe of them (n, ...).
Measure = Callable[[Tensor], Tensor]

_CROWDING = 2.0
# Where restoration begins: so little of the image is in z there that it can be left out.
_START = 0.02
# Standard deviations of a pixel that the point of linearisation moves in a step, at most.
_LEAP = 1.0
# Share of the noise's own variance that observations have at least, but for rounding.
_LEAST = 0.999


@torch.no_grad()
def denoise(
    field: Field,
    observed: Tensor,
    noise: float | Tensor,
    generator: torch.Generator,
    *,
    draws: int = 16,
    steps: int = 50,
) -> Tensor:
    """Draws from p(x | observed) for observed = x + noise n, with n white and normal, in network units.

    t observed is a point z_t of the path at t = 1 / (1 + noise), so the path is joined there. It is followed by the
    time reversal of the forward diffusion in ancestral steps, not by the deterministic flow, which has the right
    distribution over all images but gives one image for each observed one. Exact for any prior when `field` is and the
    steps are many.

    Parameters
    ----------
    observed : (n, channel, *axes).
    noise : standard deviation of the noise, one for all images or (n,).
    generator : on the CPU; the draws of an image do not depend on those behind it.

    Returns
    -------
    Tensor : (draws, n, channel, *axes).

    Raises
    ------
    UserError : a noise that is not above 0.
    """
    level = torch.as_tensor(noise, dtype=torch.float64).expand(len(observed)).cpu()
    _check_noise(level)
    streams = SampleNoise(len(observed), generator)
    start = 1 / (1 + level)
    joined, times = observed * wide(start, observed), grid(steps, _CROWDING, start)
    return torch.stack([_ancestral(lambda z, t: _mean(field, z, t), joined, times, streams) for _ in range(draws)])


@torch.no_grad()
def restore(
    field: Field,
    observed: Tensor,
    measure: Measure,
    noise: float | Tensor,
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    about: Tensor | None = None,
    draws: int = 16,
    steps: int = 50,
    iterations: int = 5,
) -> Tensor:
    """Draws from p(x | observed) for observed = measure(x) + noise n, with n white and normal.

    Moment-matching posterior sampling (Rozet et al. 2024, arXiv:2405.13712, section 4): what the prior leaves open at a
    point z_t is taken for a normal distribution, of the covariance that the Jacobian of the field gives, and what was
    observed moves its mean as in linear regression. Exact for a normal prior, a linear `measure` and many steps; else
    an approximation, for a measure that is not linear by its derivative, first at `about`, then at the estimate of the
    step before. A measure as steep as sinh wants an `about`: by its derivative at a dark pixel, a bright one is out of
    reach of floating point.

    Parameters
    ----------
    observed : (n, ...), in its own unit; NaN pixels were not observed.
    measure : differentiable in both directions, for example
        ``lambda x: blur(scale.inverse(x), kernel)`` where the flow learned ``scale.forward`` of what is in the sky.
    noise : standard deviation in the unit of `observed`, a number or a tensor that broadcasts to it.
    shape : (channel, *axes) of an image.
    generator : on the CPU; the draws of an image do not depend on those behind it.
    about : (n, channel, *axes), roughly what was observed, in network units; the mean of the field when None.
    iterations : of the conjugate gradients in each step, each a backward pass of the network.

    Returns
    -------
    Tensor : (draws, n, channel, *axes), in network units.

    Raises
    ------
    UserError : a noise that is not above 0.
    """
    spread = torch.as_tensor(noise, dtype=observed.dtype, device=observed.device).expand(observed.shape)
    _check_noise(spread)
    streams = SampleNoise(len(observed), generator)

    times = grid(steps, _CROWDING, torch.full((len(observed),), _START, dtype=torch.float64))

    def draw() -> Tensor:
        point = about

        def mean(z: Tensor, t: Tensor) -> Tensor:
            nonlocal point
            clean = posterior_mean(field, z, t, observed, measure, spread, iterations, point)
            point = clean if point is None else point + (clean - point).clamp(-_LEAP, _LEAP)
            return clean

        return _ancestral(mean, (1 - _START) * streams.normal(shape, observed.device), times, streams)

    return torch.stack([draw() for _ in range(draws)])


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """x (n, channel, *axes) convolved with a kernel (*axes) of odd lengths; what is outside of x counts as 0."""
    axes = tuple(range(-kernel.ndim, 0))
    lengths = list(zip(x.shape[-kernel.ndim :], kernel.shape, strict=True))
    full = [length + extra - 1 for length, extra in lengths]
    product = torch.fft.rfftn(x, full, axes) * torch.fft.rfftn(kernel.to(x), full)
    middle = (slice(extra // 2, extra // 2 + length) for length, extra in lengths)
    return torch.fft.irfftn(product, full, axes)[(..., *middle)]


def _check_noise(noise: Tensor) -> None:
    if not (noise > 0).all():
        raise UserError("noise", "is not above 0 everywhere", "give the standard deviation of the noise in the images")


def _ancestral(mean: Callable[[Tensor, Tensor], Tensor], z: Tensor, times: Tensor, streams: SampleNoise) -> Tensor:
    """From z (n, ...) at times[0] to the image at times[-1] = 1, times (steps + 1, n).

    A step draws z_e from p(z_e | z_t, x) of the forward diffusion (Kingma et al. 2021, arXiv:2107.00630, appendix A)
    with `mean(z_t, t)` in the place of x; it keeps alpha = t and sigma = 1 - t of the path.
    """
    for now, then in zip(times[:-1], times[1:], strict=True):
        clean = mean(z, now.to(z))
        ratio = ((1 - then) / (1 - now)) ** 2
        # variance of z_t given z_e, as a share of that of z_t given x
        share = 1 - ratio * (now / then) ** 2
        z = wide(now / then * ratio, z) * z + wide(then * share, z) * clean
        if then.min() < 1:
            z = z + wide((1 - then) * share.sqrt(), z) * streams.normal(tuple(z.shape[1:]), z.device)
    return z


def _mean(field: Field, z: Tensor, t: Tensor) -> Tensor:
    """E[x | z_t] of the velocity: z_t + (1 - t) velocity."""
    return z + wide(1 - t, z) * field(z, t)


def posterior_mean(
    field: Field,
    z: Tensor,
    t: Tensor,
    observed: Tensor,
    measure: Measure,
    noise: Tensor,
    iterations: int,
    about: Tensor | None = None,
) -> Tensor:
    """E[x | z_t, observed], where p(x | z_t) is taken for normal and `measure` for linear about the point `about`.

    The mean of p(x | z_t) is that of the field, also the point when None, its covariance (1 - t)^2 / t times the
    Jacobian of the mean (Tweedie's formula of second order).
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        graph = _mean(field, z, t)
    clean = graph.detach()
    point = clean if about is None else about
    factor = wide((1 - t).square() / t, z)

    def covariance(u: Tensor) -> Tensor:
        # The Jacobian of a posterior mean is symmetric, so the backward pass serves for the product.
        return factor * torch.autograd.grad(graph, z, u, retain_graph=True)[0]

    known = observed.isfinite()
    predicted, pull = torch.func.vjp(measure, point)

    def push(x: Tensor) -> Tensor:
        return forward_derivative(measure, (point,), (x,))

    def back(w: Tensor) -> Tensor:
        return covariance(pull(w * known)[0])

    def variance(w: Tensor) -> Tensor:
        return noise.square() * w + known * push(back(w))

    if about is not None:
        predicted = predicted + push(clean - point)
    residual = torch.where(known, observed - predicted, 0.0)
    # Rows in units of what they vary by if pixels had the variance 1 and no neighbours: a bright pixel behind sinh has
    # thousands of times that of a dark one, and conjugate gradients would need as many iterations.
    share = wide((1 - t).square() / (t.square() + (1 - t).square()), z)
    unit = (noise.square() + share * push(torch.ones_like(clean)).square()).rsqrt()
    solved = _solve(lambda w: unit * variance(unit * w), unit * residual, iterations, unit * noise)
    return clean + back(unit * solved)


def _solve(matrix: Callable[[Tensor], Tensor], b: Tensor, iterations: int, noise: Tensor) -> Tensor:
    """Conjugate gradients for matrix(w) = b, each sample (row) by itself (Hestenes & Stiefel 1952).

    The matrix is a covariance and, besides, diag(noise^2). A sample stops where it is solved, or along a direction
    where the matrix has less than that noise: there the covariance, which was learnt, is none.
    """
    w, residual = torch.zeros_like(b), b
    direction, square = b, _dot(b, b)
    tiny = torch.finfo(b.dtype).eps ** 2 * square
    for _ in range(iterations):
        image = matrix(direction)
        curvature = _dot(direction, image)
        going = (curvature > _LEAST * _dot(noise * direction, noise * direction)) & (square > tiny)
        length = torch.where(going, square / curvature, 0.0)
        w, residual = w + length * direction, residual - length * image
        before, square = square, torch.where(going, _dot(residual, residual), 0.0)
        direction = residual + torch.where(going, square / before, 0.0) * direction
    return w


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return wide((a * b).flatten(1).sum(1), a)
