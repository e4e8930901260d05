"""Minibatch optimal transport: which noise of a batch flows to which of its samples."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def pair(noise: Tensor, x: Tensor, condition: Tensor, weight: float) -> Tensor:
    """For each sample of x the position of the noise that belongs to it, so that the sum of all costs is smallest.

    The cost of noise i for sample j is |noise_i - x_j|^2 (Pooladian et al. 2023, arXiv:2304.14772; Tong et al.
    2024, arXiv:2302.00482), solved exactly. That alone would make the noise depend on what a sample is
    told, which it does not when a model is asked for samples; so noise i gets the condition of sample i, which it is
    independent of, and `weight` |condition_i - condition_j|^2 is added (Cheng & Schwing 2025, arXiv:2503.10636): with
    a large weight noise is exchanged only among samples that are told the same. Each of the two is in units of its
    standard deviation over the pairs.

    Parameters
    ----------
    noise, x : (n, channel, *axes).
    condition : (n, width), what each sample of x is told; it stays with its sample.
    weight : of the condition, 0 or more.

    Returns
    -------
    Tensor : (n,) positions, a permutation: noise[positions] belongs to x.
    """
    cost = _unit(-noise.flatten(1).double() @ x.flatten(1).double().T)  # the squares alone are the same for all pairs
    if weight and condition.shape[1]:
        told = condition.double()
        cost = cost + weight * _unit((told[:, None] - told[None]).square().sum(2))
    _, positions = linear_sum_assignment(cost.T.cpu().numpy())
    return torch.from_numpy(positions).to(x.device)


def _unit(cost: Tensor) -> Tensor:
    """Divided by the standard deviation; without one, all pairs are equal."""
    spread = cost.std(correction=0)
    return cost / spread if spread > 0 else torch.zeros_like(cost)
