"""An image on other pixels shows the same sky: positions, fluxes and the beam, whatever section is read."""

import itertools

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from pipeline.detect.continuum import PixelBeam, dilution, smear
from pipeline.detect.image import MemoryReader
from pipeline.detect.resample import (
    ResampledReader,
    Sampling,
    check_beam,
    choose_sampling,
    dilution_ratio,
    miss,
)
from pipeline.errors import UserError
from pipeline.sky.geometry import ellipse_axes, ellipse_to_pixel, ellipse_to_sky, pixel_to_sky
from pipeline.sky.headers import Beam

SAMPLINGS = [Sampling(average=2), Sampling(average=3), Sampling(divide=2), Sampling(divide=3)]
SHAPE = (41, 67)
BEAM = PixelBeam(7.0, 5.0, 30.0)


def sky(rotated=False, cd=False):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], [359.99, -30.0], [20.0, 31.5]
    turn = np.deg2rad(25.0 * rotated)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    if cd:
        wcs.wcs.cd = matrix @ np.diag([-1e-3, 1e-3])
    else:
        wcs.wcs.cdelt, wcs.wcs.pc = [-1e-3, 1e-3], matrix
    wcs.wcs.set()
    return wcs


def reader(data, wcs=None):
    wcs = wcs or sky()
    axes = ([BEAM.major], [BEAM.minor], [BEAM.theta])
    major, minor, pa = (float(part[0]) for part in ellipse_to_sky(wcs, [20], [20], *axes))
    return MemoryReader(np.asarray(data, "f4"), wcs, Beam(major / 3600, minor / 3600, pa), "memory")


def noise(shape=SHAPE, hole=True):
    data = np.random.default_rng(3).normal(size=shape).astype("f4")
    if hole:
        data[7:12, 20:26] = np.nan
        data[30, 3] = np.inf
    return data


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_section_is_what_the_whole_has_there(sampling, monkeypatch):
    seen = ResampledReader(reader(noise()), sampling, BEAM)
    whole = seen.read([slice(None)] * 2)
    assert whole.shape == seen.shape and whole.dtype == np.float32 and 0 < np.isnan(whole).mean() < 0.2
    sections = itertools.product([slice(0, 5), slice(3, 11), slice(seen.shape[0] - 4, seen.shape[0])], repeat=2)
    for section in sections:
        np.testing.assert_allclose(seen.read(section), whole[section], atol=1e-5)
    monkeypatch.setattr("pipeline.detect.resample._PIXELS_AT_ONCE", 200)
    np.testing.assert_allclose(seen.read([slice(None)] * 2), whole, atol=1e-5)
    assert seen.read([slice(4, 4), slice(None)]).shape == (0, seen.shape[1])


@pytest.mark.parametrize("factor", [2, 3])
def test_averages_are_means_of_blocks(factor):
    data = noise()
    whole = ResampledReader(reader(data), Sampling(average=factor), BEAM).read([slice(None)] * 2)
    ratios = []
    for at in np.ndindex(whole.shape):
        block = data[tuple(slice(factor * side, factor * side + factor) for side in at)]
        good = block[np.isfinite(block)]
        if 2 * len(good) < block.size:
            assert np.isnan(whole[at])
        else:
            ratios.append(whole[at] / good.mean(dtype=float))
    assert np.ptp(ratios) < 1e-3 * np.mean(ratios)


@pytest.mark.parametrize("factor", [2, 3])
def test_finer_pixels_are_a_spline_through_the_coarse_ones(factor):
    data = noise(hole=False)
    seen = ResampledReader(reader(data), Sampling(divide=factor), BEAM)
    place = seen.sampling.to_image(np.indices(seen.shape).reshape(2, -1).T).T
    slow = map_coordinates(data.astype(float), place, order=3, mode="mirror").reshape(seen.shape)
    np.testing.assert_allclose(seen.read([slice(None)] * 2), slow, atol=1e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("cd", [False, True])
def test_a_position_on_the_sky_stays(sampling, cd):
    wcs = sky(rotated=True, cd=cd)
    seen = ResampledReader(reader(noise(), wcs=wcs), sampling, BEAM)
    place = np.random.default_rng(0).uniform(0, 60, (9, 2))
    ours = pixel_to_sky(seen.wcs, *place.T[::-1])
    theirs = pixel_to_sky(wcs, *sampling.to_image(place).T[::-1])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    assert ours[0].min() < 1 and ours[0].max() > 359


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_point_source_keeps_its_flux_and_shows_the_beam(sampling):
    y, x = np.indices((90, 96), dtype=float)
    square = smear(BEAM.major, BEAM.minor, BEAM.theta, PixelBeam(0, 0, 0))
    offset = np.stack([x - 47.3, y - 44.8], -1)
    source = np.exp(-4 * np.log(2) * np.einsum("yxi,ij,yxj->yx", offset, np.linalg.inv(square), offset))
    seen = ResampledReader(reader(source), sampling, BEAM)
    beam = sampling.beam(BEAM)
    middle = ([(side - 1) / 2] for side in seen.shape[::-1])
    axes = ellipse_to_pixel(seen.wcs, *middle, [3600 * seen.beam.major], [3600 * seen.beam.minor], [seen.beam.pa])
    np.testing.assert_allclose(np.ravel(axes), [beam.major, beam.minor, beam.theta], rtol=1e-5)
    pixels = seen.read([slice(None)] * 2).astype(float)
    area = np.pi / 4 / np.log(2) * beam.major * beam.minor
    assert pixels.sum() / area == pytest.approx(1.0, rel=1e-4)
    grid = np.indices(seen.shape)
    centre = [(grid[axis] * pixels).sum() / pixels.sum() for axis in (0, 1)]
    np.testing.assert_allclose(sampling.to_image(np.array([centre])), [[44.8, 47.3]], atol=1e-3)
    offset = np.stack([grid[1] - centre[1], grid[0] - centre[0]], -1)
    moments = np.einsum("yxi,yxj,yx->ij", offset, offset, pixels) / pixels.sum() * 8 * np.log(2)
    np.testing.assert_allclose(np.array(ellipse_axes(moments)), [beam.major, beam.minor, beam.theta], rtol=2e-3)


def test_peaks_are_those_of_the_beam_of_the_image():
    major, minor, theta = np.array([0.05, 3.0, 9.0]), np.array([0.05, 1.0, 8.0]), np.array([0.0, 40.0, 100.0])
    for sampling in SAMPLINGS:
        seen, step = sampling.beam(BEAM), sampling.step
        ratio = dilution_ratio(major, minor, theta, seen, sampling, BEAM)
        own = dilution(smear(major * step, minor * step, theta, BEAM), BEAM)
        np.testing.assert_allclose(dilution(smear(major, minor, theta, seen), seen) * ratio, own)
        assert ratio[0] == pytest.approx(1.0, abs=2e-3)
        # Averaging dilutes a resolved source less than a point, in the units of the wider beam.
        assert (ratio <= 1 + 1e-9).all()


@pytest.mark.parametrize("width", [1.2, 1.5, 2.0, 2.4, 3.1, 4.7, 5.2, 8.0, 40.0, 99.0])
def test_the_sampling_that_is_chosen_misses_least(width):
    beam = PixelBeam(1.1 * width, width / 1.1, 20.0)
    chosen = choose_sampling(beam, 2.3, 2.7)
    least = miss(chosen.beam(beam), 2.3, 2.7)
    others = [Sampling(average=k) for k in range(1, 60)] + [Sampling(divide=k) for k in range(2, 9)]
    if chosen != Sampling():
        assert least == min(miss(other.beam(beam), 2.3, 2.7) for other in others)
    assert least <= (1.1 if width == 2.4 or width > 4 else 1.25)
    assert (chosen == Sampling()) == (width in (2.4, 3.1, 2.0)) or width in (2.0, 3.1)
    assert choose_sampling(beam, 0.9 * width, 1.2 * width) == Sampling()


@pytest.mark.parametrize("beam", [PixelBeam(1.3, 1.1, 0), PixelBeam(130.0, 90.0, 0), PixelBeam(np.nan, np.nan, 0)])
def test_a_beam_that_cannot_be_searched_is_refused(beam):
    with pytest.raises(UserError, match=r"^a\.fits: .*pixels.*; .*\.$"):
        check_beam(beam, "a.fits")
    check_beam(PixelBeam(1.3, 1.2, 0), "a.fits")


def test_distorted_coordinates_are_refused_and_steps_too():
    wcs = sky()
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    from astropy.wcs import Sip

    wcs.sip = Sip(np.zeros((3, 3)), np.zeros((3, 3)), None, None, wcs.wcs.crpix)
    with pytest.raises(UserError, match="distorted"):
        ResampledReader(reader(noise(), wcs=wcs), Sampling(average=2), BEAM)
    seen = ResampledReader(reader(noise()), Sampling(average=2), BEAM)
    with pytest.raises(ValueError, match="step 1"):
        seen.read([slice(0, 10, 2), slice(None)])
