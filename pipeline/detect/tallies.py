"""What frames compared with their truth add up to, whatever their axes and measures: counts, precision, completeness.

All results are plain dictionaries for `write_json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.detect import measures
from pipeline.detect.compared import Compared
from pipeline.detect.precision import COCO_THRESHOLDS, average_precision_of_matches, precision_recall
from pipeline.score.result import Score, summary

PURITIES = (0.9, 0.95, 0.99)
_MOST_POINTS = 200
_COUNTS = ("n_det", "n_match", "n_false", "n_bad", "n_truth")


def pool(frames: Sequence[Compared]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detections and sources of all frames, "frame" the number of each."""
    starts = np.cumsum([0, *(len(frame.sources) for frame in frames)])
    detections = []
    for number, (frame, start) in enumerate(zip(frames, starts[:-1], strict=True)):
        shifted = np.where(frame.detections["source"] >= 0, frame.detections["source"] + start, -1)
        detections.append(frame.detections.assign(source=shifted, frame=number))
    sources = [frame.sources.assign(frame=number) for number, frame in enumerate(frames)]
    return pd.concat(detections, ignore_index=True), pd.concat(sources, ignore_index=True)


def tally(scores: Sequence[Score]) -> dict[str, Any]:
    """The score of one frame or more.

    Keys
    ----
    score, n_det, n_match, n_false, n_bad, n_truth, purity, purity_low, purity_high (68 %), score_per_match, sub_scores
    and errors : of the challenge, see `Score`.
    """
    total = {name: sum(getattr(one, name) for one in scores) for name in _COUNTS}
    n_det, n_match, per_match = total["n_det"], total["n_match"], sum(one.score_det for one in scores)
    low, high = measures.binomial_interval(n_match, n_det)
    return {
        "score": float(sum(one.score for one in scores)),
        **total,
        "purity": n_match / n_det if n_det else None,
        "purity_low": float(low) if n_det else None,
        "purity_high": float(high) if n_det else None,
        "score_per_match": per_match / n_match if n_match else None,
        "sub_scores": _sub_scores(scores, n_match),
        "errors": {
            name: summary(np.concatenate([one.matches.errors[name] for one in scores]))
            for name in scores[0].matches.errors
        },
    }


def _sub_scores(scores: Sequence[Score], n_match: int) -> dict[str, float] | None:
    sums = [one.per_parameter_sum for one in scores if one.per_parameter_sum is not None]
    return {name: sum(part[name] for part in sums) / n_match for name in sums[0]} if sums else None


def precisions(
    frames: Sequence[Compared], limits: Sequence[float], levels: Sequence[float], shown: Sequence[float]
) -> dict[str, Any]:
    """Average precision by the challenge's match ("match") and by IoU ("box"), for true SNR above each of `limits`.

    levels : of the rows of `Compared.by_box`. shown : those of them that are told one by one.
    "map" is the mean over COCO's IoUs, where all are among the levels.
    """
    found, sources = pool(frames)
    snr, rank = sources["snr"].to_numpy(float), found["rank"].to_numpy(float)
    results = {}
    for limit in limits:
        there = int(np.count_nonzero(snr > limit))
        verdicts = np.concatenate([frame.by_box[limit] for frame in frames], axis=1)
        box = {level: _average_precision(rank, verdict, there) for level, verdict in zip(levels, verdicts, strict=True)}
        results[f"snr_above_{limit:g}"] = {
            "n_truth": there,
            "match": _average_precision(rank, _verdict(found, snr, limit), there),
            "box": {f"{level:g}": box[level] for level in shown},
        }
        if set(COCO_THRESHOLDS) <= set(levels):
            means = [box[level]["ap"] for level in COCO_THRESHOLDS]
            results[f"snr_above_{limit:g}"]["map"] = None if None in means else float(np.mean(means))
    return results


def precision_curve(frames: Sequence[Compared], limit: float) -> dict[str, list[float]]:
    """Precision and recall by the challenge's match, true SNR above `limit`, at most 200 points."""
    found, sources = pool(frames)
    snr = sources["snr"].to_numpy(float)
    verdict, rank = _verdict(found, snr, limit), found["rank"].to_numpy(float)
    counted = (verdict >= 0) & np.isfinite(rank)
    whole = precision_recall(rank[counted], verdict[counted] > 0, int(np.count_nonzero(snr > limit)))
    length = len(whole["score"])
    shown = np.unique(np.linspace(0, length - 1, min(length, _MOST_POINTS)).astype(int)) if length else []
    return {name: values[shown].tolist() if length else [] for name, values in whole.items()}


def _average_precision(rank: np.ndarray, verdict: np.ndarray, n_truth: int) -> dict[str, Any]:
    counted = (verdict >= 0) & np.isfinite(rank)
    return average_precision_of_matches(rank[counted], verdict[counted] > 0, n_truth)


def _verdict(found: pd.DataFrame, snr: np.ndarray, limit: float) -> np.ndarray:
    """Of each detection by the challenge's match: 1 right, 0 wrong, -1 a source not above the limit.

    Of several detections that match one source the best in rank is right, the others are wrong.
    """
    source, rank = found["source"].to_numpy(), found["rank"].to_numpy(float)
    verdict = np.zeros(len(found), int)
    order = np.argsort(-rank, kind="stable")
    order = order[source[order] >= 0]
    first = order[np.unique(source[order], return_index=True)[1]]
    verdict[first] = 1
    has = np.flatnonzero(source >= 0)
    verdict[has[~(snr[source[has]] > limit)]] = -1
    return verdict


def by_half_decades(values: np.ndarray, success: np.ndarray) -> dict[str, Any] | None:
    """`fraction_in_bins` of half a decade over what is there; None where nothing is positive."""
    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        return None
    low, high = np.floor(2 * np.log10(known.min())), np.floor(2 * np.log10(known.max())) + 1
    return measures.fraction_in_bins(values, success, 10 ** (np.arange(low, high + 1) / 2))


def complete(snr: np.ndarray, found: np.ndarray, spans: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The share of sources `(m,)` found within each span of SNR, with its 68 % interval, by the name of the span."""
    result = {}
    for name, (low, high) in spans.items():
        chosen = (snr > low) & (snr < high)
        right, count = int(np.count_nonzero(found[chosen])), int(np.count_nonzero(chosen))
        ends = measures.binomial_interval(right, count)
        result[name] = {
            "count": count,
            "fraction": right / count if count else None,
            "low": float(ends[0]) if count else None,
            "high": float(ends[1]) if count else None,
        }
    return result


def by_chance(frames: Sequence[Compared]) -> dict[str, Any]:
    """`chance_matches` of all frames; the counts of each move only of one frame."""
    if len(frames) == 1:
        return frames[0].chance
    means = [frame.chance["mean"] for frame in frames if frame.chance["mean"] is not None]
    listed, total = sum(len(frame.detections) for frame in frames), float(sum(means))
    return {"count": [], "mean": total, "scatter": None, "fraction": total / listed if listed else None}


def probabilities(found: pd.DataFrame) -> dict[str, Any]:
    """Whether the "probability" of pooled detections is one: reliability, asked_purity; None where one has none."""
    probability, matched = found["probability"].to_numpy(float), found["source"].to_numpy() >= 0
    if not np.isfinite(probability).all():
        return {"reliability": None, "asked_purity": None}
    asked = {}
    for purity in PURITIES:
        threshold = measures.threshold_for_purity(probability, purity)
        asked[f"{purity:g}"] = {"threshold": threshold, **measures.purity_above(probability, matched, threshold)}
    return {"reliability": measures.reliability(probability, matched), "asked_purity": asked}
