"""Overlap of boxes by closed forms and laws; suppression against the definition, pair by pair."""

import itertools

import pytest
import torch

from pipeline.detect import boxes as module
from pipeline.detect.boxes import METRICS, diou, diou2, giou, iou, pairwise, suppress_by_distance, suppress_by_overlap
from pipeline.detect.neighbours import near_pairs
from pipeline.errors import UserError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def scene(ndim, count, seed, field=60.0, largest=12.0):
    draw = torch.Generator().manual_seed(seed)
    parents = torch.rand(max(1, count // 4), 1, ndim, generator=draw, dtype=torch.float64) * field
    half = 0.5 * largest * torch.rand(len(parents), 1, ndim, generator=draw, dtype=torch.float64) ** 3
    # Children near a parent, as a detector proposes them: some overlap much, some little, some not at all.
    parent = torch.randint(0, len(parents), (count,), generator=draw)
    half = half[parent] * (1 + torch.rand(count, 1, ndim, generator=draw, dtype=torch.float64))
    centre = parents[parent] + half * torch.randn(count, 1, ndim, generator=draw, dtype=torch.float64) * 0.3
    # Few levels of score: many ties, which the order of the candidates must break.
    scores = torch.randint(0, max(2, count // 3), (count,), generator=draw).double()
    return torch.cat((centre - half, centre + half), 1), scores


def greedy(scores, removes):
    """The definition: walk in falling order (first of equals first), keep whoever no kept one removes."""
    kept = []
    for at in sorted(range(len(scores)), key=lambda k: (-float(scores[k]), k)):
        if not any(removes[better, at] for better in kept):
            kept.append(at)
    return kept


def test_closed_forms_of_two_squares():
    # Unit squares, the second moved by half a side: I = 1/2, U = 3/2, E = 3/2, d = 1/2, c^2 = 1 + 9/4.
    first = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    second = first + torch.tensor([0.0, 0.5], dtype=torch.float64)
    assert float(iou(first, second)) == pytest.approx(1 / 3)
    assert float(giou(first, second)) == pytest.approx(1 / 3)
    assert float(diou(first, second)) == pytest.approx(1 / 3 - 0.5 / 3.25**0.5)
    assert float(diou2(first, second)) == pytest.approx(1 / 3 - 0.25 / 3.25)
    # Moved by two sides: apart, E = 3, U = 2, c^2 = 1 + 9.
    apart = first + torch.tensor([0.0, 2.0], dtype=torch.float64)
    assert float(iou(first, apart)) == 0
    assert float(giou(first, apart)) == pytest.approx(-1 / 3)
    assert float(diou(first, apart)) == pytest.approx(-2 / 10**0.5)
    assert float(diou2(first, apart)) == pytest.approx(-4 / 10)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_symmetric_bounded_and_blind_to_place_scale_and_order_of_axes(ndim, metric):
    first = scene(ndim, 200, 1, 20.0)[0]
    second = first.roll(1, 0) * 0.5 + first * 0.5
    value = METRICS[metric](first, second)
    assert bool((value >= -1).all()) and bool((value <= 1).all()) and len(value.unique()) > 20
    for changed in (
        METRICS[metric](second, first),
        METRICS[metric](first * 3 + 7, second * 3 + 7),
        METRICS[metric](first.flip(-1), second.flip(-1)),
        METRICS[metric](-first.flip(1), -second.flip(1)),
        pairwise(metric, first, second).diagonal(),
    ):
        torch.testing.assert_close(changed, value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(METRICS[metric](first, first), torch.ones(200, dtype=torch.float64))


@pytest.mark.parametrize("metric", METRICS)
def test_an_axis_of_equal_extent_leaves_iou_and_enters_only_the_diagonal(metric):
    flat, other = scene(2, 50, 3, 20.0)[0], scene(2, 50, 4, 20.0)[0]
    depth = torch.tensor([0.0, 1e-9], dtype=torch.float64).expand(50, 2)[:, :, None]
    deep = [torch.cat((box, depth), -1) for box in (flat, other)]
    torch.testing.assert_close(METRICS[metric](*deep), METRICS[metric](flat, other), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_empty_boxes_give_numbers_and_finite_gradients(metric):
    point = torch.zeros(3, 2, 2)
    other = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[3.0, 0.0], [3.0, 0.0]], [[-1.0, -1.0], [1.0, 1.0]]])
    point.requires_grad_()
    value = METRICS[metric](point, other)
    value.sum().backward()
    assert bool(value.isfinite().all()) and bool(point.grad.isfinite().all())
    assert value.tolist()[1] in (0.0, -1.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("reach", ["equal", "mixed", "none"])
def test_near_pairs_are_those_of_the_full_matrix_each_once(ndim, reach, device, monkeypatch):
    monkeypatch.setattr("pipeline.detect.neighbours._CHUNK", 50)
    draw = torch.Generator().manual_seed(5)
    first, second = (torch.randint(0, 40, (size, ndim), generator=draw).double() / 2 - 9 for size in (90, 110))
    far = {"equal": torch.ones(110), "mixed": 8 * torch.rand(110, generator=draw) ** 6, "none": torch.zeros(110)}[reach]
    far = far.double()
    near = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist") <= far[:90, None] + far
    pieces = near_pairs(first.to(device), far[:90].to(device), second.to(device), far.to(device))
    found = [pair for i, j in pieces for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(map(tuple, near.nonzero().tolist()))


THRESHOLDS = {"iou": (0.0, 0.1, 0.5), "giou": (-0.9, -0.3, 0.2), "diou": (-0.7, -0.2, 0.1), "diou2": (-0.5, -0.1, 0.3)}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("metric, threshold", [(m, t) for m, many in THRESHOLDS.items() for t in many])
def test_no_pair_beyond_its_reach_exceeds_the_threshold(ndim, metric, threshold):
    draw = torch.Generator().manual_seed(3)
    half = torch.exp(torch.randn(2, 20_000, 1, ndim, generator=draw, dtype=torch.float64))
    half[1] = half[0] * half[1].sqrt()
    spread = torch.exp(2 * torch.randn(20_000, 1, 1, generator=draw, dtype=torch.float64)) / 2
    centre = half.sum(0) * spread * torch.randn(20_000, 1, ndim, generator=draw, dtype=torch.float64)
    first, second = torch.cat((-half[0], half[0]), 1), torch.cat((centre - half[1], centre + half[1]), 1)
    reach = module.reach_of_metric(first, threshold, metric) + module.reach_of_metric(second, threshold, metric)
    over = METRICS[metric](first, second) > threshold
    share = torch.linalg.vector_norm(centre[:, 0], dim=1)[over] / reach[over]
    assert 0 < len(share) < 20_000 and float(share.max()) <= 1 + 1e-9
    # For boxes of one axis the bounds of IoU and GIoU are reached, so they are not needlessly wide.
    assert ndim > 1 or metric not in ("iou", "giou") or float(share.max()) > 0.95


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("metric, threshold", [(m, t) for m, many in THRESHOLDS.items() for t in many])
def test_suppression_by_overlap_is_the_greedy_one(ndim, metric, threshold, device, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 32)
    boxes, scores = scene(ndim, 200, 11 * ndim, 30.0 * 3 ** (3 - ndim))
    kept = suppress_by_overlap(boxes.to(device), scores.to(device), threshold, metric)
    assert kept.device.type == device
    assert kept.tolist() == greedy(scores, pairwise(metric, boxes, boxes) > threshold)
    assert 1 < len(kept) < 200


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("radius", [1.5, "each"])
def test_suppression_by_distance_is_the_greedy_one(ndim, radius, device, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 32)
    centres, scores = scene(ndim, 200, 7)[0].mean(1) * 0.3, scene(ndim, 200, 7)[1]
    if radius == "each":
        radius = 4 * torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 4
    kept = suppress_by_distance(
        centres.to(device), scores.to(device), radius.to(device) if torch.is_tensor(radius) else radius
    )
    own = torch.as_tensor(radius).expand(200)[:, None]
    assert kept.tolist() == greedy(scores, torch.cdist(centres, centres) < own)
    assert 1 < len(kept) < 200


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_suppression_in_an_ellipsoid_is_the_greedy_one(ndim):
    centres, scores = scene(ndim, 200, 7)[0].mean(1) * 0.3, scene(ndim, 200, 7)[1]
    axes = [4.0, 1.5, 0.5][:ndim]
    scaled = centres / torch.tensor(axes)
    kept = suppress_by_distance(centres, scores, 1.0, axes)
    assert kept.tolist() == greedy(scores, torch.cdist(scaled, scaled) < 1)
    assert 1 < len(kept) < 200
    assert suppress_by_distance(centres, scores, 2.0, [1.0] * ndim).tolist() == (
        suppress_by_distance(centres, scores, 2.0).tolist()
    )
    with pytest.raises(UserError, match="not above 0 along every axis"):
        suppress_by_distance(centres, scores, 1.0, [0.0] * ndim)


@pytest.mark.parametrize("rounds", [1, 3, 32])
def test_a_chain_in_which_each_waits_for_the_one_before_keeps_every_other(rounds, monkeypatch):
    monkeypatch.setattr(module, "_ROUNDS", rounds)
    centres = torch.arange(500.0)[:, None]
    assert suppress_by_distance(centres, -centres[:, 0], 1.5).tolist() == list(range(0, 500, 2))


def test_thin_boxes_far_apart_are_not_missed():
    # A side of 1e-3 keeps the union small, so GIoU of two needles in line is about U/E - 1 at any length.
    needles = torch.tensor([[[0.0, 0.0], [1e-3, 10.0]], [[0.0, 40.0], [1e-3, 50.0]], [[3.0, 0.0], [3.001, 10.0]]])
    for metric, threshold in itertools.product(METRICS, (-0.95, -0.7, 0.0)):
        if metric != "iou" or threshold >= 0:
            kept = suppress_by_overlap(needles, torch.tensor([3.0, 2.0, 1.0]), threshold, metric)
            assert kept.tolist() == greedy([3, 2, 1], pairwise(metric, needles, needles) > threshold)


def test_equal_scores_keep_the_first_and_nothing_gives_nothing():
    same = torch.tensor([[[0.0, 0.0], [4.0, 4.0]]]).repeat(5, 1, 1)
    assert suppress_by_overlap(same, torch.ones(5), 0.5, "iou").tolist() == [0]
    assert suppress_by_distance(same.mean(1), torch.ones(5), 1.0).tolist() == [0]
    assert suppress_by_distance(same.mean(1), torch.ones(5), 0.0).tolist() == [0, 1, 2, 3, 4]
    assert suppress_by_overlap(same[:0], torch.ones(0), 0.5).shape == (0,)
    assert suppress_by_distance(same[:0].mean(1), torch.ones(0), 2.0).shape == (0,)


def test_wrong_input_is_refused():
    boxes, scores = scene(2, 5, 1)
    for metric, threshold in (("iou", -0.1), ("giou", -1.0), ("diou", float("nan")), ("diou2", -1.5)):
        with pytest.raises(UserError, match="threshold"):
            suppress_by_overlap(boxes, scores, threshold, metric)
    with pytest.raises(UserError, match="choose from iou"):
        suppress_by_overlap(boxes, scores, 0.5, "ciou")
    for radius in (-1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="radius"):
            suppress_by_distance(boxes.mean(1), scores, radius)
    with pytest.raises(ValueError, match="scores must be"):
        suppress_by_overlap(boxes, scores[:4], 0.5)
    with pytest.raises(ValueError, match="finite"):
        suppress_by_overlap(boxes, scores * float("nan"), 0.5)
    with pytest.raises(ValueError, match="upper corner"):
        suppress_by_overlap(boxes.flip(1), scores, 0.5)
    with pytest.raises(ValueError, match=r"\(n, 2, N\)"):
        suppress_by_overlap(boxes[:, 0], scores, 0.5)
