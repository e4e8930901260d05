"""A simulated cube holds what its truth says, in pixels and in files."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.score.sdc2 import Sdc2, score_sdc2
from pipeline.score.tables import read_table
from pipeline.simulate import hi
from pipeline.simulate.hi import galaxies, library, simulate_hi
from pipeline.simulate.hi_files import save_cube, write_cube
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import covariance, white_beam
from pipeline.sky.window import FrameReader

SMALL = HiSettings(shape=(150, 48, 60), density=60)
QUIET = SMALL.model_copy(update={"noise": 1e-6})


def test_the_same_seed_gives_the_same_cube():
    one, other, third = (simulate_hi(SMALL, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.frame.data, other.frame.data)
    pd.testing.assert_frame_equal(one.truth, other.truth)
    assert len(one.truth) != len(third.truth) or not one.truth.equals(third.truth)


def test_noise_changes_no_galaxy():
    one = simulate_hi(SMALL, 4)
    loud = simulate_hi(SMALL, 4, white_beam((4.0, 3.0, 0.0)), np.full(150, 1e-3))
    pd.testing.assert_frame_equal(one.truth.drop(columns="snr"), loud.truth.drop(columns="snr"))
    assert loud.frame.data.std() == pytest.approx(1e-3, rel=0.02)
    assert np.all(loud.truth["snr"] < one.truth["snr"])
    with pytest.raises(ValueError, match="one value for each of 150"):
        simulate_hi(SMALL, 4, rms=np.ones(149))


def test_the_light_is_that_of_the_truth_and_of_neighbours():
    settings = QUIET.model_copy(update={"shape": (400, 90, 90), "density": 40.0})
    made = simulate_hi(settings, 3)
    area = 2 * np.pi * np.sqrt(np.linalg.det(covariance(*settings.beam_pixels)))
    light = made.frame.data.sum(dtype=float) * settings.channel_hz / area
    # What leaves the cube at its borders comes in there from others.
    assert light == pytest.approx(made.truth["line_flux_integral"].sum(), rel=0.15)


def test_galaxies_are_where_the_truth_says():
    settings = QUIET.model_copy(update={"density": 1e-6})
    sky = hi.HiSky(settings, 1)
    sky._rows = galaxies(settings, np.random.default_rng(0), 1).assign(x=33.3, y=20.7, z=70.2, hi_size=2.0, w20=100.0)
    sky._snr = np.zeros(1)
    data = np.concatenate([block for _, block in sky.blocks()])
    centre = [np.sum(data * along) / data.sum() for along in np.indices(data.shape, sparse=True)]
    np.testing.assert_allclose(centre, [70.2, 20.7, 33.3], atol=0.3)
    assert sky.truth()["snr"][0] > 0


def test_blocks_join_without_a_seam(monkeypatch):
    whole = simulate_hi(QUIET, 7)
    monkeypatch.setattr(hi, "_BLOCK", 11)
    parts = simulate_hi(QUIET, 7)
    np.testing.assert_allclose(parts.frame.data, whole.frame.data, atol=1e-9)
    pd.testing.assert_frame_equal(whole.truth, parts.truth)


def test_positions_frequencies_and_pixels_agree():
    made = simulate_hi(SMALL, 2)
    truth = made.truth
    ra, dec, frequency = made.frame.wcs.wcs_pix2world(truth["x"], truth["y"], truth["z"], 0)
    np.testing.assert_allclose(ra % 360, truth["ra"], atol=1e-9)
    np.testing.assert_allclose(dec, truth["dec"], atol=1e-9)
    np.testing.assert_allclose(frequency, truth["central_freq"], rtol=1e-12)
    place = truth[["z", "y", "x"]].to_numpy()
    assert np.all((place > -0.5) & (place < np.array(SMALL.shape) - 0.5))


def test_the_number_follows_the_density():
    rng = np.random.default_rng(0)
    settings = HiSettings(density=3.0)
    area, band = (512 * 2.8 / 3600) ** 2, (1.034e9 - 15e3, 1.034e9 + 1023.5 * 30e3)
    expected = hi.expected_count(settings, area, band)
    assert 250 * 3 < expected < 310 * 3
    assert np.mean([len(galaxies(settings, rng)) for _ in range(20)]) == pytest.approx(expected, rel=0.04)


def test_the_files_are_the_cube(tmp_path):
    made = simulate_hi(SMALL, 6)
    said = []
    truth = write_cube(SMALL, 6, tmp_path / "streamed", said.append)
    save_cube(made, tmp_path / "saved")
    for name in ("streamed", "saved"):
        reader = FrameReader(tmp_path / name / "cube.fits", kind="cube")
        np.testing.assert_array_equal(reader.read([slice(None)] * 3), made.frame.data)
        np.testing.assert_allclose(reader.frequency, 1.034e9 + 30e3 * np.arange(150))
        assert reader.beam.major == pytest.approx(7 / 3600)
        assert reader.header["RESTFRQ"] == 1.420405752e9
        back = pd.read_csv(tmp_path / name / "truth.csv", float_precision="round_trip")
        pd.testing.assert_frame_equal(back, made.truth, check_exact=True, check_dtype=False)
    pd.testing.assert_frame_equal(truth, made.truth)
    assert f"{len(truth)} galaxies" in said[0]


def test_the_truth_scores_itself(tmp_path):
    save_cube(simulate_hi(SMALL, 6), tmp_path)
    table = read_table(tmp_path / "truth.csv", Sdc2(), truth=True)
    result = score_sdc2(table, table)
    assert result.n_match == len(table)
    assert result.score == pytest.approx(len(table), rel=0.02)


def test_residuals_of_continuum_wave_about_zero():
    plain, left = (
        simulate_hi(QUIET.model_copy(update={"shape": (3000, 40, 40), "continuum_residual": part, "density": 0.0}), 11)
        for part in (0.0, 0.02)
    )
    difference = left.frame.data - plain.frame.data
    spectrum = np.abs(difference).max(axis=(1, 2))
    if not spectrum.any():
        pytest.fail("no source of continuum in this seed")
    y, x = np.unravel_index(np.argmax(difference.std(axis=0)), difference.shape[1:])
    line = difference[:, y, x]
    assert abs(line.mean()) < line.std()
    assert np.abs(np.diff(line)).max() < 0.3 * line.std()


def test_a_library_has_the_bright(tmp_path):
    stamps = library(SMALL, 12, 3, 4.0)
    assert len(stamps) == 12
    assert min(each.row["snr"] for each in stamps) >= 4.0
    again = library(SMALL, 12, 3, 4.0)
    np.testing.assert_array_equal(stamps[5].pixels, again[5].pixels)
    assert {"hi_size", "line_flux_integral", "central_freq", "pa", "i", "w20"} <= set(stamps[0].row)
    with pytest.raises(UserError, match="no galaxy"):
        library(SMALL, 1, 3, 1e9)


def test_real_galaxies_have_their_share():
    settings = SMALL.model_copy(update={"galaxies": "resources/hi_galaxies", "galaxies_share": 0.5})
    made, discs = simulate_hi(settings, 4), simulate_hi(SMALL, 4)
    pd.testing.assert_frame_equal(made.truth.drop(columns="snr"), discs.truth.drop(columns="snr"))
    same = np.isclose(made.truth["snr"], discs.truth["snr"], rtol=1e-12).mean()
    assert same < 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (4, 40, 40)},
        {"beam_arcsec": (5.0, 6.0, 0.0)},
        {"beam_arcsec": (3.0, 3.0, 0.0)},
        {"centre": (10.0, 95.0)},
        {"lowest_hz": 1.4e9},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        HiSettings(**wrong)
