"""Temperature scaling: one number, fitted on validation, that makes a network's confidence honest."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

LOWEST, HIGHEST = 0.05, 20.0
PRIOR_SIGMA = 0.5


def probabilities(logits: np.ndarray, temperature: float = 1.0, multilabel: bool = False) -> np.ndarray:
    """Probabilities `(n, k)` of logits `(n, k)`: softmax(z / T) (Guo et al. 2017, eq. 9), or sigmoid(z / T) a label."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return expit(scaled) if multilabel else softmax(scaled, axis=1)


def fit_temperature(logits: np.ndarray, truth: np.ndarray, multilabel: bool = False) -> float:
    """The most probable temperature in [0.05, 20], given `logits` and a prior on ln T: a Gaussian of sigma 0.5 about 0.

    The prior is worth a few objects. It decides where a small validation set without errors would drive the
    likelihood's optimum towards 0, and is negligible for large ones.

    Parameters
    ----------
    logits : `(n, k)`, of validation objects that the network was not trained on.
    truth : `(n,)` class indices, or `(n, k)` of 0 and 1 when `multilabel`.
    """
    logits, truth = np.asarray(logits, dtype=np.float64), np.asarray(truth)
    if not len(logits):
        return 1.0

    def cost(log_temperature: float) -> float:
        likelihood = negative_log_likelihood(logits, truth, np.exp(log_temperature), multilabel)
        return len(logits) * likelihood + 0.5 * (log_temperature / PRIOR_SIGMA) ** 2

    found = minimize_scalar(cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < cost(0.0) else 1.0


def negative_log_likelihood(
    logits: np.ndarray, truth: np.ndarray, temperature: float = 1.0, multilabel: bool = False
) -> float:
    """Mean negative log-likelihood of `truth` given `logits`, exact for any size of logit."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    truth = np.asarray(truth)
    if multilabel:
        return float(np.logaddexp(0, np.where(truth.astype(bool), -scaled, scaled)).mean())
    return float(-log_softmax(scaled, axis=1)[np.arange(len(truth)), truth].mean())
