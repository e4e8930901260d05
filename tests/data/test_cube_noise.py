"""The noise of a cube: what was put in comes out, blanks are told, and little of the file is read."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.background import MAD_TO_SIGMA, measure_background
from pipeline.data.cube_noise import CubeNoise, measure_cube_noise
from pipeline.errors import UserError
from pipeline.sky.cube import CubeReader

WHOLE = (slice(None),) * 3
REAL = Path(__file__).parents[3] / "shared" / "data" / "line_cubes"


def cube(shape=(20, 40, 30), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def measure(data, **options):
    return measure_cube_noise(lambda section: data[section], data.shape, **options)


def product(shape=(40, 192, 256)):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (1 + 0.8 * np.sin(z / 3.0)) * (1 + y / shape[1] + 0.5 * x / shape[2])


def test_small_channels_equal_the_plain_loop():
    data = 3 * cube() + np.arange(20, dtype=np.float32)[:, None, None]
    data[:, 3, 4] = 1e6
    data[:, 5, 6] = np.nan
    noise = measure(data)
    for channel, plane in enumerate(data.astype(np.float64)):
        values = plane[np.isfinite(plane)]
        for _ in range(2):
            middle = np.median(values)
            values = values[np.abs(values - middle) <= 5 * np.median(np.abs(values - middle))]
        middle = np.median(values)
        expected = middle, MAD_TO_SIGMA * np.median(np.abs(values - middle))
        assert np.allclose([noise.median[channel], noise.rms[channel]], expected, rtol=1e-12)
    assert noise.factor.rms == pytest.approx(1, abs=0.01)


def test_one_channel_is_the_background_of_an_image():
    data = cube((1, 90, 70), 1)
    image = measure_background(lambda section: data[0][section], data.shape[1:], 1000)
    noise = measure(data)
    assert noise.rms[0] == image.rms.item() and noise.median[0] == image.median.item()


def test_a_spectrum_times_a_map_is_measured_where_only_a_sample_is_read():
    truth = product()
    data = (cube(truth.shape, 2) * truth).astype(np.float32)
    noise = measure(data, sample=1 << 13)
    median, rms = noise.at(WHOLE)
    assert median.shape == (40, 1, 1) and rms.shape == truth.shape and rms.dtype == median.dtype == np.float32
    ratio = rms / truth
    assert abs(ratio.mean() - 1) < 0.01 and ratio.std() < 0.06
    assert np.std(noise.rms / truth[:, 0, 0]) / np.mean(noise.rms / truth[:, 0, 0]) < 0.025
    assert np.abs(median[:, 0, 0] / noise.rms).max() < 0.06


def test_the_scale_of_a_channel_changes_its_rms_alone():
    data, scale = cube((12, 150, 140), 3), 2.0 ** np.random.default_rng(1).integers(-8, 8, 12)
    plain, scaled = measure(data), measure(data * scale[:, None, None].astype(np.float32))
    np.testing.assert_allclose(scaled.rms, plain.rms * scale, rtol=1e-12)
    np.testing.assert_allclose(scaled.factor.rms, plain.factor.rms, rtol=1e-5)


def test_sources_hardly_matter():
    data = cube((24, 128, 128), 4)
    plain = measure(data)
    data[6:18, 30:48, 60:78] += 50  # 2 % of a plane, half of the channels
    changed = measure(data)
    np.testing.assert_allclose(changed.at(WHOLE)[1], plain.at(WHOLE)[1], rtol=0.05)


def test_a_noisy_channel_stands_out():
    data = cube((30, 64, 64), 5)
    data[11] *= 9
    rms = measure(data).rms
    assert rms[11] == pytest.approx(9, rel=0.08)
    np.testing.assert_allclose(np.delete(rms, 11), 1, rtol=0.08)


@pytest.mark.parametrize("filling", [np.nan, 0.0, 7.0])
def test_blank_channels_and_edges(filling):
    data = cube((20, 70, 80), 6)
    data[[0, 1, 9, 19]] = filling
    if filling != 7:
        data[:, :, 50:] = filling
    noise = measure(data)
    assert np.flatnonzero(noise.blank).tolist() == [0, 1, 9, 19] and noise.summary()["blank_channels"] == 4
    np.testing.assert_allclose(noise.rms[~noise.blank], 1, rtol=0.08)
    median, rms = noise.at(WHOLE)
    assert np.isnan(rms[9]).all() and np.isnan(median[9]).all() and np.isfinite(rms[8]).all()
    centres = np.array([[0.0, 3, 4], [9, 3, 4], [9.4, 3, 4], [25, 90, -4], [5, np.nan, 4]])
    expected = noise.rms[[2, 8, 8, 18, 5]]
    assert np.all(np.isfinite(noise.at_positions(centres)[0]))
    np.testing.assert_allclose(noise.at_positions(centres)[1] / noise.factor.rms.mean(), expected, rtol=0.1)


def test_positions_agree_with_sections():
    noise = measure((cube((10, 130, 140), 7) * product((10, 130, 140))).astype(np.float32))
    centres = np.random.default_rng(3).integers(0, (10, 130, 140), (50, 3))
    median, rms = noise.at(WHOLE)
    at_median, at_rms = noise.at_positions(centres + 0.3)
    np.testing.assert_allclose(at_rms, rms[tuple(centres.T)], rtol=1e-6)
    np.testing.assert_allclose(at_median, median[centres[:, 0], 0, 0], rtol=1e-6)
    for section in ((slice(2, 5), slice(10, 90), slice(3, 4)), (slice(9, 10), slice(0, 130), slice(120, 140))):
        part = noise.at(section)
        np.testing.assert_array_equal(part[1], rms[section])
        np.testing.assert_array_equal(part[0], median[section[0]])
    with pytest.raises(ValueError, match="step 1"):
        noise.at((slice(0, 4, 2), slice(None), slice(None)))


def test_it_survives_json():
    data = cube((9, 130, 70), 8)
    data[4] = np.nan
    noise = measure(data)
    again = CubeNoise.from_dict(json.loads(json.dumps(noise.to_dict(), allow_nan=False)))
    assert again.shape == noise.shape and again.summary() == noise.summary()
    for part, other in zip(noise.at(WHOLE), again.at(WHOLE), strict=True):
        np.testing.assert_array_equal(part, other)


def test_what_is_masked_is_not_seen():
    data, mask = cube((10, 60, 60), 9), np.zeros((60, 60), bool)
    mask[:40] = True
    data[:, :40] *= 20
    noise = measure(data, mask=mask)
    np.testing.assert_allclose(noise.rms, 1, rtol=0.1)
    with pytest.raises(ValueError, match="does not fit"):
        measure(data, mask=mask[1:])


def test_the_sample_is_small_spread_and_in_file_order():
    shape, asked = (64, 2048, 1500), []
    random = np.random.default_rng(10)

    def read(section):
        asked.append([(part.start, part.stop) for part in section])
        return random.normal(size=[part.stop - part.start for part in section]).astype(np.float32)

    noise = measure_cube_noise(read, shape, sample=1 << 12)
    assert not noise.blank.any() and np.abs(noise.rms - 1).max() < 0.1
    spans = np.array(asked)
    order = spans[:, 0, 0] * shape[1] + spans[:, 1, 0]
    assert np.all(np.diff(order) > 0)
    volume = np.prod(spans[..., 1] - spans[..., 0], axis=1)
    assert volume.sum() < 0.05 * np.prod(shape) and volume.max() < 1e5
    rows = np.unique(spans[:, 1, 0])
    assert len(rows) > 100 and np.diff(rows).max() < 64


def test_a_cube_without_noise_is_refused():
    for filling in (np.nan, 0.0, 3.0):
        with pytest.raises(UserError, match=r"^it: holds no channel with noise; check the cube\.$"):
            measure(np.full((5, 20, 20), filling, np.float32), where="it")


def test_the_noise_of_a_real_cube_is_that_of_its_negative_pixels():
    path = REAL / "NGC4036_WSRT_subcube_0.fits.gz"
    if not path.exists():
        pytest.skip("needs the data of line_cubes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = CubeReader(path)
    noise = measure_cube_noise(reader.read, reader.shape, where=reader.path)
    snr = (reader.read(WHOLE) - noise.at(WHOLE)[0]) / noise.at(WHOLE)[1]
    assert np.sqrt(np.mean(snr[snr < 0] ** 2)) == pytest.approx(1, abs=0.03)
    assert not noise.blank.any() and np.nanstd(snr[50]) == pytest.approx(1, abs=0.1)
