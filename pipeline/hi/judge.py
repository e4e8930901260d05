"""What a catalogue of HI galaxies is worth against the truth: the score of the SDC2, and what it hides.

Where several cubes are judged their detections and sources are counted together. All results are plain dictionaries
for `write_json`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table

from pipeline.detect import measures
from pipeline.detect.objects import Objects
from pipeline.detect.tallies import (
    by_chance,
    by_half_decades,
    complete,
    pool,
    precision_curve,
    precisions,
    probabilities,
    tally,
)
from pipeline.hi.bootstrap import score_scatter
from pipeline.hi.comparison import LEVELS, LIMITS, MEASURES, RANKS, Cube, CubeComparison, compare
from pipeline.hi.ranking import worth_of_ranking
from pipeline.sky.geometry import sky_offsets

SNR_EDGES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 10.0, 20.0, np.inf)
PROBABILITY_EDGES = (0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0000001)
SPANS = {**{f"{limit:g}": (limit, np.inf) for limit in LIMITS}, "4-5": (4.0, 5.0), "5-7": (5.0, 7.0)}
# Galaxies in the full cube of the SDC2: what a score per true source is worth there.
_SDC2_TRUTH = 233_245
_RELATIVE = ("line_flux", "hi_size", "w20")


def judge_hi(
    catalogue: Table | pd.DataFrame,
    truth: pd.DataFrame,
    objects: Objects,
    cube: Cube,
    *,
    candidates: Table | pd.DataFrame | None = None,
    matched_threshold: float | None = None,
) -> dict[str, Any]:
    """Every measure of a catalogue of one cube.

    Parameters
    ----------
    catalogue, truth, objects, cube : as `compare`.
    candidates : all that was looked at, the catalogue's rows among them, with the same columns; None takes the
        catalogue. matched_threshold : least matched-filter SNR, as chosen elsewhere.

    Returns
    -------
    as `measure_hi`.

    Raises
    ------
    UserError : a table lacks columns.
    """
    looked_at = None if candidates is None else [compare(candidates, truth, objects, cube)]
    return measure_hi([compare(catalogue, truth, objects, cube)], looked_at, matched_threshold)


def measure_hi(
    frames: Sequence[CubeComparison],
    candidates: Sequence[CubeComparison] | None = None,
    matched_threshold: float | None = None,
) -> dict[str, Any]:
    """Every measure of the catalogues of one cube or more.

    Keys
    ----
    score, n_det, n_match, n_false, n_bad, n_truth, purity, score_per_match, sub_scores, errors : see `tally`.
    score_per_truth, sdc2_equivalent (score_per_truth in the cube of the challenge), score_sd : see `score_scatter`.
    n_shared : matches whose galaxy another detection matches too.
    ap : by IoU of the boxes ("box") and by the challenge's own match ("match"), for true SNR above 3, 5 and 7. A
        detection that holds only a fainter galaxy is neither right nor wrong.
    curve : precision and recall by the challenge's match, true SNR above 5.
    completeness, purity_by : by SNR, line flux [Jy Hz] and probability. complete_above : true SNR above 3, 5, 7, and
        of 4 to 5 and 5 to 7. chance : see `chance_matches`.
    parameters : bias and scatter of each measure by true SNR; flux, size and width relative, ln_flux besides.
    pa_turned : share of the matches whose receding side is named more than 90 degrees off.
    coverage : see `pulls`, of each error that the catalogue gives.
    reliability : whether the probability is one, of the catalogue. asked_purity : of the candidates, as is
        reliability_candidates; None where there is no probability.
    rankings : "network" and "matched_filter", what the candidates are worth in the order of the one and of the other,
        see `worth_of_ranking`; None where the catalogue has no such column.
    """
    found, sources = pool(frames)
    looked_at = frames if candidates is None else candidates
    matched, edges = found["source"].to_numpy() >= 0, list(SNR_EDGES)
    snr = sources["snr"].to_numpy(float)
    pairs, true = found[matched], sources.iloc[found.loc[matched, "source"].to_numpy()]
    deviations = deviations_of(pairs, true)
    every = probabilities(pool(looked_at)[0])
    counts = tally([frame.score for frame in frames])
    per_truth = counts["score"] / counts["n_truth"] if counts["n_truth"] else None
    return {
        **counts,
        "score_per_truth": per_truth,
        "sdc2_equivalent": None if per_truth is None else per_truth * _SDC2_TRUTH,
        "score_sd": score_scatter(frames),
        "n_shared": int(pairs["source"].duplicated(keep=False).sum()),
        "ap": precisions(frames, LIMITS, LEVELS, LEVELS),
        "curve": precision_curve(frames, LIMITS[1]),
        "completeness": {
            "snr": measures.fraction_in_bins(snr, sources["found"].to_numpy(), edges),
            "flux": by_half_decades(sources["line_flux"].to_numpy(float), sources["found"].to_numpy()),
        },
        "complete_above": complete(snr, sources["found"].to_numpy(), SPANS),
        "purity_by": {
            "snr": measures.fraction_in_bins(found["snr"].to_numpy(float), matched, edges),
            "flux": by_half_decades(found["line_flux"].to_numpy(float), matched),
            "probability": measures.fraction_in_bins(
                found["probability"].to_numpy(float), matched, list(PROBABILITY_EDGES)
            ),
        },
        "chance": by_chance(frames),
        "parameters": {
            name: measures.bias_and_scatter(values, true["snr"].to_numpy(float), edges)
            for name, values in deviations.items()
        },
        "pa_turned": float(np.mean(np.abs(deviations["pa"]) > 90)) if len(pairs) else None,
        "coverage": _coverage(pairs, true),
        "reliability": probabilities(found)["reliability"],
        "reliability_candidates": every["reliability"],
        "asked_purity": every["asked_purity"],
        "rankings": {
            "network": worth_of_ranking(looked_at, RANKS[0], len(found), SPANS),
            "matched_filter": worth_of_ranking(looked_at, RANKS[1], len(found), SPANS, matched_threshold),
        },
    }


def deviations_of(pairs: pd.DataFrame, true: pd.DataFrame) -> dict[str, np.ndarray]:
    """How far the matches (n,) are off: positions in arcsec, frequency in Hz and in widths w20, angles in degrees.

    Flux, size and width are relative; the flux also as ln, the other two also in their own units.
    """
    result = _differences(pairs, true)
    for name in _RELATIVE:
        result[f"{name}_difference"] = result[name]
        result[name] = measures.deviation(pairs[name].to_numpy(float), true[name].to_numpy(float), "relative")
    del result["line_flux_difference"]
    with np.errstate(divide="ignore", invalid="ignore"):
        result["ln_flux"] = np.log(1 + result["line_flux"])
    return result


def _differences(pairs: pd.DataFrame, true: pd.DataFrame) -> dict[str, np.ndarray]:
    """Estimate less truth of each measure in its own unit, positions in arcsec."""
    result = {}
    if len(pairs):
        places = (part[name].to_numpy(float) for part in (true, pairs) for name in ("ra", "dec"))
        result["ra"], result["dec"] = sky_offsets(*places)
    else:
        result["ra"], result["dec"] = np.zeros(0), np.zeros(0)
    for name in list(MEASURES)[2:]:
        columns = (part[name].to_numpy(float) for part in (pairs, true))
        # The receding side has a position angle over the full circle.
        result[name] = measures.deviation(*columns, "angle" if name == "pa" else "difference", 360.0)
    return result


def _coverage(pairs: pd.DataFrame, true: pd.DataFrame) -> dict[str, Any]:
    """The pulls of every error column that holds a number."""
    result = {}
    for name, off in _differences(pairs, true).items():
        errors = pairs[f"{name}_error"].to_numpy(float)
        if np.isfinite(errors).any():
            result[name] = measures.pulls(off, errors)
    return result
