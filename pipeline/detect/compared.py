"""Detections and sources of one frame that belong together, whatever the frame's axes and measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.detect.objects import Objects
from pipeline.detect.precision import match_boxes
from pipeline.score.result import Score

# A source that is fainter than this in the frame [rms] explains no detection.
_INVISIBLE = 1.0


@dataclass(kw_only=True)
class Compared:
    """One frame's n detections beside its m true sources.

    detections : the measures of each, its errors, "probability", "snr", "rank" (what detections are sorted by) and
        "source", the row of its match among `sources`, -1 where it has none.
    sources : the same measures as they truly are, "snr" (effective) and "found".
    score : the challenge's score. chance : see `chance_matches`.
    by_box : see `right_by_box`.
    """

    detections: pd.DataFrame
    sources: pd.DataFrame
    score: Score
    chance: dict[str, Any]
    by_box: dict[float, np.ndarray]


def right_by_box(
    drawn: np.ndarray, rank: np.ndarray, objects: Objects, limits: Sequence[float], levels: Sequence[float]
) -> dict[float, np.ndarray]:
    """Which detections are right by their boxes `(n, 2, N)` [pixel] and `rank` `(n,)`, at each true SNR of `limits`.

    `(level, n)`: 1 where the detection holds a brighter source of its own at that IoU of `levels`, -1 where it holds
    only a fainter one, and is neither right nor wrong, else 0. A detection without a size holds nothing.
    """
    true, count = objects.boxes(), len(drawn)
    usable = np.flatnonzero(np.isfinite(drawn).all((1, 2)) & np.isfinite(rank))
    known = np.isfinite(true).all((1, 2))
    drawn, rank = drawn[usable], rank[usable]
    results = {}
    for limit in limits:
        bright, faint = (known & mask for mask in (objects.snr > limit, (objects.snr <= limit) & visible(objects.snr)))
        right = match_boxes(drawn, rank, true[bright], levels) >= 0
        # COCO leaves out of the count what holds an object that is not asked for; such an object may be held once.
        aside = np.stack([_left_over(drawn, rank, true[faint], row, at) for row, at in zip(right, levels, strict=True)])
        results[limit] = np.zeros((len(levels), count), np.int8)
        results[limit][:, usable] = np.where(right, 1, np.where(aside, -1, 0))
    return results


def visible(snr: np.ndarray) -> np.ndarray:
    """Which sources are bright enough to explain a detection."""
    return snr > _INVISIBLE


def _left_over(drawn, rank, faint, right: np.ndarray, level: float) -> np.ndarray:
    held, rest = np.zeros(len(drawn), bool), np.flatnonzero(~right)
    held[rest] = match_boxes(drawn[rest], rank[rest], faint, [level])[0] >= 0
    return held
