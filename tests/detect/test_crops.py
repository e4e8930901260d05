"""Crops: repeatable, shared out, and their objects still sit where the light is."""

import numpy as np
import pytest
import torch

from pipeline.detect.crops import Crops, LabelledField
from pipeline.detect.directions import COSINE, SINE
from pipeline.detect.objects import Objects
from pipeline.detect.symmetry import symmetries
from pipeline.errors import UserError

SHAPES = {1: (200,), 2: (40, 50), 3: (20, 24, 22)}
VALUES = ("light", COSINE, SINE)
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


def field(ndim, shape=None, count=30, seed=0):
    """A field that is zero but for one pixel an object, whose value is the object's first parameter."""
    random = np.random.default_rng([seed, ndim])
    shape = shape or SHAPES[ndim]
    place = random.choice(int(np.prod(shape)), count, replace=False)
    centre = np.stack(np.unravel_index(place, shape), axis=1)
    light = random.permutation(count) + 1.0
    snr = np.zeros(shape, np.float32)
    snr[tuple(centre.T)] = light
    angle = random.uniform(0, np.pi, count)
    objects = Objects(
        centre=centre.astype(float),
        size=random.uniform(1, 5, (count, ndim)),
        values=np.stack([light, np.cos(angle), np.sin(angle)], axis=1),
        label=random.integers(-1, 3, count),
        snr=light,
        row=np.arange(count),
    )
    return LabelledField(snr, objects, (0.5, *np.array([np.cos(0.4), np.sin(0.4)])))


def crops(fields, crop=16, batch=8, steps=4, seed=1, **more):
    names = VALUES if fields[0].snr.ndim > 1 else ("light", "b", "c")
    return Crops(fields, crop, batch, steps, seed, names, ("beam", *names[1:]), **more)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@ndims
def test_every_object_sits_on_its_light_and_all_light_has_an_object(ndim):
    seen = 0
    for snr, _, image, centre, _, values, _, brightness, _ in crops([field(ndim)], batch=32).epoch(0):
        assert snr.shape == (32, *[16] * ndim)
        place = (image, *centre.round().long().T)
        assert torch.equal(centre, centre.round())
        assert torch.equal(snr[place], values[:, 0])
        assert torch.equal(brightness, values[:, 0])
        assert len(centre) == int((snr != 0).sum())
        seen += len(centre)
    assert seen > 20


@ndims
def test_sizes_angles_and_classes_are_those_of_the_object_turned(ndim):
    one = field(ndim)
    known = {float(light): row for row, light in enumerate(one.objects.values[:, 0])}
    turns = symmetries(ndim)
    used = set()
    for snr, told, image, _, size, values, label, *_ in crops([one], batch=32).epoch(0):
        for number in range(len(snr)):
            own = (image == number).nonzero()[:, 0]
            rows = np.array([known[float(light)] for light in values[own, 0]], int)
            names = VALUES if ndim > 1 else ("light", "b", "c")
            fits = [
                at
                for at, turn in enumerate(turns)
                if torch.allclose(turn.sizes(torch.tensor(one.objects.size[rows]).float()), size[own])
                and torch.allclose(turn.values(torch.tensor(one.objects.values[rows]).float(), names), values[own])
                and torch.allclose(turn.values(torch.tensor(one.conditions), names).float(), told[number])
            ]
            assert fits
            used |= set(fits)
            assert label[own].tolist() == one.objects.label[rows].tolist()
    assert used == set(range(len(turns)))


@ndims
def test_without_augmentation_nothing_is_turned(ndim):
    one = field(ndim)
    for snr, told, *_ in crops([one], augment=False).epoch(0):
        np.testing.assert_allclose(told, np.tile(one.conditions, (8, 1)), rtol=1e-6)
        windows = np.lib.stride_tricks.sliding_window_view(one.snr, [16] * ndim).reshape(-1, 16**ndim)
        assert all((windows == crop.flatten().numpy()).all(1).any() for crop in snr[:3])


@ndims
def test_the_same_seed_and_epoch_give_the_same_batches(ndim):
    fields = [field(ndim), field(ndim, seed=1)]
    first, again = list(crops(fields).epoch(3)), list(crops(fields).epoch(3))
    assert len(first) == len(crops(fields)) == 4
    assert all(same(one, other) for one, other in zip(first, again, strict=True))
    for other in (crops(fields).epoch(2), crops(fields, seed=2).epoch(3)):
        assert not torch.equal(first[0][0], next(iter(other))[0])


def test_processes_share_a_batch_out():
    fields = [field(2)]
    for world in (1, 3, 10):
        parts = [next(iter(crops(fields).epoch(0, rank, world))) for rank in range(world)]
        sizes = [len(part[0]) for part in parts]
        assert sum(sizes) == 8
        assert max(sizes) - min(sizes) <= 1
        told = [part for part in parts if len(part[0])]
        assert all(not torch.equal(one[0][0], other[0][0]) for one, other in zip(told, told[1:], strict=False))


@ndims
def test_a_frame_smaller_than_a_crop_is_padded_with_nothing(ndim):
    one = field(ndim, shape=(9, 20, 7)[:ndim], count=5)
    inside = [0]
    for snr, _, image, centre, _, values, *_ in crops([one]).epoch(0):
        assert snr.shape == (8, *[16] * ndim)
        assert torch.equal(snr[(image, *centre.long().T)], values[:, 0])
        inside.append(len(centre))
    assert max(inside) > 0
    if ndim == 1:
        assert set(inside[1:]) == {8 * 5}


def test_larger_fields_are_drawn_more_often():
    small, large = field(2, shape=(20, 20), count=1), field(2, shape=(60, 60), count=1)
    large.snr += 1000
    drawn = torch.cat([batch[0] for batch in crops([small, large], batch=50, steps=10).epoch(0)])
    share = (drawn.flatten(1).amax(1) > 500).float().mean()
    assert share == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("shape", [(20, 24, 22), (9, 11, 30)])
def test_the_sides_of_a_crop_may_differ_by_axis(shape):
    one = field(3, shape)
    for snr, _, image, centre, _, values, *_ in crops([one], crop=(18, 12, 12)).epoch(0):
        assert snr.shape == (8, 18, 12, 12)
        assert torch.equal(snr[(image, *centre.long().T)], values[:, 0])
        assert len(centre) == int((snr != 0).sum())
    with pytest.raises(UserError, match="crop: has 2 numbers where frames have 3 axes; give one number for all axes"):
        crops([one], crop=(18, 12))
