"""Catalogues come back as they were written, in every format, with any number of rows."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from pipeline.errors import UserError
from pipeline.sky.catalogue import read_catalogue, write_catalogue

RICH = [".fits", ".ecsv", ".vot", ".xml"]
META = {
    "fleming": "0.1.0",
    "command": "fleming classify " + "star.fits " * 30,
    "temperature": 1.25,
    "temperatures": [1.0, 2.5],
    "seed": 42,
    "multilabel": False,
    "author": "Caroline Lucretia Herschel, née Herschel",
    "nested": {"torch": "2", "extra": None},
    "two words": "kept",
    "NAXIS1": "not the table's own",
    "trailing": "blank ",
}


def catalogue(rows):
    table = QTable(meta=dict(META))
    table["id"] = np.array([f"star-{k}" for k in range(rows)], dtype=str)
    table["ra"] = np.linspace(0, 359, rows) * u.deg
    table["dec"] = np.linspace(-80, 80, rows) * u.deg
    table["flux"] = np.linspace(0, 1, rows).astype("f4") * u.Jy / u.beam
    table["probability"] = np.linspace(0, 1, rows).astype("f4")
    table["probability"][: rows // 2] = np.nan
    table["count"] = np.arange(rows, dtype=np.int16)
    table["good"] = np.arange(rows) % 2 == 0
    table["label"] = np.array(["" if k % 2 else "G2 V" for k in range(rows)], dtype=str)
    for name, ucd in (("ra", "pos.eq.ra;meta.main"), ("probability", "stat.probability"), ("id", "meta.id")):
        table[name].info.meta = {"ucd": ucd}
        table[name].info.description = f"the {name} of the star"
    return table


@pytest.mark.parametrize("rows", [0, 1, 6])
@pytest.mark.parametrize("suffix", RICH)
def test_round_trip(tmp_path, suffix, rows):
    table = catalogue(rows)
    write_catalogue(table, tmp_path / f"a{suffix}")
    again = read_catalogue(tmp_path / f"a{suffix}")
    assert again.colnames == table.colnames
    assert len(again) == rows
    assert again.meta == META
    for name in table.colnames:
        np.testing.assert_array_equal(np.asarray(again[name]), np.asarray(table[name]))
        assert again[name].dtype.kind == table[name].dtype.kind
        assert again[name].dtype.isnative
        assert again[name].unit == table[name].unit
        assert again[name].info.description == table[name].info.description
        assert (again[name].info.meta or {}).get("ucd") == (table[name].info.meta or {}).get("ucd")


@pytest.mark.parametrize("suffix", [*RICH, ".csv"])
def test_the_same_table_gives_the_same_bytes_and_is_not_changed(tmp_path, suffix):
    table = catalogue(4)
    for name in ("a", "b"):
        write_catalogue(table, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert table.meta == META
    write_catalogue(read_catalogue(tmp_path / f"a{suffix}"), tmp_path / f"c{suffix}")
    assert (tmp_path / f"c{suffix}").read_bytes() == (tmp_path / f"a{suffix}").read_bytes()


@pytest.mark.parametrize("rows", [0, 5])
def test_csv_keeps_names_and_values(tmp_path, rows):
    table = catalogue(rows)
    write_catalogue(table, tmp_path / "a.csv")
    again = read_catalogue(tmp_path / "a.csv")
    assert again.colnames == table.colnames
    for name in table.colnames if rows else ():
        np.testing.assert_array_equal(np.asarray(again[name]), np.asarray(table[name]))


def test_fits_cards_for_other_programs(tmp_path):
    write_catalogue(catalogue(3), tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
        header = hdus[1].header
        hdus[1].verify("exception")
    assert (header["TTYPE2"], header["TUNIT2"], header["TUCD2"]) == ("ra", "deg", "pos.eq.ra;meta.main")
    assert header["TCOMM2"] == "the ra of the star"
    assert header["SEED"] == 42


def test_votable_says_its_coordinate_system(tmp_path):
    write_catalogue(catalogue(3), tmp_path / "a.vot")
    text = (tmp_path / "a.vot").read_text()
    assert '<COOSYS ID="icrs" system="ICRS"' in text
    assert text.count('ref="icrs"') == 2
    assert 'name="fleming" value="0.1.0"' in text


def test_a_foreign_table_keeps_its_own_cards(tmp_path):
    column = fits.Column("x", "E", array=[1.0, 2.0])
    header = fits.Header([("TELESCOP", "VLA", "Telescope name"), ("OBJECT", "M31", "target")])
    fits.BinTableHDU.from_columns([column], header).writeto(tmp_path / "a.fits")
    assert read_catalogue(tmp_path / "a.fits").meta == {"TELESCOP": "VLA", "OBJECT": "M31"}


@pytest.mark.parametrize("name", ["a.txt", "a", "a.parquet", "a.fits.bak"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(UserError, match="not a catalogue format"):
        write_catalogue(catalogue(1), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "column"),
    [(".fits", np.array(["\u03b1 Ori", "b"])), (".fits", np.array([{}, 1], dtype=object)), (".csv", np.zeros((2, 3)))],
)
def test_a_column_that_the_format_cannot_hold(tmp_path, suffix, column):
    with pytest.raises(UserError, match="a" + suffix):
        write_catalogue(QTable({"x": column}), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [*RICH, ".csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00 not a table", b"a,b\n1,2,3,4\n"])
def test_files_that_are_no_tables(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        read_catalogue(path)


@pytest.mark.parametrize("suffix", [".fits", ".vot"])
def test_truncated(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_catalogue(catalogue(500), path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match=str(path)):
        read_catalogue(path)


def test_fits_without_a_table(tmp_path):
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "a.fits")
    with pytest.raises(UserError, match="holds no table"):
        read_catalogue(tmp_path / "a.fits")
