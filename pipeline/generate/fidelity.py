"""Does a sample have the properties that were asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MEASURED_AS = {"size": "half_light_radius", "r_e": "half_light_radius", "flux_jy": "flux"}
_FEWEST = 3


def fidelity(asked: np.ndarray, measured: np.ndarray) -> dict[str, Any]:
    """How well `measured` `(n,)` follows `asked` `(n,)`, in dex where all that is asked is positive.

    Returns
    -------
    n : objects with both numbers (in dex: positive ones).
    unit : "dex", or "" for the unit of the numbers.
    bias : median of measured less asked.
    scatter : 1.4826 times the median absolute deviation of the same.
    correlation : Pearson's, of the logarithms in dex; None where either does not vary.
    lost : share of the objects with a number asked for whose property could not be measured.
    """
    told = np.isfinite(asked)
    logarithmic = bool(told.any() and (asked[told] > 0).all())
    good = told & np.isfinite(measured) & ((measured > 0) | (not logarithmic))
    x, y = asked[good], measured[good]
    if logarithmic:
        x, y = np.log10(x), np.log10(y)
    result = {
        "n": int(good.sum()),
        "unit": "dex" if logarithmic else "",
        "bias": None,
        "scatter": None,
        "correlation": None,
        "lost": float(1 - good.sum() / told.sum()) if told.any() else None,
    }
    if len(x) >= _FEWEST:
        difference = y - x
        bias = np.median(difference)
        result |= {"bias": float(bias), "scatter": float(1.4826 * np.median(np.abs(difference - bias)))}
        if np.ptp(x) > 0 and np.ptp(y) > 0:
            result["correlation"] = float(np.corrcoef(x, y)[0, 1])
    return result


def ratio_by_decade(asked: np.ndarray, measured: np.ndarray) -> list[dict[str, float]]:
    """The median of measured / asked `(n,)` in every decade of what was asked, from the faintest on.

    Each row has low and high (of the decade), n, ratio, and the 16th and 84th percentile of the ratio. Objects that
    are measured below zero count as they are.
    """
    good = np.isfinite(asked) & np.isfinite(measured) & (asked > 0)
    if not good.any():
        return []
    asked, ratio = asked[good], (measured / np.where(asked > 0, asked, 1))[good]
    decade = np.floor(np.log10(asked)).astype(int)
    rows = []
    for number in np.unique(decade):
        low, middle, high = np.percentile(ratio[decade == number], [16, 50, 84])
        rows.append(
            {
                "low": float(10.0**number),
                "high": float(10.0 ** (number + 1)),
                "n": int((decade == number).sum()),
                "ratio": float(middle),
                "ratio_16": float(low),
                "ratio_84": float(high),
            }
        )
    return rows


def conditions_met(
    asked: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray], alias: Mapping[str, str] = MEASURED_AS
) -> dict[str, Any]:
    """`fidelity` of every condition `(n,)` in `asked` that is measured, by its own name or the one in `alias`.

    A condition measured as "flux" also has by_decade, see `ratio_by_decade`. Conditions that nothing measures are left
    out.
    """
    found: dict[str, Any] = {}
    for name, values in asked.items():
        statistic = name if name in measured else alias.get(name)
        if statistic not in measured:
            continue
        wanted = np.asarray(values, dtype=np.float64)
        found[name] = {"measured_as": statistic} | fidelity(wanted, measured[statistic])
        if statistic == "flux":
            found[name]["by_decade"] = ratio_by_decade(wanted, measured["flux"])
    return found


def recognised(
    probability: np.ndarray, classes: Sequence[str], asked: Sequence[str] | np.ndarray | None = None
) -> dict[str, Any]:
    """What a classifier of real objects says to a sample, from its probabilities `(n, k)`.

    Returns
    -------
    confidence : mean of the largest probability.
    shares : share of the sample that each class wins.
    accuracy : share whose class is the one `asked` for `(n,)`; None where nothing was asked.
    """
    winner = probability.argmax(axis=1)
    names = np.asarray(classes, dtype=object)
    return {
        "n": len(probability),
        "confidence": float(probability.max(axis=1).mean()),
        "shares": {str(name): float((winner == place).mean()) for place, name in enumerate(names)},
        "accuracy": None if asked is None else float((names[winner] == np.asarray(asked, dtype=object)).mean()),
    }
