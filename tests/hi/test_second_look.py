"""A second look at candidates says what the symmetric average of the whole frame says there."""

import contextlib

import numpy as np
import pytest
import torch

from pipeline.detect import predict
from pipeline.detect.box_layout import BoxLayout
from pipeline.detect.box_settings import BoxSettings
from pipeline.detect.directions import COSINE, SINE
from pipeline.detect.head import Layout, channels
from pipeline.detect.inputs import network_input
from pipeline.detect.objects import Objects
from pipeline.detect.predict import Detections
from pipeline.detect.symmetry import symmetries
from pipeline.errors import UserError
from pipeline.hi.second_look import apart, second_look
from pipeline.nn.network import build

SHAPES = {1: (240,), 2: (44, 60), 3: (20, 16, 24)}
CROPS = {1: (64,), 2: (40, 40), 3: (24, 20, 20)}
LINES = {1: "C-6.4_s2_p1 C-6.3", 2: "C-6.4_s2_p1 C-6.3", 3: "C-4.2_s2_p0 C-4.3"}
VALUES = {1: ("ln_flux",), 2: ("ln_flux", COSINE, SINE), 3: ("ln_flux", "ln_size")}
TOLD = (0.3, -0.2)
EDGE = 8
ndims = pytest.mark.parametrize("ndim", [1, 2, 3])


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(predict, "precision", lambda device: contextlib.nullcontext())


class Sky:
    """A random network, and a frame of noise that continues as nothing beyond its edges."""

    def __init__(self, ndim):
        self.ndim, self.shape = ndim, SHAPES[ndim]
        torch.manual_seed(ndim)
        inputs = network_input(torch.zeros(1, *[8] * ndim), torch.zeros(1, len(TOLD))).shape[1]
        outputs = channels(ndim, len(VALUES[ndim]), 2)
        self.network = build(f"{LINES[ndim]} C-{outputs}.1_linear_none", ndim, (inputs, *[16] * ndim)).eval()
        units = ndim + len(VALUES[ndim])
        self.layout = Layout(VALUES[ndim], ("a", "b"), self.network.reduction, (0.0,) * units, (0.7,) * units)
        self.snr = np.random.default_rng(5).normal(0, 3, self.shape).astype(np.float32)
        self.names = ("beam", SINE) if ndim == 2 else ("beam", "other")

    def read(self, section):
        return self.snr[tuple(section)]

    def average(self):
        """Outputs (channels, *cells) averaged over the symmetries of the frame with as much of nothing around it."""
        wide = [(EDGE, EDGE)] * self.ndim
        frame = torch.from_numpy(np.pad(self.snr, wide))[None]
        told, total = torch.tensor([TOLD]), 0
        with torch.inference_mode():
            for turn in symmetries(self.ndim):
                raw = self.network(network_input(turn.image(frame), turn.values(told, self.names)))[0]
                total = total + self.layout.turn(raw, turn.inverse)
        return total / len(symmetries(self.ndim))

    def expected(self, radius):
        """All boxes of the average, and the best ones within `radius` of each."""
        decoded = self.layout.candidates(self.average(), -np.inf)
        boxes = {name: getattr(decoded, name).numpy() for name in ("logit", "size", "values", "width", "classes")}
        return Detections(centre=decoded.centre.numpy() - EDGE, rms=np.ones(len(decoded.logit)), **boxes)

    def look(self, found, **options):
        options = {"crop": CROPS[self.ndim], "conditions": TOLD} | options
        return second_look(self.network, self.layout, self.read, self.shape, found, self.names, **options)


def scattered(sky, count=40):
    """Candidates anywhere in the frame, some a little outside, whose other numbers mean nothing."""
    random = np.random.default_rng(3)
    side, values = np.array(sky.shape), len(VALUES[sky.ndim])
    return Detections(
        logit=random.normal(size=count).astype(np.float32),
        centre=random.uniform(-1.5, side + 0.5, (count, sky.ndim)),
        size=np.ones((count, sky.ndim), np.float32),
        values=np.zeros((count, values), np.float32),
        width=np.ones((count, sky.ndim + values), np.float32),
        classes=np.zeros((count, 2), np.float32),
        rms=random.uniform(1, 2, count),
    )


@ndims
@pytest.mark.parametrize("radius", [2.75, "axes"])
def test_it_says_what_the_average_of_the_whole_frame_says(ndim, radius):
    sky = Sky(ndim)
    radius = (4.0, 2.0, 2.0)[:ndim] if radius == "axes" else radius
    found = scattered(sky)
    seen, all_boxes = sky.look(found, radius=radius), sky.expected(radius)
    away = np.linalg.norm((all_boxes.centre[None] - found.centre[:, None]) / np.array(radius), axis=2)
    # Cells answer for what is near them: a box thrown further is another candidate's.
    logit = np.where(away < 1, all_boxes.logit[None], -np.inf)
    answered = np.isfinite(logit.max(1))
    best = all_boxes.take(logit.argmax(1))
    assert answered.mean() > 0.8
    for name in ("logit", "centre", "size", "values", "width", "classes"):
        np.testing.assert_allclose(
            getattr(seen, name)[answered], getattr(best, name)[answered], atol=1e-4, rtol=1e-4, err_msg=name
        )
    np.testing.assert_array_equal(seen.rms, found.rms)
    assert all(np.isfinite(getattr(seen, name)).all() for name in Detections.__dataclass_fields__)


@ndims
def test_the_batch_and_the_order_do_not_matter(ndim):
    sky = Sky(ndim)
    found = scattered(sky, 11)
    whole, single = sky.look(found, batch=32), sky.look(found, batch=1)
    order = np.random.default_rng(0).permutation(len(found))
    mixed = sky.look(found.take(order), batch=4)
    for name in Detections.__dataclass_fields__:
        np.testing.assert_allclose(getattr(single, name), getattr(whole, name), atol=1e-5)
        np.testing.assert_allclose(getattr(mixed, name), getattr(whole, name)[order], atol=1e-5)


def test_a_cube_turned_any_way_is_seen_alike():
    sky = Sky(3)
    found = scattered(sky, 6)
    # Where there is nothing but the sky beyond an edge, boxes on either side of the middle are equally good.
    found.centre = np.clip(found.centre, 4, np.array(sky.shape) - 5)
    here = sky.look(found)
    snr = sky.snr
    for turn in symmetries(3)[3::4]:
        sky.snr = turn.image(torch.from_numpy(snr)).contiguous().numpy()
        sky.shape = sky.snr.shape
        moved = turn.positions(torch.from_numpy(found.centre), snr.shape).numpy()
        there = sky.look(Detections(**{**vars(found), "centre": moved}))
        np.testing.assert_allclose(there.logit, here.logit, atol=1e-4)
        expected = turn.positions(torch.from_numpy(here.centre), snr.shape).numpy()
        np.testing.assert_allclose(there.centre, expected, atol=1e-4)
        np.testing.assert_allclose(there.values, here.values, atol=1e-4)


def test_the_best_of_a_search_with_symmetries_stay_as_they_are():
    sky = Sky(3)
    boxes = sky.expected(2.75)
    inside = ((boxes.centre > -0.5) & (boxes.centre < np.array(sky.shape) - 0.5)).all(1)
    order = [at for at in np.argsort(-boxes.logit) if inside[at] and lonely(boxes, at, 2.75)]
    best = boxes.take(np.array(order[:25]))
    assert len(best) > 10
    again = sky.look(best)
    np.testing.assert_allclose(again.centre, best.centre, atol=1e-4)
    np.testing.assert_allclose(again.logit, best.logit, atol=1e-4)
    assert apart(again).all()


def lonely(boxes, at, radius):
    """Whether no better box lies within the radius."""
    away = np.linalg.norm(boxes.centre - boxes.centre[at], axis=1)
    return not ((away < radius) & (boxes.logit > boxes.logit[at])).any()


def test_a_small_crop_is_rounded_up_to_whole_cells_and_still_looked_at():
    sky = Sky(3)
    found = scattered(sky, 5)
    odd, even = sky.look(found, crop=(15, 11, 11)), sky.look(found, crop=(16, 12, 12))
    np.testing.assert_array_equal(odd.logit, even.logit)


def test_nothing_found_is_nothing_seen():
    sky = Sky(3)
    assert len(sky.look(scattered(sky, 0))) == 0


def test_of_those_that_became_one_the_best_stays():
    found = scattered(Sky(3), 6)
    found.centre[:] = [[5, 5, 5], [5, 5, 6], [5, 5, 9], [9, 5, 5], [40, 5, 5], [40, 5, 5]]
    found.logit[:] = [1, 2, 0, 3, 1, 1]
    assert apart(found, 2.0).tolist() == [False, True, True, True, True, False]
    assert apart(found, (5.0, 2.0, 2.0)).tolist() == [False, False, True, True, True, False]
    assert apart(found, 0.0).all()
    assert apart(found.take(np.arange(0))).shape == (0,)


def test_boxes_of_the_association_are_not_averaged():
    sky = Sky(2)
    random = np.random.default_rng(0)
    objects = Objects(
        random.uniform(0, 40, (9, 2)), random.uniform(4, 9, (9, 2)), random.normal(size=(9, 3)), *[np.zeros(9)] * 3
    )
    layout = BoxLayout.of(objects, VALUES[2], ("a", "b"), (2, 2), BoxSettings())
    sky.layout = layout
    with pytest.raises(UserError, match="averaged"):
        sky.look(scattered(sky, 3))
