"""Ordinary differential equations dx/dt = field(x, t) of a batch of samples: fixed steps, or steps by tolerance."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from pipeline.errors import UserError

# (x (n, ...), t (n,)) to dx/dt of the shape of x.
Field = Callable[[Tensor, Tensor], Tensor]
Solver = Literal["euler", "midpoint", "heun", "adaptive"]

# Evaluations of the field a step of the solvers with fixed steps.
EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2}
MOST_STEPS = 1000

# Dormand & Prince (1980), table 2, method RK5(4)7M: the times of stages 2 to 7 and their weights; stage 7 stands at the
# fifth-order solution, and is the first stage of the next step. Then fifth-order less fourth-order weights.
_TIMES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_WEIGHTS = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_FIRST_STEP, _SAFETY, _SMALLEST, _LARGEST = 0.01, 0.9, 0.2, 5.0


def integrate(
    field: Field,
    x: Tensor,
    times: Tensor,
    solver: Solver = "heun",
    *,
    tolerance: float = 1e-4,
    corrected: bool = True,
) -> Tensor:
    """Follow dx/dt = field(x, t) from times[0] to times[-1].

    Parameters
    ----------
    field : gets x (n, ...) and t (n,); a sample's slope must not depend on the other samples.
    x : (n, ...) at times[0].
    times : (steps + 1,), rising or falling. The adaptive solver uses the first and the last.
    solver : "euler", order 1; "midpoint" and "heun", the two usual Runge-Kutta methods of order 2; "adaptive", the
        pair of orders 5 and 4 of Dormand & Prince (1980, J. Comput. Appl. Math. 6, 19).
    tolerance : of the adaptive solver: in each step, the root mean square over a sample of its estimated error, divided
        by 1 + |x|. Each sample has steps of its own, so that it does not depend on what it is computed with.
    corrected : False makes the last Heun step an Euler step, for fields that are singular at times[-1] (Karras et al.
        2022, arXiv:2206.00364, algorithm 1).

    Returns
    -------
    Tensor : the shape of x, at times[-1].

    Raises
    ------
    UserError : the adaptive solver meets numbers that are not finite, or needs more than MOST_STEPS steps.
    """
    marks = [float(time) for time in times]
    if solver == "adaptive":
        return _adaptive(field, x, marks[0], marks[-1], tolerance)
    for now, then in pairwise(marks):
        slope = field(x, _all(x, now))
        if solver == "midpoint":
            middle = 0.5 * (now + then)
            slope = field(x + (middle - now) * slope, _all(x, middle))
        elif solver == "heun" and (corrected or then != marks[-1]):
            slope = 0.5 * (slope + field(x + (then - now) * slope, _all(x, then)))
        x = x + (then - now) * slope
    return x


class Counted:
    """A field that counts its evaluations in `calls`."""

    def __init__(self, field: Field):
        self.field, self.calls = field, 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.field(x, t)


def _all(x: Tensor, time: float) -> Tensor:
    return x.new_full((len(x),), time)


def _adaptive(field: Field, x: Tensor, start: float, end: float, tolerance: float) -> Tensor:
    wide = (len(x), *(1 for _ in x.shape[1:]))
    t = torch.full((len(x),), start, dtype=torch.float64, device=x.device)
    step = torch.full_like(t, _FIRST_STEP * (end - start))
    slope = field(x, t.to(x.dtype))
    for _ in range(MOST_STEPS):
        last = (end - t).abs() <= step.abs()
        step = torch.where(last, end - t, step)
        h = step.to(x.dtype).view(wide)
        slopes = [slope]
        for time, weights in zip(_TIMES, _WEIGHTS, strict=True):
            ahead = x + h * _sum(weights, slopes)
            slopes.append(field(ahead, (t + time * step).to(x.dtype)))
        scale = tolerance * (1 + torch.maximum(x.abs(), ahead.abs()))
        error = (h * _sum(_ERROR, slopes) / scale).double().flatten(1).square().mean(1).sqrt()
        if not error.isfinite().all():
            what = "the field is not finite"
            raise UserError("adaptive solver", what, "train the model longer, or with a lower learning rate")
        taken = error <= 1
        x = torch.where(taken.view(wide), ahead, x)
        slope = torch.where(taken.view(wide), slopes[-1], slope)
        t = torch.where(taken, torch.where(last, end, t + step), t)
        if (t == end).all():
            return x
        step = step * (_SAFETY * error**-0.2).clamp(_SMALLEST, _LARGEST)
    raise UserError("adaptive solver", f"needs more than {MOST_STEPS} steps", "raise tolerance or choose midpoint")


def _sum(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return sum(weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight)
