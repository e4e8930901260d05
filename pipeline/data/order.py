"""In which order an epoch visits the samples; no sample is touched here."""

import numpy as np


def balance_weights(labels: np.ndarray) -> np.ndarray:
    """Weights `(n,)` with the sum 1 under which every class is drawn equally often.

    Parameters
    ----------
    labels : `(n,)` class of each sample, -1 (no class) is never drawn; or `(n, k)` of 0 and 1, where a sample
        counts by its rarest class, and samples of no class are a class of their own.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        none = labels.sum(axis=1, keepdims=True) == 0
        member = np.concatenate([labels > 0, none], axis=1)
        weights = np.max(member / np.maximum(member.sum(axis=0), 1), axis=1)
    else:
        _, member, count = np.unique(labels, return_inverse=True, return_counts=True)
        weights = np.where(labels >= 0, 1.0 / count[member], 0.0)
    return weights / weights.sum()


def draw(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many draws as there are weights, in order of weight: sample i comes floor or ceil of n * w_i times.

    Systematic sampling (Madow 1949, Annals of Mathematical Statistics 20, 333): one random offset and a regular
    step through the cumulative weights, which keeps the shares of the classes the same in every epoch.
    """
    n = len(weights)
    mixed = rng.permutation(n)
    # equal weights side by side: a class is then one stretch, and its share exact
    mixed = mixed[np.argsort(weights[mixed], kind="stable")]
    total = np.cumsum(weights[mixed])
    drawn = np.searchsorted(total, (rng.random() + np.arange(n)) / n * total[-1], side="right")
    return mixed[np.minimum(drawn, n - 1)]


def local_shuffle(chosen: np.ndarray, chunk: np.ndarray, window: int, rng: np.random.Generator) -> np.ndarray:
    """Shuffle the chosen positions so that neighbours in time are near each other on disk.

    Chunks are visited in random order; within about `window` positions everything is mixed. When all fit into one
    window this is a full shuffle.

    Parameters
    ----------
    chosen : positions, repeats allowed.
    chunk : chunk number of each chosen position.
    window : number of positions that are mixed together.
    """
    if len(chosen) <= window:
        return rng.permutation(chosen)
    _, member = np.unique(chunk, return_inverse=True)
    rank = rng.permutation(int(member.max()) + 1)
    ordered = chosen[np.argsort(rank[member], kind="stable")]
    parts = [rng.permutation(ordered[start : start + window]) for start in range(0, len(ordered), window)]
    return np.concatenate(parts)
