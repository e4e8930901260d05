"""What a straight line can do: logistic regression on the same inputs, printed beside every network's result."""

import warnings
from collections.abc import Iterable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pipeline.errors import FlemingWarning

MAXIMUM_FEATURES = 1024
MAXIMUM_ITERATIONS = 1000


class BaselineWarning(FlemingWarning):
    """The logistic regression stopped before it converged: its result is a lower limit."""


def baseline_probability(
    x_train: Iterable[np.ndarray],
    y_train: np.ndarray,
    x_test: Iterable[np.ndarray],
    seed: int,
    multilabel: bool = False,
    *,
    outputs: int | None = None,
) -> np.ndarray:
    """Class probabilities `(n, k)` of `x_test` by L2 logistic regression (C = 1), one for each label if `multilabel`.

    The inputs are the network's own, normalised; what is not finite counts as 0, every axis is averaged in blocks
    until at most 1024 features remain, and each feature is standardised with the training set's mean and deviation.

    Parameters
    ----------
    x_train, x_test : batches `(m, channel, *axes)` of n samples together; only their features are kept.
    y_train : `(n,)` class indices, or `(n, k)` of 0 and 1 when `multilabel`.
    seed : given to scikit-learn; the same seed gives the same answer.
    outputs : k, when the training set may lack the last classes.
    """
    y_train = np.asarray(y_train)
    train, test = (np.concatenate([features(batch) for batch in batches]) for batches in (x_train, x_test))
    centre, spread = train.mean(axis=0), train.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    train, test = (train - centre) / spread, (test - centre) / spread
    if multilabel:
        columns = [_one_set(train, column, test, seed, 2)[:, 1] for column in y_train.T.astype(np.int64)]
        return np.stack(columns, axis=1)
    return _one_set(train, y_train, test, seed, outputs or int(y_train.max()) + 1)


def features(x: np.ndarray, most: int = MAXIMUM_FEATURES) -> np.ndarray:
    """Samples `(n, channel, *axes)` as rows `(n, feature)` of block means, at most `most` features if axes allow."""
    x = np.nan_to_num(np.asarray(x, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    axes = np.array(x.shape[2:], dtype=np.int64)
    block = 1
    while x.shape[1] * np.prod(-(-axes // block)) > most and block < axes.max(initial=1):
        block += 1
    for axis, length in enumerate(axes, start=2):
        starts = np.arange(0, length, block)
        sizes = np.diff(np.append(starts, length))
        shape = [-1 if place == axis else 1 for place in range(x.ndim)]
        x = np.add.reduceat(x, starts, axis=axis) / sizes.astype(np.float32).reshape(shape)
    return x.reshape(len(x), -1).astype(np.float64)


def _one_set(train: np.ndarray, truth: np.ndarray, test: np.ndarray, seed: int, outputs: int) -> np.ndarray:
    probability = np.zeros((len(test), outputs))
    present = np.unique(truth)
    if len(present) == 1:
        probability[:, present[0]] = 1.0
        return probability
    model = LogisticRegression(max_iter=MAXIMUM_ITERATIONS, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(train, truth)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            text = f"logistic regression did not converge in {MAXIMUM_ITERATIONS} steps; its result is a lower limit."
            warnings.warn(text, BaselineWarning, stacklevel=3)
    if len(test):
        probability[:, model.classes_] = model.predict_proba(test)
    return probability
