"""The log-likelihood of samples under the flow of a velocity field."""

import math

import torch
from torch import Tensor

from pipeline.generate.noise import SampleNoise
from pipeline.generate.ode import Field, Solver, integrate


@torch.no_grad()
def log_likelihood(
    field: Field,
    x: Tensor,
    times: Tensor,
    solver: Solver = "midpoint",
    *,
    probes: int = 0,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-4,
) -> Tensor:
    """log p(x) of the samples that the field makes of standard normal noise, in nats, for x in network units.

    The instantaneous change of variables (Chen et al. 2018, arXiv:1806.07366, equation 8): along the path of a sample
    d log p / dt = -div field, and at its beginning it is noise of a known density. For a flow and its network:
    ``log_likelihood(flow.field(module, condition), x, flow.times(50).flip(0))``.

    Parameters
    ----------
    field : the velocity, see `pipeline.generate.ode`; it must be differentiable in x.
    x : (n, channel, *axes), data.
    times : (steps + 1,) from 1, data, to 0, noise.
    probes : 0 for the exact divergence, which takes a backward pass for every number of a sample; else so many
        random directions of +-1 a sample, the same all along its path, give an unbiased estimate (Hutchinson 1989; for
        flows Grathwohl et al. 2019, arXiv:1810.01367, section 3.1).
    generator : on the CPU, for the probes.
    tolerance : of the adaptive solver.

    Returns
    -------
    Tensor : (n,).

    Raises
    ------
    UserError : the adaptive solver cannot follow the field.
    """
    n, size = len(x), math.prod(x.shape[1:])
    if probes:
        draws = SampleNoise(n, generator).normal((probes, size), x.device).sign().to(x.dtype)
        directions = (draws / math.sqrt(probes)).movedim(1, 0)  # (probe, n, size)
    else:
        directions = torch.eye(size, dtype=x.dtype, device=x.device)[:, None].expand(size, n, size)

    def both(state: Tensor, t: Tensor) -> Tensor:
        velocity, divergence = _divergence(field, state[:, :-1].reshape(x.shape), t, directions)
        return torch.cat([velocity.flatten(1), divergence[:, None]], 1)

    state = torch.cat([x.flatten(1), x.new_zeros(n, 1)], 1)
    state = integrate(both, state, times, solver, tolerance=tolerance)
    noise, change = state[:, :-1], state[:, -1]
    return change - 0.5 * (noise.square().sum(1) + size * math.log(2 * math.pi))


def _divergence(field: Field, x: Tensor, t: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The field at x, and (n,) the sum over the directions e (n, size) of e J e, J its Jacobian."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        velocity = field(x, t)
    total = x.new_zeros(len(x))
    for direction in directions:
        (gradient,) = torch.autograd.grad(velocity, x, direction.reshape(x.shape), retain_graph=True)
        total += (gradient.flatten(1) * direction).sum(1)
    return velocity.detach(), total
