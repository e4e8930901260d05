"""Which predicted box of a cell answers for which target: the association of YOLO-CIANNA (Cornu et al. 2024).

The best pairs come first, by the metric of the prediction itself and not of its prior, so that several objects of one
cell each get a box of their own. All is done on detached values, for every cell of every image together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.detect.association_settings import AssociationSettings
from pipeline.detect.boxes import METRICS

BACKGROUND, GOOD, MATCHED = 0, 1, 2
BEST_QUALITY = 0.98

# below every metric: a target or a box that is no longer to be had
_GONE = -2.0
# pairs of a target and a box that are compared at a time, which bounds the memory
_PAIRS = 2**22


@dataclass(frozen=True)
class Targets:
    """The true objects of a batch, in one list.

    `image` (t,) int64 is the place in the batch, `box` (t, 2, N) the corners in pixels. `difficult` (t,) int64: 0 is a
    plain target; above 0 it counts only where the prediction is already fair, from 2 without its class and parameters,
    from 3 without its position and size too. `label` (t,) int64 counts classes from 0, -1 is an unknown one; `values`
    (t, P) are what the parameters are to be.
    """

    image: Tensor
    box: Tensor
    difficult: Tensor
    label: Tensor
    values: Tensor


@dataclass(frozen=True)
class Association:
    """What becomes of every box, each (n, *cells, B).

    `state` int64: 0 background, 1 good but not the best, which is left alone, 2 matched. `target` int64 is the index of
    the matched target, -1 for none. `quality` is the metric with it, at most 0.98, and 0 for none.
    """

    target: Tensor
    state: Tensor
    quality: Tensor


@torch.no_grad()
def associate(
    boxes: Tensor,
    objectness: Tensor,
    targets: Targets,
    priors: Tensor,
    reduction: tuple[float, ...],
    settings: AssociationSettings,
    *,
    seen: int = 0,
    size_clamp: tuple[float, float] = (-1.6, 1.6),
    generator: torch.Generator | None = None,
) -> Association:
    """Find the box that learns from each target.

    Parameters
    ----------
    boxes : (n, *cells, B, 2, N), predicted corners in pixels.
    objectness : (n, *cells, B), predicted, 0 to 1.
    priors : (B, N), sizes in pixels.
    reduction : pixels a cell, one number an axis; pixel i covers [i - 0.5, i + 0.5].
    seen : how many images training has used, for the random start.
    size_clamp : least and largest logarithm of size over prior, for the prior distance "offset".
    generator : where random numbers come from, on any device; torch's own without one.

    Targets with their centre outside the cells are nobody's, and so are those beyond the boxes of their cell.
    """
    n, *cells, count, _, ndim = boxes.shape
    exact = boxes.dtype if boxes.dtype == torch.float64 else torch.float32
    boxes = boxes.reshape(n, -1, count, 2, ndim).to(exact)
    priors, target_box = priors.to(boxes), targets.box.to(boxes)
    state = torch.where(_good(boxes, target_box, targets.image, settings), GOOD, BACKGROUND).flatten()
    target = torch.full_like(state, -1)
    quality = boxes.new_zeros(state.shape)

    shape = torch.tensor(cells, device=boxes.device)
    cell = ((target_box.mean(1) + 0.5) / boxes.new_tensor(reduction)).floor().long()
    inside = ((cell >= 0) & (cell < shape)).all(1).nonzero()[:, 0]
    place = targets.image[inside]
    for axis in range(ndim):
        place = place * cells[axis] + cell[inside, axis]
    if len(place):
        places, listed = _lists(place)
        found = _match(
            boxes.reshape(-1, count, 2, ndim)[places],
            objectness.reshape(-1, count)[places],
            torch.where(listed < 0, -1, inside[listed.clamp(min=0)]),
            target_box,
            targets.difficult,
            _Priors(priors, settings, size_clamp),
            seen < settings.startup,
            _draw(generator, listed.shape[1], len(places), count, boxes.device),
        )
        target.view(-1, count)[places], quality.view(-1, count)[places] = found
        state = torch.where(target >= 0, MATCHED, state)
    return Association(*(values.reshape(n, *cells, count) for values in (target, state, quality)))


def _good(boxes: Tensor, target: Tensor, image: Tensor, settings: AssociationSettings) -> Tensor:
    """Which boxes (n, cells, B) lie well on any target of their image, in whatever cell its centre is."""
    good = torch.zeros(boxes.shape[:-2], dtype=torch.bool, device=boxes.device)
    if not len(image):
        return good
    images, listed = _lists(image)
    flat = boxes.flatten(1, 2)
    width = max(_PAIRS // (len(images) * flat.shape[1]), 1)
    for part in listed.split(width, dim=1):
        fit = METRICS[settings.metric](flat[images, None], target[part.clamp(min=0), None])
        fits = (fit > settings.limit("good")) & (part >= 0)[:, :, None]
        good[images] |= fits.any(1).unflatten(1, boxes.shape[1:3])
    return good


def _lists(group: Tensor) -> tuple[Tensor, Tensor]:
    """The groups (g,) that occur, and the members of each in the order given, (g, most), filled with -1."""
    order = group.argsort(stable=True)
    groups, row, counts = group[order].unique_consecutive(return_inverse=True, return_counts=True)
    column = torch.arange(len(order), device=group.device) - (counts.cumsum(0) - counts)[row]
    listed = group.new_full((len(groups), int(counts.max())), -1)
    listed[row, column] = order
    return groups, listed


def _draw(
    generator: torch.Generator | None, rounds: int, places: int, count: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Uniform numbers: one (rounds, places) for the random box, one for the nearest prior, one a box for its lot."""
    source = device if generator is None else generator.device
    shapes = ((rounds, places), (rounds, places), (rounds, places, count))
    return tuple(torch.rand(shape, generator=generator, device=source).to(device) for shape in shapes)


class _Priors:
    """The priors (B, N), which of them are the same, and how far they are from a size."""

    def __init__(self, priors: Tensor, settings: AssociationSettings, size_clamp: tuple[float, float]):
        self.priors, self.settings, self.size_clamp = priors, settings, size_clamp
        _, kind = priors.unique(dim=0, return_inverse=True)
        self.same = kind[:, None] == kind
        smallest = _first(-torch.linalg.vector_norm(priors, dim=1))[1]
        self.smallest, self.smallest_size = self.same[smallest], priors[smallest]

    def distance(self, size: Tensor) -> Tensor:
        """(..., N) to (..., B)."""
        size = size[..., None, :]
        if self.settings.prior_distance == "size":
            return torch.linalg.vector_norm(size - self.priors, dim=-1)
        if self.settings.prior_distance == "offset":
            return (size / self.priors).log().clamp(*self.size_clamp).abs().sum(-1)
        centred = [torch.stack((-each / 2, each / 2), -2) for each in (size, self.priors)]
        return 1 - METRICS[self.settings.metric](*centred)

    def allowed(self, distance: Tensor) -> Tensor:
        """The boxes of the nearest priors; equal priors count as one. (..., B) to (..., B)."""
        if not self.settings.strict_box_size:
            return torch.ones_like(distance, dtype=torch.bool)
        allowed = torch.zeros_like(distance, dtype=torch.bool)
        for _ in range(min(self.settings.strict_box_size, len(self.priors))):
            nearest = _first(-distance.masked_fill(allowed, torch.inf))[1]
            allowed |= self.same[nearest]
        return allowed


def _match(
    boxes: Tensor,
    objectness: Tensor,
    listed: Tensor,
    target_box: Tensor,
    difficult: Tensor,
    priors: _Priors,
    startup: bool,
    draws: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Settle the a cells with targets: their boxes (a, B, 2, N) and targets (a, most) to target and quality (a, B)."""
    settings = priors.settings
    cells, count = boxes.shape[:2]
    every, box_index = torch.arange(cells, device=boxes.device), torch.arange(count, device=boxes.device)
    own = target_box[listed.clamp(min=0)]
    size = own[:, :, 1] - own[:, :, 0]
    # a prediction that is not a number fits nothing, and the loss will show it
    metric = METRICS[settings.metric](boxes[:, None], own[:, :, None]).nan_to_num(-1.0)
    distance = priors.distance(size)
    allowed = priors.allowed(distance)
    small = (size < settings.forced_scaling * priors.smallest_size).all(-1)
    left = metric.masked_fill((listed < 0)[:, :, None], _GONE)
    used = torch.zeros_like(objectness, dtype=torch.bool)
    target = torch.full_like(used, -1, dtype=torch.int64)
    quality = torch.zeros_like(metric[:, 0])
    for turn, (swap, nearby, lots) in enumerate(zip(*draws, strict=True)):
        drawn = lots.masked_fill(used, -1.0).argmax(1)
        if startup:
            which = torch.full_like(every, turn)
            box, alive = drawn, (listed[:, turn] >= 0) & ~used.all(1)
        else:
            best, pair = _first(left.masked_fill(~allowed, _GONE).flatten(1))
            which, box, alive = pair // count, pair % count, best > _GONE
            row = left[every, which]
            swapped = swap < settings.random
            forced = small[every, which] & ~swapped
            near = ((best < settings.limit("low_best")) | (nearby < settings.random_prior)) & ~swapped & ~forced
            nearest = priors.same[_first(-distance[every, which])[1]]
            box = torch.where(swapped, drawn, box)
            box = _prefer(box, row, priors.smallest.expand_as(row), forced)
            box = _prefer(box, row, nearest, near)
        left[every, which] = _GONE
        fit = metric[every, which, box].clamp(max=BEST_QUALITY)
        chosen = listed[every, which]
        poor = (fit < settings.limit("difficult")) | (objectness[every, box] < settings.limit("difficult_objectness"))
        taken = alive & ~(poor & (difficult[chosen] > 0))
        at = (box_index == box[:, None]) & taken[:, None]
        used |= at
        left.masked_fill_(at[:, None], _GONE)
        target = torch.where(at, chosen[:, None], target)
        quality = torch.where(at, fit[:, None], quality)
    return target, quality


def _prefer(box: Tensor, row: Tensor, candidates: Tensor, where: Tensor) -> Tensor:
    """The best of the candidates that is still free, where asked for; the box (a,) as it was elsewhere."""
    best, better = _first(row.masked_fill(~candidates, _GONE))
    return torch.where(where & (best > _GONE), better, box)


def _first(values: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value along the last axis and its first index: on a GPU argmax may return any of several equal."""
    best = values.amax(-1)
    index = torch.arange(values.shape[-1], device=values.device)
    return best, torch.where(values == best[..., None], index, values.shape[-1]).amin(-1)
