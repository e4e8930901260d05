"""From a truth table to what an image shows of it, and from detections back to a table."""

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.detect import continuum
from pipeline.detect.continuum import (
    VALUES,
    PixelBeam,
    dilution,
    gaussian_ellipse,
    pixel_ellipse,
    smear,
    to_objects,
)
from pipeline.detect.image import by_tile
from pipeline.detect.official import official_detections
from pipeline.detect.predict import Detections
from pipeline.detect.symmetry import symmetries
from pipeline.sky.geometry import pixel_to_sky


def test_the_peak_of_a_source_is_that_of_its_picture_smeared_by_the_beam(memory):
    source = smear(6.0, 2.0, 70.0, PixelBeam(1e-9, 1e-9, 0.0))
    beam = smear(0.0, 0.0, 0.0, memory.beam)
    shape = (81, 81)
    drawn, point = memory.gaussian(shape, 40, 40, source), memory.gaussian(shape, 40, 40, beam)
    drawn /= drawn.sum()
    smeared = np.fft.ifft2(np.fft.fft2(drawn) * np.fft.fft2(np.fft.ifftshift(point))).real
    both = smear(6.0, 2.0, 70.0, memory.beam)
    assert smeared.max() == pytest.approx(float(dilution(both, memory.beam)), rel=1e-3)
    np.testing.assert_allclose(smeared / smeared.max(), memory.gaussian(shape, 40, 40, both), atol=1e-3)


def test_a_point_source_is_not_diluted(memory):
    image = memory.image_of()
    truth = memory.truth_of(image, [30.0], [40.0], b_maj=0.0, b_min=0.0, flux=1e-3)
    objects = image.objects(truth)
    assert objects.snr[0] == pytest.approx(100, rel=1e-3)
    np.testing.assert_allclose(objects.values[0, :2], np.log(100), atol=1e-3)


def test_the_box_is_twice_the_full_width_along_the_axes(memory):
    image = memory.image_of()
    truth = memory.truth_of(image, [60.0], [45.0])
    found = image.objects(truth)
    major, minor, theta = pixel_ellipse(found.values[0], image.beam)
    picture = memory.gaussian((90, 120), 45, 60, smear(major, minor, theta, memory.beam))
    # The projection of a Gaussian on an axis has the full width of the covariance's diagonal.
    for axis, at in ((0, 45), (1, 60)):
        profile = picture.sum(1 - axis)
        spread = np.sqrt((profile * (np.arange(len(profile)) - at) ** 2).sum() / profile.sum())
        assert found.size[0, axis] == pytest.approx(2 * spread * np.sqrt(8 * np.log(2)), rel=1e-2)


@pytest.mark.parametrize(("code", "width"), [(1, 0.471), (2, 1.0), (3, np.sqrt(2))])
def test_sizes_of_every_code_are_gaussian_widths(code, width):
    truth = pd.DataFrame({"b_maj": [2.0, 1.0], "b_min": [1.0, 3.0], "pa": [20.0, 110.0], "size": code})
    major, minor, pa = gaussian_ellipse(truth)
    # Clockwise from west to east of north.
    np.testing.assert_allclose(pa, [70.0, 160.0])
    np.testing.assert_allclose(major, np.array([2.0, 3.0]) * width)
    np.testing.assert_allclose(minor, width)


def test_twice_the_flux_is_twice_the_signal_and_half_the_noise_too(memory):
    image = memory.image_of()
    truth = memory.truth_of(image, np.linspace(10, 100, 7), np.full(7, 45.0))
    wcs = image.reader.wcs
    plain = to_objects(truth, wcs, image.beam, 1e-5)
    for other in (
        to_objects(truth.assign(flux=2 * truth["flux"]), wcs, image.beam, 1e-5),
        to_objects(truth, wcs, image.beam, 5e-6),
        to_objects(truth, wcs, image.beam, 1e-5, 2.0),
    ):
        np.testing.assert_allclose(other.snr, 2 * plain.snr)
        np.testing.assert_allclose(other.values[:, :2], plain.values[:, :2] + np.log(2))
        np.testing.assert_allclose(other.values[:, 2:], plain.values[:, 2:])
        np.testing.assert_allclose(other.size, plain.size)


def test_detections_that_say_the_truth_become_the_truth_table(memory):
    attenuation = np.linspace(0.5, 1, 120, dtype=np.float32) * np.ones((90, 1), np.float32)
    image = memory.image_of(attenuation=attenuation)
    random = np.random.default_rng(3)
    truth = memory.truth_of(image, random.uniform(0, 119, 40), random.uniform(0, 89, 40))
    objects = image.objects(truth)
    found = Detections(
        logit=np.zeros(40),
        centre=objects.centre,
        size=objects.size,
        values=objects.values,
        width=np.ones((40, 2 + len(VALUES))),
        classes=np.eye(3)[objects.label],
        rms=image.rms_at(objects.centre),
    )
    table = official_detections(found, image)
    np.testing.assert_allclose(table[["ra_cent", "dec_cent"]], truth[["ra_cent", "dec_cent"]], atol=1e-9)
    for name in ("flux", "b_maj", "b_min", "core_frac"):
        np.testing.assert_allclose(table[name], truth[name], rtol=1e-4)
    away = (table["pa"] - truth["pa"] + 90) % 180 - 90
    assert np.abs(away).max() < 0.1
    assert table["class"].tolist() == truth["class"].tolist()
    again = image.objects(table)
    np.testing.assert_allclose(again.values, objects.values, atol=1e-4)


def test_the_beam_of_a_turned_image_is_the_turned_condition(memory):
    told = torch.tensor(memory.beam.conditions, dtype=torch.float64)
    for turn in symmetries(2):
        theta = memory.beam.theta if turn.order == (0, 1) else 90 - memory.beam.theta
        theta = theta if turn.flips[0] == turn.flips[1] else -theta
        expected = PixelBeam(memory.beam.major, memory.beam.minor, theta).conditions
        turned = turn.values(told, continuum.NAMES.conditions)
        np.testing.assert_allclose(turned, expected, atol=1e-12)


def test_the_beam_in_pixels_is_the_beam_of_the_header(memory):
    beam = memory.image_of().beam
    assert beam.major == pytest.approx(memory.beam.major, rel=1e-4)
    assert beam.minor == pytest.approx(memory.beam.minor, rel=1e-4)
    assert (beam.theta - memory.beam.theta + 90) % 180 - 90 == pytest.approx(0, abs=0.05)


def test_the_primary_beam_is_interpolated_and_unknown_beyond_its_image(memory):
    rows, columns = np.indices((600, 40), np.float32)
    image = memory.image_of(shape=(600, 40), attenuation=(0.1 + 0.001 * rows + 0.01 * columns).astype(np.float32))
    random = np.random.default_rng(0)
    y, x = random.uniform(0, 599, 50), random.uniform(0, 39, 50)
    ra, dec = pixel_to_sky(image.reader.wcs, x, y)
    np.testing.assert_allclose(image.attenuation_at(ra, dec), 0.1 + 0.001 * y + 0.01 * x, rtol=1e-4)
    ra, dec = pixel_to_sky(image.reader.wcs, np.array([-3.0, 50.0]), np.array([5.0, 5.0]))
    assert np.isnan(image.attenuation_at(ra, dec)).all()
    assert (memory.image_of().attenuation_at(ra, dec) == 1).all()


def test_every_position_is_in_one_tile():
    pixel = np.random.default_rng(1).integers(0, 100, (200, 2))
    seen = np.zeros(200, int)
    for low, members in by_tile(pixel, 32):
        seen[members] += 1
        assert ((pixel[members] >= low) & (pixel[members] < low + 32)).all()
    assert (seen == 1).all()


def test_learnable_objects_are_those_in_the_section_and_bright_enough(memory):
    image = memory.image_of()
    truth = memory.truth_of(image, np.linspace(5, 115, 23), np.linspace(5, 85, 23))
    section = (slice(20, 70), slice(30, 100))
    every = image.objects(truth)
    field = image.labelled(truth, section, 20.0)
    assert field.snr.shape == (50, 70)
    inside = [
        row for row in range(23) if 20 <= every.centre[row, 0] + 0.5 < 70 and 30 <= every.centre[row, 1] + 0.5 < 100
    ]
    assert field.objects.row.tolist() == [row for row in inside if every.snr[row] > 20.0]
    assert 0 < len(field.objects) < len(inside)
    np.testing.assert_allclose(field.objects.centre + [20, 30], every.centre[field.objects.row])


def test_a_weak_response_hides_sources_but_does_not_change_what_is_learnt_of_them(memory):
    image = memory.image_of()
    truth = memory.truth_of(image, np.linspace(5, 115, 9), np.full(9, 40.0))
    before = image.objects(truth)
    image.response = 0.5
    after = image.objects(truth)
    np.testing.assert_allclose(after.snr, before.snr / 2)
    np.testing.assert_array_equal(after.values, before.values)
