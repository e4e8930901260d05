"""From a definition and two tables to a score: candidates, best pairs, matches, sums."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from pipeline.score.challenge import Challenge, Rows
from pipeline.score.result import Matches, Score, summary

_PAIRS_AT_ONCE = 1_000_000


def score(challenge: Challenge, submission: pd.DataFrame, truth: pd.DataFrame) -> Score:
    """Score (n,) submission rows against (k,) truth rows, both with the official columns of the challenge.

    Time and memory grow with the number of candidate pairs, which are looked at a million at a time.
    """
    detections, sources = (challenge.clean(_rows(challenge, table)) for table in (submission, truth))
    n_det = len(detections)
    detections, sources = challenge.search(detections), challenge.search(sources)
    near, far, distance = _best_pairs(challenge, detections, sources)
    ratio = _flux_ratio(challenge, detections.take(near), sources.take(far))
    n_pairs, share = len(near), np.ones(len(near))
    true_id = _codes(sources.take(far)["id"])
    if challenge.shared:
        share = 1.0 / np.bincount(true_id)[true_id] if n_pairs else share
    else:
        best = _first_of_each(true_id, distance)
        near, far, distance, share = near[best], far[best], distance[best], share[best]
    good = np.flatnonzero(distance < challenge.limit)
    good = good[np.argsort(detections.index[near[good]])]
    n_bad = len(near) - len(good)
    found = _matches(challenge, detections.take(near[good]), sources.take(far[good]), distance[good], share[good])
    return _summed(challenge, found, n_det, n_bad, len(sources), ratio, n_pairs)


def _rows(challenge: Challenge, table: pd.DataFrame) -> Rows:
    return Rows({name: table[name].to_numpy() for name in challenge.names()}, np.arange(len(table)))


def _best_pairs(challenge: Challenge, detections: Rows, sources: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each id among the detections, its nearest source: positions in both (m,), and D (m,)."""
    near, far, distance = [], [], []
    for one, other in _candidates(challenge, detections, sources):
        length = challenge.distance(detections.take(one), sources.take(other))
        known = np.flatnonzero(~np.isnan(length))
        best = known[_first_of_each(one[known], length[known])]
        near.append(one[best])
        far.append(other[best])
        distance.append(length[best])
    if not near:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    near, far, distance = (np.concatenate(parts) for parts in (near, far, distance))
    best = _first_of_each(_codes(detections.take(near)["id"]), distance)
    return near[best], far[best], distance[best]


def _candidates(challenge: Challenge, detections: Rows, sources: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions in both, whole detections at a time, about a million pairs at once."""
    if not (len(detections) and len(sources)):
        return
    points, radius = challenge.points(detections), challenge.radius(detections)
    targets = challenge.points(sources)
    usable = np.flatnonzero(np.isfinite(points).all(axis=1) & np.isfinite(radius))
    there = np.flatnonzero(np.isfinite(targets).all(axis=1))
    if not (len(usable) and len(there)):
        return
    tree = cKDTree(targets[there], balanced_tree=False, compact_nodes=False)
    points, radius = points[usable], radius[usable]
    counts = np.asarray(tree.query_ball_point(points, radius, return_length=True), dtype=np.int64)
    block = np.cumsum(counts) // _PAIRS_AT_ONCE
    for part in np.split(np.arange(len(usable)), np.flatnonzero(np.diff(block)) + 1):
        size = int(counts[part].sum())
        if not size:
            continue
        found = tree.query_ball_point(points[part], radius[part], return_sorted=False)
        # cKDTree hands out one list a point: chaining them in C is what keeps this free of a loop over rows.
        other = np.fromiter(chain.from_iterable(found), dtype=np.int64, count=size)
        yield np.repeat(usable[part], counts[part]), there[other]


def _codes(ids: np.ndarray) -> np.ndarray:
    """Equal ids get equal numbers from 0: (n,)."""
    return pd.factorize(ids)[0]


def _first_of_each(group: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Position of the least distance in each group, the first one of equals."""
    order = np.lexsort((distance, group))
    return order[np.flatnonzero(np.diff(group[order], prepend=-1))]


def _flux_ratio(challenge: Challenge, detections: Rows, sources: Rows) -> float:
    true = sources[challenge.flux]
    known = true > 0
    if not known.any():
        return np.nan
    return float(np.median(detections[challenge.flux][known] / true[known]))


def _matches(challenge: Challenge, detections: Rows, sources: Rows, distance: np.ndarray, share: np.ndarray) -> Matches:
    scores = challenge.scores(detections, sources)
    total = share * np.nansum(scores, axis=1) / len(challenge.parameters)
    errors = challenge.errors(detections, sources)
    return Matches(detections.index, sources.index, distance, scores, share, total, errors)


def _summed(
    challenge: Challenge, found: Matches, n_det: int, n_bad: int, n_truth: int, ratio: float, n_pairs: int
) -> Score:
    n_match = len(found.total)
    score_det = float(found.total.sum())
    value = 0.0 if challenge.floor and not n_match else score_det - (n_det - n_match)
    sums = dict(zip(challenge.parameters, np.nansum(found.scores, axis=0).tolist(), strict=True))
    missing = dict(zip(challenge.parameters, np.isnan(found.scores).sum(axis=0).tolist(), strict=True))
    return Score(
        score=value,
        n_det=n_det,
        n_match=n_match,
        n_bad=n_bad,
        n_false=n_det - n_match,
        n_truth=n_truth,
        score_det=score_det,
        acc_pc=100.0 * score_det / n_match if n_match else 0.0,
        per_parameter_sum=sums if n_match else None,
        per_parameter_nan=missing if n_match else None,
        errors={name: summary(values) for name, values in found.errors.items()},
        flux_ratio=ratio,
        n_pairs=n_pairs,
        matches=found,
    )
