"""Probabilities that are neither too sure nor too unsure, from logits of what did not teach them."""

import numpy as np
from scipy.optimize import minimize

# How far the scale's logarithm and the shift may be from 0 without much evidence: a few detections say little of them.
_PRIOR = 0.5


def sharpened(logit: np.ndarray, matched: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The scale and the shift of logits (n,) by which they suit best which detections are `matched` (n,).

    A network that is stopped early is as unsure as it was then, whatever it could tell (Platt 1999, "Probabilistic
    outputs for support vector machines", section 2, with a normal prior in the place of his soft targets).

    weight : (n,) how often each is met in the sky; a factor on all says nothing.
    """
    logit, matched, weight = (np.asarray(part, float) for part in (logit, matched, weight))
    weight = weight / weight.mean() if len(weight) else weight

    def loss(told: np.ndarray) -> float:
        scaled = np.exp(told[0]) * logit + told[1]
        cross = weight * (np.logaddexp(0, scaled) - matched * scaled)
        return float(cross.sum() + ((told / _PRIOR) ** 2).sum() / 2)

    scale, shift = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(scale)), float(shift)
