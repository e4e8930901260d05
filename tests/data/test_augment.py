"""Laws of the augmentation: exact where it can be, each sample by itself, seeded, torch-free settings."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import affine_transform

from pipeline.data.augment import Augmenter, blank_ends, flip_where, shift, turn, warp
from pipeline.data.augment_settings import AugmentSettings
from pipeline.errors import UserError

AXES = {1: (12,), 2: (8, 8), 3: (3, 6, 6)}
FULL = {
    1: {"flip": True, "zoom": 0.1, "shift": 2, "scale": 0.2, "noise": 0.1, "crop_ends": 0.2},
    2: {"flip": True, "rotate": "any", "zoom": 0.1, "shift": 2, "scale": 0.2, "noise": 0.1},
    3: {"flip": [1, 2], "rotate": 90, "shift": 1, "scale": 0.2, "noise": 0.1},
}


def samples(ndim, n=16, channel=2):
    return torch.randn((n, channel, *AXES[ndim]), generator=torch.Generator().manual_seed(ndim))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_nothing_asked_nothing_changed(ndim):
    x = samples(ndim)
    assert torch.equal(Augmenter(AugmentSettings(), ndim)(x, seeded()), x)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_same_seed_same_result_and_the_input_is_kept(ndim):
    x = samples(ndim)
    kept = x.clone()
    augmenter = Augmenter(AugmentSettings(**FULL[ndim]), ndim, masks=[1])
    first = augmenter(x, seeded(1))
    assert torch.equal(first, augmenter(x, seeded(1)))
    assert not torch.equal(first, augmenter(x, seeded(2)))
    assert first.shape == x.shape
    assert torch.equal(x, kept)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_part_of_a_batch_is_changed_as_in_the_whole(ndim):
    x = samples(ndim)
    augmenter = Augmenter(AugmentSettings(**FULL[ndim]), ndim)
    whole = augmenter(x, seeded(3))
    for rank in range(2):
        rows = slice(rank, None, 2)
        torch.testing.assert_close(augmenter(x[rows], seeded(3), rows, len(x)), whole[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_flips_are_exact_and_undo_themselves(ndim):
    x = samples(ndim)
    chosen = torch.arange(len(x)) % 3 == 0
    for axis in range(ndim):
        once = flip_where(x, chosen, 2 + axis)
        assert torch.equal(once[chosen], x[chosen].flip(2 + axis))
        assert torch.equal(once[~chosen], x[~chosen])
        assert torch.equal(flip_where(once, chosen, 2 + axis), x)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_random_flips_reach_every_mirror_image_and_no_other(ndim):
    one = samples(ndim, n=1)
    result = Augmenter(AugmentSettings(flip=True), ndim)(one.expand(200, *one.shape[1:]), seeded())
    mirrors = [one[0]]
    for axis in range(1, ndim + 1):
        mirrors += [mirror.flip(axis) for mirror in mirrors]
    counts = [sum(torch.equal(sample, mirror) for sample in result) for mirror in mirrors]
    assert sum(counts) == 200
    assert min(counts) > 200 / len(mirrors) / 3


@pytest.mark.parametrize("ndim", [2, 3])
def test_turns_are_those_of_torch(ndim):
    x = samples(ndim)
    quarters = torch.arange(len(x)) % 4
    expected = torch.stack([torch.rot90(one, int(k), (-2, -1)) for one, k in zip(x, quarters, strict=True)])
    assert torch.equal(turn(x, quarters), expected)


def test_a_plane_that_is_not_square_makes_half_turns():
    x = torch.randn((40, 1, 4, 6), generator=seeded())
    result = Augmenter(AugmentSettings(rotate="90"), 2)(x, seeded())
    half = torch.tensor([torch.equal(a, torch.rot90(b, 2, (-2, -1))) for a, b in zip(result, x, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(result, x, strict=True)])
    assert (half | same).all()
    assert half.any()
    assert same.any()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_warp_by_quarter_turns_is_turn(ndim, quarters):
    x = samples(ndim)
    angle = torch.full((len(x),), quarters * math.pi / 2)
    turned = turn(x, torch.full((len(x),), quarters))
    torch.testing.assert_close(warp(x, angle, torch.ones(len(x))), turned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [(20, 20), (14, 22), (3, 14, 22)])
def test_warp_is_that_of_scipy(axes):
    x = torch.randn((3, 2, *axes), generator=seeded(), dtype=torch.float64)
    angle, zoom = torch.tensor([0.3, -1.1, 2.5]).double(), torch.tensor([1.0, 1.3, 0.8]).double()
    result = warp(x, angle, zoom)
    centre = (np.array(axes[-2:]) - 1) / 2
    for index in np.ndindex(result.shape[:-2]):
        cosine, sine = (f(float(angle[index[0]])) / float(zoom[index[0]]) for f in (math.cos, math.sin))
        matrix = np.array([[cosine, sine], [-sine, cosine]])
        expected = affine_transform(
            x[index].numpy(), matrix, centre - matrix @ centre, order=1, mode="grid-constant", cval=0.0
        )
        np.testing.assert_allclose(result[index].numpy(), expected, atol=1e-9)


def test_zoom_of_a_spectrum_is_a_stretch():
    place = torch.linspace(-1, 1, 201)
    x = torch.exp(-0.5 * ((place - 0.3) / 0.05) ** 2).reshape(1, 1, -1)
    stretched = warp(x, torch.zeros(1), torch.full((1,), 1.5))
    assert abs(float(place[stretched.argmax()]) - 0.45) < 0.011


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_shift_is_numpy_slicing(ndim):
    x = samples(ndim)
    pixels = torch.randint(-4, 5, (len(x), ndim), generator=seeded())
    result = shift(x, pixels)
    for one, by, moved in zip(x, pixels.tolist(), result, strict=True):
        wide = torch.nn.functional.pad(one, (4, 4) * ndim)
        cut = tuple(slice(4 - step, 4 - step + length) for step, length in zip(by, one.shape[1:], strict=True))
        assert torch.equal(moved, wide[(slice(None), *cut)])


def test_shifts_cover_their_range_evenly():
    x = torch.zeros((2000, 1, 11))
    x[:, :, 5] = 1
    moved = Augmenter(AugmentSettings(shift=2), 1)(x, seeded()).argmax(-1).flatten() - 5
    counts = torch.bincount(moved + 2, minlength=5)
    assert len(counts) == 5
    assert counts.min() > 300


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_brightness_is_one_factor_a_sample_within_its_range(ndim):
    x = samples(ndim, n=300)
    ratio = (Augmenter(AugmentSettings(scale=0.5), ndim)(x, seeded()) / x).flatten(1).double()
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5, atol=0)
    assert ratio.log().abs().max() <= 0.5 + 1e-5
    assert ratio.log().max() > 0.4
    assert ratio.log().min() < -0.4


def test_noise_has_its_sigma_and_masks_have_none():
    x = torch.zeros((50, 2, 20, 20))
    result = Augmenter(AugmentSettings(noise=0.3, scale=0.1), 2, masks=[1])(x, seeded())
    assert abs(float(result[:, 0].std()) - 0.3) < 0.01
    assert (result[:, 1] == 0).all()


def test_ends_are_blanked_up_to_their_share():
    x = torch.ones((500, 1, 100))
    result = Augmenter(AugmentSettings(crop_ends=0.2), 1)(x, seeded())
    assert (result[:, :, 20:80] == 1).all()
    assert set(result.unique().tolist()) == {0.0, 1.0}
    assert (result[:, 0, 17] == 0).any()
    assert (result[:, 0, 82] == 0).any()
    exact = blank_ends(torch.ones((2, 1, 10)), torch.tensor([[0.2, 0.0], [0.0, 0.3]]))
    assert exact[:, 0].tolist() == [[0] * 2 + [1] * 8, [1] * 7 + [0] * 3]


@pytest.mark.parametrize(
    ("settings", "ndim"),
    [
        ({"rotate": 90}, 1),
        ({"flip": [2]}, 2),
        ({"crop_ends": 0.1}, 2),
        ({"rotate": "any"}, 1),
        ({"tilt": 5}, 1),
        ({"tilt": 5, "rotate": "any"}, 2),
    ],
)
def test_what_the_axes_do_not_allow(settings, ndim):
    with pytest.raises(UserError, match="augment: "):
        Augmenter(AugmentSettings(**settings), ndim)


@pytest.mark.parametrize(
    "settings", [{"flip": [0, 0]}, {"flip": [3]}, {"rotate": 45}, {"crop_ends": 0.5}, {"noise": -1}, {"blur": 1}]
)
def test_wrong_settings(settings):
    with pytest.raises(ValidationError):
        AugmentSettings(**settings)


def test_tilt_turns_by_no_more_than_it_says():
    spot = torch.zeros(200, 1, 41, 41)
    spot[:, 0, 20, 36] = 1.0
    turned = Augmenter(AugmentSettings(tilt=20), 2)(spot, seeded())[:, 0]
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    angle = torch.rad2deg(torch.atan2((turned * y).sum((1, 2)), (turned * x).sum((1, 2))))
    assert angle.abs().max() <= 20.5
    assert angle.min() < -15
    assert angle.max() > 15
