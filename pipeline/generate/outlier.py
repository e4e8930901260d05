"""How odd samples are to a generative model: by what it cannot reconstruct, or by how unlikely it finds them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from astropy.table import QTable
from scipy.stats import rankdata
from torch import Tensor, nn

from pipeline.errors import UserError

_BATCH = 256
_SCORES = {
    "reconstruction": ("stat.fit.residual", "error of the reconstruction; 1 is usual in training"),
    "likelihood": ("stat.likelihood", "minus the logarithm of the likelihood [nats]"),
}


@torch.no_grad()
def outlier_score(
    method: Any, module: nn.Module, x: Tensor, condition: Tensor | None = None
) -> tuple[str, np.ndarray] | None:
    """What the score is, and the score ``(n,)``, larger for odder samples ``(n, channel, *axes)`` in network units.

    "likelihood", - ln p(x), of methods with `log_density(module, x)`; "reconstruction", `reconstruction_error`, of
    those with `reconstruct(module, x, condition)`; None for all others.
    """
    if hasattr(method, "log_density"):
        return "likelihood", _in_batches(lambda part, _: -method.log_density(module, part), x, None)
    if hasattr(method, "reconstruct"):
        return "reconstruction", reconstruction_error(method, module, x, condition)
    return None


@torch.no_grad()
def reconstruction_error(method: Any, module: nn.Module, x: Tensor, condition: Tensor | None = None) -> np.ndarray:
    """The rms ``(n,)`` over a sample of its reconstruction's error in units of that of the training samples.

    Each pixel counts by `module.residual`, so that bright centres, where all reconstructions are worse, do not decide
    alone.
    """
    module.eval()
    usual = module.residual.clamp(min=1e-3 * float(module.residual.max()) + 1e-12)

    def error(part: Tensor, told: Tensor | None) -> Tensor:
        off = (part - method.reconstruct(module, part, told)) / usual
        return off.double().flatten(1).square().mean(1).sqrt()

    return _in_batches(error, x, condition)


def outlier_table(
    ids: Sequence[str], scores: Mapping[str, np.ndarray], kinds: Mapping[str, str] | None = None
) -> QTable:
    """A row for each of n samples, the oddest first.

    Columns: id; rank, 1 for the largest mean of the ranks by each score; then score_NAME and rank_NAME for each of
    `scores` ``{NAME: (n,)}``, larger for odder samples. Equal scores share the better rank. `kinds` says of each name
    whether it is a "reconstruction" or a "likelihood".

    Raises
    ------
    UserError : a score is not a number.
    """
    if not scores:
        raise ValueError("a table of outliers needs at least one score")
    ids = np.asarray(ids, dtype=str)
    ranks = {}
    for name, score in scores.items():
        wrong = np.flatnonzero(np.isnan(score))
        if len(wrong):
            raise UserError(f"sample {ids[wrong[0]]}", f"has no score by {name}", "look for NaN pixels in it")
        ranks[name] = rankdata(-np.asarray(score, dtype=float), method="min").astype(int)
    together = np.mean(list(ranks.values()), axis=0)
    rank = rankdata(together, method="min").astype(int)
    order = np.argsort(rank, kind="stable")
    table = QTable()
    _add(table, "id", ids[order], "meta.id;meta.main", "identifier of the sample")
    _add(table, "rank", rank[order], "stat.rank", "1 is the oddest by the mean of the ranks of all scores")
    for name, score in scores.items():
        ucd, description = _SCORES[(kinds or {}).get(name, "reconstruction")]
        _add(table, f"score_{name}", np.asarray(score, dtype=float)[order], ucd, f"{name}: {description}")
        _add(table, f"rank_{name}", ranks[name][order], "stat.rank", f"1 is the oddest by {name}")
    return table


def _in_batches(function: Any, x: Tensor, condition: Tensor | None) -> np.ndarray:
    scores = []
    for start in range(0, len(x), _BATCH):
        told = None if condition is None else condition[start : start + _BATCH]
        scores.append(function(x[start : start + _BATCH], told).cpu())
    return torch.cat(scores).double().numpy()


def _add(table: QTable, name: str, values: np.ndarray, ucd: str, description: str) -> None:
    table[name] = values
    table[name].info.description = description
    table[name].info.meta = {"ucd": ucd}
