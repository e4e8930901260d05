"""Frames of 1, 2 and 3 axes: what is stored is what is read, however it is stored."""

import gzip
import warnings
import zipfile

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.errors import UserError
from pipeline.sky.frame import Beam, BlankFrameWarning, Frame, NoWCSWarning, frame_info, read_frame, write_frame

SHAPES = {1: (40,), 2: (9, 11), 3: (5, 7, 6)}
CTYPES = {1: ["FREQ"], 2: ["RA---SIN", "DEC--SIN"], 3: ["RA---SIN", "DEC--SIN", "FREQ"]}


def pixels(ndim, dtype="f4"):
    return np.random.default_rng(ndim).normal(size=SHAPES[ndim]).astype(dtype)


def sky_header(ndim, extra=()):
    header = fits.Header()
    for axis, ctype in enumerate([*CTYPES[ndim], *extra], 1):
        step, value, unit = (1e6, 1.4e9, "Hz") if ctype == "FREQ" else (1.0, 1.0, "")
        if "SIN" in ctype:
            step, value, unit = (-1e-3, 10.0, "deg") if ctype[0] == "R" else (1e-3, -30.0, "deg")
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = ctype, value
        header[f"CDELT{axis}"], header[f"CRPIX{axis}"], header[f"CUNIT{axis}"] = step, 2.0, unit
    header["BUNIT"], header["BMAJ"], header["BMIN"], header["BPA"] = "JY/BEAM", 2e-3, 1e-3, 190.0
    return header


def store(path, data, header, **options):
    fits.PrimaryHDU(data, header, **options).writeto(path)
    return path


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("degenerate", [(), ("STOKES",), ("FREQ", "STOKES")])
def test_round_trip_restores_axes_header_and_wcs(tmp_path, ndim, degenerate):
    if "FREQ" in CTYPES[ndim] and "FREQ" in degenerate:
        degenerate = ("STOKES",)
    data = pixels(ndim)
    header = sky_header(ndim, degenerate)
    header["OBSERVER"] = "Herschel"
    stored = data.reshape((1,) * len(degenerate) + data.shape)
    frame = read_frame(store(tmp_path / "a.fits", stored, header))
    expected = data[::-1] if ndim == 1 else data  # frequency rises, so wavelength falls
    np.testing.assert_array_equal(frame.data, expected)
    assert frame.ndim == ndim
    assert frame.unit == u.Jy / u.beam
    assert frame.beam == Beam(2e-3, 1e-3, 10.0)
    assert frame.removed == tuple(range(len(degenerate)))
    assert frame.wcs.naxis == ndim
    write_frame(tmp_path / "b.fits", frame)
    again = read_frame(tmp_path / "b.fits")
    np.testing.assert_array_equal(again.data, frame.data)
    assert again.header["OBSERVER"] == "Herschel"
    assert (again.unit, again.beam) == (frame.unit, frame.beam)
    if ndim > 1:
        with fits.open(tmp_path / "b.fits", checksum=True) as hdus:
            assert hdus[0].shape == stored.shape
            assert "CHECKSUM" in hdus[0].header
            assert WCS(hdus[0].header).wcs.compare(WCS(header).wcs)
    else:
        np.testing.assert_allclose(again.wavelength, frame.wavelength, rtol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", [">f4", "<f4", "f8", "u1", ">i2", "i4"])
def test_pixels_are_native_float32(tmp_path, ndim, dtype):
    data = (pixels(ndim) * 50 + 100).astype(dtype)
    frame = read_frame(store(tmp_path / "a.fits", data, sky_header(ndim)))
    assert frame.data.dtype == np.float32
    assert frame.data.dtype.isnative
    np.testing.assert_array_equal(frame.data, data.astype(np.float32))


def variants(tmp_path, data, header):
    """The same image stored in every way; integers so that compression is lossless."""
    plain = store(tmp_path / "plain.fits", data, header)
    packed = tmp_path / "packed.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    tiled = tmp_path / "tiled.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header, compression_type="RICE_1")]).writeto(tiled)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "folder/plain.fits")
        archive.write(packed, "packed.fits.gz")
    inside = [tmp_path / "all.zip" / "folder/plain.fits", tmp_path / "all.zip" / "packed.fits.gz"]
    return [plain, packed, tiled, *inside]


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_storage_gives_the_same_frame_whole_and_by_section(tmp_path, ndim):
    data = (pixels(ndim) * 100).astype("i2")
    section = tuple(slice(1, size - 2) for size in data.shape)
    for source in variants(tmp_path, data, sky_header(ndim)):
        frame = read_frame(source)
        np.testing.assert_array_equal(frame.data, data)
        part = read_frame(source, section=section)
        np.testing.assert_array_equal(part.data, data[section])
        first = [0.0] * ndim
        np.testing.assert_allclose(
            part.wcs.wcs_pix2world([first], 0), frame.wcs.wcs_pix2world([[1.0] * ndim], 0), rtol=1e-12
        )
        info = frame_info(source)
        assert (info.shape, info.unit, info.beam) == (frame.data.shape, frame.unit, frame.beam)
        assert info.wcs.wcs.compare(frame.wcs.wcs)


@pytest.mark.parametrize("packed", [False, True])
def test_scaled_integers_and_blank(tmp_path, packed):
    stored = np.array([[1, 2, -99], [4, 5, 6]], "i2")
    header = sky_header(2)
    header["BLANK"] = -99
    path = store(tmp_path / "a.fits", stored, header)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = 0.5, 10.0
    if packed:
        (tmp_path / "a.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "a.fits.gz"
    expected = np.where(stored == -99, np.nan, 10 + 0.5 * stored)
    np.testing.assert_allclose(read_frame(path).data, expected)
    np.testing.assert_allclose(read_frame(path, section=(slice(0, 1), slice(1, 3))).data, expected[:1, 1:])
    write_frame(tmp_path / "b.fits", read_frame(path))
    np.testing.assert_allclose(read_frame(tmp_path / "b.fits").data, expected)


@pytest.mark.parametrize("dtype", ["i1", "u2", "u4"])
@pytest.mark.parametrize("storage", ["plain", "gz", "fz"])
def test_blank_among_integers_stored_with_an_offset(tmp_path, dtype, storage):
    data = np.array([[1, 2, 99], [4, 5, 6]], dtype)
    header = sky_header(2)
    header["BLANK"] = 99 - (-128 if dtype == "i1" else 1 << (8 * data.itemsize - 1))
    path = tmp_path / "a.fits"
    if storage == "fz":
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header)]).writeto(path)
    else:
        store(path, data, header)
    if storage == "gz":
        path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(".fits.gz")
    expected = np.where(data == 99, np.nan, data)
    np.testing.assert_array_equal(read_frame(path).data, expected)
    np.testing.assert_array_equal(read_frame(path, section=(slice(0, 1), slice(1, 3))).data, expected[:1, 1:])


@pytest.mark.parametrize(("kind", "ndim"), [("spectrum", 1), ("image", 2), ("cube", 3)])
def test_row_of_a_stack_is_that_object(tmp_path, kind, ndim):
    stack = np.stack([pixels(ndim) + k for k in range(4)])
    path = store(tmp_path / "stack.fits", stack, fits.Header({"CRVAL1": 4000.0, "CDELT1": 2.0}))
    for row in (0, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoWCSWarning)
            frame = read_frame(path, kind=kind, row=row)
        np.testing.assert_array_equal(frame.data, stack[row])
    with pytest.raises(UserError, match="row 4 does not exist"):
        read_frame(path, kind=kind, row=4)
    with pytest.raises(UserError, match="choose one by its row"):
        read_frame(path, kind=kind)


@pytest.mark.parametrize(("kind", "ndim"), [("spectrum", 1), ("image", 2), ("cube", 3)])
@pytest.mark.parametrize("lead", [(1,), (1, 1), (1, 1, 1)])
@pytest.mark.filterwarnings("ignore::pipeline.sky.frame.NoWCSWarning")
def test_a_row_is_counted_along_the_first_axis_that_is_not_degenerate(tmp_path, kind, ndim, lead):
    stack = np.stack([pixels(ndim) + k for k in range(4)])
    header = fits.Header({"CRVAL1": 4000.0, "CDELT1": 2.0})
    path = store(tmp_path / "stack.fits", stack.reshape(lead + stack.shape), header)
    for row in range(4):
        frame = read_frame(path, kind=kind, row=row)
        np.testing.assert_array_equal(frame.data, stack[row])
    write_frame(tmp_path / "one.fits", frame)
    assert fits.getdata(tmp_path / "one.fits").shape == (1,) * (len(lead) + 1) + frame.data.shape
    np.testing.assert_array_equal(read_frame(tmp_path / "one.fits", kind=kind).data, stack[3])
    with pytest.raises(UserError, match="row 4 does not exist"):
        read_frame(path, kind=kind, row=4)


@pytest.mark.parametrize("shape", [(1, 1, 9, 11), (1, 9, 11), (9, 11)])
def test_row_zero_of_a_single_object_is_itself(tmp_path, shape):
    data = pixels(2)
    path = store(tmp_path / "a.fits", data.reshape(shape), sky_header(2))
    np.testing.assert_array_equal(read_frame(path, kind="image", row=0).data, data)
    with pytest.raises(UserError, match="row 2 does not exist"):
        read_frame(path, kind="image", row=2)


def test_asked_kind_keeps_a_thin_cube(tmp_path):
    path = store(tmp_path / "a.fits", pixels(2)[None], sky_header(2, ["FREQ"]))
    assert read_frame(path, kind="cube").data.shape == (1, 9, 11)
    assert read_frame(path).data.shape == (9, 11)


def test_header_may_describe_more_axes_than_the_data(tmp_path):
    path = tmp_path / "a.fits"
    store(path, pixels(2), sky_header(2, ["FREQ", "STOKES"]))
    assert list(read_frame(path).wcs.wcs.ctype) == ["RA---SIN", "DEC--SIN"]


def test_first_hdu_with_data_and_a_named_one(tmp_path):
    images = [fits.ImageHDU(pixels(2) + k, sky_header(2), name=f"BAND{k}") for k in range(2)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.fits").data, pixels(2))
    for hdu in (2, "BAND1"):
        np.testing.assert_array_equal(read_frame(tmp_path / "a.fits", hdu=hdu).data, pixels(2) + 1)


def test_beam_from_an_aips_history(tmp_path):
    header = sky_header(2)
    for key in ("BMAJ", "BMIN", "BPA"):
        del header[key]
    header["HISTORY"] = "AIPS   CLEAN BMAJ=  1.5000E-03 BMIN=  1.2000E-03 BPA=  30.00"
    assert read_frame(store(tmp_path / "a.fits", pixels(2), header)).beam == Beam(1.5e-3, 1.2e-3, 30.0)


def test_unit_conversion_on_reading(tmp_path):
    path = store(tmp_path / "a.fits", pixels(2), sky_header(2))
    frame = read_frame(path, unit="mJy/beam")
    np.testing.assert_allclose(frame.data, pixels(2) * 1000, rtol=1e-6)
    assert frame.unit == u.mJy / u.beam


def test_kelvin_uses_the_frequency_of_each_channel(tmp_path):
    path = store(tmp_path / "a.fits", np.ones(SHAPES[3], "f4"), sky_header(3))
    kelvin = read_frame(path, unit="K").data[:, 0, 0]
    frequency = 1.4e9 + 1e6 * (np.arange(5) - 1)
    np.testing.assert_allclose(kelvin / kelvin[0], (frequency[0] / frequency) ** 2, rtol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("missing", ["CRPIX", "CRVAL", "CUNIT"])
def test_a_section_stays_in_place_whatever_card_is_missing(tmp_path, ndim, missing):
    header = sky_header(ndim)
    for axis in range(1, ndim + 1):
        del header[f"{missing}{axis}"]
    if missing == "CRVAL":
        header["CRVAL3"] = 1.4e9  # zero is no frequency
    path = store(tmp_path / "a.fits", pixels(ndim), header)
    whole, part = read_frame(path), read_frame(path, section=(slice(2, 5),) * ndim)
    np.testing.assert_allclose(
        part.wcs.wcs_pix2world([[0.0] * ndim], 0), whole.wcs.wcs_pix2world([[2.0] * ndim], 0), rtol=1e-12
    )
    # On the sky the default is that of the standard, which every other program takes.
    np.testing.assert_allclose(
        whole.wcs.celestial.wcs_pix2world([[3.0, 3.0]], 0), WCS(header).celestial.wcs_pix2world([[3.0, 3.0]], 0)
    )
    write_frame(tmp_path / "b.fits", part)
    assert read_frame(tmp_path / "b.fits").wcs.wcs.compare(part.wcs.wcs)


def velocity_cube(path, ctype, cards, step=-1e4):
    header = sky_header(3)
    header["CTYPE3"], header["CRVAL3"], header["CDELT3"] = ctype, 9e3, step
    header["CUNIT3"], header["CRPIX3"] = "km/s", 2.0
    header.update(cards)
    return store(path, np.ones(SHAPES[3], "f4"), header)


@pytest.mark.parametrize("ctype", ["VRAD", "VOPT", "VELO", "VOPT-F2W"])
def test_kelvin_on_a_velocity_axis_follows_wcslib(tmp_path, ctype):
    path = velocity_cube(tmp_path / "a.fits", ctype, {"RESTFRQ": 1.42e9})
    spectral = WCS(fits.getheader(path)).sub([3])
    spectral.wcs.sptr("FREQ-???")
    frequency = spectral.wcs_pix2world(np.arange(5)[:, None], 0)[:, 0]
    area = np.pi * np.radians(2e-3) * np.radians(1e-3) / (4 * np.log(2))
    expected = 1e-26 * 299792458.0**2 / (2 * 1.380649e-23 * frequency**2 * area)
    np.testing.assert_allclose(read_frame(path, unit="K").data[:, 3, 2], expected, rtol=1e-6)
    part = read_frame(path, unit="K", section=(slice(2, 4), slice(0, 7), slice(0, 6)))
    np.testing.assert_allclose(part.data[:, 3, 2], expected[2:4], rtol=1e-6)


@pytest.mark.parametrize(
    ("ctype", "velref", "same"),
    [("VELO-LSR", 257, "VRAD"), ("VELO-LSR", 1, "VOPT"), ("VELO-LSR", 0, "VELO"), ("FELO-HEL", 1, "VOPT-F2W")],
)
def test_velocities_in_the_manner_of_aips(tmp_path, ctype, velref, same):
    old = velocity_cube(tmp_path / "a.fits", ctype, {"RESTFREQ": 1.42e9, "VELREF": velref})
    new = velocity_cube(tmp_path / "b.fits", same, {"RESTFRQ": 1.42e9})
    np.testing.assert_array_equal(read_frame(old, unit="K").data, read_frame(new, unit="K").data)


@pytest.mark.parametrize(
    "cards", [{}, {"RESTFRQ": 1.42e9, "CUNIT3": "kg"}, {"RESTFRQ": 1.42e9, "CUNIT3": "parsnip"}], ids=str
)
@pytest.mark.filterwarnings("ignore::pipeline.sky.frame.NoWCSWarning")
def test_kelvin_is_refused_where_velocities_give_no_frequency(tmp_path, cards):
    path = velocity_cube(tmp_path / "a.fits", "VRAD", cards)
    with pytest.raises(UserError, match="without a frequency"):
        read_frame(path, unit="K")
    assert read_frame(path, unit="mJy/beam").data.max() == 1000


def test_infinite_pixels_become_nan(tmp_path):
    data = pixels(2)
    data[0, 0] = np.inf
    assert np.isnan(read_frame(store(tmp_path / "a.fits", data, sky_header(2))).data[0, 0])


@pytest.mark.parametrize(
    "flaw",
    [
        {"CTYPE1": "", "CTYPE2": ""},
        {"CTYPE2": ""},
        {"CDELT1": 0.0},
        {"CD1_1": 1.0, "CD1_2": 1.0, "CD2_1": 1.0, "CD2_2": 1.0},
        {"CTYPE2": "DEC--TAN"},
        {"CUNIT1": "parsnip"},
    ],
    ids=str,
)
def test_contradictory_wcs_is_a_named_warning(tmp_path, flaw):
    header = sky_header(2)
    header.update(flaw)
    path = store(tmp_path / "a.fits", pixels(2), header)
    with pytest.warns(NoWCSWarning, match=r"a\.fits: no usable world coordinates"):
        frame = read_frame(path)
    assert frame.wcs is None
    np.testing.assert_array_equal(frame.data, pixels(2))


def test_all_zero_is_a_named_warning(tmp_path):
    path = store(tmp_path / "a.fits", np.zeros((4, 4), "f4"), sky_header(2))
    with pytest.warns(BlankFrameWarning, match="every pixel is zero"):
        assert not read_frame(path).data.any()


def test_harmless_header_flaws_are_silent(tmp_path):
    header = sky_header(2)
    header["DATE-OBS"], header["CUNIT1"], header["CUNIT2"] = "11/01/98", "DEGREE", "DEGREE"
    header["BLANC"] = -1
    path = store(tmp_path / "a.fits", pixels(2), header)
    # BLANK beside floating point is against the standard, so astropy does not write it without a murmur.
    path.write_bytes(path.read_bytes().replace(b"BLANC   =", b"BLANK   ="))
    assert read_frame(path).wcs is not None


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_frame_made_by_hand_is_written_with_its_wcs_and_the_same_bytes_twice(tmp_path, ndim):
    wcs = WCS(sky_header(ndim)).sub(ndim)
    frame = Frame(pixels(ndim), u.K, wcs, Beam(0.1, 0.1, 0.0))
    for name in ("a.fits", "b.fits"):
        write_frame(tmp_path / name, frame)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    again = read_frame(tmp_path / "a.fits")
    where = np.random.default_rng(0).uniform(0, 5, (4, ndim))
    turned = len(frame.data) - 1 - where if ndim == 1 else where  # frequency rises, so wavelength falls
    np.testing.assert_allclose(again.wcs.wcs_pix2world(turned, 0), wcs.wcs_pix2world(where, 0), rtol=1e-12)
    assert (again.unit, again.beam) == (u.K, frame.beam)


def test_cards_that_are_not_fits_are_left_out_on_writing(tmp_path):
    path = store(tmp_path / "a.fits", pixels(2), sky_header(2) + fits.Header({"OBSERVER": "x", "MAGTYPE": "ugriz"}))
    path.write_bytes(
        path.read_bytes().replace(b"MAGTYPE =", b"MAGTYP~ =").replace(b"OBSERVER= 'x   ", b"OBSERVER=  x'  ")
    )
    write_frame(tmp_path / "b.fits", read_frame(path))
    np.testing.assert_array_equal(read_frame(tmp_path / "b.fits").data, pixels(2))


def test_pictures_are_frames_too(tmp_path):
    from PIL import Image

    data = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(data).save(tmp_path / "a.png")
    frame = read_frame(tmp_path / "a.png")
    assert (frame.picture, frame.ndim, frame.data.dtype) == (True, 2, np.uint8)
    np.testing.assert_array_equal(frame.data, np.moveaxis(data, -1, 0))
