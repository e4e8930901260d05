"""Which cell answers for which object: the fast assignment is the literal one."""

import itertools

import numpy as np
import pytest
import torch

from pipeline.detect.symmetry import symmetries
from pipeline.detect.targets import assign

CELLS = {1: (20,), 2: (9, 7), 3: (4, 5, 6)}
REDUCTION = {1: (4,), 2: (2, 2), 3: (1, 3, 2)}
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


def some(ndim, count=25, images=3, seed=0):
    """Objects in the frame and a little beyond it."""
    random = np.random.default_rng([seed, ndim])
    sides = np.array(CELLS[ndim]) * REDUCTION[ndim]
    centre = torch.from_numpy(random.uniform(-2, sides + 2, (count, ndim)))
    image = torch.from_numpy(random.integers(0, images, count))
    return centre, image, torch.from_numpy(random.permutation(count) + 1.0)


def literal(centre, image, brightness, images, cells, reduction, margin):
    """Every cell asks every object."""
    owner = np.full((images, *cells), -1)
    for number, *cell in itertools.product(range(images), *map(range, cells)):
        best = -np.inf
        for at in range(len(centre)):
            middle = [(index + 0.5) * step - 0.5 for index, step in zip(cell, reduction, strict=True)]
            away = [abs(m - float(c)) for m, c in zip(middle, centre[at], strict=True)]
            margins = np.broadcast_to(np.asarray(margin), centre.shape)[at]
            near = all(far <= step / 2 + m for far, step, m in zip(away, reduction, margins, strict=True))
            if near and image[at] == number and brightness[at] > best:
                owner[(number, *cell)], best = at, brightness[at]
    return owner


@ndims
@pytest.mark.parametrize("margin", [0.0, 1.0, 4.5])
def test_the_fast_assignment_is_the_literal_one(ndim, margin):
    given = (*some(ndim), 3, CELLS[ndim], REDUCTION[ndim], margin)
    found = assign(*given).numpy()
    assert (found >= 0).any()
    np.testing.assert_array_equal(found, literal(*given))


@ndims
@pytest.mark.parametrize("each", ["axis", "object"])
def test_margins_of_an_axis_or_an_object_count_there_alone(ndim, each):
    count = 25
    random = np.random.default_rng(ndim)
    margin = [4.0, 0.5, 1.0][:ndim] if each == "axis" else torch.from_numpy(random.exponential(2.0, (count, ndim)))
    given = (*some(ndim, count), 3, CELLS[ndim], REDUCTION[ndim], margin)
    np.testing.assert_array_equal(assign(*given).numpy(), literal(*given))
    assert (assign(*given) != assign(*given[:-1], 1.0)).any()


@ndims
def test_the_brighter_object_has_the_cell(ndim):
    centre = torch.full((2, ndim), 3.2)
    for brightness in ([1.0, 2.0], [2.0, 1.0]):
        owner = assign(centre, torch.zeros(2).long(), torch.tensor(brightness), 1, CELLS[ndim], REDUCTION[ndim], 1.0)
        assert set(owner.unique().tolist()) == {-1, int(np.argmax(brightness))}


@ndims
def test_a_wider_margin_takes_more_and_gives_none_back(ndim):
    given = (*some(ndim, count=6), 3, CELLS[ndim], REDUCTION[ndim])
    taken = [assign(*given, margin) >= 0 for margin in (0.0, 1.5, 4.0, 12.0)]
    for narrow, wide in itertools.pairwise(taken):
        assert (wide | ~narrow).all()
        assert wide.sum() > narrow.sum()


@ndims
def test_without_a_margin_a_lonely_object_has_one_cell(ndim):
    centre = torch.tensor([[3.3] * ndim], dtype=torch.float64)
    owner = assign(centre, torch.zeros(1).long(), torch.ones(1), 1, CELLS[ndim], REDUCTION[ndim], 0.0)
    cell = [int((3.3 + 0.5) // step) for step in REDUCTION[ndim]]
    assert (owner >= 0).nonzero().tolist() == [[0, *cell]]


@ndims
def test_a_batch_is_its_images_one_by_one(ndim):
    centre, image, brightness = some(ndim)
    whole = assign(centre, image, brightness, 3, CELLS[ndim], REDUCTION[ndim], 1.0)
    for number in range(3):
        own = (image == number).nonzero()[:, 0]
        single = assign(
            centre[own], torch.zeros(len(own)).long(), brightness[own], 1, CELLS[ndim], REDUCTION[ndim], 1.0
        )[0]
        back = torch.where(single >= 0, own[single.clamp(min=0)], -1)
        assert torch.equal(whole[number], back)


@pytest.mark.parametrize("ndim", [1, 2])
def test_turned_objects_have_the_turned_cells(ndim):
    centre, image, brightness = some(ndim)
    shape = np.array(CELLS[ndim]) * REDUCTION[ndim]
    owner = assign(centre, image, brightness, 3, CELLS[ndim], REDUCTION[ndim], 1.0)
    for turn in symmetries(ndim):
        cells = [CELLS[ndim][axis] for axis in turn.order]
        turned = assign(turn.positions(centre, shape), image, brightness, 3, cells, REDUCTION[ndim], 1.0)
        assert torch.equal(turned, turn.image(owner))


@ndims
def test_no_objects_have_no_cells(ndim):
    none = (torch.zeros(0, ndim), torch.zeros(0).long(), torch.zeros(0))
    assert (assign(*none, 2, CELLS[ndim], REDUCTION[ndim], 1.0) == -1).all()
