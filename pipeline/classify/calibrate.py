"""Temperature scaling: one number, fitted on validation, that makes a network's confidence honest."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

LOWEST, HIGHEST = 0.05, 20.0


def probabilities(logits: np.ndarray, temperature: float = 1.0, multilabel: bool = False) -> np.ndarray:
    """Probabilities `(n, k)` of logits `(n, k)`: softmax(z / T) (Guo et al. 2017, eq. 9), or sigmoid(z / T) a label."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return expit(scaled) if multilabel else softmax(scaled, axis=1)


def fit_temperature(logits: np.ndarray, truth: np.ndarray, multilabel: bool = False) -> float:
    """The temperature in [0.05, 20] with the smallest negative log-likelihood on `logits`.

    Parameters
    ----------
    logits : `(n, k)`, of validation objects that the network was not trained on.
    truth : `(n,)` class indices, or `(n, k)` of 0 and 1 when `multilabel`.

    Returns
    -------
    The temperature. It is 1 where the data say nothing about it: without objects, and without a single error,
    for then the likelihood grows without end as the temperature falls to 0.
    """
    logits, truth = np.asarray(logits, dtype=np.float64), np.asarray(truth)
    if not len(logits) or _all_right(logits, truth, multilabel):
        return 1.0
    # The likelihood has one optimum in 1/T, hence also in ln T, where the steps are even.
    found = minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits, truth, np.exp(log_temperature), multilabel),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    better = found.fun < negative_log_likelihood(logits, truth, 1.0, multilabel)
    return float(np.exp(found.x)) if better else 1.0


def negative_log_likelihood(
    logits: np.ndarray, truth: np.ndarray, temperature: float = 1.0, multilabel: bool = False
) -> float:
    """Mean negative log-likelihood of `truth` given `logits`, exact for any size of logit."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    truth = np.asarray(truth)
    if multilabel:
        return float(np.logaddexp(0, np.where(truth.astype(bool), -scaled, scaled)).mean())
    return float(-log_softmax(scaled, axis=1)[np.arange(len(truth)), truth].mean())


def _all_right(logits: np.ndarray, truth: np.ndarray, multilabel: bool) -> bool:
    if multilabel:
        return bool(((logits >= 0) == truth.astype(bool)).all())
    return bool((logits.argmax(axis=1) == truth).all())
