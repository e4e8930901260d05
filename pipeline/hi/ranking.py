"""What candidates are worth in the order of one of their columns: a probability, or the SNR of a matched filter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.detect.tallies import complete, pool, precision_curve, precisions, tally
from pipeline.hi.comparison import LEVELS, LIMITS, CubeComparison

_TOLD = ("score", "n_det", "n_match", "purity", "purity_low", "purity_high", "score_per_match", "sub_scores")


def worth_of_ranking(
    candidates: Sequence[CubeComparison],
    name: str,
    length: int,
    spans: Mapping[str, tuple[float, float]],
    threshold: float | None = None,
) -> dict[str, Any] | None:
    """The candidates in falling order of column `name`; None where it has no number or there is no candidate.

    Parameters
    ----------
    length : of the catalogue that the order is set beside. spans : of true SNR, as `complete`.
    threshold : a cut chosen elsewhere.

    Returns
    -------
    `n_candidates`; `ap` and `curve` (true SNR above 5) as `precisions` and `precision_curve`;
    `same_length` : the `length` first; `chosen` : those above `threshold`, None without one; `best` : the cut that
    scores most on this very truth, so an upper bound. Each has `threshold`, `score`, `score_per_truth`, `n_det`,
    `n_match`, `purity`, `score_per_match`, `sub_scores` and `complete_above`.
    """
    values = np.concatenate([frame.detections[name].to_numpy(float) for frame in candidates])
    if not np.isfinite(values).any():
        return None
    ranked = [frame.ranked(name) for frame in candidates]
    falling = np.sort(values[np.isfinite(values)])[::-1]
    last = falling[min(length, len(falling)) - 1] if length else np.inf
    return {
        "n_candidates": len(values),
        "ap": precisions(ranked, LIMITS, LEVELS, LEVELS),
        "curve": precision_curve(ranked, LIMITS[1]),
        "same_length": _at_cut(ranked, last, spans),
        "chosen": None if threshold is None else _at_cut(ranked, threshold, spans),
        "best": _at_cut(ranked, best_cut(ranked), spans),
    }


def best_cut(ranked: Sequence[CubeComparison]) -> float:
    """The cut of the largest score, a galaxy counted for the first that matches it and not against the others.

    The official share of several that match one galaxy depends on all of them; this is the same where they are few.
    """
    found, _ = pool(ranked)
    rank, source = found["rank"].to_numpy(float), found["source"].to_numpy()
    gain = np.full(len(found), -1.0)
    start = 0
    for frame in ranked:
        matches = frame.score.matches
        gain[start + matches.submission] = matches.total / matches.share
        start += len(frame.detections)
    order = np.argsort(-rank, kind="stable")
    order = order[np.isfinite(rank[order])]
    rank, source, gain = rank[order], source[order], gain[order]
    again = np.ones(len(order), bool)
    again[np.unique(source, return_index=True)[1]] = False
    points = np.cumsum(np.where(again & (source >= 0), 0.0, gain))
    last_of_equals = np.append(rank[1:] < rank[:-1], True)
    best = np.flatnonzero(last_of_equals)[points[last_of_equals].argmax()]
    return float(rank[best]) if points[best] > 0 else np.inf


def _at_cut(ranked: Sequence[CubeComparison], threshold: float, spans) -> dict[str, Any]:
    scored = [frame.scored_of(frame.detections["rank"].to_numpy(float) >= threshold) for frame in ranked]
    counts, found = tally([own for own, _ in scored]), np.concatenate([found for _, found in scored])
    snr = np.concatenate([frame.sources["snr"].to_numpy(float) for frame in ranked])
    return {
        "threshold": float(threshold) if np.isfinite(threshold) else None,
        "score_per_truth": counts["score"] / counts["n_truth"] if counts["n_truth"] else None,
        **{name: counts[name] for name in _TOLD},
        "complete_above": complete(snr, found, spans),
    }
