"""A table that is written in pieces is the table, and its checksums are those of the standard."""

import warnings

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from pipeline.sky import fitsrows
from pipeline.sky.catalogue import read_catalogue, write_catalogue


def table(n):
    random = np.random.default_rng(n)
    return QTable(
        {
            "id": np.arange(n),
            "flux": random.normal(size=n) * u.Jy,
            "name": np.array([f"source {number % 7}" for number in range(n)], "U9"),
            "true": random.random(n) > 0.5,
            "flags": random.integers(0, 9, n, np.int16),
            "place": random.normal(size=(n, 3)).astype("f4"),
        },
        meta={"ORIGIN": "test"},
    )


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 100])
def test_pieces_make_the_same_file(tmp_path, monkeypatch, n):
    write_catalogue(table(n), tmp_path / "whole.fits")
    monkeypatch.setattr(fitsrows, "_ROWS", 8)
    write_catalogue(table(n), tmp_path / "pieces.fits")
    assert (tmp_path / "pieces.fits").read_bytes() == (tmp_path / "whole.fits").read_bytes()
    back = read_catalogue(tmp_path / "pieces.fits")
    for name in table(n).colnames:
        np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(table(n)[name]))


@pytest.mark.parametrize("n", [0, 3, 4321])
def test_the_checksums_are_those_that_astropy_computes(tmp_path, n):
    write_catalogue(table(n), tmp_path / "table.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(tmp_path / "table.fits", checksum=True) as hdus:
            assert len(hdus) == 2 and hdus[1].header["NAXIS2"] == n
            hdus.verify("exception")
    raw = bytearray((tmp_path / "table.fits").read_bytes())
    if n > 3:
        raw[-2000] ^= 1
        (tmp_path / "table.fits").write_bytes(raw)
        with pytest.warns(Warning, match="Checksum|Datasum"), fits.open(tmp_path / "table.fits", checksum=True) as hdus:
            hdus[1].data["id"]
