"""Galaxies of many beams are found whole in larger pixels, and their parts go."""

import numpy as np
import pytest

from pipeline.data.background import Background
from pipeline.data.cube_noise import CubeNoise
from pipeline.detect.calibrate import Calibrated, take
from pipeline.hi import large
from pipeline.hi.candidates import Candidates
from pipeline.hi.galaxies import VALUES, from_values
from pipeline.hi.large import CoarseCube, _sections, _steps, parts_of

SIZE, WIDTH, FLUX = (VALUES.index(name) for name in ("ln_size", "ln_w20", "ln_flux"))


@pytest.fixture
def whole(standin):
    cube = standin.Cube((24, 40, 44), data=np.random.default_rng(0).normal(size=(24, 40, 44)).astype("f4"))
    cube.data[5, 8:12, 12:16] = np.nan
    return cube


@pytest.mark.parametrize(("step", "channels"), [(2, 1), (4, 3)])
def test_its_voxels_are_means_where_they_are_on_the_sky(whole, step, channels):
    section = (slice(3, 23), slice(4, 40), slice(0, 42))
    coarse = CoarseCube(whole, section, step, channels)
    assert coarse.shape == (20 // channels, 36 // step, 42 // step)
    everything = coarse.read([slice(0, side) for side in coarse.shape])
    for z, y, x in ((0, 0, 0), (2, 3, 5), (5, 7, 9)):
        low = np.array([3, 4, 0]) + np.array([z, y, x]) * coarse.steps
        block = whole.data[tuple(slice(a, a + b) for a, b in zip(low, coarse.steps, strict=True))]
        valid = block[np.isfinite(block)]
        np.testing.assert_allclose(everything[z, y, x], valid.mean() if 2 * valid.size >= block.size else np.nan, 1e-4)
        middle = low + (coarse.steps - 1) / 2
        ra, dec, frequency = (part[0] for part in whole.to_sky(*middle[:, None]))
        np.testing.assert_allclose(np.ravel(coarse.wcs.pixel_to_world_values(x, y)), [ra, dec], rtol=0, atol=1e-9)
        assert coarse.frequency[z] == pytest.approx(frequency, rel=1e-12)
    np.testing.assert_array_equal(coarse.read((slice(1, 4), slice(2, 5), slice(3, 7))), everything[1:4, 2:5, 3:7])
    assert coarse.channel_hz == pytest.approx(channels * 3e4)


def test_what_is_found_there_is_the_same_galaxy_here(whole, standin):
    section = (slice(0, 24), slice(0, 40), slice(0, 44))
    coarse, noise = CoarseCube(whole, section, 2, 3), standin.Noise([2e-5] * 24)
    found = standin.detected(12).detections
    n = len(found)
    there = Calibrated(found, np.full(n, 0.9), np.ones((n, 3 + len(VALUES))))
    here = coarse.back(there, noise)
    places = (found.centre + 0.5) * [3, 2, 2] - 0.5
    np.testing.assert_allclose(here.detections.centre, places)
    theirs = from_values(found.values, found.centre, found.rms, coarse)
    ours = from_values(here.detections.values, here.detections.centre, here.detections.rms, whole)
    for name in ("hi_size", "w20", "pa", "i"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3)
    # Its beam holds 2 x 2 times as many pixels as the network was told.
    np.testing.assert_allclose(ours["line_flux_integral"], 4 * theirs["line_flux_integral"], rtol=1e-6)


def test_its_parts_are_those_within_its_size_and_line(whole, standin):
    found = standin.detected(1).detections
    found.centre[:], found.values[:, SIZE], found.values[:, WIDTH] = [12.0, 20.0, 22.0], np.log(4.0), np.log(8.0)
    galaxy = Calibrated(found, np.ones(1), np.ones((1, 3 + len(VALUES))))
    places = np.array([[12.0, 20, 22], [12, 26, 22], [17, 20, 22], [19, 20, 22], [12, 20, 22 + 9]])
    np.testing.assert_array_equal(parts_of(galaxy, places, whole), [True, True, True, False, False])
    beyond = np.array([False, False, False, True, True])
    np.testing.assert_array_equal(parts_of(galaxy, places, whole, beyond), [True, True, True, True, False])


def test_the_sections_hold_all_places_and_do_not_overlap():
    random = np.random.default_rng(3)
    shape, field = (900, 800, 700), (20, 10, 10)
    places = random.uniform(0, 1, (30, 3)) * shape
    sections = _sections(places, shape, field)
    inside = np.array([[all(part.start <= at < part.stop for at, part in zip(place, section, strict=True))
                        for section in sections] for place in places])  # fmt: skip
    assert (inside.sum(1) == 1).all()
    assert 1 < len(sections) < 30
    lows, highs = (
        np.array([[getattr(part, end) for part in section] for section in sections]) for end in ("start", "stop")
    )
    apart = (lows[:, None] >= highs).any(-1) | (highs[:, None] <= lows).any(-1)
    assert (apart | np.eye(len(sections), dtype=bool)).all()
    assert list(_steps((slice(0, 9), slice(0, 40), slice(0, 64)))) == [2, 4]


def test_a_galaxy_that_only_larger_pixels_show_whole_replaces_its_pieces(standin, monkeypatch):
    """The network is played: in pixels of one cube it sees pieces, in larger ones the galaxy."""
    cube, noise = standin.Cube((24, 64, 64)), standin.Noise([2e-5] * 24)
    model = standin.model()
    model.radius, model.threshold = 2.75, 0.5
    layout = model.detector.layout
    learnt = float(layout.mean[3 + SIZE] + 3 * layout.spread[3 + SIZE])
    monkeypatch.setattr(large, "measure_cube_noise", lambda read, shape, where: measured(shape))
    monkeypatch.setattr(large, "_peak", lambda coarse, level: 1.0)
    seen = {2: (3.0, learnt - 0.1), 4: (5.0, learnt - 0.8), 8: (4.0, learnt + 0.5)}

    def scanned(coarse, *rest, **options):
        found = standin.detected(1).detections
        logit, size = seen[coarse.step]
        found.logit[:], found.values[:, SIZE], found.values[:, WIDTH] = logit, size, np.log(8.0)
        found.centre[:] = (np.array([12, 32, 32]) + 0.5) / coarse.steps - 0.5
        return found

    monkeypatch.setattr(large, "detect_cube", scanned)
    monkeypatch.setattr(large, "look_again", lambda found, *rest, **options: Candidates(found, np.array([50.0]), None))
    nothing = standin.detected(1)
    whole, ratio = large.search_large(cube, noise, model, take(nothing, np.zeros(0, int)), False)
    # Of 8 the network says a size that it has not learnt, of 4 it is surer than of 2.
    np.testing.assert_allclose(whole.detections.values[:, SIZE], [learnt - 0.8 + np.log(4)])
    np.testing.assert_allclose(whole.detections.centre, [[12, 32, 32]])
    assert ratio == [50.0]
    seen |= {step: (logit, learnt - 2.5) for step, (logit, _) in seen.items()}
    assert large.search_large(cube, noise, model, take(nothing, np.zeros(0, int)), False) is None


def measured(shape):
    edges = tuple(np.array([0, side]) for side in shape[1:])
    return CubeNoise(
        shape, np.zeros(shape[0]), np.ones(shape[0]), Background(shape[1:], edges, np.zeros((1, 1)), np.ones((1, 1)))
    )
