"""A reader of windows gives the pixels of the whole frame, in Jy/beam, or one clear sentence."""

import gzip
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from pipeline.data.background import measure_background
from pipeline.errors import UserError
from pipeline.sky.frame import read_frame
from pipeline.sky.headers import Beam, NoWCSWarning
from pipeline.sky.window import FrameReader, MissingUnitWarning

SHAPES = {"image": (37, 53), "cube": (5, 17, 13)}
SECTIONS = {"image": (slice(3, 20), slice(50, 53)), "cube": (slice(1, 4), slice(0, 17), slice(6, 7))}
KINDS = ["image", "cube"]


def header(axes=2, without=(), **changes):
    cards = {"BUNIT": "Jy/beam", "BMAJ": 3e-3, "BMIN": 2e-3, "BPA": 20.0}
    for axis, ctype in enumerate(["RA---SIN", "DEC--SIN", "FREQ", "STOKES"][:axes], 1):
        step, value = ((-1e-3, 180.0), (1e-3, 30.0), (1e6, 1.4e9), (1.0, 1.0))[axis - 1]
        cards |= {f"CTYPE{axis}": ctype, f"CRVAL{axis}": value, f"CDELT{axis}": step, f"CRPIX{axis}": 2.0}
    return fits.Header({key: value for key, value in (cards | changes).items() if key not in without})


def pixels(kind="image"):
    data = np.random.default_rng(1).normal(size=SHAPES[kind]).astype("f4")
    data[..., 4, 5] = np.nan
    return data


def store(path, data, cards):
    fits.PrimaryHDU(data, cards).writeto(path)
    return path


def whole(reader):
    return reader.read([slice(None)] * reader.ndim)


def refusal(path, **options):
    with pytest.raises(UserError) as caught:
        FrameReader(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message
    return message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [">f4", ">f8", "u1", "i2", "i4"])
@pytest.mark.parametrize("scaled", [False, True])
def test_sections_equal_the_frame_that_is_read_whole(tmp_path, kind, dtype, scaled):
    data = np.nan_to_num(pixels(kind) * 50 + 100).astype(dtype)
    cards = header(len(SHAPES[kind]))
    path = store(tmp_path / "a.fits", data, cards)
    if scaled:
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = 0.5, -3.0
            if np.dtype(dtype).kind != "f":
                hdus[0].header["BLANK"] = int(data.flat[0])
    expected = read_frame(path, kind=kind)
    with FrameReader(path, kind=kind) as reader:
        assert reader.shape == expected.data.shape and reader.beam == expected.beam and reader.note == ""
        assert reader.wcs.wcs.compare(expected.wcs.wcs)
        for section in (SECTIONS[kind], [slice(None)] * reader.ndim):
            part = reader.read(section)
            assert part.dtype == np.float32 and part.dtype.isnative
            np.testing.assert_allclose(part, expected.data[tuple(section)], rtol=1e-6)
    assert np.isnan(expected.data).any() == (scaled and np.dtype(dtype).kind != "f")


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_axes_go_and_blanks_stay(tmp_path, kind):
    data = pixels(kind)
    stored = data.reshape((1,) * (4 - data.ndim) + data.shape)
    with FrameReader(store(tmp_path / "a.fits", stored, header(4)), kind=kind) as reader:
        assert reader.shape == data.shape and reader.wcs.naxis == data.ndim
        np.testing.assert_array_equal(reader.read(SECTIONS[kind]), data[SECTIONS[kind]])
        assert np.isnan(whole(reader)).sum() == np.isnan(data).sum()
        np.testing.assert_allclose(np.mean(reader.frequency), 1.4e9, rtol=0.01)
        assert np.shape(reader.frequency) == (() if kind == "image" else (5,))


def test_packed_files_give_the_same_pixels_and_say_so(tmp_path):
    data = np.arange(37 * 53, dtype="i2").reshape(37, 53)
    plain = store(tmp_path / "plain.fits", data, header())
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    tiled = fits.CompImageHDU(data, header(), compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), tiled]).writeto(tmp_path / "a.fits.fz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(plain, "plain.fits")
    for path in (tmp_path / "a.fits.gz", tmp_path / "a.fits.fz", tmp_path / "a.zip" / "plain.fits"):
        with FrameReader(path) as reader:
            assert "read into memory" in reader.note
            part = reader.read(SECTIONS["image"])
            np.testing.assert_array_equal(part, data[SECTIONS["image"]])
            part += 1
            np.testing.assert_array_equal(reader.read(SECTIONS["image"]), data[SECTIONS["image"]])
        with pytest.raises(ValueError, match="closed"):
            reader.read(SECTIONS["image"])


def test_a_section_of_a_huge_file_is_read_without_the_rest(tmp_path):
    size = 20000  # 1.6 GB, all holes but one row
    cards = header()
    cards["SIMPLE"], cards["BITPIX"], cards["NAXIS"], cards["NAXIS1"], cards["NAXIS2"] = True, -32, 2, size, size
    top = fits.Header({key: cards[key] for key in ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2")})
    top.update(cards)
    start = top.tostring().encode()
    path = tmp_path / "huge.fits"
    with open(path, "wb") as stream:
        stream.write(start)
        stream.truncate(len(start) + 4 * size * size)
        stream.seek(len(start) + 4 * size * 15000)
        stream.write(np.arange(size, dtype=">f4").tobytes())
    with FrameReader(path) as reader:
        assert reader.shape == (size, size)
        tracemalloc.start()
        part = reader.read((slice(14999, 15001), slice(100, 103)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e6
        np.testing.assert_array_equal(part, [[0, 0, 0], [100, 101, 102]])


def test_threads_read_at_the_same_time(tmp_path):
    data = pixels()
    sections = [(slice(row, row + 2), slice(None)) for row in range(0, 30, 2)]
    with FrameReader(store(tmp_path / "a.fits", data, header())) as reader, ThreadPoolExecutor(4) as pool:
        for section, part in zip(sections, pool.map(reader.read, sections), strict=True):
            np.testing.assert_array_equal(part, data[section])


def test_pixel_scale_is_that_of_square_pixels(tmp_path):
    turn = np.deg2rad(30)
    cards = header(without=("CDELT1", "CDELT2"), CD1_1=-2e-3 * np.cos(turn), CD1_2=2e-3 * np.sin(turn))
    cards["CD2_1"], cards["CD2_2"] = 2e-3 * np.sin(turn), 2e-3 * np.cos(turn)
    with FrameReader(store(tmp_path / "a.fits", pixels(), cards)) as reader:
        assert reader.pixel_scale == pytest.approx(2e-3, rel=1e-9)
    cards["CD2_1"], cards["CD2_2"] = 1.05 * cards["CD2_1"], 1.05 * cards["CD2_2"]
    with (
        FrameReader(store(tmp_path / "b.fits", pixels(), cards)) as reader,
        pytest.raises(UserError, match="7.2 arcsec, which are not square; regrid"),
    ):
        _ = reader.pixel_scale


@pytest.mark.parametrize(("text", "factor"), [("JY/BEAM", 1), ("mJy/beam", 1e-3), ("uJy beam-1", 1e-6)])
def test_scales_of_jansky(tmp_path, text, factor):
    with FrameReader(store(tmp_path / "a.fits", pixels(), header(BUNIT=text))) as reader:
        assert reader.unit == u.Jy / u.beam
        np.testing.assert_allclose(whole(reader), pixels() * factor, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_kelvin_by_the_rayleigh_jeans_law(tmp_path, kind):
    axes, stored = (3, pixels(kind)) if kind == "cube" else (3, pixels(kind)[None])
    path = store(tmp_path / "a.fits", stored, header(axes, BUNIT="K"))
    with FrameReader(path, kind=kind) as reader:
        np.testing.assert_allclose(
            reader.read(SECTIONS[kind]), read_frame(path, kind=kind, unit="Jy/beam").data[SECTIONS[kind]], rtol=1e-5
        )
        frequency = np.reshape(reader.frequency, (-1, 1, 1) if kind == "cube" else ())
        area = np.pi * np.deg2rad(3e-3) * np.deg2rad(2e-3) / (4 * np.log(2))
        factor = 2 * 1.380649e-23 * (frequency / 299792458.0) ** 2 * area * 1e26
        np.testing.assert_allclose(whole(reader), pixels(kind) * factor, rtol=1e-5)
    assert "without a frequency" in refusal(store(tmp_path / "b.fits", pixels(), header(BUNIT="K")))


def test_native_units_need_neither_beam_nor_unit(tmp_path):
    path = store(tmp_path / "pb.fits", pixels(), header(without=("BMAJ", "BMIN", "BUNIT")))
    with FrameReader(path, unit=None) as reader:
        assert reader.unit is None and reader.beam is None
        np.testing.assert_array_equal(whole(reader), pixels())


def test_no_beam_is_refused_unless_it_is_given(tmp_path):
    path = store(tmp_path / "a.fits", pixels(), header(without=("BMAJ", "BMIN")))
    assert refusal(path).endswith(
        "has no beam (no BMAJ in its header); give its beam, or add BMAJ, BMIN and BPA (degrees) to its header."
    )
    with FrameReader(path, beam=Beam(1e-3, 1e-3)) as reader:
        assert reader.beam == Beam(1e-3, 1e-3)


def test_other_units_are_refused(tmp_path):
    assert "cannot be turned into Jy / beam" in refusal(store(tmp_path / "a.fits", pixels(), header(BUNIT="ADU")))
    assert "is not a unit" in refusal(store(tmp_path / "b.fits", pixels(), header(BUNIT="flurbs")))


def test_missing_unit_and_wcs_are_warned_of(tmp_path):
    with pytest.warns(MissingUnitWarning, match="taken for Jy / beam"):
        reader = FrameReader(store(tmp_path / "a.fits", pixels(), header(without=("BUNIT",))))
    np.testing.assert_array_equal(whole(reader), pixels())
    with pytest.warns(NoWCSWarning, match="positions are in pixels"):
        reader = FrameReader(store(tmp_path / "b.fits", pixels(), header(without=("CTYPE1", "CTYPE2"))))
    assert reader.wcs is None and reader.pixel_scale is None
    np.testing.assert_array_equal(whole(reader), pixels())
    with pytest.warns(NoWCSWarning, match="not celestial"):
        assert FrameReader(store(tmp_path / "c.fits", pixels(), header(CTYPE1="LINEAR", CTYPE2="FREQ"))).wcs is None


def test_bad_files_are_refused_in_one_sentence(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("hello, this is no image")
    assert "is not a FITS file" in refusal(tmp_path / "text.fits")
    path = store(tmp_path / "a.fits", pixels(), header())
    (tmp_path / "cut.fits").write_bytes(path.read_bytes()[:6000])
    assert "is truncated" in refusal(tmp_path / "cut.fits")
    (tmp_path / "cut.fits.gz").write_bytes(gzip.compress(path.read_bytes())[:3000])
    assert "damaged" in refusal(tmp_path / "cut.fits.gz")
    cube = store(tmp_path / "cube.fits", pixels("cube")[None], header(4))
    assert (
        "is a cube of 5 x 17 x 13 pixels, not an image; give one plane of it, or a model of cubes by --model."
        in refusal(cube)
    )
    assert "is not a cube" in refusal(path, kind="cube")
    assert "has no HDU 3" in refusal(path, hdu=3)
    assert "is not an image" in refusal(store(tmp_path / "line.fits", pixels()[0], header(1)))


def test_a_file_that_shrinks_while_open_is_refused(tmp_path):
    path = store(tmp_path / "a.fits", pixels(), header())
    with FrameReader(path) as reader:
        path.write_bytes(path.read_bytes()[:4000])
        with pytest.raises(UserError, match="can no longer be read"):
            whole(reader)


def test_a_frame_of_blanks_has_no_background(tmp_path):
    path = store(tmp_path / "a.fits", np.full((20, 20), np.nan, "f4"), header())
    with FrameReader(path) as reader, pytest.raises(UserError, match="holds no valid pixels"):
        measure_background(reader.read, reader.shape, 8, where=reader.path)


def test_reading_leaves_the_filters_of_warnings_alone(tmp_path):
    path = store(tmp_path / "a.fits", pixels(), header())
    before = list(warnings.filters)
    with FrameReader(path) as reader:
        assert warnings.filters == before
        whole(reader)
    assert warnings.filters == before
