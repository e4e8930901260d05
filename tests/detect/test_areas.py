"""Parts of a labelled frame: bands of rows, and rectangles of sky."""

import numpy as np
import pytest

from pipeline.detect.areas import divide, within
from pipeline.detect.task_settings import AreaSettings, LabelledFrame

SECTION = (slice(13, 214), slice(5, 90))


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("shares", [(0.15, 0.25), (0.5, 0.1), (0.33, 0.0)])
def test_the_bands_cover_every_row_once_in_the_shares_asked_for(test, shares):
    settings = AreaSettings(validation=shares[0], test=shares[1])
    bands = divide(SECTION, settings, test)
    assert set(bands) == {"train", "validation"} | ({"test"} if test else set())
    rows = np.concatenate([np.arange(band.start, band.stop) for band, _ in bands.values()])
    assert rows.tolist() == list(range(13, 214))
    assert all(columns == SECTION[1] for _, columns in bands.values())
    for name, share in zip(("validation", "test"), shares, strict=True):
        if name in bands:
            assert bands[name][0].stop - bands[name][0].start == pytest.approx(201 * share, abs=1)


def frame(**box):
    return LabelledFrame(image="i", truth="t", **box)


def test_a_rectangle_may_cross_right_ascension_0():
    ra, dec = np.array([359.5, 0.5, 1.5, 358.5, 0.5]), np.array([0, 0, 0, 0, 2.0])
    expected = [True, True, False, False, False]
    for west, east in ((359, 1), (-1, 1), (359, 361)):
        assert within(frame(region=(west, east, -1, 1)), ra, dec).tolist() == expected
        assert within(frame(exclude=(west, east, -1, 1)), ra, dec).tolist() == [not inside for inside in expected]


def test_a_region_and_its_exclusion_share_the_sky():
    random = np.random.default_rng(0)
    ra, dec = random.uniform(0, 360, 500), random.uniform(-90, 90, 500)
    box = (30.0, 200.0, -40.0, 10.0)
    inside, outside = within(frame(region=box), ra, dec), within(frame(exclude=box), ra, dec)
    assert (inside ^ outside).all()
    assert 0 < inside.sum() < 500
    assert within(frame(), ra, dec).all()
    assert not within(frame(region=box, exclude=box), ra, dec).any()


def test_all_right_ascensions_are_a_region_too():
    ra = np.array([0.0, 10.0, 359.0])
    assert within(frame(region=(0, 360, -90, 90)), ra, np.zeros(3)).all()
    assert within(frame(region=(-180, 180, -90, 90)), ra, np.zeros(3)).all()
