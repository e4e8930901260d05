"""The statistics against closed forms, their invariances, and an independent program."""

import warnings

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gammainc

from pipeline.generate.growth import Spectra, curve_of_growth
from pipeline.generate.morphology import gini, m20, morphology, statistic_names

DEGREES = {1: 0.5, 2: 1.0, 3: 1.5}  # of freedom, halved: the share of a Gaussian within r is gammainc(N/2, r²/2s²)


def grid(axes, centre):
    parts = np.meshgrid(*(np.arange(axis, dtype=float) for axis in axes), indexing="ij")
    return [part - middle for part, middle in zip(parts, centre, strict=True)]


def gaussian(axes, centre, sigma):
    square = sum(part**2 for part in grid(axes, centre))
    return np.exp(-square / (2 * sigma**2))[None, None]


def ellipse(centre, major, ratio, angle, size=48):
    """A Gaussian that is longer along `angle` from +x towards +y."""
    y, x = grid((size, size), centre)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.exp(-((along / major) ** 2 + (across / (ratio * major)) ** 2) / 2)[None, None]


def noisy(n=6, size=32, channel=1):
    """Askew galaxies of several sizes on unit noise."""
    rng = np.random.default_rng(3)
    stamps = np.concatenate(
        [60 * ellipse(rng.uniform(14, 17, 2), 2 + 0.3 * k, 0.6, rng.uniform(0, 3), size) for k in range(n)]
    )
    return stamps + rng.standard_normal((n, channel, size, size))


def petrosian(inside, ndim):
    """Where the mean between 0.8 r and 1.25 r is a fifth of that within r, of light `inside`(r)."""

    def excess(r):
        ring = (inside(1.25 * r) - inside(0.8 * r)) / (1.25**ndim - 0.8**ndim)
        return ring / inside(r) - 0.2

    return brentq(excess, 0.1, 100)


def radii(inside, ndim):
    """Radii of 20, 50 and 80 per cent of what is within 1.5 Petrosian radii."""
    total = inside(1.5 * petrosian(inside, ndim))
    return [brentq(lambda r, share=share: inside(r) - share * total, 1e-6, 100) for share in (0.2, 0.5, 0.8)]


@pytest.mark.parametrize(
    ("axes", "centre", "sigma"),
    [((101,), (49.7,), 6.0), ((61, 55), (30.3, 26.6), 4.0), ((41, 39, 40), (20.2, 19.0, 19.6), 3.0)],
)
def test_a_gaussian_has_its_closed_forms_for_any_number_of_axes(axes, centre, sigma):
    found = {name: values[0] for name, values in morphology(gaussian(axes, centre, sigma)).items()}
    ndim = len(axes)
    wide = np.sqrt(sigma**2 + 1 / 12)  # a pixel spreads its light
    r20, r50, r80 = radii(lambda r: gammainc(DEGREES[ndim], r**2 / (2 * wide**2)), ndim)
    assert found["flux"] == pytest.approx((2 * np.pi * sigma**2) ** (ndim / 2), rel=1e-4)
    assert found["half_light_radius"] == pytest.approx(r50, rel=0.01)
    assert found["concentration"] == pytest.approx(5 * np.log10(r80 / r20), abs=0.05)
    assert found["asymmetry"] == pytest.approx(0, abs=0.005)
    assert set(found) == set(statistic_names(ndim))


def test_an_exponential_disc_has_its_closed_forms():
    y, x = grid((101, 101), (50, 50))
    found = {name: values[0] for name, values in morphology(np.exp(-np.hypot(y, x) / 6)[None, None]).items()}
    r20, r50, r80 = radii(lambda r: gammainc(2, r / 6), 2)
    assert found["half_light_radius"] == pytest.approx(r50, rel=0.01)
    assert found["concentration"] == pytest.approx(5 * np.log10(r80 / r20), abs=0.03)
    assert found["flux"] == pytest.approx(2 * np.pi * 36, rel=0.005)
    assert found["ellipticity"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 4, 2.5])
def test_an_ellipse_is_measured_at_any_angle(angle):
    found = {name: values[0] for name, values in morphology(ellipse((23.8, 23.1), 6, 0.5, angle)).items()}
    size = (1 - 0.25) / (1 + 0.25)
    assert found["ellipticity"] == pytest.approx(0.5, abs=0.03)
    assert found["e1"] == pytest.approx(size * np.cos(2 * angle), abs=0.04)
    assert found["e2"] == pytest.approx(size * np.sin(2 * angle), abs=0.04)
    assert found["asymmetry"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.37, 0.5])
def test_a_place_between_pixels_is_no_asymmetry(shift):
    stamp = ellipse((24 + shift, 23 - shift / 2), 3, 0.5, 0.7)
    centre = Spectra(stamp[:, 0]).symmetric_centre()[0]
    np.testing.assert_allclose(centre, (24 + shift, 23 - shift / 2), atol=0.01)
    assert morphology(stamp)["asymmetry"][0] == pytest.approx(0, abs=0.01)


def test_gini_is_zero_of_equal_pixels_and_one_of_a_point():
    values = np.stack([np.ones(50), np.eye(50)[7], np.arange(50.0)])
    everything = np.ones_like(values, dtype=bool)
    # of 0 ... n-1 it is (n + 1) / (3 (n - 1)), by the sum over ranks
    np.testing.assert_allclose(gini(values, everything), [0, 1, 51 / 147], atol=1e-12)
    part = np.tile(np.arange(50) % 3 == 0, (3, 1))
    kept = values[part].reshape(3, -1)
    np.testing.assert_allclose(gini(values, part), gini(kept, np.ones_like(kept, dtype=bool)), rtol=1e-12)
    assert np.isnan(gini(values, np.zeros_like(everything))).all()
    np.testing.assert_allclose(gini(-2.5 * values, everything), gini(values, everything))


def test_m20_takes_a_fifth_of_the_light():
    # ten equal pixels at squared distances 0 ... 9, made unequal by a hair: the two brightest hold a fifth
    flux = 1 + 1e-9 * np.arange(10)[None]
    assert m20(flux, np.arange(10.0)[None])[0] == pytest.approx(np.log10((9 + 8) / 45), abs=1e-6)
    # a pixel that crosses the fifth counts in part: 0.2 of 1 = 0.1 of a pixel of 2 at distance 4
    assert m20(np.array([[2.0, 1, 1]]), np.array([[4.0, 1, 1]]))[0] == pytest.approx(np.log10(0.8 * 4 / 10))


def test_a_double_source_stays_whole():
    left, right = (ellipse((24, place), 2, 1, 0) for place in (13, 35))
    even = {name: values[0] for name, values in morphology(left + right).items()}
    odd = {name: values[0] for name, values in morphology(left + 0.7 * right).items()}
    assert even["asymmetry"] == pytest.approx(0, abs=0.01)
    assert odd["asymmetry"] > 0.3
    assert odd["e1"] > 0.9
    assert even["ellipticity"] > 0.7  # one lobe alone would be round
    assert even["e1"] > 0.9
    assert even["m20"] > -1  # the brightest pixels are far out


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turning_and_flipping_only_turn_the_ellipse(quarter):
    stamps = noisy()
    straight, turned = morphology(stamps), morphology(np.rot90(stamps, quarter, (2, 3)))
    flipped = morphology(stamps[..., ::-1])
    for name in straight:
        sign = -1 if name in ("e1", "e2") and quarter % 2 else 1
        np.testing.assert_allclose(turned[name], sign * straight[name], rtol=1e-6, atol=1e-6, err_msg=name)
        sign = -1 if name == "e2" else 1
        np.testing.assert_allclose(flipped[name], sign * straight[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_brightness_and_zero_level_change_only_what_has_their_unit():
    stamps = noisy()
    plain, changed = morphology(stamps), morphology(7 * stamps + 100)
    for name in plain:
        expected = plain[name]
        if name in ("flux", "peak", "background_median", "background_rms"):
            pixels = {"flux": 32 * 32, "background_rms": 0}.get(name, 1)
            expected = 7 * expected + 100 * pixels
        np.testing.assert_allclose(changed[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_batch_is_its_stamps_and_a_colour_stamp_is_its_mean():
    stamps = noisy(channel=3)
    whole = morphology(stamps)
    for number in range(len(stamps)):
        for name, values in morphology(stamps[number : number + 1]).items():
            np.testing.assert_allclose(values[0], whole[name][number], rtol=1e-9, atol=1e-9, err_msg=name)
    for name, values in morphology(stamps.mean(axis=1, keepdims=True)).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_noise_is_measured_where_there_is_no_galaxy():
    noise = np.random.default_rng(1).normal(3.0, 2.0, (40, 1, 32, 32))
    found = morphology(noise + 500 * ellipse((15.5, 15.5), 2, 0.8, 1, 32))
    assert found["background_rms"].mean() == pytest.approx(2, rel=0.05)
    assert found["background_median"].mean() == pytest.approx(3, abs=0.1)
    assert abs(found["asymmetry"].mean()) < 0.02  # a galaxy that is symmetric, its noise taken off


def test_what_is_undefined_is_nan_and_nothing_else_is():
    stamps = noisy()
    broken = stamps.copy()
    broken[1] = np.nan
    broken[2] = 0
    broken[3, 0, :2] = np.nan
    broken[4] = -np.abs(broken[4])
    found, whole = morphology(broken), morphology(stamps)
    for name, values in found.items():
        assert np.isnan(values[1]), name
        assert values[0] == whole[name][0], name
        assert np.isfinite(values[3]), name
    assert found["flux"][2] == found["peak"][2] == found["background_rms"][2] == 0
    assert np.isnan(found["half_light_radius"][2]) and np.isnan(found["gini"][2])
    broken[5] *= 1e200
    assert np.isnan(morphology(np.full((2, 1, 8, 8), np.inf))["flux"]).all()
    assert not np.isinf(list(morphology(broken).values())).any()
    assert all(len(values) == 0 for values in morphology(stamps[:0]).values())
    with pytest.raises(ValueError, match="shape"):
        morphology(np.zeros((3, 8)))


def test_the_curve_of_growth_is_the_area_of_circles():
    flat = np.ones((1, 40, 40))
    growth = curve_of_growth(flat, np.array([[19.3, 20.1]]))
    for radius in (1.0, 3.3, 10.0, 17.9):
        assert growth.within(np.array([radius]))[0] == pytest.approx(np.pi * radius**2, rel=0.03)


def test_statmorph_measures_the_same():
    """Independent definitions differ in the segmentation and in interpolation, hence the tolerances."""
    statmorph = pytest.importorskip("statmorph")
    rng = np.random.default_rng(2)
    y, x = grid((64, 64), (31.3, 31.8))
    stamps = []
    for scale, ratio in ((2.0, 0.9), (2.5, 0.7), (3.5, 0.5)):
        radius = np.hypot(x * np.sqrt(ratio), y / np.sqrt(ratio))
        stamps.append(200 * np.exp(-np.hypot(radius, 1) / scale) + rng.normal(0, 0.05, radius.shape))
    found = morphology(np.array(stamps)[:, None])
    for number, stamp in enumerate(stamps):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segment = (np.hypot(y, x) < 26).astype(int)
            other = statmorph.source_morphology(stamp, segment, weightmap=np.full_like(stamp, 0.05))[0]
        assert found["half_light_radius"][number] == pytest.approx(other.r50, rel=0.02)
        assert found["concentration"][number] == pytest.approx(other.concentration, abs=0.06)
        assert found["gini"][number] == pytest.approx(other.gini, abs=0.05)
        assert found["m20"][number] == pytest.approx(other.m20, abs=0.15)
        assert found["ellipticity"][number] == pytest.approx(other.ellipticity_centroid, abs=0.05)
        assert found["asymmetry"][number] == pytest.approx(other.asymmetry, abs=0.06)
