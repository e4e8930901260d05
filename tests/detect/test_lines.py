"""Emission lines in spectra: the detector of images with one axis, and no code of its own."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "lines_1d.py"


@pytest.fixture(scope="module")
def lines():
    spec = importlib.util.spec_from_file_location("lines_1d", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detector(lines, tmp_path_factory):
    return lines.trained(lines.SETTINGS, tmp_path_factory.mktemp("lines"))


def test_the_lines_are_found_better_than_by_a_threshold(lines, detector):
    result = lines.judged(detector, lines.spectrum(4))
    for threshold, least in (("0.1", 0.9), ("0.5", 0.8)):
        found, plain = (result[name][threshold]["ap"] for name in ("detector", "above 5 rms"))
        assert found > least
        assert found > plain + 0.05
    assert result["flux_error"] < 0.3


def test_the_detector_says_one_position_one_width_and_one_flux(detector):
    assert detector.layout.ndim == 1
    assert detector.layout.channels == 1 + 3 + 2
    assert len(detector.outcome.history) == 4


def test_the_spectrum_shows_its_lines(lines):
    field = lines.spectrum(7, lines=5)
    place = np.rint(field.objects.centre[:, 0]).astype(int)
    np.testing.assert_allclose(field.snr[place], field.objects.snr, atol=5)
    flux = np.exp(field.objects.values[:, 0]) / field.objects.snr / field.objects.size[:, 0]
    np.testing.assert_allclose(flux, np.sqrt(np.pi / np.log(2)) / 4)


def test_runs_are_the_channels_above_the_threshold(lines):
    snr = np.zeros(30)
    snr[[0, 10, 11, 12, 29]] = 6, 7, 9, 7, 8
    boxes, peak = lines.runs(snr)
    assert peak.tolist() == [6, 9, 8]
    assert boxes.mean(1).ravel().tolist() == [0, 11, 29]
    assert (boxes[:, 1] - boxes[:, 0]).ravel().tolist() == [2, 6, 2]
    assert lines.runs(np.zeros(5))[0].shape == (0, 2, 1)
