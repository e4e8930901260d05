"""Pixels to sky and back, against astropy, where it is hard: at the poles, at right ascension 0, turned and flipped."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from pipeline.sky import geometry
from pipeline.sky.headers import Beam

CENTRES = [(180.0, -30.0), (0.0, 0.0), (359.9999, 60.0), (45.0, 89.999), (200.0, -89.9995)]
TURNS = [(0.0, 1), (35.0, 1), (100.0, -1)]
# Major and minor axis of an ellipse with a clear direction.
LONG = ([2.0], [0.1])


def make_wcs(ra=180.0, dec=-30.0, turn=0.0, parity=1, step=2e-4, ctype=("RA---SIN", "DEC--SIN"), stretch=1.0):
    wcs, angle = WCS(naxis=2), np.deg2rad(turn)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ctype, (ra, dec), (21, 31)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = rotation @ np.diag([-parity * step * stretch, step])
    wcs.wcs.set()
    return wcs


def places(seed=0, count=50):
    return np.random.default_rng(seed).uniform([0, 0], [40, 60], (count, 2)).T


def ellipses(seed=1, count=50):
    random = np.random.default_rng(seed)
    minor = random.uniform(0.5, 5, count)
    return minor * random.uniform(1.05, 4, count), minor, random.uniform(0, 180, count)


def apart(one, other):
    """The difference of two axes' angles, modulo 180."""
    return np.abs((np.asarray(one) - other + 90) % 180 - 90)


@pytest.mark.parametrize(("ra", "dec"), CENTRES)
@pytest.mark.parametrize(("turn", "parity"), TURNS)
def test_positions_come_back(ra, dec, turn, parity):
    wcs, (x, y) = make_wcs(ra, dec, turn, parity), places()
    sky = geometry.pixel_to_sky(wcs, x, y)
    assert np.all((sky[0] >= 0) & (sky[0] < 360))
    np.testing.assert_allclose(geometry.sky_to_pixel(wcs, *sky), (x, y), atol=1e-6)


@pytest.mark.parametrize(("ra", "dec"), CENTRES)
@pytest.mark.parametrize(("turn", "parity"), TURNS)
def test_directions_are_those_of_astropy(ra, dec, turn, parity):
    wcs, (x, y) = make_wcs(ra, dec, turn, parity), places()
    theta = np.random.default_rng(2).uniform(0, 180, x.size)
    _, _, pa = geometry.ellipse_to_sky(wcs, x, y, *LONG, theta)
    assert np.all((pa >= 0) & (pa < 180))
    step = 0.05 * np.array([np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))])
    here, there = (SkyCoord(*geometry.pixel_to_sky(wcs, x + s * step[0], y + s * step[1]), unit="deg") for s in (0, 1))
    curl = 0.1 if abs(dec) > 89 else 1e-3  # north itself turns along the step, next to a pole
    assert np.max(apart(pa, here.position_angle(there).deg)) < curl
    assert np.max(apart(geometry.ellipse_to_pixel(wcs, x, y, *LONG, pa)[2], theta)) < 2 * curl


def test_north_up_east_left():
    for theta, pa in ((90, 0), (0, 90), (135, 45), (179.999, 89.999)):
        assert geometry.ellipse_to_sky(make_wcs(), [20], [30], *LONG, [theta])[2] == pytest.approx(pa, abs=1e-5)


@pytest.mark.parametrize(("ra", "dec"), CENTRES)
@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_jacobian_leads_to_the_next_pixel(ra, dec, stretch):
    wcs, (x, y) = make_wcs(ra, dec, 35.0, stretch=stretch), places()
    step = np.array([0.2, -0.1])
    east, north = (geometry.jacobian(wcs, x, y) @ step).T
    here, there = (geometry.pixel_to_sky(wcs, x + s * step[0], y + s * step[1]) for s in (0, 1))
    np.testing.assert_allclose(geometry.sky_offsets(*here, *there), (east, north), atol=1e-4)
    np.testing.assert_allclose(np.abs(np.linalg.det(geometry.jacobian(wcs, x, y))), 0.72**2 * stretch, rtol=2e-4)


@pytest.mark.parametrize("name", ["galactic", "fk5"])
def test_other_frames_are_turned_to_icrs(name):
    ctype = ("GLON-TAN", "GLAT-TAN") if name == "galactic" else ("RA---TAN", "DEC--TAN")
    wcs, (x, y) = make_wcs(30.0, 10.0, ctype=ctype), places()
    if name == "fk5":
        wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 1975.0
    expected = SkyCoord(
        *wcs.all_pix2world(x, y, 0), unit="deg", frame=name, **({"equinox": "J1975"} if name == "fk5" else {})
    )
    sky = SkyCoord(*geometry.pixel_to_sky(wcs, x, y), unit="deg")
    assert np.max(sky.separation(expected.icrs).arcsec) < 1e-6
    np.testing.assert_allclose(geometry.sky_to_pixel(wcs, sky.ra.deg, sky.dec.deg), (x, y), atol=1e-6)
    up = expected.directional_offset_by(0 * u.deg, 1 * u.arcsec).icrs
    _, _, pa = geometry.ellipse_to_sky(wcs, x, y, *LONG, np.full(x.size, 90.0))
    assert np.max(apart(pa, expected.icrs.position_angle(up).deg)) < 0.02


def test_cube_and_swapped_axes():
    cube = WCS(naxis=3)
    cube.wcs.ctype, cube.wcs.crval, cube.wcs.crpix = ("RA---SIN", "DEC--SIN", "FREQ"), (180, -30, 1e9), (21, 31, 1)
    cube.wcs.cdelt = (-2e-4, 2e-4, 1e6)
    x, y = places()
    np.testing.assert_allclose(geometry.pixel_to_sky(cube, x, y), geometry.pixel_to_sky(make_wcs(), x, y), rtol=1e-12)
    swapped = WCS(naxis=2)
    swapped.wcs.ctype, swapped.wcs.crval, swapped.wcs.crpix = ("DEC--SIN", "RA---SIN"), (-30, 180), (31, 21)
    swapped.wcs.cdelt = (2e-4, -2e-4)
    np.testing.assert_allclose(
        geometry.pixel_to_sky(swapped, y, x), geometry.pixel_to_sky(make_wcs(), x, y), rtol=1e-12
    )
    np.testing.assert_allclose(geometry.sky_to_pixel(swapped, *geometry.pixel_to_sky(swapped, y, x)), (y, x), atol=1e-6)


def test_no_sources_and_places_off_the_sky():
    none = np.zeros(0)
    assert geometry.pixel_to_sky(make_wcs(), none, none)[0].shape == (0,)
    assert geometry.sky_to_pixel(make_wcs(), none, none)[0].shape == (0,)
    assert geometry.ellipse_to_sky(make_wcs(), *[none] * 5)[2].shape == (0,)
    assert geometry.deconvolve(none, none, none, Beam(1, 1))[0].shape == (0,)
    assert np.isnan(geometry.pixel_to_sky(make_wcs(step=1.0), [20.0, 200.0], [30.0, 200.0])[0]).tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize(("turn", "parity"), TURNS)
@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_ellipses_come_back(turn, parity, stretch):
    wcs, (x, y), (major, minor, theta) = make_wcs(0, 70, turn, parity, stretch=stretch), places(), ellipses()
    sky = geometry.ellipse_to_sky(wcs, x, y, major, minor, theta)
    result = geometry.ellipse_to_pixel(wcs, x, y, *sky)
    np.testing.assert_allclose(result[:2], (major, minor), rtol=1e-9)
    assert np.max(apart(result[2], theta)) < 1e-6
    area = np.abs(np.linalg.det(geometry.jacobian(wcs, x, y)))
    np.testing.assert_allclose(sky[0] * sky[1], major * minor * area, rtol=1e-9)


def test_moments_and_axes_are_inverse():
    major, minor, angle = ellipses()
    square = geometry.squared_widths(major, minor, angle)
    np.testing.assert_allclose(geometry.ellipse_axes(square), (major, minor, angle), rtol=1e-9)
    np.testing.assert_array_equal(geometry.ellipse_axes(geometry.squared_widths(2.0, 2.0, 0.0)), (2, 2, 0))
    assert np.isnan(geometry.ellipse_axes(np.full((2, 2), np.nan))).all()


def test_convolved_and_deconvolved():
    beam, (major, minor, pa) = Beam(3 / 3600, 2 / 3600, 70.0), ellipses()
    seen = geometry.convolve(major, minor, pa, beam)
    assert np.all(seen[0] > np.maximum(major, 2)) and np.all(seen[1] > np.maximum(minor, 2))
    result = geometry.deconvolve(*seen, beam)
    np.testing.assert_allclose(result[:2], (major, minor), rtol=1e-9)
    assert np.max(apart(result[2], pa)) < 1e-6
    aligned = geometry.convolve(4.0, 1.5, 70.0, beam)
    np.testing.assert_allclose(aligned, (5.0, 2.5, 70.0))


def test_convolution_is_that_of_images():
    beam, (y, x) = Beam(9 / 3600, 6 / 3600, 20.0), np.mgrid[-32:32, -32:32].astype(float)

    def picture(major, minor, pa):
        angle, widths = np.deg2rad(pa), np.array([major, minor]) / 2.3548200450309493
        along, across = y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle)  # east is -x
        return np.exp(-0.5 * ((along / widths[0]) ** 2 + (across / widths[1]) ** 2))

    product = np.fft.fft2(picture(10, 7, 130)) * np.fft.fft2(np.fft.ifftshift(picture(9, 6, 20)))
    expected = picture(*geometry.convolve(10.0, 7.0, 130.0, beam))
    result = np.fft.ifft2(product).real
    np.testing.assert_allclose(result / result.max(), expected / expected.max(), atol=1e-6)


def test_unresolved_is_zero():
    beam = Beam(3 / 3600, 2 / 3600, 70.0)
    for major, minor, pa in ((3.0, 2.0, 70.0), (2.5, 1.5, 70.0), (2.0, 1.9, 10.0)):
        assert [float(part) for part in geometry.deconvolve(major, minor, pa, beam)] == [0, 0, 0]
    major, minor, pa = geometry.deconvolve(5.0, 2.0, 70.0, beam)
    np.testing.assert_allclose((major, minor, pa), (4, 0, 70), atol=1e-6)


def test_box_around_an_ellipse():
    major, minor, theta = ellipses()
    angle, turn = np.linspace(0, 2 * np.pi, 4001)[:, None], np.deg2rad(theta)
    x = major / 2 * np.cos(angle) * np.cos(turn) - minor / 2 * np.sin(angle) * np.sin(turn)
    y = major / 2 * np.cos(angle) * np.sin(turn) + minor / 2 * np.sin(angle) * np.cos(turn)
    np.testing.assert_allclose(geometry.half_widths(major, minor, theta), np.stack([y.max(0), x.max(0)], -1), rtol=1e-5)


@pytest.mark.parametrize(("ra", "dec"), CENTRES)
def test_offsets_come_back(ra, dec):
    east, north = np.random.default_rng(3).normal(0, 20, (2, 50))
    start = SkyCoord(ra, dec, unit="deg")
    reached = start.directional_offset_by(np.arctan2(east, north) * u.rad, np.hypot(east, north) * u.arcsec)
    np.testing.assert_allclose(geometry.sky_offsets(ra, dec, reached.ra.deg, reached.dec.deg), (east, north), atol=1e-5)
