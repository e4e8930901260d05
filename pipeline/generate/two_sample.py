"""How far two samples of measured numbers are apart: distances of one statistic, and a classifier on all of them."""

import numpy as np
from scipy.stats import wasserstein_distance
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

FOLDS = 5
_TREES, _LEAF = 60, 3


def spread(values: np.ndarray) -> float:
    """Standard deviation of the finite of `values` `(n,)`; NaN for less than two."""
    finite = values[np.isfinite(values)]
    return float(finite.std()) if len(finite) > 1 else float("nan")


def wasserstein(first: np.ndarray, second: np.ndarray, unit: float) -> float:
    """Wasserstein-1 distance of two samples `(n,)` and `(m,)` over `unit`, the spread of real objects.

    It is the mean displacement that turns one sample into the other (Villani 2009, definition 6.1), here in standard
    deviations. NaN are left out; NaN where nothing is left, or where real objects do not differ (`unit` 0).
    """
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if not len(first) or not len(second) or not unit > 0:
        return float("nan")
    return float(wasserstein_distance(first, second) / unit)


def classifier_auc(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, float]:
    """The classifier two-sample test (Lopez-Paz & Oquab 2017, section 3): how well a forest tells two samples apart.

    Parameters
    ----------
    first, second : `(n, k)` and `(m, k)` numbers of the objects; NaN is allowed and may itself tell them apart.
    seed : of the forests and the folds.

    Returns
    -------
    Mean area under the ROC curve over five folds, each judged by a forest that did not see it, and its standard error
    over the folds. 0.5: indistinguishable to this classifier; 1: every object is told. NaN for less than ten objects.
    """
    if min(len(first), len(second)) < 2 * FOLDS:
        return float("nan"), float("nan")
    x = np.concatenate([first, second]).astype(np.float32)
    y = np.repeat([0, 1], [len(first), len(second)])
    scores = []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        forest = RandomForestClassifier(
            _TREES, min_samples_leaf=_LEAF, class_weight="balanced", random_state=seed, n_jobs=1
        )
        scores.append(roc_auc_score(y[test], forest.fit(x[train], y[train]).predict_proba(x[test])[:, 1]))
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(FOLDS))
