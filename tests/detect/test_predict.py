"""Detection does not depend on how a frame is cut, and follows a frame that is shifted or turned."""

import contextlib

import numpy as np
import pytest
import torch

from pipeline.data.background import Background
from pipeline.detect import predict
from pipeline.detect.directions import ALONG_X, ALONG_Y, COSINE, SINE
from pipeline.detect.head import Layout, channels
from pipeline.detect.inputs import input_channels
from pipeline.detect.predict import Detections, Search, detect, join, standardised
from pipeline.detect.symmetry import symmetries
from pipeline.errors import UserError
from pipeline.nn.network import build

ODD = {1: (301,), 2: (67, 90), 3: (11, 21, 14)}
EVEN = {1: (304,), 2: (64, 92), 3: (32, 36, 40)}
SIDES = {1: (1 << 20, 50, 7), 2: (1024, 40, 33), 3: (128, 12)}
LINES = {1: "C-6.4_s2_p1 [ C-6.4_s2_p1 U-2 ] C-6.3", 3: "C-4.4_s2_p1 C-4.3"}
LINES[2] = LINES[1]
CONDITIONS = ("beam", COSINE, SINE)
VALUES = {1: ("ln_flux",), 2: ("ln_flux", COSINE, SINE), 3: (ALONG_X, "ln_flux", ALONG_Y)}
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(predict, "precision", lambda device: contextlib.nullcontext())


class Sky:
    """A random network with few detections, and a frame of noise whose rms changes along its last axis."""

    def __init__(self, ndim, shape, flat=False):
        self.ndim, self.shape = ndim, shape
        self.values = VALUES[ndim]
        torch.manual_seed(ndim)
        outputs = channels(ndim, len(self.values), 2)
        crop = (input_channels(len(CONDITIONS), ndim), *[32] * ndim)
        self.network = build(f"{LINES[ndim]} C-{outputs}.1_linear_none", ndim, crop).eval()
        units = ndim + len(self.values)
        # Sizes along the two sky axes, and angles, have one unit, so that they may be turned.
        self.layout = Layout(self.values, ("a", "b"), self.network.reduction, (0.0,) * units, (0.7,) * units)
        rms = np.linspace(1, 1 if flat else 2, 3).reshape(*[1] * (ndim - 1), 3)
        edges = tuple([0, side] for side in shape[:-1])
        self.background = Background(
            shape, (*map(np.array, edges), np.array([0, shape[-1] // 3, shape[-1] // 2, shape[-1]])), 0.1 * rms, rms
        )
        self.frame = np.random.default_rng(5).normal(0, 3, shape).astype(np.float32)
        self.frame.flat[::97] = np.nan
        self.keep(0.05)

    def keep(self, share, symmetric=False):
        """Search for this share of the cells from now on."""
        self.least = -np.inf
        self.least = float(np.quantile(self.search(radius=0.0, symmetric=symmetric).logit, 1 - share))

    def search(self, frame=None, told=(0.3, 0.1, -0.2), background=None, section=None, **search):
        frame = self.frame if frame is None else frame
        names = CONDITIONS if self.ndim > 1 else ("a", "b", "c")
        return detect(
            self.network,
            self.layout,
            lambda part: frame[tuple(part)],
            background or self.background,
            told,
            names,
            Search(least=self.least, **search),
            section,
        )


def ordered(found):
    return found.take(np.lexsort(np.round(found.centre, 2).T))


def assert_alike(one, other, tolerance=2e-3):
    one, other = ordered(one), ordered(other)
    assert len(one) == len(other) > 5
    for name in Detections.__dataclass_fields__:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=tolerance, rtol=tolerance)


@ndims
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_tiles_do_not_matter(ndim, symmetric):
    sky = Sky(ndim, ODD[ndim])
    sky.keep(0.05, symmetric)
    sides = SIDES[ndim][:2] if symmetric else SIDES[ndim]
    whole, *parts = [sky.search(side=side, symmetric=symmetric) for side in sides]
    for part in parts:
        assert_alike(part, whole)


@ndims
def test_detections_of_a_section_are_those_of_the_whole_in_it(ndim):
    sky = Sky(ndim, ODD[ndim])
    sky.keep(0.3 if ndim == 3 else 0.05)
    section = tuple(slice(side // 4, side - side // 3) for side in sky.shape)
    found, whole = sky.search(section=section, side=14), sky.search()
    low, high = (np.array([getattr(part, end) for part in section]) - 0.5 for end in ("start", "stop"))
    inside = ((whole.centre >= low) & (whole.centre < high)).all(1)
    assert 0 < inside.sum() < len(whole)
    assert len(found) == inside.sum()
    np.testing.assert_allclose(ordered(found).centre, ordered(whole.take(inside)).centre, atol=2e-3)


@ndims
def test_a_shifted_frame_has_shifted_detections(ndim):
    sky = Sky(ndim, EVEN[ndim], flat=True)
    shift = np.full(ndim, 4)
    moved = np.roll(sky.frame, shift, axis=tuple(range(ndim)))
    margin = max(sky.network.field) // 2 + 8
    here, there = sky.search(), sky.search(frame=moved)

    def interior(found, by):
        centre = found.centre - by
        return found.take(((centre > margin) & (centre < np.array(sky.shape) - margin - shift)).all(1))

    before, after = ordered(interior(here, 0)), ordered(interior(there, shift))
    assert len(before) == len(after) > 0
    np.testing.assert_allclose(after.centre - shift, before.centre, atol=2e-3)
    np.testing.assert_allclose(after.values, before.values, atol=2e-3)


@ndims
def test_the_symmetric_average_follows_a_turned_frame(ndim):
    sky = Sky(ndim, EVEN[ndim] if ndim < 3 else (8, 12, 16), flat=True)
    sky.keep(0.05, symmetric=True)
    found = sky.search(symmetric=True)
    names = CONDITIONS if ndim > 1 else ("a", "b", "c")
    assert len(found) > 5
    for turn in (symmetries(ndim)[-1], symmetries(ndim)[1]):
        frame = turn.image(torch.from_numpy(sky.frame)).contiguous().numpy()
        edges = tuple(np.array([0, side]) for side in frame.shape)
        flat = np.ones([1] * ndim)
        background = Background(frame.shape, edges, 0.1 * flat, flat)
        told = turn.values(torch.tensor([0.3, 0.1, -0.2]), names).tolist()
        turned = ordered(sky.search(frame=frame, told=told, background=background, symmetric=True))
        expected = Detections(**{name: getattr(found, name) for name in Detections.__dataclass_fields__})
        expected.centre = turn.positions(torch.from_numpy(found.centre), sky.shape).numpy()
        expected.size = turn.sizes(torch.from_numpy(found.size)).numpy()
        expected.values = turn.values(torch.from_numpy(found.values), sky.values).numpy()
        width = torch.from_numpy(found.width)
        spreads = turn.spreads(width[:, ndim:], sky.values)
        expected.width = torch.cat([turn.sizes(width[:, :ndim]), spreads], 1).numpy()
        assert_alike(turned, expected)


@ndims
def test_no_two_detections_are_nearer_than_the_radius(ndim):
    sky = Sky(ndim, ODD[ndim])
    found = sky.search(side=12, radius=5.0)
    away = np.linalg.norm(found.centre[:, None] - found.centre[None], axis=-1) + 1e9 * np.eye(len(found))
    assert away.min() >= 5.0
    assert len(found) < len(sky.search(side=12, radius=1.0))


@ndims
def test_nothing_above_the_lowest_logit_is_an_empty_result_of_the_right_shape(ndim):
    sky = Sky(ndim, ODD[ndim])
    sky.least = 1e9
    found = sky.search()
    assert len(found) == 0
    assert found.centre.shape == (0, ndim)
    assert found.width.shape == (0, ndim + len(sky.values))


@ndims
def test_what_is_not_a_number_is_no_signal(ndim):
    sky = Sky(ndim, ODD[ndim])
    section = tuple(slice(0, side) for side in sky.shape)
    seen = standardised(lambda part: sky.frame[tuple(part)], sky.background, section)
    median, rms = sky.background.at(section)
    good = np.isfinite(sky.frame)
    assert seen.dtype == np.float32
    assert not seen[~good].any()
    np.testing.assert_allclose(seen[good] * rms[good] + median[good], sky.frame[good], atol=1e-5)


def test_parts_join_in_order():
    found = Sky(2, ODD[2]).search()
    again = join([found.take(np.arange(3)), found.take(np.arange(3, len(found)))])
    for name in Detections.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_strides_that_differ_by_axis_keep_the_tiles_aligned():
    sky = Sky(2, ODD[2])
    torch.manual_seed(1)
    outputs = channels(2, 3, 2)
    sky.network = build(f"C-6.5_s2x3_p2 C-6.3 C-{outputs}.1_linear_none", 2, (6, 48, 48)).eval()
    sky.layout = Layout(sky.values, ("a", "b"), sky.network.reduction, (0.0,) * 5, (0.7,) * 5)
    sky.keep(0.05)
    assert sky.network.reduction == (2, 3)
    assert_alike(sky.search(side=15), sky.search())


@pytest.mark.parametrize("side", [12, (16, 9, 9), (7, 40, 11)])
def test_tiles_and_radii_of_a_cube_may_differ_by_axis(side):
    sky = Sky(3, (37, 21, 30))
    torch.manual_seed(1)
    outputs = channels(3, 3, 2)
    lines = f"C-4.7x3x3_s2_p3x1x1 C-4.5x3x3 C-{outputs}.1_linear_none"
    sky.network = build(lines, 3, (input_channels(3, 3), 32, 32, 32)).eval()
    assert sky.network.field[0] > sky.network.field[1]
    sky.layout = Layout(sky.values, ("a", "b"), sky.network.reduction, (0.0,) * 6, (0.7,) * 6)
    sky.keep(0.02)
    radius = (6.0, 2.0, 2.0)
    found = sky.search(side=side, radius=radius)
    assert_alike(found, sky.search(radius=radius))
    scaled = found.centre / radius
    away = np.linalg.norm(scaled[:, None] - scaled[None], axis=-1) + 1e9 * np.eye(len(found))
    assert away.min() >= 1
    assert np.linalg.norm((scaled[:, None] - scaled[None]) * radius, axis=-1)[away < 1e8].min() < 6


def test_a_radius_for_other_axes_is_refused():
    with pytest.raises(UserError, match="radius: has 3 numbers where frames have 2 axes"):
        Sky(2, ODD[2]).search(radius=(1.0, 2.0, 2.0))
