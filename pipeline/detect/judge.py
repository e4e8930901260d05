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
from pipeline.detect.precision import COCO_THRESHOLDS, average_precision_of_matches, precision_recall
from pipeline.score.challenge import Challenge
from pipeline.score.result import Score, summary
from pipeline.sky.geometry import sky_offsets
from pipeline.sky.headers import Beam

SNR_EDGES = (2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 30.0, np.inf)
PURITIES = (0.9, 0.95, 0.99)
_MOST_POINTS = 200
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
    found, sources = _pooled(frames)
    matched, edges = found["source"].to_numpy() >= 0, list(SNR_EDGES)
    snr = sources["snr"].to_numpy(float)
    pairs, true = found[matched], sources.iloc[found.loc[matched, "source"].to_numpy()]
    deviations = _deviations(pairs, true)
    return {
        **_score(frames),
        "ap": _precisions(frames, found, snr),
        "curve": _curve(found, snr),
        "completeness": {
            "snr": measures.fraction_in_bins(snr, sources["found"].to_numpy(), edges),
            "flux": _by_flux(sources["flux"].to_numpy(float), sources["found"].to_numpy()),
        },
        "complete_above": _complete(snr, sources["found"].to_numpy()),
        "purity_by": {
            "snr": measures.fraction_in_bins(found["snr"].to_numpy(float), matched, edges),
            "flux": _by_flux(found["flux"].to_numpy(float), matched),
        },
        "chance": _chance(frames),
        "parameters": {
            name: measures.bias_and_scatter(values, true["snr"].to_numpy(float), edges)
            for name, values in deviations.items()
        },
        "coverage": _coverage(pairs, true),
        **_probability(found, matched),
        "classes": {"names": list(CLASSES), "confusion": _confusion(pairs, true)},
    }


def _pooled(frames: Sequence[Comparison]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detections and sources of all frames, "frame" the number of each."""
    starts = np.cumsum([0, *(len(frame.sources) for frame in frames)])
    detections = []
    for number, (frame, start) in enumerate(zip(frames, starts[:-1], strict=True)):
        shifted = np.where(frame.detections["source"] >= 0, frame.detections["source"] + start, -1)
        detections.append(frame.detections.assign(source=shifted, frame=number))
    sources = [frame.sources.assign(frame=number) for number, frame in enumerate(frames)]
    return pd.concat(detections, ignore_index=True), pd.concat(sources, ignore_index=True)


def _score(frames: Sequence[Comparison]) -> dict[str, Any]:
    own = [frame.score for frame in frames]
    counts = ("n_det", "n_match", "n_false", "n_bad", "n_truth")
    total = {name: sum(getattr(one, name) for one in own) for name in counts}
    points, constant = (float(sum(one.score for one in many)) for many in (own, [frame.constant for frame in frames]))
    n_det, n_match, per_match = total["n_det"], total["n_match"], sum(one.score_det for one in own)
    low, high = measures.binomial_interval(n_match, n_det)
    return {
        "score": points,
        "score_constant": constant,
        **total,
        "purity": n_match / n_det if n_det else None,
        "purity_low": float(low) if n_det else None,
        "purity_high": float(high) if n_det else None,
        "score_per_match": per_match / n_match if n_match else None,
        "sub_scores": _sub_scores(own, n_match),
        "errors": {
            name: summary(np.concatenate([one.matches.errors[name] for one in own])) for name in own[0].matches.errors
        },
    }


def _sub_scores(scores: Sequence[Score], n_match: int) -> dict[str, float] | None:
    sums = [one.per_parameter_sum for one in scores if one.per_parameter_sum is not None]
    return {name: sum(part[name] for part in sums) / n_match for name in sums[0]} if sums else None


def _precisions(frames: Sequence[Comparison], found: pd.DataFrame, snr: np.ndarray) -> dict[str, Any]:
    results = {}
    for limit in LIMITS:
        there, rank = int(np.count_nonzero(snr > limit)), found["rank"].to_numpy(float)
        verdict = np.concatenate([frame.by_box[limit] for frame in frames], axis=1)
        box = {}
        for level, row in zip(LEVELS, verdict, strict=True):
            box[level] = _average_precision(rank, row, there)
        means = [box[level]["ap"] for level in COCO_THRESHOLDS]
        results[f"snr_above_{limit:g}"] = {
            "n_truth": there,
            "match": _average_precision(rank, _verdict(found, snr, limit), there),
            "box": {f"{level:g}": box[level] for level in IOUS},
            "map": None if None in means else float(np.mean(means)),
        }
    return results


def _average_precision(rank: np.ndarray, verdict: np.ndarray, n_truth: int) -> dict[str, Any]:
    counted = (verdict >= 0) & np.isfinite(rank)
    return average_precision_of_matches(rank[counted], verdict[counted] > 0, n_truth)


def _verdict(found: pd.DataFrame, snr: np.ndarray, limit: float) -> np.ndarray:
    """Of each detection by the challenge's match: 1 right, 0 wrong, -1 a source not above the limit."""
    source = found["source"].to_numpy()
    verdict = np.zeros(len(found), int)
    verdict[source >= 0] = np.where(snr[source[source >= 0]] > limit, 1, -1)
    return verdict


def _curve(found: pd.DataFrame, snr: np.ndarray) -> dict[str, list[float]]:
    verdict, rank = _verdict(found, snr, LIMITS[0]), found["rank"].to_numpy(float)
    counted = (verdict >= 0) & np.isfinite(rank)
    whole = precision_recall(rank[counted], verdict[counted] > 0, int(np.count_nonzero(snr > LIMITS[0])))
    length = len(whole["score"])
    shown = np.unique(np.linspace(0, length - 1, min(length, _MOST_POINTS)).astype(int)) if length else []
    return {name: values[shown].tolist() if length else [] for name, values in whole.items()}


def _by_flux(flux: np.ndarray, success: np.ndarray) -> dict[str, Any] | None:
    """In bins of half a decade over what is there."""
    known = flux[np.isfinite(flux) & (flux > 0)]
    if not len(known):
        return None
    low, high = np.floor(2 * np.log10(known.min())), np.floor(2 * np.log10(known.max())) + 1
    return measures.fraction_in_bins(flux, success, 10 ** (np.arange(low, high + 1) / 2))


def _complete(snr: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    result = {}
    for name, low, high in (*((f"{limit:g}", limit, np.inf) for limit in LIMITS), ("4-5", 4.0, 5.0)):
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


def _chance(frames: Sequence[Comparison]) -> dict[str, Any]:
    if len(frames) == 1:
        return frames[0].chance
    means = [frame.chance["mean"] for frame in frames if frame.chance["mean"] is not None]
    listed, total = sum(len(frame.detections) for frame in frames), float(sum(means))
    return {"count": [], "mean": total, "scatter": None, "fraction": total / listed if listed else None}


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


def _probability(found: pd.DataFrame, matched: np.ndarray) -> dict[str, Any]:
    probability = found["probability"].to_numpy(float)
    if not np.isfinite(probability).all():
        return {"reliability": None, "asked_purity": None}
    asked = {}
    for purity in PURITIES:
        threshold = measures.threshold_for_purity(probability, purity)
        asked[f"{purity:g}"] = {"threshold": threshold, **measures.purity_above(probability, matched, threshold)}
    return {"reliability": measures.reliability(probability, matched), "asked_purity": asked}


def _confusion(pairs: pd.DataFrame, true: pd.DataFrame) -> list[list[int]]:
    label = np.stack([part["label"].to_numpy(int) for part in (true, pairs)])
    known = ((label >= 0) & (label < len(CLASSES))).all(0)
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(counts, tuple(label[:, known]), 1)
    return counts.tolist()
