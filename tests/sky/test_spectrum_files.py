"""Spectra in tables and text: one spectrum written in every form is read as the same spectrum."""

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.sky.frame import read_frame, write_frame

WAVE = 4000 + 2.0 * np.arange(30)
FLUX = np.sin(np.arange(30.0)) + 2
ERROR = np.full(30, 0.5)


def lines(separator, columns, head=""):
    return head + "".join(separator.join(f"{value:.12g}" for value in row) + "\n" for row in zip(*columns, strict=True))


TEXTS = {
    "star.rbn": lines(" ", [WAVE, FLUX]),
    "star.txt": lines("\t", [WAVE, FLUX], "# a comment\n\n"),
    "star.csv": lines(",", [WAVE, FLUX], "wavelength,flux\n"),
    "star.dat": lines("   ", [WAVE, FLUX, ERROR], "! lambda flux error\n"),
    "star.ascii": lines(";", [WAVE, FLUX], "x;y\n"),
    "named.csv": lines(",", [FLUX, ERROR, WAVE], "Flux,Err,Wave\n"),
    "wide.csv": lines(", ", [np.arange(30), np.log10(WAVE), FLUX, 1 / ERROR**2], "n, loglam, flux, ivar\n"),
    "falling.txt": lines(" ", [WAVE[::-1], FLUX[::-1]]),
    "fortran": lines(" ", [WAVE, FLUX]).replace("e-", "D-"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name])
    frame = read_frame(tmp_path / name)
    np.testing.assert_allclose(frame.wavelength, WAVE, rtol=1e-9)
    np.testing.assert_allclose(frame.data, FLUX, rtol=1e-6)
    assert frame.data.dtype == np.float32
    if frame.ivar is not None:
        np.testing.assert_allclose(frame.ivar, 4.0, rtol=1e-6)
    assert (frame.ivar is not None) == (name in {"star.dat", "named.csv", "wide.csv"})


HEADS = ["wavelength[{}],flux", "wavelength ({}), flux (erg/s/cm2, per A)", "'Wave [ {} ]';'Flux'"]
UNITS = {"nm": 10.0, "um": 1e4, "micron": 1e4, "Angstrom": 1.0, "m": 1e10, "": 1.0, "air": 1.0, "vacuum": 1.0}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("mark", ["", "# "])
def test_the_unit_in_the_head_of_a_column_counts(tmp_path, unit, head, mark):
    text = lines(",", [WAVE / UNITS[unit], FLUX], mark + head.format(unit) + "\n")
    (tmp_path / "a.csv").write_text("# by H. Draper, New York\n" + text)
    frame = read_frame(tmp_path / "a.csv")
    np.testing.assert_allclose(frame.wavelength, WAVE, rtol=1e-9)
    np.testing.assert_allclose(frame.data, FLUX, rtol=1e-6)


@pytest.mark.parametrize(
    ("head", "first"),
    [
        ("wavelength_nm flux", WAVE / 10),
        ("x (nm) y", WAVE / 10),
        ("nm y", WAVE / 10),
        ("lambda_um flux", WAVE / 1e4),
        ("loglam[log10(Angstrom)] flux", np.log10(WAVE)),
        ("loglam [nm] flux", np.log10(WAVE / 10)),
        ("x y", WAVE),
    ],
)
def test_other_heads_of_a_column_of_wavelengths(tmp_path, head, first):
    (tmp_path / "a.txt").write_text(lines(" ", [first, FLUX], head + "\n"))
    np.testing.assert_allclose(read_frame(tmp_path / "a.txt").wavelength, WAVE, rtol=1e-9)


@pytest.mark.parametrize("unit", ["parsnip", "pixel", "km/s"])
@pytest.mark.parametrize("mark", ["", "#"])
def test_an_unknown_unit_of_wavelength_is_refused(tmp_path, unit, mark):
    (tmp_path / "a.txt").write_text(lines(" ", [WAVE, FLUX], f"{mark}wavelength ({unit}) flux\n"))
    with pytest.raises(UserError, match="not a unit of wavelength"):
        read_frame(tmp_path / "a.txt")


def test_missing_values_in_text_are_nan(tmp_path):
    (tmp_path / "a.txt").write_text("4000 1\n4001 nan\n4002 3\n")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.txt").data, [1, np.nan, 3])


def table(*columns, header=()):
    made = [fits.Column(name, form, unit=unit, array=array) for name, form, unit, array in columns]
    return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made, fits.Header(dict(header)))])


TABLES = {
    "SDSS": table(("flux", "E", None, FLUX), ("loglam", "D", None, np.log10(WAVE)), ("ivar", "E", None, 1 / ERROR**2)),
    "nm": table(("WAVE", "D", "nm", WAVE / 10), ("FLUX", "D", None, FLUX)),
    "error": table(("wavelength", "D", "Angstrom", WAVE), ("flux", "D", None, FLUX), ("err", "E", None, ERROR)),
    "one row": table(
        ("WAVE", "30D", "angstrom", [WAVE]), ("FLUX", "30E", None, [FLUX]), ("IVAR", "30E", None, [ERROR])
    ),
    "unit in the name": table(("wave_nm", "D", None, WAVE / 10), ("flux", "D", None, FLUX)),
    "ragged": table(("lambda", "PD()", "um", [WAVE / 1e4]), ("flux", "PD()", None, [FLUX])),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path, name):
    TABLES[name].writeto(tmp_path / "a.fits")
    frame = read_frame(tmp_path / "a.fits", kind="spectrum")
    np.testing.assert_allclose(frame.wavelength, WAVE, rtol=1e-9)
    np.testing.assert_allclose(frame.data, FLUX, rtol=1e-6)
    write_frame(tmp_path / "b.fits", frame)
    again = read_frame(tmp_path / "b.fits", kind="spectrum")
    np.testing.assert_array_equal(again.data, frame.data)
    np.testing.assert_array_equal(again.wavelength, frame.wavelength)
    assert (again.ivar is None) == (frame.ivar is None)


def test_one_spectrum_a_row(tmp_path):
    flux = np.random.default_rng(0).normal(size=(4, 30)).astype("f4")
    header = {"LOGLAM0": 3.6, "DLOGLAM": 1e-4, "BUNIT": "erg/s/cm2/A"}
    table(("name", "4A", None, ["a", "b", "c", "d"]), ("flux", "30E", None, flux), header=header).writeto(
        tmp_path / "a.fits"
    )
    for row in range(4):
        frame = read_frame(tmp_path / "a.fits", row=row)
        np.testing.assert_array_equal(frame.data, flux[row])
        np.testing.assert_allclose(frame.wavelength, 10 ** (3.6 + 1e-4 * np.arange(30)))
        assert "Angstrom" in str(frame.unit)
    for row, match in ((None, "choose one by its row"), (4, "row 4 does not exist")):
        with pytest.raises(UserError, match=match):
            read_frame(tmp_path / "a.fits", row=row)


def test_pixels_of_zero_weight_are_invalid(tmp_path):
    ivar = np.where(np.arange(30) < 3, 0.0, 1.0)
    table(("flux", "E", None, FLUX), ("loglam", "D", None, np.log10(WAVE)), ("ivar", "E", None, ivar)).writeto(
        tmp_path / "a.fits"
    )
    np.testing.assert_array_equal(np.isnan(read_frame(tmp_path / "a.fits").data), ivar == 0)


@pytest.mark.parametrize("error", [1e-30, 5e-20, 1e-5, 1e30])
def test_no_error_is_too_small_or_large_to_be_a_weight(tmp_path, error):
    (tmp_path / "a.txt").write_text(lines(" ", [WAVE, FLUX * error, ERROR * error]))
    for path in (tmp_path / "a.txt", tmp_path / "b.fits"):
        frame = read_frame(path)
        np.testing.assert_allclose(frame.data, FLUX * error, rtol=1e-6)
        np.testing.assert_allclose(frame.ivar, 4.0 / error**2, rtol=1e-9)
        write_frame(tmp_path / "b.fits", frame)


def test_an_infinite_weight_counts_like_an_error_of_zero(tmp_path):
    ivar = np.where(np.arange(30) < 3, np.inf, 1e40)
    error = np.where(np.arange(30) < 3, 0.0, 1e-20)
    for name, weight in (("ivar", ivar), ("error", error)):
        table(("flux", "E", None, FLUX), ("wave", "D", None, WAVE), (name, "D", None, weight)).writeto(
            tmp_path / f"{name}.fits"
        )
        frame = read_frame(tmp_path / f"{name}.fits")
        np.testing.assert_array_equal(np.isnan(frame.data), np.arange(30) < 3)
        np.testing.assert_allclose(frame.ivar, np.where(np.arange(30) < 3, 0.0, 1e40))


def test_weights_follow_the_unit(tmp_path):
    table(("flux", "E", "Jy", FLUX), ("wave", "D", None, WAVE), ("ivar", "D", None, np.full(30, 1e35))).writeto(
        tmp_path / "a.fits"
    )
    np.testing.assert_allclose(read_frame(tmp_path / "a.fits", unit="MJy").ivar, 1e47)
