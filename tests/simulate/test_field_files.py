"""A simulated field on the disk is the field that was simulated."""

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import save_field, write_field
from pipeline.sky.window import FrameReader

SMALL = ContinuumSettings(shape=(40, 56))


def test_image_and_truth_come_back(tmp_path):
    said = []
    write_field(SMALL, 3, tmp_path / "new", said.append)
    made = simulate(SMALL, 3)
    reader = FrameReader(tmp_path / "new" / "field.fits")
    np.testing.assert_array_equal(reader.read([slice(None)] * 2), made.frame.data)
    assert reader.beam.major == pytest.approx(1.5 / 3600)
    truth = pd.read_csv(tmp_path / "new" / "truth.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(truth, made.truth, check_dtype=False, check_exact=True)
    assert f"{len(made.truth)} sources" in said[0]
    assert not (tmp_path / "new" / "primary_beam.fits").exists()


def test_the_truth_can_be_scored(tmp_path):
    made = write_field(SMALL, 3, tmp_path)
    table = read_table(tmp_path / "truth.csv", Sdc1, truth=True)
    np.testing.assert_allclose(table["flux"], made.truth["flux_jy"], rtol=1e-14)
    np.testing.assert_allclose(table["ra_cent"], made.truth["ra_cent"], rtol=1e-14)


def test_the_primary_beam_comes_back(tmp_path):
    settings = ContinuumSettings(shape=(40, 56), primary_beam=0.01)
    made = write_field(settings, 3, tmp_path)
    beam = FrameReader(tmp_path / "primary_beam.fits", unit=None)
    np.testing.assert_array_equal(beam.read([slice(None)] * 2), made.primary_beam)
    np.testing.assert_allclose(beam.wcs.wcs.crval, made.frame.wcs.wcs.crval)


def test_one_seed_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_field(SMALL, 5, tmp_path / name)
    for name in ("field.fits", "truth.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_only_what_has_a_path_is_written(tmp_path):
    save_field(simulate(SMALL, 1), tmp_path / "x.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["x.fits"]


def test_a_folder_in_the_way_is_refused(tmp_path):
    (tmp_path / "field.fits").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_field(SMALL, 1, tmp_path)
