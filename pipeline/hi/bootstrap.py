"""How much a score would scatter from sky to sky: a bootstrap over blocks of the cubes."""

from collections.abc import Sequence

import numpy as np

from pipeline.hi.comparison import CubeComparison
from pipeline.score.challenge import Rows
from pipeline.score.sdc2 import Sdc2

BLOCKS = 4
_DRAWS = 1000


def score_scatter(
    frames: Sequence[CubeComparison], blocks: int = BLOCKS, draws: int = _DRAWS
) -> dict[str, float | None]:
    """Standard deviations over `draws` skies made of blocks drawn with replacement (Künsch 1989, AnSta 17, 1217).

    Each cube is cut into `blocks` parts along each axis, blocks that hold neither detection nor source left out, so
    that galaxies that cluster or confuse each other stay together.

    Returns
    -------
    `blocks` : how many there are. `score`, `score_per_truth`, `purity` : standard deviations; None below two blocks.
    """
    sums = np.concatenate([_block_sums(frame, blocks) for frame in frames])
    sums = sums[(sums[:, 1:] > 0).any(1)]
    if len(sums) < 2:
        return {"blocks": len(sums), "score": None, "score_per_truth": None, "purity": None}
    drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), draws) @ sums
    points, n_truth, n_det, n_match = drawn.T
    return {
        "blocks": len(sums),
        "score": float(points.std(ddof=1)),
        "score_per_truth": _scatter(points, n_truth),
        "purity": _scatter(n_match, n_det),
    }


def _block_sums(frame: CubeComparison, blocks: int) -> np.ndarray:
    """Points, true sources, detections and matches of each block `(blocks**3, 4)`."""
    challenge, total = frame.challenge, blocks**3
    counted = challenge.clean(_rows(frame.submission)).index
    sources = challenge.search(challenge.clean(_rows(frame.truth))).index
    detection, source = (_block(table, frame.shape, blocks) for table in (frame.detections, frame.sources))
    gain = np.full(len(frame.detections), -1.0)
    gain[frame.score.matches.submission] = frame.score.matches.total
    matched = frame.detections["source"].to_numpy() >= 0
    return np.stack(
        [
            np.bincount(detection[counted], gain[counted], total),
            np.bincount(source[sources], minlength=total),
            np.bincount(detection[counted], minlength=total),
            np.bincount(detection[counted], matched[counted], total),
        ],
        axis=1,
    )


def _rows(table) -> Rows:
    return Rows({name: table[name].to_numpy() for name in Sdc2.names()}, np.arange(len(table)))


def _block(table, shape: Sequence[int], blocks: int) -> np.ndarray:
    """The number of the block that holds each place; what lies beyond the cube is in the nearest."""
    place = np.nan_to_num(table[["z", "y", "x"]].to_numpy(float))
    at = np.clip(((place + 0.5) / np.asarray(shape) * blocks).astype(int), 0, blocks - 1)
    return np.ravel_multi_index(tuple(at.T), (blocks,) * 3)


def _scatter(part: np.ndarray, whole: np.ndarray) -> float | None:
    some = whole > 0
    return float((part[some] / whole[some]).std(ddof=1)) if np.count_nonzero(some) > 1 else None
