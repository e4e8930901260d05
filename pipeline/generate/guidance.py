"""Classifier-free guidance, for every network that predicts a vector of the size of its input."""

from collections.abc import Callable

import torch
from torch import Tensor

# A network: (x (n, channel, *axes), t (n,), condition (n, width)) to a prediction of the shape of x.
Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]


def guided(network: Predictor, x: Tensor, t: Tensor, condition: Tensor, guidance: float = 1.0) -> Tensor:
    """The prediction for `condition`, with its difference from that for nothing told multiplied by `guidance`.

    unconditional + guidance (conditional - unconditional), which is equation 6 of Ho & Salimans (2022,
    arXiv:2207.12598), (1 + w) conditional - w unconditional, with guidance = 1 + w: 1 is the plain conditional model,
    0 the unconditional one, more than 1 trades variety for likeness to what is told. The same holds for a score, eps,
    x0, v or velocity, as at a given x and t they are affine in each other.

    Where both are needed they are one batch of twice the size; a condition of zeros, which tells nothing, is the
    unconditional model under any guidance.

    Parameters
    ----------
    x : (n, channel, *axes).
    t : (n,).
    condition : (n, width); a width of 0 is a model that can be told nothing.

    Returns
    -------
    Tensor : the shape of x.
    """
    if guidance == 1 or condition.shape[1] == 0:
        return network(x, t, condition)
    nothing = torch.zeros_like(condition)
    if guidance == 0:
        return network(x, t, nothing)
    both = network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([condition, nothing]))
    conditional, unconditional = both.chunk(2)
    return unconditional + guidance * (conditional - unconditional)
