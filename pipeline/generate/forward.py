"""Derivatives in the forward direction: a Jacobian times a vector beside the evaluation itself."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def forward_derivative(
    function: Callable[..., Tensor], points: tuple[Tensor, ...], directions: tuple[Tensor, ...]
) -> Tensor:
    """The derivative of `function` at `points` along `directions`, of the shape of its result."""
    with warnings.catch_warnings():
        # torch 2.13 loads its rules for this at the first use, and there warns of its own torch.jit.script.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        return torch.func.jvp(function, points, directions)[1]
