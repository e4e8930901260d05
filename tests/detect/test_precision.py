"""Average precision against pycocotools in two and three dimensions, and by closed forms."""

import contextlib
import io

import numpy as np
import pytest

from pipeline.detect.precision import (
    COCO_THRESHOLDS,
    average_precision,
    average_precision_of_matches,
    match_boxes,
    precision_recall,
)
from pipeline.errors import UserError

THRESHOLDS = (0.1, 0.3, 0.5, 0.75)


def scene(ndim, seed, count=150, field=60):
    """Truths, and detections near them or false, on a grid of quarters so that equal overlaps and scores are common."""
    draw = np.random.default_rng(seed)
    low = draw.integers(0, 4 * field, (count, ndim)) / 4
    truth = np.stack((low, low + draw.integers(4, 40, (count, ndim)) / 4), 1)
    found = truth[draw.integers(0, count, 2 * count)]
    boxes = found + draw.integers(-4, 5, found.shape) / 4
    boxes[:, 1] = np.maximum(boxes[:, 1], boxes[:, 0] + 0.25)
    boxes[: count // 3] += draw.integers(-field, field, (count // 3, 1, ndim))
    return boxes, draw.integers(0, count // 2, 2 * count) / count, truth


def overlaps(boxes, truth):
    low = np.maximum(boxes[:, None, 0], truth[None, :, 0])
    high = np.minimum(boxes[:, None, 1], truth[None, :, 1])
    shared = np.prod(np.clip(high - low, 0, None), -1)
    volumes = [np.prod(every[:, 1] - every[:, 0], -1) for every in (boxes, truth)]
    return shared / (volumes[0][:, None] + volumes[1] - shared)


def coco(boxes, scores, truth, thresholds, ready=None):
    """AP of pycocotools at each threshold with its limits lifted; `ready` replaces its IoU matrix."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):
        def computeIoU(self, image, category):
            if ready is None:
                return super().computeIoU(image, category)
            return ready[np.argsort(-scores, kind="mergesort")]

    def box(corners):
        low, high = corners[:, -2:]
        return [float(low[1]), float(low[0]), float(high[1] - low[1]), float(high[0] - low[0])]

    annotations = [
        {"id": at + 1, "image_id": 1, "category_id": 1, "bbox": box(one), "area": 1.0, "iscrowd": 0}
        for at, one in enumerate(truth)
    ]
    found = [
        {"image_id": 1, "category_id": 1, "bbox": box(one), "score": float(score)}
        for one, score in zip(boxes, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {"info": {}, "images": [{"id": 1}], "categories": [{"id": 1}], "annotations": annotations}
        data.createIndex()
        evaluation = Evaluation(data, data.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.asarray(thresholds)
        evaluation.params.maxDets = [len(found)]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e12]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, 0, 0].mean(1)


@pytest.mark.parametrize("seed", range(4))
def test_two_dimensions_equal_pycocotools(seed):
    boxes, scores, truth = scene(2, seed)
    result = average_precision(boxes, scores, truth, THRESHOLDS)
    expected = coco(boxes, scores, truth, THRESHOLDS + COCO_THRESHOLDS)
    assert [result["at"][f"{t:g}"]["ap"] for t in THRESHOLDS] == pytest.approx(expected[:4], abs=1e-12)
    assert result["map"] == pytest.approx(expected[4:].mean(), abs=1e-12)
    assert 0.05 < expected[2] < 0.95


@pytest.mark.parametrize("ndim", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_other_dimensions_equal_pycocotools_with_a_ready_matrix(ndim, seed):
    boxes, scores, truth = scene(ndim, seed, 80, 200 if ndim == 1 else 15)
    result = average_precision(boxes, scores, truth, THRESHOLDS)
    flat = np.zeros((len(boxes), 2, 2)), np.zeros((len(truth), 2, 2))
    expected = coco(flat[0], scores, flat[1], THRESHOLDS, overlaps(boxes, truth))
    assert [result["at"][f"{t:g}"]["ap"] for t in THRESHOLDS] == pytest.approx(expected, abs=1e-12)
    assert 0.02 < expected[1] < 0.95


def test_boxes_of_equal_depth_reduce_to_two_dimensions():
    boxes, scores, truth = scene(2, 9)
    deep = [np.insert(every, 0, np.array([2.0, 4.0]), axis=2) for every in (boxes, truth)]
    assert average_precision(deep[0], scores, deep[1]) == average_precision(boxes, scores, truth)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6, 1.0])
def test_matches_are_those_of_choosing_in_turn(ndim, threshold):
    boxes, scores, truth = scene(ndim, 21, 90, 40)
    boxes[:9] = truth[:9]
    matrix, expected = overlaps(boxes, truth), np.full(len(boxes), -1)
    for at in sorted(range(len(boxes)), key=lambda k: (-scores[k], k)):
        free = [k for k in range(len(truth)) if k not in expected and matrix[at, k] >= threshold - 1e-10]
        if free:
            expected[at] = max(free, key=lambda k: (matrix[at, k], k))
    assert match_boxes(boxes, scores, truth, [threshold])[0].tolist() == expected.tolist()
    assert (expected >= 0).any()


def test_a_chain_of_refusals_ends_where_choosing_in_turn_does():
    # Each truth is the second choice of the detection before it and the first of a worse one.
    count = 60
    low = np.arange(count, dtype=float)[:, None] * 4
    truth = np.stack((low, low + 4), 1)
    boxes = np.concatenate((truth[:1], truth[:-1] + 1.9))
    matched = match_boxes(boxes, -np.arange(count), truth, [0.1])[0]
    assert matched.tolist() == list(range(count))


def test_closed_forms():
    boxes, scores, truth = scene(2, 3, 40, 200)
    # Boxes on the grid may coincide; a perfect detector is one that returns the truth itself.
    perfect = average_precision(truth, np.arange(40), truth)
    assert perfect["map"] == 1 and all(one["area"] == one["ap"] == 1 for one in perfect["at"].values())
    nothing = average_precision(boxes[:0], scores[:0], truth)
    assert nothing["map"] == 0 and nothing["at"]["0.5"] == {"ap": 0.0, "area": 0.0, "n_match": 0}
    empty = average_precision(boxes, scores, truth[:0])
    assert empty["map"] is None and empty["at"]["0.5"] == {"ap": None, "area": None, "n_match": 0}
    assert average_precision(boxes[:0], scores[:0], truth[:0])["at"]["0.1"]["ap"] is None


def test_ap_of_matches_by_hand():
    # Right, wrong, right, of 4: precision 1 up to recall 1/4 (26 recalls), 2/3 up to 1/2 (25 more), then 0.
    result = average_precision_of_matches([0.9, 0.8, 0.7], [True, False, True], 4)
    assert result["ap"] == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert result["area"] == pytest.approx(0.25 + 0.25 * 2 / 3)
    # A later peak of precision lifts what comes before it.
    lifted = average_precision_of_matches([0.9, 0.8, 0.7], [False, True, True], 2)
    assert lifted["area"] == pytest.approx(2 / 3)


def test_ap_depends_on_the_order_alone_and_loses_by_false_detections_only_where_they_rank():
    draw = np.random.default_rng(4)
    scores, right = draw.random(300), draw.random(300) < 0.6
    result = average_precision_of_matches(scores, right, 250)
    shuffle = draw.permutation(300)
    assert average_precision_of_matches(np.exp(5 * scores[shuffle]), right[shuffle], 250) == result
    last = average_precision_of_matches(np.append(scores, -1.0), np.append(right, False), 250)
    first = average_precision_of_matches(np.append(scores, 2.0), np.append(right, False), 250)
    assert last == result and first["ap"] < result["ap"]


def test_the_curve_holds_the_counts():
    curve = precision_recall([0.1, 0.5, 0.5, 0.9], [True, False, True, True], 5)
    assert curve["score"].tolist() == [0.9, 0.5, 0.5, 0.1]
    assert curve["precision"].tolist() == [1, 1 / 2, 2 / 3, 3 / 4]
    assert curve["recall"].tolist() == [1 / 5, 1 / 5, 2 / 5, 3 / 5]
    assert precision_recall([], [], 3)["recall"].shape == (0,)


def test_wrong_input_is_refused():
    boxes, scores, truth = scene(2, 1, 10)
    for threshold in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(UserError, match="is not an IoU"):
            average_precision(boxes, scores, truth, [threshold])
    with pytest.raises(ValueError, match="scores"):
        average_precision(boxes, scores[:-1], truth)
    with pytest.raises(ValueError, match="truth"):
        average_precision(boxes, scores, truth[:, 0])
    with pytest.raises(ValueError, match="finite"):
        average_precision(boxes * np.nan, scores, truth)
    with pytest.raises(ValueError, match="2 matches of 1"):
        precision_recall([1.0, 2.0], [True, True], 1)
    with pytest.raises(ValueError, match="one length"):
        precision_recall([1.0, np.nan], [True, True], 2)
