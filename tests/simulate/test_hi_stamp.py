"""A stamp has the flux, place, width, size and direction of its row."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.simulate.hi_disc import Atlas
from pipeline.simulate.hi_laws import channel_width_km_s, rms_radius, spectrum_width
from pipeline.simulate.hi_noise import noise_cube
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.hi_stamp import matched_snr, stamp, white_power
from pipeline.simulate.noise import covariance

EVEN = HiSettings(lopsidedness=0.0)
REAL = HiSettings(galaxies="resources/hi_galaxies", galaxies_share=1.0)
ROW = {"hi_size": 25.0, "line_flux_integral": 40.0, "central_freq": 1.04e9, "pa": 30.0, "i": 60.0, "w20": 250.0}


def moments(pixels):
    """Centre (z, y, x) and covariance (y, x) of the light."""
    light = pixels.astype(float) / pixels.sum(dtype=float)
    centre = np.array([np.sum(light * along) for along in np.indices(light.shape, sparse=True)])
    plane = light.sum(axis=0)
    y, x = np.indices(plane.shape)
    y, x = y - centre[1], x - centre[2]
    cross = np.sum(plane * y * x)
    return centre, np.array([[np.sum(plane * y * y), cross], [cross, np.sum(plane * x * x)]])


@pytest.mark.parametrize(
    "settings", [EVEN, HiSettings(beam_arcsec=(9.0, 6.0, 40.0)), REAL], ids=["even", "oval", "real"]
)
def test_flux_is_the_sum_over_the_area_of_the_beam(settings):
    picture = stamp(ROW, settings, np.random.default_rng(0))
    area = 2 * np.pi * np.sqrt(np.linalg.det(covariance(*settings.beam_pixels)))
    assert picture.pixels.sum() * settings.channel_hz / area == pytest.approx(40.0, rel=1e-3)
    assert picture.pixels.dtype == np.float32
    border = [np.abs(np.take(picture.pixels, edge, axis)).max() for axis in range(3) for edge in (0, -1)]
    assert max(border) < 0.01 * picture.pixels.max()


def test_an_even_disc_lies_about_its_centre():
    for seed in range(4):
        picture = stamp(ROW, EVEN, np.random.default_rng(seed))
        centre, _ = moments(picture.pixels)
        assert np.all(np.abs(centre - picture.centre) < [0.25, 0.05, 0.05])


def test_an_offset_moves_the_galaxy():
    zero, moved = (
        stamp(ROW, EVEN, np.random.default_rng(1), offset=np.array(by)) for by in ([0, 0, 0], [0.4, -0.3, 0.2])
    )
    np.testing.assert_allclose(moved.centre - zero.centre, [0.4, -0.3, 0.2])
    np.testing.assert_allclose(moments(moved.pixels)[0] - moments(zero.pixels)[0], [0.4, -0.3, 0.2], atol=1e-3)


@pytest.mark.parametrize("pa", [0.0, 70.0, 200.0, 310.0])
@pytest.mark.parametrize("settings", [EVEN, REAL], ids=["disc", "real"])
def test_the_receding_side_is_at_the_position_angle(settings, pa):
    picture = stamp(ROW | {"pa": pa}, settings, np.random.default_rng(3))
    light = picture.pixels.astype(float)
    z, y, x = np.indices(light.shape, sparse=True)
    centre, _ = moments(light)
    # Along the gradient of velocity, which rises as frequency falls.
    direction = [np.sum(light * (centre[0] - z) * (along - at)) for along, at in ((y, centre[1]), (x, centre[2]))]
    # North is up and east is left.
    found = np.degrees(np.arctan2(-direction[1], direction[0]))
    assert abs((found - pa + 180) % 360 - 180) < (3 if settings is EVEN else 12)


@pytest.mark.parametrize("width", [30.0, 80.0, 250.0, 600.0])
@pytest.mark.parametrize("settings", [EVEN, REAL], ids=["disc", "real"])
def test_the_line_is_as_wide_as_the_row_says(settings, width):
    fine = settings.model_copy(update={"channel_hz": 6e3})
    picture = stamp(ROW | {"w20": width}, fine, np.random.default_rng(5))
    spectrum = picture.pixels.sum(axis=(1, 2), dtype=float)
    found, middle = spectrum_width(np.arange(len(spectrum), dtype=float), spectrum)
    step = channel_width_km_s(1.04e9, 6e3)
    assert found * step == pytest.approx(width, rel=0.08)
    assert abs(middle - picture.centre[0]) * step < 0.05 * width


@pytest.mark.parametrize("tilt", [20.0, 60.0, 90.0])
@pytest.mark.parametrize("settings", [EVEN, REAL], ids=["disc", "real"])
def test_size_and_inclination_are_those_of_the_row(settings, tilt):
    picture = stamp(ROW | {"i": tilt, "hi_size": 40.0, "pa": 0.0}, settings, np.random.default_rng(2))
    _, spread = moments(picture.pixels)
    beam = covariance(*settings.beam_pixels)
    # The position angle 0 is along y.
    major = np.sqrt(spread[0, 0] - beam[0, 0]) * settings.pixel_arcsec
    minor = np.sqrt(spread[1, 1] - beam[1, 1]) * settings.pixel_arcsec
    loose = 0.03 if settings is EVEN else 0.12
    assert major == pytest.approx(20.0 * rms_radius(), rel=loose)
    assert minor / major == pytest.approx(np.sqrt(np.cos(np.radians(tilt)) ** 2 * 0.96 + 0.04), rel=2 * loose)


def test_a_point_has_the_shape_of_the_beam():
    settings = HiSettings(beam_arcsec=(14.0, 9.0, 30.0))
    picture = stamp(ROW | {"hi_size": 1e-3}, settings, np.random.default_rng(0), offset=np.zeros(3))
    plane = picture.pixels.sum(axis=0)
    y, x = (np.arange(n) - at for n, at in zip(plane.shape, picture.centre[1:], strict=True))
    inverse = np.linalg.inv(covariance(*settings.beam_pixels))
    form = inverse[0, 0] * y[:, None] ** 2 + 2 * inverse[0, 1] * y[:, None] * x + inverse[1, 1] * x**2
    np.testing.assert_allclose(plane * settings.channel_hz / 40.0, np.exp(-0.5 * form), atol=0.08)


def test_snr_is_linear_in_flux_and_adds_in_squares():
    power = white_power(EVEN)
    picture = stamp(ROW, EVEN, np.random.default_rng(0))
    snr = matched_snr(picture.pixels, power, 1e-5)
    assert matched_snr(3 * picture.pixels, power, 1e-5) == pytest.approx(3 * snr)
    channels = len(picture.pixels)
    assert matched_snr(picture.pixels, power, np.full(channels, 2e-5)) == pytest.approx(snr / 2)
    parts = [matched_snr(picture.pixels[k::2], power, 1e-5) for k in (0, 1)]
    assert np.hypot(*parts) == pytest.approx(snr)


def test_snr_of_a_point_in_closed_form():
    """Gaussian beam, modes above 0.1 of the noise's power: sqrt(log(10) / 4) of the peak over the rms."""
    settings = HiSettings(beam_arcsec=(14.0, 14.0, 0.0))
    y = np.arange(-32, 32)
    point = np.exp(-0.5 * (y[:, None] ** 2 + y**2) / covariance(*settings.beam_pixels)[0, 0])[None]
    assert matched_snr(point, white_power(settings), 0.5) == pytest.approx(2 * np.sqrt(np.log(10) / 4), rel=0.02)


def test_the_best_filter_reaches_the_snr_in_noise():
    rng = np.random.default_rng(0)
    power = white_power(EVEN)
    picture = stamp(ROW, EVEN, rng, offset=np.zeros(3))
    plane = np.pad(picture.pixels.sum(axis=0), 12)[None] * 1e4
    noise = noise_cube(power, (1500, *plane.shape[1:]), rng)
    plain = float(np.sum(plane**2) / np.std(np.sum(noise * plane, axis=(1, 2))))
    snr = matched_snr(plane, power, 1.0)
    assert 0.75 * snr < plain < 1.1 * snr
    assert matched_snr(plane, power, 1.0, least_power=1e-3) > max(snr, plain)


def test_one_seed_one_stamp():
    one, other, third = (stamp(ROW, HiSettings(), np.random.default_rng(seed)).pixels for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert one.shape != third.shape or not np.array_equal(one, third)


def test_a_folder_without_cubes_is_refused(tmp_path):
    with pytest.raises(UserError, match="no usable HI cubes"):
        Atlas(str(tmp_path))
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =")
    with pytest.raises(UserError, match="cannot be read|no cube"):
        Atlas(str(tmp_path))


def test_real_galaxies_differ_from_one_another():
    rng = np.random.default_rng(0)
    shapes = {len(Atlas("resources/hi_galaxies").cloud(20.0, 200.0, 60.0, 10.0, rng).weight) for _ in range(6)}
    assert len(shapes) > 1


def test_noise_that_channels_share_hides_a_line_as_the_best_filter_says():
    rng = np.random.default_rng(1)
    power = replace(white_power(EVEN), spectral=(1.0, 0.67, 0.17))
    line = np.zeros((40, 24, 24))
    y = np.arange(-12, 12)
    line[8:32] = np.exp(-0.5 * (y[:, None] ** 2 + y**2) / covariance(*EVEN.beam_pixels)[0, 0])
    noise = np.stack([noise_cube(power, line.shape, rng, 2.0) for _ in range(150)])
    plain = float(np.sum(line**2) / np.std(np.sum(noise * line, axis=(1, 2, 3))))
    snr = matched_snr(line, power, 2.0)
    assert 0.75 * snr < plain < 1.1 * snr
    assert snr < 0.75 * matched_snr(line, white_power(EVEN), 2.0)
