"""The threshold follows from the score, and the truth of a detection from the challenge's match."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.detect import choose as module
from pipeline.detect.areas import Section
from pipeline.detect.choose import choose
from pipeline.detect.continuum import NAMES
from pipeline.detect.labelled import LabelledArea
from pipeline.detect.official import official_detections
from pipeline.detect.predict import Detections, Search
from pipeline.errors import UserError
from pipeline.score.match import score
from pipeline.score.sdc1 import Sdc1

CHALLENGE = Sdc1(560)


def whole(image) -> Section:
    return slice(0, image.shape[0]), slice(0, image.shape[1])


def said(sky, seed, false=150):
    """The visible sources, a little off, and some detections of nothing; the better the logit, the truer."""
    random = np.random.default_rng(seed)
    true = sky.objects.take(np.flatnonzero(sky.objects.snr > 3))
    count = len(true) + false
    row = np.concatenate([np.arange(len(true)), random.integers(0, len(true), false)])
    centre = true.centre[row] + random.normal(0, 0.2, (count, 2))
    centre[len(true) :] = random.uniform(0, np.array(sky.image.shape) - 1, (false, 2))
    width = np.full((count, 2 + true.values.shape[1]), 0.2)
    return Detections(
        logit=np.concatenate([random.normal(1.5, 1, len(true)), random.normal(-1, 1, false)]),
        centre=centre,
        size=true.size[row],
        values=true.values[row] + random.normal(0, 0.1, (count, true.values.shape[1])),
        width=width,
        classes=np.eye(3)[true.label[row]],
        rms=sky.image.rms_at(centre),
    )


@pytest.fixture
def areas(sky, monkeypatch):
    area = LabelledArea(sky.image, sky.truth, whole(sky.image))
    given = iter([said(sky, seed) for seed in range(20)])
    monkeypatch.setattr(module, "detect_area", lambda detector, area, search: next(given))
    return [area, area]


def test_the_threshold_is_where_a_detection_begins_to_pay(areas):
    chosen = choose(None, areas, CHALLENGE, Search(), 0)
    gain = chosen.figures["gain_of_a_doubtful_match"]
    assert 0 < gain <= 1
    assert chosen.threshold == 1 / (1 + gain)
    at = chosen.threshold
    assert at * gain - (1 - at) == pytest.approx(0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_figures_are_those_of_the_catalogue_above_the_threshold(sky, areas, symmetric):
    chosen = choose(SimpleNamespace(names=NAMES), areas, CHALLENGE, Search(symmetric=symmetric), 0)
    names = NAMES.values if symmetric else None
    detections, matched = 0, 0
    for seed in (0, 1):
        found = said(sky, seed)
        kept = chosen.calibrator.apply(found, names).probability >= chosen.threshold
        matches = score(CHALLENGE, official_detections(found, sky.image), sky.truth).matches
        detections += kept.sum()
        matched += kept[matches.submission].sum()
    assert chosen.figures["detections"] == detections > 0
    assert chosen.figures["purity"] == pytest.approx(matched / detections)
    assert matched / detections > 0.7


def test_the_truth_of_a_detection_is_its_match(sky):
    found = said(sky, 0)
    table = official_detections(found, sky.image)
    area = LabelledArea(sky.image, sky.truth, whole(sky.image))
    truth, totals = module._truth(found, table, area, CHALLENGE)
    away = np.abs(truth.centre - found.centre).max(1)
    assert truth.matched[:-150].mean() > 0.8 > 0.3 > truth.matched[-150:].mean()
    assert np.median(away[truth.matched]) < 0.5
    assert np.isnan(truth.centre[~truth.matched]).all()
    assert np.isnan(truth.values[~truth.matched]).all()
    assert not totals[~truth.matched].any()
    assert ((totals[truth.matched] >= 0) & (totals[truth.matched] <= 1)).all()
    rows = np.linalg.norm(sky.objects.centre[:, None] - truth.centre[truth.matched], axis=-1).argmin(0)
    np.testing.assert_allclose(sky.objects.values[rows], truth.values[truth.matched])
    assert len(set(rows)) == len(rows)


def test_too_few_matches_are_refused(sky, areas, monkeypatch):
    monkeypatch.setattr(module, "detect_area", lambda detector, area, search: said(sky, 0).take(np.arange(20)))
    with pytest.raises(UserError, match="validation area: has only [0-9]+ sources that the detector finds"):
        choose(None, areas[:1], CHALLENGE, Search(), 0)
