"""Overlap of boxes in N dimensions, and the choice of the best among candidates that overlap or lie close.

A box is `(..., 2, N)`: the lower and the upper corner in pixels, axes in NumPy order. With I the intersection, U the
union, E the smallest enclosing box, d the distance of the centres and c the diagonal of E, all metrics are in [-1, 1].
"""

from collections.abc import Callable, Sequence

import torch

from pipeline.detect.neighbours import near_pairs
from pipeline.errors import UserError

_BLOCK = 2**16
_ROUNDS = 32


def iou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """I/U of boxes `(..., 2, N)` that broadcast, `(...)`; 0 where both boxes are empty."""
    shared, union = _shared_and_union(first, second)
    return _ratio(shared, union)


def giou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """I/U - (E - U)/E of boxes `(..., 2, N)` that broadcast, `(...)` (Rezatofighi et al. 2019); -1 where E is empty."""
    shared, union = _shared_and_union(first, second)
    enclosing = _sides_of_enclosing(first, second).prod(-1)
    return _ratio(shared, union) - torch.where(enclosing > 0, _ratio(enclosing - union, enclosing), 1.0)


def diou(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """I/U - d/c of boxes `(..., 2, N)` that broadcast, `(...)`: the linear form that YOLO-CIANNA uses."""
    return iou(first, second) - _ratio(_distance(first, second), _diagonal(first, second))


def diou2(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """I/U - d^2/c^2 of boxes `(..., 2, N)` that broadcast, `(...)` (Zheng et al. 2020, eq. 7)."""
    return iou(first, second) - _ratio(_distance(first, second), _diagonal(first, second)).square()


METRICS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "iou": iou,
    "giou": giou,
    "diou": diou,
    "diou2": diou2,
}


def pairwise(metric: str, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The named metric of every box of `first (n, 2, N)` with every box of `second (m, 2, N)`: `(n, m)`."""
    return _metric(metric)(first[:, None], second[None])


def suppress_by_overlap(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float, metric: str = "diou"
) -> torch.Tensor:
    """Greedy non-maximum suppression: the best candidate stays and removes all whose metric with it is > `threshold`.

    Parameters
    ----------
    boxes : `(n, 2, N)`, in pixels, N = 1, 2 or 3.
    scores : `(n,)`; the larger the better, equal ones in the order given.
    threshold : at least 0 for "iou", above -1 for the others; below 0 also boxes that do not touch remove each other.
    metric : "iou", "giou", "diou" or "diou2".

    Returns
    -------
    the indices of those kept, best first, `(kept,)` int64 on the device of `boxes`.

    Raises
    ------
    UserError : an unknown metric, or a threshold at which a box would remove all others however far.
    ValueError : shapes that differ, numbers that are not finite, or an upper corner below the lower one.
    """
    measure = _metric(metric)
    if boxes.ndim != 3 or boxes.shape[1] != 2:
        raise ValueError(f"boxes must be (n, 2, N), not {tuple(boxes.shape)}")
    boxes = boxes.detach().double()
    if bool((boxes[:, 1] < boxes[:, 0]).any()):
        raise ValueError("a box has its upper corner below its lower one")
    reach = reach_of_metric(boxes, threshold, metric)

    def removes(i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return measure(boxes[i], boxes[j]) > threshold

    return _suppress(boxes.mean(1), reach, reach, scores, removes)


def suppress_by_distance(
    centres: torch.Tensor, scores: torch.Tensor, radius: float | torch.Tensor, axes: Sequence[float] | None = None
) -> torch.Tensor:
    """Greedy suppression: the best candidate stays and removes all whose centre is closer than its own radius.

    Parameters
    ----------
    centres : `(n, N)`, in pixels, N = 1, 2 or 3.
    scores : `(n,)`; the larger the better, equal ones in the order given.
    radius : in pixels, one for all or one for each candidate `(n,)`, at least 0; that of the kept candidate counts.
    axes : `(N,)` pixels that count as one along each axis; None where a pixel is a pixel.

    Returns
    -------
    the indices of those kept, best first, `(kept,)` int64 on the device of `centres`.

    Raises
    ------
    UserError : a radius that is negative or not finite, or along an axis not above 0.
    ValueError : shapes that differ, or numbers that are not finite.
    """
    if centres.ndim != 2:
        raise ValueError(f"centres must be (n, N), not {tuple(centres.shape)}")
    centres = centres.detach().double()
    radii = torch.as_tensor(radius, dtype=torch.float64, device=centres.device)
    if not bool(((radii >= 0) & radii.isfinite()).all()):
        raise UserError("radius", "is negative or not finite", "give pixels, 0 or more")
    radii = radii.expand(len(centres))
    if axes is not None:
        unit = torch.as_tensor(axes, dtype=torch.float64, device=centres.device)
        if not bool(((unit > 0) & unit.isfinite()).all()):
            raise UserError("radius", "is not above 0 along every axis", "give pixels, more than 0")
        centres = centres / unit

    def removes(i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(centres[i] - centres[j], dim=1) < radii[i]

    return _suppress(centres, radii, torch.zeros_like(radii), scores, removes)


def reach_of_metric(boxes: torch.Tensor, threshold: float, metric: str) -> torch.Tensor:
    """Pixels `(n,)` such that two boxes `(n, 2, N)` of a metric > `threshold` lie no further apart than their sum.

    Raises
    ------
    UserError : an unknown metric, or a threshold that boxes at any distance exceed.
    """
    return torch.linalg.vector_norm((boxes[:, 1] - boxes[:, 0]).clamp(min=0), dim=1) * _reach(metric, threshold)


def _metric(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    if name not in METRICS:
        raise UserError("metric", f'"{name}" is not a metric of boxes', f"choose from {', '.join(METRICS)}")
    return METRICS[name]


def _reach(metric: str, threshold: float) -> float:
    """The largest distance of the centres at which the metric can exceed the threshold, in sums of box diagonals.

    At a threshold t >= 0 all need I/U > t; the overlap along one axis is no less, so on each axis
    |D| < (w + v)/2 (1 - t)/(1 + t). Below 0, boxes that touch: d <= (|w| + |v|)/2. Boxes apart, at -s: GIoU needs
    E < U/(1 - s), and as every side of E is at least the larger of the two and |D| + (w + v)/2,
    |D| < (w + v)(1/(1 - s) - 1/2) on each axis; DIoU needs d < s c, and c <= d + |w| + |v|; DIoU2 the same with the
    root of s.
    """
    _metric(metric)
    lowest_is_fine = metric == "iou"
    if not (threshold >= 0 if lowest_is_fine else threshold > -1):
        what = f"with {metric}, {threshold} would let one box remove all others however far"
        raise UserError("threshold", what, f"give {'0 or more' if lowest_is_fine else 'more than -1'}")
    if threshold >= 0:
        return 0.5 * max(0.0, (1 - threshold) / (1 + threshold))
    if metric == "giou":
        return 1 / (1 + threshold) - 0.5
    share = -threshold if metric == "diou" else (-threshold) ** 0.5
    return max(0.5, share / (1 - share))


def _suppress(
    centres: torch.Tensor,
    own_reach: torch.Tensor,
    other_reach: torch.Tensor,
    scores: torch.Tensor,
    removes: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Blocks in falling order of score: settled among themselves, then what they keep clears the rest.

    Blocks hold the list of pairs down: a crowded map is thinned by its best candidates before the others are paired.
    Each is twice as long as the one before, so that a map in which little overlaps is done in a few.
    """
    if scores.shape != (len(centres),):
        raise ValueError(f"scores must be ({len(centres)},), not {tuple(scores.shape)}")
    if not bool(scores.isfinite().all()) or not bool(centres.isfinite().all()):
        raise ValueError("scores and boxes must be finite")
    left = scores.detach().to(centres.device).argsort(descending=True, stable=True)
    kept, size = [left[:0]], _BLOCK
    while len(left):
        block, left, size = left[:size], left[size:], 2 * size
        edges = [torch.zeros(2, 0, dtype=torch.int64, device=centres.device)]
        for i, j in near_pairs(centres[block], own_reach[block], centres[block], other_reach[block]):
            i, j = i[i < j], j[i < j]
            edges.append(torch.stack((i, j))[:, removes(block[i], block[j])])
        kept.append(block[_settle(torch.cat(edges, 1), len(block))])
        cleared = torch.zeros(len(left), dtype=torch.bool, device=centres.device)
        for i, j in near_pairs(centres[kept[-1]], own_reach[kept[-1]], centres[left], other_reach[left]):
            cleared[j[removes(kept[-1][i], left[j])]] = True
        left = left[~cleared]
    return torch.cat(kept)


def _settle(edges: torch.Tensor, count: int) -> torch.Tensor:
    """Which of `count` candidates in falling order stay, `(count,)` bool; edges `(2, k)`: better over worse.

    Rounds decide all that wait for nobody at once. A chain in which each waits for the one before would take as many
    rounds as it is long, so what is left after a few is walked through one by one.
    """
    kept = torch.zeros(count, dtype=torch.bool, device=edges.device)
    open_ = torch.ones_like(kept)
    for _ in range(_ROUNDS):
        better, worse = edges
        first = open_.clone()
        first[worse] = False
        kept |= first
        open_ &= ~first
        open_[worse[first[better]]] = False
        edges = edges[:, open_[better] & open_[worse]]
        if not edges.shape[1]:
            return kept | open_
    better, worse = edges[:, edges[0].argsort()].cpu().numpy()
    still = open_.cpu().numpy()
    begins = better.searchsorted(range(count + 1)).tolist()
    for at in still.nonzero()[0].tolist():
        if still[at]:
            still[worse[begins[at] : begins[at + 1]]] = False
    return kept | torch.from_numpy(still).to(kept.device)


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return part / torch.where(whole > 0, whole, 1.0)


def _shared_and_union(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    low = torch.maximum(first[..., 0, :], second[..., 0, :])
    high = torch.minimum(first[..., 1, :], second[..., 1, :])
    shared = (high - low).clamp(min=0).prod(-1)
    volumes = [(box[..., 1, :] - box[..., 0, :]).clamp(min=0).prod(-1) for box in (first, second)]
    return shared, volumes[0] + volumes[1] - shared


def _sides_of_enclosing(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    low = torch.minimum(first[..., 0, :], second[..., 0, :])
    return torch.maximum(first[..., 1, :], second[..., 1, :]) - low


def _diagonal(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(_sides_of_enclosing(first, second), dim=-1)


def _distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(first.mean(-2) - second.mean(-2), dim=-1)
