"""What a matched catalogue is worth: completeness and purity, errors and their error bars, and the probability.

All results are plain dictionaries ready for JSON: floats and lists of floats, None where a number is undefined.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import beta

from pipeline.errors import UserError

ONE_SIGMA = 0.6826894921370859


def binomial_interval(
    successes: np.ndarray, trials: np.ndarray, level: float = ONE_SIGMA
) -> tuple[np.ndarray, np.ndarray]:
    """Jeffreys interval of a fraction (Brown, Cai & DasGupta 2001, sect. 3.1.3), same shapes; 0 to 1 without trials.

    With no success the lower end is 0, with no failure the upper one is 1.
    """
    successes, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    failures, tail = trials - successes, 0.5 * (1 - level)
    low = np.where(successes == 0, 0.0, beta.ppf(tail, successes + 0.5, failures + 0.5))
    high = np.where(failures == 0, 1.0, beta.ppf(1 - tail, successes + 0.5, failures + 0.5))
    return low, high


def fraction_in_bins(values: np.ndarray, success: np.ndarray, edges: Sequence[float]) -> dict:
    """The share of successes per bin of a value: completeness of truths, or purity of detections, by SNR or flux.

    Parameters
    ----------
    values, success : `(n,)`; completeness takes the truths and whether each was found, purity the detections and
        whether each is a match.
    edges : `(bins + 1,)`, rising; a bin holds low <= value < high, and infinite edges are allowed.

    Returns
    -------
    `low`, `high`, `count`, `success`, `fraction`, `fraction_low`, `fraction_high` (68 % Jeffreys interval), one entry a
    bin; `outside`: how many values lie in no bin or are NaN; `total`: the count, successes and fraction of all.
    """
    values, success = _columns(values, success)
    success = success.astype(bool)
    bins, edges = _bins(values, edges)
    count, good = ([int(np.count_nonzero(chosen)) for chosen in rows] for rows in (bins, bins & success))
    low, high = binomial_interval(good, count)
    every, right = len(values), int(np.count_nonzero(success))
    return {
        "low": _plain(edges[:-1]),
        "high": _plain(edges[1:]),
        "count": count,
        "success": good,
        "fraction": [_share(k, n) for k, n in zip(good, count, strict=True)],
        "fraction_low": _plain(np.where(np.array(count) > 0, low, np.nan)),
        "fraction_high": _plain(np.where(np.array(count) > 0, high, np.nan)),
        "outside": int(every - bins.any(0).sum()),
        "total": {"count": every, "success": right, "fraction": _share(right, every)},
    }


def chance_matches(
    count_matches: Callable[[np.ndarray], int],
    positions: np.ndarray,
    offsets: np.ndarray,
    low: Sequence[float],
    high: Sequence[float],
) -> dict:
    """How many matches chance alone makes: those of the catalogue moved away from the sources it lists.

    Parameters
    ----------
    count_matches : takes positions `(n, N)` and gives how many match the truth by the rule under test.
    positions : `(n, N)`, of the detections, in any unit (right ascension too: moved round the circle).
    offsets : `(k, N)`, moves in that unit, each larger than the match radius and than the clustering of the sources.
    low, high : `(N,)`, the edges of the field, over which a moved catalogue wraps round, so that none leaves it.

    Returns
    -------
    `count` of each offset, their `mean`, `scatter` (standard deviation) and `fraction` (of the detections).
    """
    positions, offsets = np.asarray(positions, float), np.asarray(offsets, float)
    low, side = np.asarray(low, float), np.asarray(high, float) - np.asarray(low, float)
    if not (side > 0).all():
        raise ValueError(f"the field must have a positive extent on each axis, not {side.tolist()}")
    counts = [int(count_matches(low + (positions - low + offset) % side)) for offset in offsets]
    mean = float(np.mean(counts)) if counts else None
    return {
        "count": counts,
        "mean": mean,
        "scatter": float(np.std(counts, ddof=1)) if len(counts) > 1 else None,
        "fraction": None if mean is None or not len(positions) else mean / len(positions),
    }


def deviation(estimate: np.ndarray, truth: np.ndarray, kind: str = "difference", period: float = 180.0) -> np.ndarray:
    """How far estimates `(n,)` are off their truths `(n,)`.

    kind : "difference" (estimate - truth, its unit), "relative" (estimate/truth - 1; NaN where the truth is 0) or
        "angle" (the difference folded to -period/2 ... period/2; 180 deg for a position angle).
    """
    estimate, truth = _columns(estimate, truth)
    estimate, truth = estimate.astype(float), truth.astype(float)
    if kind == "difference":
        return estimate - truth
    if kind == "relative":
        return np.divide(estimate, truth, out=np.full(len(truth), np.nan), where=truth != 0) - 1
    if kind == "angle":
        return (estimate - truth + period / 2) % period - period / 2
    raise ValueError(f'kind is "difference", "relative" or "angle", not "{kind}"')


def bias_and_scatter(deviations: np.ndarray, snr: np.ndarray, edges: Sequence[float]) -> dict:
    """Median and half of the 16-84 % range of deviations `(n,)`, per bin of SNR `(n,)`; NaN deviations are left out.

    Returns
    -------
    `low`, `high`, `count`, `bias`, `bias_error` (of the median of a Gaussian law, sqrt(pi/2) scatter/sqrt(count); None
    below two) and `scatter`, one entry a bin; `total`: the same of all.
    """
    deviations, snr = _columns(deviations, snr)
    bins, edges = _bins(snr, edges)
    rows = [_centre_and_width(deviations[chosen]) for chosen in bins]
    names = ("count", "bias", "bias_error", "scatter")
    result = {"low": _plain(edges[:-1]), "high": _plain(edges[1:])}
    result |= {name: [row[name] for row in rows] for name in names}
    return result | {"total": _centre_and_width(deviations)}


def pulls(deviations: np.ndarray, errors: np.ndarray) -> dict:
    """Whether error bars are honest: deviations `(n,)` in units of the predicted errors `(n,)`.

    Returns
    -------
    `count`; `median` and `width` (half of the 16-84 % range, 1 for an honest sigma) of the pulls; `coverage` with
    `coverage_low` and `coverage_high` (share within one error, 0.68 for honest ones); `unusable`: how many have no
    finite deviation or no positive, finite error.
    """
    deviations, errors = _columns(deviations, errors)
    usable = np.isfinite(deviations) & np.isfinite(errors) & (errors > 0)
    pull = deviations[usable] / errors[usable]
    held = int(np.count_nonzero(np.abs(pull) <= 1))
    row = _centre_and_width(pull)
    low, high = binomial_interval(held, len(pull))
    return {
        "count": len(pull),
        "median": row["bias"],
        "width": row["scatter"],
        "coverage": _share(held, len(pull)),
        "coverage_low": float(low) if len(pull) else None,
        "coverage_high": float(high) if len(pull) else None,
        "unusable": int(len(deviations) - len(pull)),
    }


def reliability(probability: np.ndarray, is_match: np.ndarray, bins: int = 10) -> dict:
    """Whether a probability is one: the share of matches among detections `(n,)` of about equal probability.

    Returns
    -------
    `low`, `high`, `count`, `mean` (probability), `fraction` (of matches), `fraction_low`, `fraction_high`, one entry a
    bin of equal width; `ece` (expected calibration error, Guo et al. 2017, eq. 3) and `brier` (mean squared error).

    Raises
    ------
    ValueError : probabilities outside 0 to 1.
    """
    probability, is_match = _columns(probability, is_match)
    _check_probabilities(probability)
    # The topmost bin holds 1 as well.
    at = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(at, minlength=bins)
    share, mean = (
        np.bincount(at, weights=column.astype(float), minlength=bins) / np.where(count > 0, count, np.nan)
        for column in (is_match, probability)
    )
    low, high = binomial_interval(np.bincount(at[is_match.astype(bool)], minlength=bins), count)
    filled = count > 0
    some = len(probability) > 0
    return {
        "low": _plain(np.arange(bins) / bins),
        "high": _plain(np.arange(1, bins + 1) / bins),
        "count": count.tolist(),
        "mean": _plain(mean),
        "fraction": _plain(share),
        "fraction_low": _plain(np.where(filled, low, np.nan)),
        "fraction_high": _plain(np.where(filled, high, np.nan)),
        "ece": float(np.sum(count[filled] * np.abs(share - mean)[filled]) / len(probability)) if some else None,
        "brier": float(np.mean((probability - is_match) ** 2)) if some else None,
    }


def threshold_for_purity(probability: np.ndarray, purity: float) -> float | None:
    """The lowest threshold at which the mean probability of those kept (>= threshold) is at least `purity`.

    Always one of the probabilities `(n,)`; None where even the best detections fall short, or there are none.

    Raises
    ------
    UserError : a purity that is not above 0 and at most 1.
    ValueError : probabilities outside 0 to 1.
    """
    if not 0 < purity <= 1:
        raise UserError("purity", f"{purity} is not a share of true sources", "give a number above 0 and at most 1")
    probability = np.asarray(probability, float)
    _check_probabilities(probability)
    falling = np.sort(probability)[::-1]
    mean = np.cumsum(falling) / np.arange(1, len(falling) + 1)
    # A threshold keeps all of an equal probability or none; the sum of many is exact to about 1e-12.
    last_of_equals = np.append(falling[1:] < falling[:-1], True)[: len(falling)]
    enough = np.flatnonzero(last_of_equals & (mean >= purity - 1e-12))
    return float(falling[enough[-1]]) if len(enough) else None


def purity_above(probability: np.ndarray, is_match: np.ndarray, threshold: float | None) -> dict:
    """The check of a threshold on detections `(n,)` it was not chosen on; None as threshold keeps nothing.

    Returns
    -------
    `count` kept, `promised` (their mean probability), `purity` (share of matches), `purity_low` and `purity_high`.
    """
    probability, is_match = _columns(probability, is_match)
    kept = np.zeros(len(probability), bool) if threshold is None else probability >= threshold
    count, right = int(kept.sum()), int(np.count_nonzero(is_match[kept]))
    low, high = binomial_interval(right, count)
    return {
        "count": count,
        "promised": float(probability[kept].mean()) if count else None,
        "purity": _share(right, count),
        "purity_low": float(low) if count else None,
        "purity_high": float(high) if count else None,
    }


def _centre_and_width(values: np.ndarray) -> dict:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"count": 0, "bias": None, "bias_error": None, "scatter": None}
    tail = 0.5 * (1 - ONE_SIGMA)
    low, middle, high = np.quantile(values, [tail, 0.5, 1 - tail])
    scatter = float(high - low) / 2
    error = float(np.sqrt(np.pi / 2) * scatter / np.sqrt(len(values))) if len(values) > 1 else None
    return {"count": len(values), "bias": float(middle), "bias_error": error, "scatter": scatter}


def _columns(*columns: np.ndarray) -> list[np.ndarray]:
    columns = [np.asarray(column) for column in columns]
    if any(column.ndim != 1 or column.shape != columns[0].shape for column in columns):
        raise ValueError(f"columns must be of one length, not {[column.shape for column in columns]}")
    return columns


def _bins(values: np.ndarray, edges: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Which values `(n,)` lie in which bin: `(bins, n)` bool, and the edges."""
    edges = np.asarray(edges, float)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ValueError("edges must be two numbers or more, rising")
    return (values >= edges[:-1, None]) & (values < edges[1:, None]), edges


def _check_probabilities(probability: np.ndarray) -> None:
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in 0 to 1")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
