import gzip
import struct

import numpy as np
import pytest
from astropy.coordinates import FK4, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from pipeline.data.sample import read_sample, sample_rows
from pipeline.data.settings import InputSettings
from pipeline.errors import UserError


def stamp(path, data, unit="Jy/beam"):
    header = fits.Header()
    names = ["RA---TAN", "DEC--TAN", "VRAD"][: data.ndim]
    for axis, name in enumerate(names, 1):
        header[f"CTYPE{axis}"], header[f"CRPIX{axis}"] = name, (data.shape[-axis] + 1) / 2
        header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = (120.0, -20.0, 1e5)[axis - 1], (-1e-3, 1e-3, 1e3)[axis - 1]
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = unit, 0.004, 0.003, 0.0
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(path)
    return path


@pytest.mark.parametrize(("kind", "shape"), [("image", (21, 16)), ("cube", (9, 21, 16))])
def test_crop_unit_and_position(tmp_path, kind, shape):
    data = np.random.default_rng(0).normal(size=shape)
    path = stamp(tmp_path / "a.fits", data)
    target = (5, 7, 6)[-len(shape) :]
    sample = read_sample(path, None, InputSettings(kind=kind, shape=target, unit="mJy/beam"))
    middle = tuple(slice((n - t) // 2, (n - t) // 2 + t) for n, t in zip(shape, target, strict=True))
    assert sample.data.shape == (1, *target)
    np.testing.assert_allclose(sample.data[0], 1e3 * data[middle], rtol=1e-5)
    assert sample.unit.replace(" ", "") == "mJy/beam"
    header = fits.Header.fromstring(sample.header)
    celestial = WCS(header).celestial
    # Whatever the crop, the reference pixel of the file keeps its coordinates.
    np.testing.assert_allclose(celestial.wcs.crval, [120.0, -20.0])
    crpix = [(shape[-1] + 1) / 2 - middle[-1].start, (shape[-2] + 1) / 2 - middle[-2].start]
    np.testing.assert_allclose(celestial.wcs.crpix, crpix)
    assert abs(sample.ra - 120) < 2e-3 and abs(sample.dec + 20) < 2e-3


def test_padding_is_nan_and_large_files_are_read_by_section(tmp_path, monkeypatch):
    path = stamp(tmp_path / "a.fits", np.random.default_rng(0).normal(size=(11, 40)))
    settings = InputSettings(kind="image", shape=(16, 10), bin=2)
    whole = read_sample(path, None, settings)
    assert np.isnan(whole.data[0, 0]).all() and np.isfinite(whole.data[0, 4]).all()
    monkeypatch.setattr("pipeline.data.sample._LARGE", 0)
    part = read_sample(path, None, settings)
    np.testing.assert_array_equal(whole.data, part.data)
    assert part.header == whole.header
    assert (part.ra, part.dec) == (whole.ra, whole.dec)


def test_a_large_file_without_crpix_stays_in_place(tmp_path, monkeypatch):
    path = stamp(tmp_path / "a.fits", np.random.default_rng(0).normal(size=(21, 40)))
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["CRPIX*"]
    settings = InputSettings(kind="image", shape=(8, 8))
    whole = read_sample(path, None, settings)
    monkeypatch.setattr("pipeline.data.sample._LARGE", 0)
    part = read_sample(path, None, settings)
    np.testing.assert_allclose((part.ra, part.dec), (whole.ra, whole.dec), rtol=1e-12)


def test_a_row_of_a_stack_equals_the_file_of_that_object(tmp_path):
    data = np.random.default_rng(0).normal(size=(3, 8, 8))
    stamp(tmp_path / "stack.fits", data)
    stamp(tmp_path / "one.fits", data[1])
    settings = InputSettings(kind="image", shape=(6, 6))
    stacked = read_sample(tmp_path / "stack.fits", 1, settings)
    np.testing.assert_array_equal(stacked.data, read_sample(tmp_path / "one.fits", None, settings).data)


def test_spectra_of_text_and_fits_agree(tmp_path):
    wavelength = 4000 + 2.0 * np.arange(300)
    flux = np.sin(wavelength / 50).astype(np.float32)
    np.savetxt(tmp_path / "s.txt", np.column_stack([wavelength, flux]))
    header = fits.Header({"CTYPE1": "WAVE", "CUNIT1": "Angstrom", "CRVAL1": 4000.0, "CDELT1": 2.0, "CRPIX1": 1.0})
    fits.PrimaryHDU(flux, header).writeto(tmp_path / "s.fits")
    settings = InputSettings(kind="spectrum", grid=(4100, 4500, 1))
    text = read_sample(tmp_path / "s.txt", None, settings)
    image = read_sample(tmp_path / "s.fits", None, settings)
    assert text.data.shape == (1, 400) and text.data.dtype == np.float32
    np.testing.assert_allclose(text.data, image.data, atol=1e-6)
    np.testing.assert_allclose(text.data[0, ::2], flux[50:250], atol=1e-6)
    with pytest.raises(UserError, match=r"s.txt"):
        read_sample(tmp_path / "s.txt", None, InputSettings(kind="spectrum", grid=(8000, 9000, 1)))


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
def test_pictures_are_bytes_with_a_position_where_it_is_known(tmp_path, colour, channels):
    pixels = np.random.default_rng(0).integers(0, 256, size=(10, 14, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    settings = InputSettings(kind="image", colour=colour, shape=(8, 8), bin=2, pixel_scale=1.8)
    sample = read_sample(tmp_path / "a.png", None, settings, (30.0, 40.0))
    assert sample.data.shape == (channels, 4, 4) and sample.data.dtype == np.uint8
    wcs = WCS(fits.Header.fromstring(sample.header))
    np.testing.assert_allclose(wcs.wcs_pix2world([[1.5, 1.5]], 0), [[30.0, 40.0]])
    scales = np.abs(wcs.wcs.cdelt) * 3600
    np.testing.assert_allclose(scales, 3.6)
    assert read_sample(tmp_path / "a.png", None, settings).header == ""


def test_what_does_not_fit_the_kind_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    image = stamp(tmp_path / "a.fits", np.ones((6, 6)))
    hollow = np.ones((9, 9))
    hollow[2:7, 2:7] = np.nan
    stamp(tmp_path / "hollow.fits", hollow)
    for file, row, values in [
        ("a.png", None, {"kind": "cube"}),
        ("a.png", 2, {"kind": "image"}),
        ("a.fits", None, {"kind": "cube", "shape": (3, 3, 3)}),
        ("a.fits", None, {"kind": "image", "colour": "rgb"}),
        ("a.fits", None, {"kind": "image", "unit": "erg/s"}),
        ("hollow.fits", None, {"kind": "image", "shape": (3, 3)}),
        ("gone.fits", None, {"kind": "image"}),
        ("a.fits", None, {"kind": "idx"}),
        ("a.fits", None, {"kind": "table"}),
    ]:
        with pytest.raises(UserError):
            read_sample(tmp_path / file, row, InputSettings.model_validate(values))
    assert image.exists()


def test_idx_and_table_rows(tmp_path):
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 4) + images.tobytes()))
    settings = InputSettings(kind="idx")
    assert sample_rows(path, settings) == [0, 1]
    np.testing.assert_array_equal(read_sample(path, 1, settings).data, images[1:2])
    with pytest.raises(UserError, match="holds 2 images"):
        read_sample(path, None, settings)
    with pytest.raises(UserError, match="no row 2"):
        read_sample(path, 2, settings)
    (tmp_path / "t.csv").write_text("a,b,c\n1,x,\n2,y,4\n")
    table = InputSettings(kind="table", features=["c", "a"])
    assert sample_rows(tmp_path / "t.csv", table) == [0, 1]
    np.testing.assert_array_equal(read_sample(tmp_path / "t.csv", 0, table).data, [[np.nan, 1]])
    np.testing.assert_array_equal(read_sample(tmp_path / "t.csv", 1, table).data, [[4, 2]])
    with pytest.raises(UserError, match='"y" in feature column "b"'):
        read_sample(tmp_path / "t.csv", 1, InputSettings(kind="table", features=["b"]))


FRAMES = {
    "ICRS": ("RA", "DEC", {"RADESYS": "ICRS"}, "icrs"),
    "no frame": ("RA", "DEC", {}, "icrs"),
    "FK5": ("RA", "DEC", {"EQUINOX": 2000.0}, "fk5"),
    "B1950": ("RA", "DEC", {"EQUINOX": 1950.0}, FK4(equinox="B1950")),
    "FK4": ("RA", "DEC", {"RADESYS": "FK4"}, FK4(equinox="B1950")),
    "old epoch": ("RA", "DEC", {"EPOCH": 1950.0}, FK4(equinox="B1950")),
    "galactic": ("GLON", "GLAT", {}, "galactic"),
    "galactic with a stray frame": ("GLON", "GLAT", {"RADESYS": "FK5", "EQUINOX": 2000.0}, "galactic"),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_is_in_icrs_whatever_the_frame(tmp_path, name, turned):
    lon, lat, cards, frame = FRAMES[name]
    header = fits.Header(cards)
    axes = [(f"{lat:-<4}-TAN", -20.0, 1e-3), (f"{lon:-<4}-TAN", 120.0, -1e-3)]
    for axis, (ctype, reference, step) in enumerate(axes if turned else axes[::-1], 1):
        header[f"CTYPE{axis}"], header[f"CRPIX{axis}"] = ctype, 5.0
        header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = reference, step
    fits.PrimaryHDU(np.ones((9, 9), np.float32), header).writeto(tmp_path / "a.fits")
    sample = read_sample(tmp_path / "a.fits", None, InputSettings(kind="image"))
    expected = SkyCoord(120.0, -20.0, unit="deg", frame=frame)
    assert SkyCoord(sample.ra, sample.dec, unit="deg").separation(expected.icrs).arcsec < 1e-3


@pytest.mark.parametrize("axes", [("HPLN", "HPLT"), ("ELON", "ELAT"), ("RA--", "DEC-")])
def test_a_frame_that_is_not_among_the_stars_gives_no_position(tmp_path, axes):
    header = fits.Header({"RADESYS": "GAPPT", "CDELT1": -1e-3, "CDELT2": 1e-3, "CRPIX1": 5.0, "CRPIX2": 5.0})
    header["CTYPE1"], header["CTYPE2"] = f"{axes[0]}-TAN", f"{axes[1]}-TAN"
    fits.PrimaryHDU(np.ones((9, 9), np.float32), header).writeto(tmp_path / "a.fits")
    sample = read_sample(tmp_path / "a.fits", None, InputSettings(kind="image"))
    assert np.isnan(sample.ra) and np.isnan(sample.dec)


POSITIONS = {
    "degrees": ({"RA": 120.0, "DEC": -20.0}, "icrs"),
    "target": ({"RA_OBJ": 120.0, "DEC_OBJ": -20.0, "RA": "08:00:00", "DEC": "-20:00:00"}, "icrs"),
    "fibre": ({"PLUG_RA": 120.0, "PLUG_DEC": -20.0, "EQUINOX": "J2000"}, "fk5"),
    "old": ({"RA": 120.0, "DEC": -20.0, "EQUINOX": 1950.0}, FK4(equinox="B1950")),
    "text": ({"RA": "08:00:00", "DEC": "-20:00:00"}, None),
    "hours": ([("RA", 8.0, "[h] right ascension"), ("DEC", -20.0)], None),
    "half": ({"RA": 120.0}, None),
    "no place": ({"RA": 999.0, "DEC": -99.0}, None),
}


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("form", ["image", "table", "primary"])
def test_spectra_have_the_position_of_their_header(tmp_path, name, form):
    cards, frame = POSITIONS[name]
    flux, wave = np.ones(50, np.float32), 4000.0 + np.arange(50)
    if form == "image":
        hdus = fits.PrimaryHDU(flux, fits.Header(cards) + fits.Header({"CRVAL1": 4000.0, "CDELT1": 1.0}))
    else:
        columns = [fits.Column("wave", "D", array=wave), fits.Column("flux", "E", array=flux)]
        primary, extension = (cards, []) if form == "primary" else ([], cards)
        hdus = fits.HDUList([
            fits.PrimaryHDU(header=fits.Header(primary)),
            fits.BinTableHDU.from_columns(columns, fits.Header(extension)),
        ])  # fmt: skip
    hdus.writeto(tmp_path / "a.fits")
    settings = InputSettings(kind="spectrum", grid=(4005, 4040, 1))
    sample = read_sample(tmp_path / "a.fits", None, settings)
    if frame is None:
        assert np.isnan(sample.ra) and np.isnan(sample.dec)
    else:
        expected = SkyCoord(120.0, -20.0, unit="deg", frame=frame)
        assert SkyCoord(sample.ra, sample.dec, unit="deg").separation(expected.icrs).arcsec < 1e-3
    given = read_sample(tmp_path / "a.fits", None, settings, (30.0, 40.0))
    assert (given.ra, given.dec) == (30.0, 40.0)


def test_the_position_of_a_field_is_not_that_of_its_stars(tmp_path):
    header = fits.Header({"CRVAL1": 4000.0, "CDELT1": 1.0, "RA": 120.0, "DEC": -20.0})
    fits.PrimaryHDU(np.ones((3, 50), np.float32), header).writeto(tmp_path / "a.fits")
    sample = read_sample(tmp_path / "a.fits", 1, InputSettings(kind="spectrum", grid=(4005, 4040, 1)))
    assert np.isnan(sample.ra) and np.isnan(sample.dec)
