"""After training: the calibrator and the thresholds, from cubes whose galaxies are known and were not learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.detect.calibrate import SMALL, Calibrator, Truth, fit_calibrator
from pipeline.detect.objects import Objects
from pipeline.detect.predict import Detections, Search
from pipeline.detect.train import Detector
from pipeline.errors import UserError
from pipeline.hi.candidates import Candidates, look_again
from pipeline.hi.galaxies import challenge_of, from_values, to_objects
from pipeline.hi.labelled import KnownCube
from pipeline.hi.stream import detect_cube
from pipeline.score.match import score
from pipeline.score.sdc2 import Sdc2
from pipeline.sky.cube import CubeReader

# The lowest logit of a first scan, from which the lowest of all later ones is chosen.
_LEAST = -4.0
# The matches from whose score the threshold follows: those that are in doubt.
_DOUBTFUL = (0.3, 0.8)
_FEWEST = 30
# The signal-to-noise ratio of galaxies that may cause a detection.
_SEEN = 3.0


@dataclass
class Chosen:
    """What a model file holds beside its network.

    calibrator; least_logit : of a scan's candidates. threshold : of the probability, and matched_threshold, of the
    matched filter alone, that maximise the expected score. figures : of the cubes that chose, for the model file.
    """

    calibrator: Calibrator
    least_logit: float
    threshold: float
    matched_threshold: float
    figures: dict[str, float]


def choose(
    detector: Detector,
    cubes: Sequence[KnownCube],
    radius: float | Sequence[float],
    symmetric: bool,
    candidates: float,
    seed: int,
) -> Chosen:
    """Fit calibrator and thresholds to what the detector finds in `cubes`, as if they had the density of the sky.

    A detection whose probability of a match is p adds p s - (1 - p) to a score that gives a match s on average and
    takes one for a false detection, so it pays above 1 / (1 + s); s is that of the matches in doubt.

    Parameters
    ----------
    candidates : of a scan, that are looked at again in a million voxels, beside the galaxies of the cube.
    radius, symmetric : as in `candidates.look_again`.

    Raises
    ------
    UserError : too few detections match to calibrate with.
    """
    scans = [detect_cube(cube.reader, cube.noise, detector, Search(least=_LEAST, radius=radius)) for cube in cubes]
    least = _least_logit(scans, cubes, candidates)
    found = [
        look_again(part.take(part.logit >= least), cube.reader, cube.noise, detector, radius, symmetric)
        for part, cube in zip(scans, cubes, strict=True)
    ]
    known = [_truth(part, cube) for part, cube in zip(found, cubes, strict=True)]
    matched = np.concatenate([truth.matched for truth, *_ in known])
    if matched.sum() < _FEWEST:
        what = f"has only {matched.sum()} galaxies that the detector finds, too few to calibrate with"
        raise UserError("validation cube", what, "make it larger or denser, or train for longer")
    # What a galaxy causes is as many times too frequent as galaxies are, matched or not.
    weights = [np.where(caused, 1 / cube.density, 1.0) for (_, _, caused), cube in zip(known, cubes, strict=True)]
    calibrator = fit_calibrator(
        [part.detections for part in found],
        [truth for truth, *_ in known],
        seed,
        extra=[part.features for part in found],
        weights=weights,
        capacity=SMALL,
    )
    names = detector.names.values if symmetric else None
    probability = np.concatenate(
        [calibrator.apply(part.detections, names, part.features).probability for part in found]
    )
    total, weight = np.concatenate([total for _, total, _ in known]), np.concatenate(weights)
    doubtful = matched & (probability > _DOUBTFUL[0]) & (probability < _DOUBTFUL[1])
    gain = float(total[doubtful if doubtful.sum() >= _FEWEST else matched].mean())
    threshold = 1 / (1 + gain)
    kept = probability >= threshold
    voxels = sum(float(np.prod(cube.reader.shape)) for cube in cubes)
    return Chosen(
        calibrator,
        least,
        threshold,
        _best_cut(np.concatenate([part.matched_snr for part in found]), matched, total, weight),
        {
            "candidates_per_mvoxel": len(matched) / voxels * 1e6,
            "detections": float(weight[kept].sum()),
            "purity": float(weight[kept & matched].sum() / weight[kept].sum()) if kept.any() else 0.0,
            "gain_of_a_doubtful_match": gain,
        },
    )


def _least_logit(scans: Sequence[Detections], cubes: Sequence[KnownCube], candidates: float) -> float:
    """The logit of the faintest candidate that is still looked at again: so many a million voxels are false."""
    logits = np.sort(np.concatenate([part.logit for part in scans]))[::-1]
    wanted = sum(candidates * np.prod(cube.reader.shape) / 1e6 + _visible(cube) for cube in cubes)
    return float(logits[min(int(wanted), len(logits) - 1)]) if len(logits) else _LEAST


def _visible(cube: KnownCube) -> int:
    return int((to_objects(cube.truth, cube.reader, lambda at: cube.noise.at_positions(at)[1]).snr > 4).sum())


def official_rows(detections: Detections, cube: CubeReader) -> pd.DataFrame:
    """The official SDC2 columns (n,) of detections, before or after they are calibrated."""
    ra, dec, frequency = cube.to_sky(*detections.centre.T)
    said = from_values(detections.values, detections.centre, detections.rms, cube)
    place = {"id": np.arange(len(ra)), "ra": ra, "dec": dec, "central_freq": frequency}
    return pd.DataFrame(place | said)[Sdc2.names()]


def _truth(found: Candidates, cube: KnownCube) -> tuple[Truth, np.ndarray, np.ndarray]:
    """What each candidate truly is by the match of SDC2, the score (n,) of a match, and whether a galaxy causes it."""
    detections = found.detections
    objects = to_objects(cube.truth, cube.reader, lambda at: cube.noise.at_positions(at)[1])
    matches = score(challenge_of(cube.reader), official_rows(detections, cube.reader), cube.truth).matches
    n, p = detections.values.shape
    truth = Truth(np.zeros(n, bool), np.full((n, 3), np.nan), np.full((n, p), np.nan))
    truth.matched[matches.submission] = True
    truth.centre[matches.submission] = objects.centre[matches.truth]
    truth.values[matches.submission] = objects.values[matches.truth]
    total = np.zeros(n)
    total[matches.submission] = matches.total
    caused = truth.matched | _beside(detections.centre, objects.take(objects.snr > _SEEN))
    return truth, total, caused


def _beside(centre: np.ndarray, objects: Objects) -> np.ndarray:
    """Which of the places (n, 3) lie in the box of an object."""
    inside = np.zeros(len(centre), bool)
    for middle, size in zip(objects.centre, objects.size, strict=True):
        inside |= (np.abs(centre - middle) <= size / 2).all(1)
    return inside


def _best_cut(rank: np.ndarray, matched: np.ndarray, total: np.ndarray, weight: np.ndarray) -> float:
    """The least `rank` (n,) of a catalogue whose expected score is greatest."""
    order = np.argsort(-rank)
    gain = np.cumsum(np.where(matched, weight * total, -weight)[order])
    return float(rank[order[int(np.argmax(gain))]])
