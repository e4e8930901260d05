"""After training: the calibrator and the threshold, from labelled sky that the network did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.detect.calibrate import Calibrator, Truth, fit_calibrator
from pipeline.detect.continuum import VALUES
from pipeline.detect.labelled import LabelledArea
from pipeline.detect.official import official_detections
from pipeline.detect.predict import Detections, Search, detect
from pipeline.detect.train import Detector
from pipeline.errors import UserError
from pipeline.score.match import score
from pipeline.score.sdc1 import Sdc1

# The matches from whose score the threshold follows: those that are in doubt.
_DOUBTFUL = (0.35, 0.75)
_FEWEST = 100


@dataclass
class Chosen:
    """calibrator; threshold of the probability that maximises the expected score; figures for the model file."""

    calibrator: Calibrator
    threshold: float
    figures: dict[str, float]


def choose(detector: Detector, areas: Sequence[LabelledArea], challenge: Sdc1, search: Search, seed: int) -> Chosen:
    """Fit the calibrator and the threshold to what the detector finds in `areas`.

    A detection whose probability of a match is p adds p s - (1 - p) to a score that gives a match s on average and
    takes one for a false detection, so it pays above 1 / (1 + s); s is that of the matches in doubt. How near a match
    must be follows the beam of each area's image.

    Raises
    ------
    UserError : too few detections match to calibrate with.
    """
    found, truths, tables = [], [], []
    for area in areas:
        detections = detect_area(detector, area, search)
        table = official_detections(detections, area.image)
        truth, totals = _truth(detections, table, area, challenge)
        found.append(detections)
        truths.append(truth)
        tables.append(totals)
    matched = np.concatenate([truth.matched for truth in truths])
    if matched.sum() < _FEWEST:
        what = f"has only {matched.sum()} sources that the detector finds, too few to calibrate with"
        raise UserError("validation area", what, "make it larger, or train for longer")
    # Faint sources are many. Were they to count alike, all fluxes would be drawn towards theirs.
    at = VALUES.index("ln_peak")
    emphasis = [np.exp(0.5 * np.nan_to_num(truth.values[:, at])) for truth in truths]
    calibrator = fit_calibrator(found, truths, seed, emphasis=emphasis)
    names = detector.names.values if search.symmetric else None
    probability = np.concatenate([calibrator.apply(part, names).probability for part in found])
    totals = np.concatenate(tables)
    doubtful = matched & (probability > _DOUBTFUL[0]) & (probability < _DOUBTFUL[1])
    gain = float(totals[doubtful if doubtful.sum() >= _FEWEST else matched].mean())
    threshold = 1 / (1 + gain)
    kept = probability >= threshold
    return Chosen(
        calibrator,
        threshold,
        {
            "detections": int(kept.sum()),
            "purity": float(matched[kept].mean()) if kept.any() else 0.0,
            "gain_of_a_doubtful_match": gain,
        },
    )


def detect_area(detector: Detector, area: LabelledArea, search: Search) -> Detections:
    """The detections in the section of a labelled area."""
    image = area.image
    return detect(
        detector.network,
        detector.layout,
        image.reader.read,
        image.background,
        image.beam.conditions,
        detector.names.conditions,
        search,
        area.section,
    )


def _truth(
    detections: Detections, table: pd.DataFrame, area: LabelledArea, challenge: Sdc1
) -> tuple[Truth, np.ndarray]:
    """What each detection truly is by the match of the challenge, and the score (n,) of each match."""
    objects = area.image.objects(area.truth)
    matches = score(challenge.for_beam(area.image.beam_arcsec), table, area.truth).matches
    n, ndim = detections.centre.shape
    truth = Truth(np.zeros(n, bool), np.full((n, ndim), np.nan), np.full((n, detections.values.shape[1]), np.nan))
    truth.matched[matches.submission] = True
    truth.centre[matches.submission] = objects.centre[matches.truth]
    truth.values[matches.submission] = objects.values[matches.truth]
    total = np.zeros(n)
    total[matches.submission] = matches.total
    return truth, total
