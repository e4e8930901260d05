"""Training, validation and test sets that keep every group in one piece and every class in proportion."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import UserError, UserErrors

SPLITS = ("train", "validation", "test")


def split(
    labels: np.ndarray | Sequence,
    groups: Sequence[str],
    fractions: Sequence[float],
    seed: int,
    classes: Sequence[str] | None = None,
    where: object = "split",
) -> np.ndarray:
    """A split for each sample: `(n,)` of "train", "validation" or "test".

    All samples of a group get the same split. Groups are dealt out class by class, the rarest first, to the split
    that lacks most of the class (iterative stratification: Sechidis, Tsoumakas & Vlahavas 2011, ECML PKDD, LNCS
    6913, 145, algorithm 1, with groups in place of samples). Every class is in every split as long as it has enough
    groups. Ties are broken by a hash of seed and group: the order of the samples does not matter.

    Parameters
    ----------
    labels : `(n,)` class of each sample (numbers or texts; -1 or "": none), or `(n, k)` of 0 and 1.
    groups : n texts.
    fractions : shares of train, validation and test; a split of share 0 stays empty.
    seed : another seed, another split.
    classes : names for messages, when labels are numbers.
    where : what the samples come from, for messages.

    Raises
    ------
    UserError : fewer groups, in all or of one class, than there are splits to fill.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1.0):
        raise UserError(where, f"fractions {list(fractions)} are not three shares with the sum 1", "mend the shares")
    filled = np.flatnonzero(shares)
    parts = _deal(labels, groups, shares[filled], seed, classes, where, f"{len(filled)} splits")
    return np.array(SPLITS)[filled[parts]]


def folds(
    labels: np.ndarray | Sequence,
    groups: Sequence[str],
    k: int,
    seed: int,
    classes: Sequence[str] | None = None,
    where: object = "folds",
) -> np.ndarray:
    """A fold 0 ... k - 1 for each sample `(n,)`, stratified and group-aware like `split`.

    Raises
    ------
    UserError : k is below 2, or there are fewer groups, in all or of one class, than folds.
    """
    if k < 2:
        raise UserError(where, f"{k} folds cannot be cross-validated", "ask for 2 or more")
    return _deal(labels, groups, np.full(k, 1.0 / k), seed, classes, where, f"{k} folds")


def _deal(
    labels: np.ndarray | Sequence,
    groups: Sequence[str],
    shares: np.ndarray,
    seed: int,
    classes: Sequence[str] | None,
    where: object,
    purpose: str,
) -> np.ndarray:
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    strata, titles = _strata(np.asarray(labels), classes)
    if len(strata) != len(member):
        raise ValueError(f"{len(strata)} labels for {len(member)} groups")
    counts = np.zeros((len(names), strata.shape[1]), dtype=np.int64)
    np.add.at(counts, member, strata)
    _check_groups(counts, titles, len(shares), where, purpose)
    # a class of their own for samples without one, so that these are in proportion as well
    size = np.bincount(member, minlength=len(names))
    counts = np.column_stack([counts, size * (counts.sum(axis=1) == 0)])
    return _assign(counts, size, shares, _order(names, size, seed))[member]


def _strata(labels: np.ndarray, classes: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """0 and 1 for each sample and class `(n, k)`, and the names of the classes."""
    if labels.ndim == 2:
        return labels.astype(np.int64), _titles(range(labels.shape[1]), classes)
    values = np.unique(labels)
    values = values[values != ""] if values.dtype.kind in "US" else values[values >= 0]
    return (labels[:, None] == values).astype(np.int64), _titles(values.tolist(), classes)


def _titles(values: Sequence, classes: Sequence[str] | None) -> list[str]:
    numbered = classes is not None and all(isinstance(value, int) for value in values)
    return [str(classes[value] if numbered else value) for value in values]


def _check_groups(counts: np.ndarray, titles: list[str], parts: int, where: object, purpose: str) -> None:
    remedy = "add objects, merge classes, or ask for fewer parts"
    if len(counts) < parts:
        raise UserError(where, f"{len(counts)} groups cannot fill {purpose}", remedy)
    few = [(t, n) for t, n in zip(titles, (counts > 0).sum(axis=0).tolist(), strict=True) if 0 < n < parts]
    if few:
        raise UserErrors(
            UserError(where, f'class "{title}" has {n} group{"s" * (n > 1)}, too few for {purpose}', remedy)
            for title, n in few
        )


def _order(names: np.ndarray, size: np.ndarray, seed: int) -> np.ndarray:
    """Groups from the largest to the smallest, in an order of the seed among equals."""
    digests = [hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in names.tolist()]
    return np.array(sorted(range(len(names)), key=lambda index: (-int(size[index]), digests[index])), dtype=np.int64)


def _assign(counts: np.ndarray, size: np.ndarray, shares: np.ndarray, order: np.ndarray) -> np.ndarray:
    """A part for each group `(g,)`, from the samples of each class in it `(g, k)`."""
    part = np.full(len(counts), -1, dtype=np.int64)
    lacking = np.outer(shares, counts.sum(axis=0))
    room = shares * size.sum()
    has = np.zeros(lacking.shape, dtype=bool)
    while True:
        waiting = ((counts > 0) & (part < 0)[:, None]).sum(axis=0)
        if not waiting.any():
            return part
        rarest = int(np.argmin(np.where(waiting > 0, waiting, len(counts) + 1)))
        left = int(waiting[rarest])
        for group in order[(counts[order, rarest] > 0) & (part[order] < 0)].tolist():
            empty = ~has[:, rarest]
            missing = int(empty.sum())
            # the last groups of a class go where the class is still missing
            allowed = empty if missing and left <= missing else np.ones(len(shares), dtype=bool)
            chosen = _neediest(lacking[:, rarest], room, allowed)
            part[group] = chosen
            lacking[chosen] -= counts[group]
            room[chosen] -= size[group]
            has[chosen] |= counts[group] > 0
            left -= 1


def _neediest(lacking: np.ndarray, room: np.ndarray, allowed: np.ndarray) -> int:
    # rounding keeps ties ties, so that the order of additions cannot decide
    keys = [(-round(float(lacking[k]), 9), -round(float(room[k]), 9), k) for k in np.flatnonzero(allowed).tolist()]
    return min(keys)[2]
