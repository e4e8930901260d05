"""Galaxies of many beams are what they were made to be."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipeline.data.cube_noise import measure_cube_noise
from pipeline.detect.calibrate import Calibrated
from pipeline.hi.galaxies import from_values
from pipeline.hi.large import CoarseCube
from pipeline.hi.lines import km_s_per_hz
from pipeline.hi.moments import measured
from pipeline.sky.headers import Beam

SHAPE, MIDDLE, RADIUS, SPEED = (70, 160, 168), (34.0, 80.0, 84.0), 50.0, 180.0


def disc(cube, pa, inclination, flux):
    """A disc of even surface density with flat rotation, whose receding side is at `pa`; flux [Jy Hz]."""
    random, n = np.random.default_rng(5), 400_000
    radius, angle = RADIUS * np.sqrt(random.random(n)), 2 * np.pi * random.random(n)
    along, across = radius * np.cos(angle), radius * np.sin(angle) * np.cos(np.radians(inclination))
    velocity = SPEED * np.sin(np.radians(inclination)) * np.cos(angle) + 8 * random.normal(size=n)
    # east is towards lower x
    east, north = np.sin(np.radians(pa)), np.cos(np.radians(pa))
    x = MIDDLE[2] - east * along + north * across
    y = MIDDLE[1] + north * along + east * across
    channel = km_s_per_hz(cube.frequency[35], cube.rest_hz) * cube.channel_hz[35]
    falls = -1 if cube.frequency[-1] > cube.frequency[0] else 1
    z = MIDDLE[0] + falls * velocity / channel
    counts, _ = np.histogramdd(np.stack([z, y, x], 1), SHAPE, [(-0.5, side - 0.5) for side in SHAPE])
    wide = cube.beam.major / cube.pixel_scale
    pixels = np.pi / (4 * np.log(2)) * wide**2
    return gaussian_filter(counts, (0, wide / 2.3548, wide / 2.3548)) / n * flux * pixels / cube.channel_hz[35]


def found_at(standin, cube):
    """A detection of the middle that knows nothing else."""
    found = standin.detected(1)
    found.detections.centre[:] = MIDDLE
    return Calibrated(found.detections, found.probability, found.errors)


def flux_of(density, cube, inclination):
    """Jy Hz of a disc with a face-on surface density [solar mass / pc2]."""
    area = np.pi * (RADIUS * 3600 * cube.pixel_scale) ** 2
    stretched = (cube.rest_hz / cube.frequency[35]) ** 3
    beam = np.pi / (4 * np.log(2))
    return density * area / (8847.0 * beam * stretched * km_s_per_hz(cube.frequency[35], cube.rest_hz))


@pytest.mark.parametrize("kind", ["FREQ", "VOPT"])
@pytest.mark.parametrize(("pa", "inclination", "step"), [(30.0, 40.0, 2), (200.0, 65.0, 4), (310.0, 55.0, 1)])
def test_a_disc_is_measured(standin, kind, pa, inclination, step):
    cube = standin.Cube(SHAPE, kind=kind)
    cube.beam = Beam(4 * cube.pixel_scale, 4 * cube.pixel_scale, 0.0)
    flux = flux_of(3.0, cube, inclination)
    cube.data = disc(cube, pa, inclination, flux)
    noise = np.random.default_rng(6).normal(size=SHAPE)
    cube.data = (cube.data + 0.02 * cube.data.max() * noise).astype("f4")
    coarse = CoarseCube(cube, [slice(0, side) for side in SHAPE], step)
    noise = measure_cube_noise(coarse.read, coarse.shape, where="cube")
    corners = (np.array([MIDDLE]) + 0.5)[:, None] / coarse.steps - 0.5 + np.array([[[-8], [8]]])
    seen = measured(found_at(standin, cube), corners, coarse, noise)
    said = from_values(seen.detections.values, seen.detections.centre, seen.detections.rms, cube)
    assert said["line_flux_integral"][0] == pytest.approx(flux, rel=0.03)
    assert said["hi_size"][0] == pytest.approx(2 * RADIUS * 3600 * cube.pixel_scale, rel=0.05)
    assert said["i"][0] == pytest.approx(inclination, abs=4)
    assert abs((said["pa"][0] - pa + 180) % 360 - 180) < 3
    channel = km_s_per_hz(cube.frequency[35], cube.rest_hz) * cube.channel_hz[35]
    edge = 2 * SPEED * np.sin(np.radians(inclination))
    assert said["w20"][0] == pytest.approx(edge + 20, abs=15 + channel)
    np.testing.assert_allclose(seen.detections.centre, [MIDDLE], rtol=0, atol=0.7)
    assert (seen.errors > 0).all()
    np.testing.assert_array_equal(seen.probability, found_at(standin, cube).probability)


def test_where_nothing_is_above_the_noise_a_detection_stays(standin):
    cube = standin.Cube(SHAPE)
    cube.data = np.random.default_rng(0).normal(size=SHAPE).astype("f4")
    coarse = CoarseCube(cube, [slice(0, side) for side in SHAPE], 2)
    noise = measure_cube_noise(coarse.read, coarse.shape, where="cube")
    cube.data[20:50, 60:100, 60:110] = -1.0
    found = found_at(standin, cube)
    corners = (np.array([MIDDLE]) + 0.5)[:, None] / coarse.steps - 0.5 + np.array([[[-5], [5]]])
    seen = measured(found, corners, coarse, noise)
    for name in ("centre", "size", "values"):
        np.testing.assert_array_equal(getattr(seen.detections, name), getattr(found.detections, name))
    np.testing.assert_array_equal(seen.errors, found.errors)
