"""The symmetries form a group, and turn pictures, positions, sizes and angles alike."""

import numpy as np
import pytest
import torch

from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE
from pipeline.detect.symmetry import Symmetry, symmetries

SHAPES = {1: (13,), 2: (9, 12), 3: (5, 9, 12)}
NAMES = ("ln_flux", COSINE, SINE)
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


def draw(shape, centre, size, angle):
    """A Gaussian whose inverse covariance is that of a box plus, on the sky, that of an ellipse of twice the angle."""
    away = [torch.arange(side, dtype=torch.float64) for side in shape]
    away = [part - at for part, at in zip(torch.meshgrid(*away, indexing="ij"), centre, strict=True)]
    form = sum((part / side) ** 2 for part, side in zip(away, size, strict=True))
    if len(shape) > 1:
        y, x = away[-2:]
        form = form + 0.2 * (x**2 + y**2) - 0.15 * ((x**2 - y**2) * angle[0] + 2 * x * y * angle[1])
    return torch.exp(-0.5 * form)


@ndims
def test_a_turned_picture_is_the_picture_of_the_turned_object(ndim):
    shape = SHAPES[ndim]
    names = NAMES if ndim > 1 else NAMES[:1]
    centre = torch.tensor(shape, dtype=torch.float64) * torch.tensor([0.3, 0.4, 0.6][:ndim])
    size = torch.tensor([1.5, 2.0, 3.5][:ndim], dtype=torch.float64)
    values = torch.tensor([7.0, np.cos(0.7), np.sin(0.7)], dtype=torch.float64)[: len(names)]
    picture = draw(shape, centre, size, values[1:])
    for turn in symmetries(ndim):
        turned = turn.image(picture)
        told = turn.values(values, names)
        again = draw(turned.shape, turn.positions(centre, shape), turn.sizes(size), told[1:])
        torch.testing.assert_close(turned, again)
        assert told[0] == values[0]


@ndims
def test_all_are_different_and_the_first_changes_nothing(ndim):
    picture = torch.arange(float(4**ndim)).reshape([4] * ndim)
    turned = {tuple(turn.image(picture).flatten().tolist()) for turn in symmetries(ndim)}
    assert len(turned) == len(symmetries(ndim)) == {1: 2, 2: 8, 3: 16}[ndim]
    assert torch.equal(symmetries(ndim)[0].image(picture), picture)


@ndims
def test_two_after_each_other_are_one_of_them(ndim):
    picture = torch.arange(float(4**ndim)).reshape([4] * ndim)
    known = {tuple(turn.image(picture).flatten().tolist()) for turn in symmetries(ndim)}
    for first in symmetries(ndim):
        for second in symmetries(ndim):
            assert tuple(second.image(first.image(picture)).flatten().tolist()) in known


@ndims
def test_the_inverse_undoes_everything(ndim):
    shape = SHAPES[ndim]
    random = torch.Generator().manual_seed(1)
    picture, raw = torch.rand(shape, generator=random), torch.rand(2, 3, *shape, generator=random)
    centre, values = torch.rand(6, ndim, generator=random) * 5, torch.rand(6, len(NAMES), generator=random)
    names = NAMES if ndim > 1 else ("a", "b", "c")
    for turn in symmetries(ndim):
        back, turned = turn.inverse, turn.image(picture).shape
        assert back.inverse == turn
        assert torch.equal(back.image(turn.image(picture)), picture)
        assert torch.equal(back.image(turn.image(raw)), raw)
        torch.testing.assert_close(back.positions(turn.positions(centre, shape), turned), centre)
        assert torch.equal(back.offsets(turn.offsets(centre)), centre)
        assert torch.equal(back.sizes(turn.sizes(centre)), centre)
        assert torch.equal(back.values(turn.values(values, names), names), values)


@ndims
def test_an_offset_is_the_difference_of_two_positions(ndim):
    random = torch.Generator().manual_seed(2)
    one, other = torch.rand(2, 5, ndim, generator=random, dtype=torch.float64) * 5
    for turn in symmetries(ndim):
        difference = turn.positions(one, SHAPES[ndim]) - turn.positions(other, SHAPES[ndim])
        torch.testing.assert_close(turn.offsets(one - other), difference)


def test_a_spectrum_has_no_angle_to_turn():
    assert torch.equal(Symmetry((0,), (True,)).values(torch.ones(2), (COSINE, SINE)), torch.ones(2))


ROTATING = ("cos_i", ALONG_X, COSINE, ALONG_Y, SINE)


def rotating(shape, centre, direction):
    """A line whose frequency falls in the direction in which its galaxy recedes."""
    z, y, x = torch.meshgrid(*[torch.arange(float(side), dtype=torch.float64) for side in shape], indexing="ij")
    z, y, x = (part - at for part, at in zip((z, y, x), centre, strict=True))
    return torch.exp(-0.5 * ((z + 0.8 * (x * direction[0] + y * direction[1])) ** 2 + (x / 3) ** 2 + (y / 3) ** 2))


def test_a_turned_cube_shows_the_receding_side_turned():
    shape, centre = SHAPES[3], torch.tensor([1.7, 4.2, 6.9], dtype=torch.float64)
    values = torch.tensor([0.4, np.cos(0.6), np.cos(1.2), np.sin(0.6), np.sin(1.2)], dtype=torch.float64)
    picture = rotating(shape, centre, values[[1, 3]])
    seen = set()
    for turn in symmetries(3):
        turned, told = turn.image(picture), turn.values(values, ROTATING)
        torch.testing.assert_close(turned, rotating(turned.shape, turn.positions(centre, shape), told[[1, 3]]))
        # The axis of the direction is the angle that is known without it, and its inverse gives it back.
        torch.testing.assert_close(told[1] ** 2 - told[3] ** 2, told[2])
        torch.testing.assert_close(2 * told[1] * told[3], told[4])
        assert torch.equal(turn.inverse.values(told, ROTATING), values)
        torch.testing.assert_close(turn.spreads(values.abs(), ROTATING)[[0, 1, 3]], told.abs()[[0, 1, 3]])
        seen.add(tuple(np.round(told[[1, 3]].numpy(), 6)))
    assert len(seen) == 8


def test_the_receding_side_of_an_image_turns_with_its_axes_alone():
    values = torch.tensor([0.8, 0.6])
    turned = {turn: turn.values(values, (ALONG_X, ALONG_Y)) for turn in symmetries(2)}
    for turn, told in turned.items():
        torch.testing.assert_close(told.flip(0), turn.offsets(values.flip(0)))
    assert torch.equal(Symmetry((0,), (True,)).values(values, (ALONG_X, ALONG_Y)), values)
