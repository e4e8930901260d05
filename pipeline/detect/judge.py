"""What a catalogue is worth against the truth: the challenge's score, and what it hides.

Where several frames are judged their detections and sources are counted together. All results are plain dictionaries
for `write_json`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import Table
from astropy.wcs import WCS

from pipeline.detect import measures
from pipeline.detect.comparison import IOUS, LEVELS, LIMITS, UNITS, Comparison, compare
from pipeline.detect.continuum import CLASSES
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
from pipeline.score.challenge import Challenge
from pipeline.sky.geometry import sky_offsets
from pipeline.sky.headers import Beam

SNR_EDGES = (2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 30.0, np.inf)
_SPANS = {**{f"{limit:g}": (limit, np.inf) for limit in LIMITS}, "4-5": (4.0, 5.0)}
# How a measure's error is told: in its own unit, as a share of the truth, or as an angle.
_KINDS = {"flux": "relative", "peak_flux": "relative", "pa": "angle", "deconvolved_pa": "angle"}


def judge(
    catalogue: Table | pd.DataFrame,
    truth: pd.DataFrame,
    objects: Objects,
    *,
    wcs: WCS,
    beam: Beam,
    challenge: Challenge,
    attenuation: np.ndarray | float = 1.0,
) -> dict[str, Any]:
    """Every measure of a catalogue of one frame; the arguments are those of `compare`, the result that of `measure`."""
    return measure([compare(catalogue, truth, objects, wcs, beam, challenge, attenuation)])


def measure(frames: Sequence[Comparison]) -> dict[str, Any]:
    """Every measure of one frame or more.

    Keys
    ----
    score, score_constant (with one position angle and core fraction for all),
    n_det, n_match, n_false, n_bad, n_truth, purity,
    score_per_match, sub_scores and errors (PA in degrees, sizes in arcsec) : of the challenge, see `Score`.
    ap : by IoU of the boxes around twice the fitted ellipses ("box") and by the challenge's own match ("match"), for
        true SNR above 3 and 5. A detection that holds only a fainter source is neither right nor wrong.
    curve : precision and recall by the challenge's match, true SNR above 3, at most 200 points.
    completeness, purity_by : by SNR and by flux [Jy], see `fraction_in_bins`. complete_above : true SNR above 3, 5,
        and of 4 to 5. chance : see `chance_matches`.
    parameters : bias and scatter of each measure by true SNR; flux and peak_flux relative, ln_flux besides.
    coverage : see `pulls`, of each error that the catalogue gives.
    reliability, asked_purity : whether the probability is one; None where the catalogue has none.
    classes : names and "confusion" (true, found) of the matches.
    """
    found, sources = pool(frames)
    matched, edges = found["source"].to_numpy() >= 0, list(SNR_EDGES)
    snr = sources["snr"].to_numpy(float)
    pairs, true = found[matched], sources.iloc[found.loc[matched, "source"].to_numpy()]
    deviations = _deviations(pairs, true)
    return {
        **tally([frame.score for frame in frames]),
        "score_constant": float(sum(frame.constant.score for frame in frames)),
        "ap": precisions(frames, LIMITS, LEVELS, IOUS),
        "curve": precision_curve(frames, LIMITS[0]),
        "completeness": {
            "snr": measures.fraction_in_bins(snr, sources["found"].to_numpy(), edges),
            "flux": by_half_decades(sources["flux"].to_numpy(float), sources["found"].to_numpy()),
        },
        "complete_above": complete(snr, sources["found"].to_numpy(), _SPANS),
        "purity_by": {
            "snr": measures.fraction_in_bins(found["snr"].to_numpy(float), matched, edges),
            "flux": by_half_decades(found["flux"].to_numpy(float), matched),
        },
        "chance": by_chance(frames),
        "parameters": {
            name: measures.bias_and_scatter(values, true["snr"].to_numpy(float), edges)
            for name, values in deviations.items()
        },
        "coverage": _coverage(pairs, true),
        **probabilities(found),
        "classes": {"names": list(CLASSES), "confusion": _confusion(pairs, true)},
    }


def _deviations(pairs: pd.DataFrame, true: pd.DataFrame) -> dict[str, np.ndarray]:
    """How far the matches (n,) are off: positions in arcsec, fluxes relative and as ln, sizes in arcsec, angles."""
    east, north = _offsets(pairs, true)
    result = {"ra": east, "dec": north}
    for name in list(UNITS)[2:]:
        columns = (part[name].to_numpy(float) for part in (pairs, true))
        result[name] = measures.deviation(*columns, _KINDS.get(name, "difference"))
    with np.errstate(divide="ignore", invalid="ignore"):
        result["ln_flux"] = np.log(1 + result["flux"])
    for name in ("major", "minor"):
        result[f"{name}_relative"] = measures.deviation(pairs[name], true[name], "relative")
    return result


def _offsets(pairs: pd.DataFrame, true: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    if not len(pairs):
        return np.zeros(0), np.zeros(0)
    return sky_offsets(*(part[name].to_numpy(float) for part in (true, pairs) for name in ("ra", "dec")))


def _coverage(pairs: pd.DataFrame, true: pd.DataFrame) -> dict[str, Any]:
    """The pulls of every error column that holds a number."""
    east, north = _offsets(pairs, true)
    result = {}
    for name in UNITS:
        errors = pairs[f"{name}_error"].to_numpy(float)
        if not np.isfinite(errors).any():
            continue
        if name in ("ra", "dec"):
            off = east if name == "ra" else north
        else:
            kind = "angle" if _KINDS.get(name) == "angle" else "difference"
            off = measures.deviation(pairs[name].to_numpy(float), true[name].to_numpy(float), kind)
        result[name] = measures.pulls(off, errors)
    return result


def _confusion(pairs: pd.DataFrame, true: pd.DataFrame) -> list[list[int]]:
    label = np.stack([part["label"].to_numpy(int) for part in (true, pairs)])
    known = ((label >= 0) & (label < len(CLASSES))).all(0)
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(counts, tuple(label[:, known]), 1)
    return counts.tolist()
