"""The association, against a slow one in plain Python that follows the description word by word."""

import math

import pytest
import torch
from pydantic import ValidationError

from pipeline.detect import association
from pipeline.detect.association import Targets, associate
from pipeline.detect.association_settings import LIMITS, AssociationSettings

PRIORS = {
    1: [[6.0], [6.0], [12.0], [24.0]],
    2: [[6.0, 6.0], [6.0, 6.0], [12.0, 9.0], [9.0, 12.0]],
    3: [[6.0, 6.0, 6.0], [6.0, 6.0, 6.0], [12.0, 9.0, 5.0]],
}
CELLS = {1: (5,), 2: (3, 4), 3: (2, 3, 2)}
REDUCTION = {1: (8.0,), 2: (8.0, 6.0), 3: (4.0, 8.0, 6.0)}


def scene(ndim, seed=0, images=3, most=9, difficult=0):
    """Predictions that scatter around the priors, and targets that crowd some cells and leave others empty."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(shape, generator=draw, dtype=torch.float64)

    priors, cells, step = torch.tensor(PRIORS[ndim], dtype=torch.float64), CELLS[ndim], torch.tensor(REDUCTION[ndim])
    shape = (images, *cells, len(priors), ndim)
    cell = torch.stack(torch.meshgrid(*(torch.arange(n) for n in cells), indexing="ij"), -1)[..., None, :]
    centre = (cell + uniform(*shape)) * step - 0.5
    half = priors * (uniform(*shape) * 2 - 1).exp() / 2
    boxes = torch.stack((centre - half, centre + half), -2)
    # the second image has none, the others have unequally many
    image = torch.cat([torch.full((most - i,), i) for i in range(images) if i != 1])
    extent = torch.tensor(cells) * step
    place = uniform(len(image), ndim) * extent * 0.6 - 1.5
    size = 2 + 14 * uniform(len(image), ndim) ** 2
    target = torch.stack((place - size / 2, place + size / 2), 1)
    flags = torch.randint(0, 4, (len(image),), generator=draw) * difficult
    nothing = torch.zeros(len(image), 0)
    targets = Targets(image, target, flags, torch.zeros(len(image), dtype=torch.int64), nothing)
    return boxes, uniform(*shape[:-1]), targets, priors, REDUCTION[ndim]


def metric_of(name, a, b):
    """The metric of two boxes given as lists (low, high)."""
    axes = range(len(a[0]))
    shared = math.prod(max(min(a[1][d], b[1][d]) - max(a[0][d], b[0][d]), 0) for d in axes)
    union = sum(math.prod(c[1][d] - c[0][d] for d in axes) for c in (a, b)) - shared
    sides = [max(a[1][d], b[1][d]) - min(a[0][d], b[0][d]) for d in axes]
    if name == "iou":
        return shared / union
    if name == "giou":
        return shared / union - (math.prod(sides) - union) / math.prod(sides)
    apart = math.dist([sum(x) / 2 for x in zip(*a, strict=True)], [sum(x) / 2 for x in zip(*b, strict=True)])
    ratio = apart / math.hypot(*sides)
    return shared / union - (ratio if name == "diou" else ratio**2)


def distance_of(settings, clamp, size, prior):
    if settings.prior_distance == "size":
        return math.dist(size, prior)
    if settings.prior_distance == "offset":
        return sum(abs(min(max(math.log(s / p), clamp[0]), clamp[1])) for s, p in zip(size, prior, strict=True))
    return 1 - metric_of(settings.metric, *([[-x / 2 for x in each], [x / 2 for x in each]] for each in (size, prior)))


def slowly(boxes, objectness, targets, priors, reduction, settings, seen=0, size_clamp=(-1.6, 1.6), generator=None):
    """Cell after cell, target after target."""
    n, *cells, count, _, ndim = boxes.shape
    boxes, objectness = boxes.reshape(n, -1, count, 2, ndim).tolist(), objectness.reshape(n, -1, count).tolist()
    target_box, priors, image = targets.box.tolist(), priors.tolist(), targets.image.tolist()
    sizes = [[high - low for low, high in zip(*box, strict=True)] for box in target_box]
    smallest = min(priors, key=lambda prior: math.hypot(*prior))

    members = {}
    for t, box in enumerate(target_box):
        cell = [math.floor(((a + b) / 2 + 0.5) / r) for a, b, r in zip(*box, reduction, strict=True)]
        if all(0 <= c < m for c, m in zip(cell, cells, strict=True)):
            flat = 0
            for c, m in zip(cell, cells, strict=True):
                flat = flat * m + c
            members.setdefault((image[t], flat), []).append(t)
    busy = sorted(members)
    if busy:
        rounds = max(len(listed) for listed in members.values())
        swap, nearby, lots = (x.tolist() for x in association._draw(generator, rounds, len(busy), count, "cpu"))

    answer = []
    for i in range(n):
        for c in range(len(boxes[i])):
            target, state, quality = [-1] * count, [0] * count, [0.0] * count
            for k in range(count):
                for t, box in enumerate(target_box):
                    if image[t] == i and metric_of(settings.metric, boxes[i][c][k], box) > settings.limit("good"):
                        state[k] = 1
            listed = members.get((i, c), [])
            table = {
                (t, k): metric_of(settings.metric, boxes[i][c][k], target_box[t]) for t in listed for k in range(count)
            }
            far = {(t, k): distance_of(settings, size_clamp, sizes[t], priors[k]) for t in listed for k in range(count)}
            allowed = {}
            for t in listed:
                nearest = []
                for k in sorted(range(count), key=lambda k, t=t: far[t, k]):
                    if priors[k] not in nearest:
                        nearest.append(priors[k])
                for k in range(count):
                    allowed[t, k] = priors[k] in nearest[: settings.strict_box_size or count]
            for turn in range(len(listed)):
                row = busy.index((i, c))
                free = [k for k in range(count) if state[k] != 2]
                drawn = max(free, key=lambda k: lots[turn][row][k]) if free else None
                if seen < settings.startup:
                    if drawn is None:
                        continue
                    t, k = listed[turn], drawn
                else:
                    t = k = None
                    best = -2
                    for pair, value in table.items():
                        if value > best and allowed[pair]:
                            (t, k), best = pair, value
                    if t is None:
                        continue
                    if swap[turn][row] < settings.random:
                        k = drawn
                    else:
                        wanted = None
                        if all(s < settings.forced_scaling * p for s, p in zip(sizes[t], smallest, strict=True)):
                            wanted = smallest
                        elif best < settings.limit("low_best") or nearby[turn][row] < settings.random_prior:
                            wanted = priors[min(range(count), key=lambda k, t=t: far[t, k])]
                        better = [j for j in range(count) if priors[j] == wanted and (t, j) in table]
                        if better:
                            k = max(better, key=lambda j, t=t: table[t, j])
                table = {pair: value for pair, value in table.items() if pair[0] != t}
                q = min(metric_of(settings.metric, boxes[i][c][k], target_box[t]), 0.98)
                poor = q < settings.limit("difficult") or objectness[i][c][k] < settings.limit("difficult_objectness")
                if targets.difficult[t] > 0 and poor:
                    continue
                table = {pair: value for pair, value in table.items() if pair[1] != k}
                target[k], state[k], quality[k] = t, 2, q
            answer.append((target, state, quality))
    shape = (n, *cells, count)
    return [torch.tensor([part[which] for part in answer]).reshape(shape) for which in range(3)]


CASES = {
    "plain": {},
    "giou": {"metric": "giou", "strict_box_size": 1},
    "iou": {"metric": "iou", "strict_box_size": 2, "prior_distance": "offset"},
    "diou2": {"metric": "diou2", "random": 0.3, "random_prior": 0.5},
    "nearest": {"low_best": 0.9, "prior_distance": "offset"},
    "nearest by shape": {"metric": "giou", "random_prior": 1.0, "prior_distance": "iou"},
    "small": {"forced_scaling": 1.5, "random_prior": 0.4},
    "random": {"random": 1.0, "strict_box_size": 1},
    "all": {"random": 0.3, "forced_scaling": 2.5, "random_prior": 0.5, "low_best": 0.3, "good": 0.6},
    "start": {"startup": 100},
    "good": {"good": -0.5},
}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("difficult", [0, 1])
def test_it_is_the_slow_one(ndim, name, difficult):
    settings = AssociationSettings(**{"startup": 0, **CASES[name]})
    inputs = (*scene(ndim, seed=ndim, difficult=difficult), settings)
    clamp = (-0.7, 1.0)
    fast = associate(*inputs, seen=50, size_clamp=clamp, generator=torch.Generator().manual_seed(3))
    slow = slowly(*inputs, seen=50, size_clamp=clamp, generator=torch.Generator().manual_seed(3))
    assert torch.equal(fast.target, slow[0])
    assert torch.equal(fast.state, slow[1])
    torch.testing.assert_close(fast.quality, slow[2].double())
    assert set(fast.state.unique().tolist()) >= {0, 2}


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_equal_predictions_take_the_first_box(ndim):
    boxes, objectness, targets, priors, reduction = scene(ndim)
    boxes = boxes[..., :1, :, :].expand_as(boxes)
    inputs = (boxes, objectness, targets, priors, reduction, AssociationSettings(startup=0))
    assert torch.equal(associate(*inputs).target, slowly(*inputs)[0])


def square(*centres, side=4.0, image=None, difficult=None):
    """Square targets with these centres."""
    centre = torch.tensor(centres, dtype=torch.float64)
    count = len(centres)
    return Targets(
        torch.tensor(image or [0] * count),
        torch.stack((centre - side / 2, centre + side / 2), 1),
        torch.tensor(difficult or [0] * count),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(count, 0),
    )


def predicted(*centres, cells=(1, 2), side=4.0):
    """Square predictions of one image, cell after cell."""
    return square(*centres, side=side).box.reshape(1, *cells, -1, 2, 2)


def test_objects_of_one_cell_get_the_box_that_fits_them_best():
    boxes = predicted((2, 2), (3, 3), (2, 10), (3, 10))
    found = associate(
        boxes,
        torch.ones(boxes.shape[:-2]),
        square((3.2, 3.2), (2.4, 2.4)),
        torch.full((2, 2), 4.0),
        (8.0, 8.0),
        AssociationSettings(startup=0),
    )
    # target 0 is the nearest to box 1, though box 1 is also the best of target 1
    assert found.target.tolist() == [[[[1, 0], [-1, -1]]]]
    assert found.state.tolist() == [[[[2, 2], [0, 0]]]]


def test_a_box_of_another_cell_that_fits_is_left_alone():
    boxes = predicted((3, 7), (3, 8))
    targets = square((3, 7.1))
    inputs = (boxes, torch.ones(boxes.shape[:-2]), targets, torch.full((1, 2), 4.0), (8.0, 8.0))
    assert associate(*inputs, AssociationSettings(startup=0)).state.flatten().tolist() == [2, 1]
    assert associate(*inputs, AssociationSettings(startup=0, good=0.9)).state.flatten().tolist() == [2, 0]


def test_targets_beyond_the_boxes_and_beyond_the_cells_are_dropped():
    boxes = predicted((2, 2), (3, 10))
    targets = square((2, 2), (4, 4), (3, -0.6), (3, 15.6), (7.4999, 15.4999))
    settings = AssociationSettings(startup=0, good=1.0)
    found = associate(boxes, torch.ones(boxes.shape[:-2]), targets, torch.full((1, 2), 4.0), (8.0, 8.0), settings)
    assert found.target.flatten().tolist() == [0, 4]


def test_a_refused_difficult_target_leaves_its_box_to_the_next():
    boxes = predicted((2, 2), cells=(1, 1))
    inputs = (square((2, 2), (3, 3), difficult=[1, 0]), torch.full((1, 2), 4.0), (8.0, 8.0))
    settings = AssociationSettings(startup=0)
    unsure = associate(boxes, torch.full(boxes.shape[:-2], 0.05), *inputs, settings)
    assert unsure.target.flatten().tolist() == [1]
    sure = associate(boxes, torch.full(boxes.shape[:-2], 0.5), *inputs, settings)
    assert (sure.target.item(), sure.quality.item()) == (0, 0.98)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_batch_is_its_images(ndim):
    boxes, objectness, targets, *rest = scene(ndim)
    settings = AssociationSettings(startup=0)
    together = associate(boxes, objectness, targets, *rest, settings)
    for i in range(len(boxes)):
        own = (targets.image == i).nonzero()[:, 0]
        some = Targets(
            torch.zeros_like(own), *(getattr(targets, x)[own] for x in ("box", "difficult", "label", "values"))
        )
        alone = associate(boxes[i : i + 1], objectness[i : i + 1], some, *rest, settings)
        assert torch.equal(alone.state[0], together.state[i])
        assert torch.equal(
            torch.where(alone.target < 0, -1, (own if len(own) else own.new_zeros(1))[alone.target])[0],
            together.target[i],
        )


def test_the_order_of_the_targets_does_not_matter():
    boxes, objectness, targets, *rest = scene(2)
    settings = AssociationSettings(startup=0)
    order = torch.randperm(len(targets.image), generator=torch.Generator().manual_seed(0))
    mixed = Targets(*(getattr(targets, x)[order] for x in ("image", "box", "difficult", "label", "values")))
    first, second = (associate(boxes, objectness, each, *rest, settings) for each in (targets, mixed))
    assert torch.equal(first.target, torch.where(second.target < 0, -1, order[second.target]))


def test_pieces_give_the_same(monkeypatch):
    inputs = (*scene(2), AssociationSettings(startup=0))
    whole = associate(*inputs)
    monkeypatch.setattr(association, "_PAIRS", 1)
    assert torch.equal(associate(*inputs).state, whole.state)


def test_the_seed_decides():
    inputs = (*scene(2), AssociationSettings(startup=1))
    one, again, other = (associate(*inputs, generator=torch.Generator().manual_seed(s)).target for s in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_random_start_draws_every_box_alike():
    images, count = 4000, 4
    boxes = predicted(*[(2, 2)] * count, cells=(1, 1)).expand(images, 1, 1, count, 2, 2)
    targets = square(*[(3, 3)] * images, image=list(range(images)))
    settings = AssociationSettings(good=1.0)
    found = associate(
        boxes,
        torch.ones(boxes.shape[:-2]),
        targets,
        torch.full((count, 2), 4.0),
        (8.0, 8.0),
        settings,
        generator=torch.Generator().manual_seed(0),
    )
    assert (found.state == 2).sum() == images
    # five standard deviations of a binomial draw
    assert ((found.state == 2).sum((0, 1, 2)) - images / count).abs().max() < 5 * (images * 3 / 16) ** 0.5


def test_nothing_to_find():
    boxes, objectness, targets, *rest = scene(2)
    none = Targets(*(getattr(targets, x)[:0] for x in ("image", "box", "difficult", "label", "values")))
    found = associate(boxes, objectness, none, *rest, AssociationSettings())
    assert not found.state.any() and not found.quality.any() and (found.target == -1).all()


def test_predictions_that_are_not_numbers_do_not_stop_it():
    boxes, *rest = scene(2)
    found = associate(boxes * torch.nan, *rest, AssociationSettings(startup=0))
    assert found.quality.isfinite().all()


@pytest.mark.parametrize("metric", LIMITS)
def test_limits_are_those_of_the_metric_unless_given(metric):
    assert AssociationSettings(metric=metric).limit("good") == LIMITS[metric][0]
    assert AssociationSettings(metric=metric, difficult_objectness=0.7).limit("difficult_objectness") == 0.7
    with pytest.raises(ValidationError, match="from -1 to 1"):
        AssociationSettings(metric=metric, good=1.5)
