"""Pairs of near points without the full matrix: cell lists, a list for every octave of reach, on CPU and GPU."""

import itertools
from collections.abc import Iterator

import torch

_CHUNK = 2**22
_OCTAVES = 16
_CELLS = 2**20
_SLACK = 1 + 1e-6


def near_pairs(
    first: torch.Tensor, first_reach: torch.Tensor, second: torch.Tensor, second_reach: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every pair `(i, j)` with |first_i - second_j| <= first_reach_i + second_reach_j, once, in pieces.

    Parameters
    ----------
    first, second : `(n, N)` and `(m, N)` float64, N = 1, 2 or 3, in pixels, finite.
    first_reach, second_reach : `(n,)` and `(m,)` float64, in pixels, >= 0 and finite.

    Yields
    ------
    two index tensors `(k,)` into `first` and `second`; a few million pairs at most are looked at at a time.
    """
    if not len(first) or not len(second):
        return
    largest = torch.maximum(first_reach.max(), second_reach.max())
    # One reach for all would compare every small box of a crowded field with all within the reach of its largest box.
    for rows in _octaves(first_reach, largest):
        for columns in _octaves(second_reach, largest):
            radius = float(first_reach[rows].max() + second_reach[columns].max())
            for i, j in _cell_pairs(first[rows], second[columns], radius):
                i, j = rows[i], columns[j]
                distance = torch.linalg.vector_norm(first[i] - second[j], dim=1)
                close = distance <= (first_reach[i] + second_reach[j]) * _SLACK
                yield i[close], j[close]


def _octaves(reach: torch.Tensor, largest: torch.Tensor) -> list[torch.Tensor]:
    level = torch.log2(reach / largest).nan_to_num(nan=0.0, neginf=-_OCTAVES).floor().clamp(min=-_OCTAVES)
    return [torch.nonzero(level == value)[:, 0] for value in level.unique()]


def _cell_pairs(
    first: torch.Tensor, second: torch.Tensor, radius: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of points in cells of side >= `radius` that touch: a superset of the pairs within `radius`."""
    low = torch.minimum(first.amin(0), second.amin(0))
    extent = float((torch.maximum(first.amax(0), second.amax(0)) - low).max())
    # At most 2^20 cells an axis keep the key of three axes within 63 bits.
    side = max(radius * _SLACK, extent / _CELLS) or 1.0
    # A margin of one cell all round keeps the neighbours of one line of cells out of the next line.
    here, there = (((points - low) / side).long() + 1 for points in (first, second))
    span = torch.maximum(here.amax(0), there.amax(0)) + 2
    weight = torch.ones_like(span)
    for axis in range(len(span) - 2, -1, -1):
        weight[axis] = weight[axis + 1] * span[axis + 1]
    keys, order = (there * weight).sum(1).sort()
    # Looked up in rising order, the lines and then the points come from memory that was just read.
    centre, turn = (here * weight).sum(1).sort()
    # Cells that touch along the last axis are neighbours in the sorted keys, so a line of three is one range.
    shifts = [
        sum(int(step * w) for step, w in zip(steps, weight[:-1].tolist(), strict=True))
        for steps in itertools.product((-1, 0, 1), repeat=len(span) - 1)
    ]
    start = torch.cat([torch.searchsorted(keys, centre + shift - 1) for shift in shifts])
    stop = torch.cat([torch.searchsorted(keys, centre + shift + 1, right=True) for shift in shifts])
    rows = turn.repeat(len(shifts))
    busy = stop > start
    yield from _expand(rows[busy], start[busy], (stop - start)[busy], order)


def _expand(
    rows: torch.Tensor, start: torch.Tensor, count: torch.Tensor, order: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    piece = (count.cumsum(0) - count) // _CHUNK
    sizes = piece.unique_consecutive(return_counts=True)[1].tolist()
    for some, begin, number in zip(rows.split(sizes), start.split(sizes), count.split(sizes), strict=True):
        ahead = number.cumsum(0) - number
        i = some.repeat_interleave(number)
        at = torch.arange(len(i), device=i.device) + (begin - ahead).repeat_interleave(number)
        yield i, order[at]
