"""The score of a submission, with the matches behind it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Matches:
    """The m matches of a submission, in the order of its rows.

    Parameters
    ----------
    submission, truth : (m,) row numbers, from 0, in the tables that were given.
    distance : (m,) match distance D, below the limit.
    scores : (m, parameter) in [0, 1]; NaN where a score is 0/0.
    share : (m,) 1, or 1 / number of detections that share the truth source.
    total : (m,) what each match adds to the score: the mean over the parameters, NaN counted as 0, times `share`.
    errors : signed errors (m,) in plain units by name; NaN where undefined.
    """

    submission: np.ndarray
    truth: np.ndarray
    distance: np.ndarray
    scores: np.ndarray
    share: np.ndarray
    total: np.ndarray
    errors: dict[str, np.ndarray]


@dataclass(frozen=True)
class Score:
    """The official figures of a submission; names as in the official scorer, `n_truth` and `errors` ours.

    Parameters
    ----------
    score : score_det - n_false, or what the challenge gives to a submission without a match.
    n_det : detections that count. n_match : matches. n_bad : best pairs beyond the limit, which are false too.
    n_false : n_det - n_match. n_truth : truth sources that could be found.
    score_det : sum of the matches' totals. acc_pc : 100 score_det / n_match, 0 without matches.
    per_parameter_sum, per_parameter_nan : by parameter, plain sums of the scores and numbers of NaN; None without
        matches.
    errors : by name {"median", "p68": of the absolute error, "bias": median of the signed error, "n"}.
    flux_ratio : median of submitted over true flux over the `n_pairs` best pairs, matched or not; NaN without any.
    matches : the matches themselves.
    """

    score: float
    n_det: int
    n_match: int
    n_bad: int
    n_false: int
    n_truth: int
    score_det: float
    acc_pc: float
    per_parameter_sum: dict[str, float] | None
    per_parameter_nan: dict[str, int] | None
    errors: dict[str, dict[str, float]]
    flux_ratio: float
    n_pairs: int
    matches: Matches

    def as_dict(self) -> dict:
        """Everything but the matches, for JSON; completeness and purity are NaN where they are 0/0."""
        return {
            "score": self.score,
            "n_det": self.n_det,
            "n_match": self.n_match,
            "n_bad": self.n_bad,
            "n_false": self.n_false,
            "n_truth": self.n_truth,
            "completeness": self.n_match / self.n_truth if self.n_truth else np.nan,
            "purity": self.n_match / self.n_det if self.n_det else np.nan,
            "score_det": self.score_det,
            "acc_pc": self.acc_pc,
            "per_parameter_sum": self.per_parameter_sum,
            "per_parameter_nan": self.per_parameter_nan,
            **self.errors,
        }


def summary(errors: np.ndarray) -> dict[str, float]:
    """Median and 68th percentile of |error|, median of the signed error, over the n finite errors of (m,)."""
    known = errors[np.isfinite(errors)]
    if not len(known):
        return {"median": np.nan, "p68": np.nan, "bias": np.nan, "n": 0}
    median, p68 = np.percentile(np.abs(known), [50, 68])
    return {"median": float(median), "p68": float(p68), "bias": float(np.median(known)), "n": len(known)}
