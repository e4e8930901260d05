"""Average precision of boxes in N dimensions by the rules of COCO, from sparse pairs, and of any other match."""

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.detect.boxes import iou, reach_of_metric
from pipeline.detect.neighbours import near_pairs
from pipeline.errors import UserError

COCO_THRESHOLDS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))
_RECALLS = np.linspace(0.0, 1.0, 101)


def average_precision(
    boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] = (0.1, 0.3, 0.5, 0.75)
) -> dict:
    """Average precision of detected boxes at each IoU, equal to pycocotools with maxDets and areaRng lifted.

    Parameters
    ----------
    boxes : `(n, 2, N)`, lower and upper corner in pixels, N = 1, 2 or 3.
    scores : `(n,)`, finite; the larger the better, equal ones in the order given.
    truth : `(m, 2, N)`.
    thresholds : each above 0 and at most 1.

    Returns
    -------
    `n_detected`, `n_truth`, `map` (mean of `ap` over IoU 0.50, 0.55 ... 0.95) and `at`: for each threshold, as text,
    `ap` (mean precision at 101 recalls), `area` (under the curve) and `n_match`. Without truth, all but the counts are
    None.

    Raises
    ------
    UserError, ValueError : as `match_boxes`.
    """
    every = tuple(dict.fromkeys([*map(float, thresholds), *COCO_THRESHOLDS]))
    matched = match_boxes(boxes, scores, truth, every) >= 0
    result = {t: average_precision_of_matches(scores, row, len(truth)) for t, row in zip(every, matched, strict=True)}
    precisions = [result[t]["ap"] for t in COCO_THRESHOLDS]
    return {
        "n_detected": len(boxes),
        "n_truth": len(truth),
        "map": None if len(truth) == 0 else float(np.mean(precisions)),
        "at": {f"{t:g}": result[float(t)] for t in thresholds},
    }


def average_precision_of_matches(scores: np.ndarray, is_match: np.ndarray, n_truth: int) -> dict:
    """Average precision by a match made elsewhere: `ap` (101 recalls), `area` (under the curve) and `n_match`.

    Parameters
    ----------
    scores, is_match : `(n,)`, the latter true where the detection holds a truth of its own.
    n_truth : how many there were to find; 0 leaves `ap` and `area` None.
    """
    curve = precision_recall(scores, is_match, n_truth)
    found = int(np.count_nonzero(is_match))
    if n_truth == 0:
        return {"ap": None, "area": None, "n_match": found}
    # The best precision at this recall or a higher one (Everingham et al. 2010, eq. 2).
    best = np.maximum.accumulate(curve["precision"][::-1])[::-1]
    at = np.searchsorted(curve["recall"], _RECALLS, side="left")
    area = np.sum(np.diff(curve["recall"], prepend=0.0) * best)
    return {"ap": float(np.append(best, 0.0)[at].mean()), "area": float(area), "n_match": found}


def precision_recall(scores: np.ndarray, is_match: np.ndarray, n_truth: int) -> dict[str, np.ndarray]:
    """The curve as it was measured: `score`, `precision` and `recall`, each `(n,)`, in falling order of score.

    Equal scores stay in the order given, as in COCO. Recall is NaN where there is no truth.

    Raises
    ------
    ValueError : lengths that differ, scores that are not finite, or more matches than truths.
    """
    scores, is_match = np.asarray(scores, float), np.asarray(is_match, bool)
    if scores.ndim != 1 or scores.shape != is_match.shape or not np.isfinite(scores).all():
        raise ValueError("scores and is_match must be finite and of one length")
    if np.count_nonzero(is_match) > n_truth:
        raise ValueError(f"{np.count_nonzero(is_match)} matches of {n_truth} truths")
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(is_match[order])
    return {
        "score": scores[order],
        "precision": found / np.arange(1, len(order) + 1),
        "recall": found / n_truth if n_truth else np.full(len(order), np.nan),
    }


def match_boxes(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """The truth that each detection holds at each IoU, or -1: `(threshold, n)`.

    The detections choose in falling order of score: each takes the free truth of the largest IoU, if that is at least
    the threshold, and of equal ones the last. Fields scored apart are joined by joining these rows and the scores.

    Raises
    ------
    UserError : a threshold that is not above 0 and at most 1.
    ValueError : shapes that differ, or boxes or scores that are not finite.
    """
    boxes, truth, scores = np.asarray(boxes, float), np.asarray(truth, float), np.asarray(scores, float)
    for name, value in (("boxes", boxes), ("truth", truth)):
        if value.ndim != 3 or value.shape[1] != 2 or not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite and (n, 2, N), not {value.shape}")
    if scores.shape != (len(boxes),) or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite and ({len(boxes)},)")
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise UserError("thresholds", f"{threshold} is not an IoU", "give numbers above 0 and at most 1")
    # COCO takes an IoU of 1 with this allowance for rounding.
    levels = np.minimum(np.asarray(thresholds, float), 1 - 1e-10)
    rank = np.empty(len(scores), int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    chooser, chosen, overlap = _overlapping(boxes, truth, levels.min(initial=1.0))
    order = np.lexsort((-chosen, -overlap, chooser))
    chooser, chosen, overlap = chooser[order], chosen[order], overlap[order]
    result = np.full((len(levels), len(boxes)), -1)
    for row, level in zip(result, levels, strict=True):
        enough = overlap >= level
        _choose(row, rank, chooser[enough], chosen[enough], len(truth))
    return result


def _overlapping(boxes: np.ndarray, truth: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = torch.from_numpy(boxes), torch.from_numpy(truth)
    # Somewhat further than the least overlap needs, as an overlap of just that much counts.
    reach = [reach_of_metric(both, 0.9 * least, "iou") for both in (first, second)]
    rows, columns, values = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)]
    for i, j in near_pairs(first.mean(1), reach[0], second.mean(1), reach[1]):
        value = iou(first[i], second[j])
        for parts, one in zip((rows, columns, values), (i, j, value), strict=True):
            parts.append(one[value >= least].numpy())
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _choose(row: np.ndarray, rank: np.ndarray, chooser: np.ndarray, chosen: np.ndarray, n_truth: int) -> None:
    """Write each detection's truth into `row`; pairs come sorted by detection, each one's favourite first.

    All ask at once for their favourite, a truth keeps the best that asked, the others ask for their next (Gale and
    Shapley 1962). As all truths rank the detections alike there is one stable outcome, that of choosing in turn.
    """
    begin = np.searchsorted(chooser, np.arange(len(row) + 1))
    pointer, last = begin[:-1].copy(), begin[1:]
    holder = np.full(n_truth, -1)
    by_rank = np.empty(len(rank), int)
    by_rank[rank] = np.arange(len(rank))
    asking = np.flatnonzero(pointer < last)
    while len(asking):
        wanted = chosen[pointer[asking]]
        pointer[asking] += 1
        names, place = np.unique(wanted, return_inverse=True)
        best = np.full(len(names), len(rank))
        np.minimum.at(best, place, rank[asking])
        before = holder[names]
        wins = (before < 0) | (best < rank[before])
        holder[names[wins]] = by_rank[best[wins]]
        accepted = np.isin(asking, holder[names])
        refused = np.concatenate((asking[~accepted], before[wins & (before >= 0)]))
        asking = refused[pointer[refused] < last[refused]]
    held = np.flatnonzero(holder >= 0)
    row[holder[held]] = held
