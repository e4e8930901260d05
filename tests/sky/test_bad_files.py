"""A table of bad inputs: each is one sentence that begins with the path, and never another exception."""

import gzip
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from pipeline.errors import UserError
from pipeline.sky.frame import NoWCSWarning, frame_info, read_frame
from pipeline.sky.pictures import read_idx, read_picture

IMAGE = np.arange(1.0, 3001.0, dtype="f4").reshape(50, 60)
WAVE = np.arange(4000.0, 4030.0)


def image(path, data=IMAGE, **cards):
    fits.PrimaryHDU(data, fits.Header({key.replace("_", "-"): value for key, value in cards.items()})).writeto(path)
    return path


def content(path, data):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def text(path, lines):
    return content(path, "\n".join(lines).encode())


def columns(path, wave=WAVE, flux=None, names=("wavelength", "flux"), unit=None):
    flux = np.ones(len(wave)) if flux is None else flux
    made = [fits.Column(names[0], "D", unit=unit, array=wave), fits.Column(names[1], "D", array=flux)]
    fits.BinTableHDU.from_columns(made).writeto(path)
    return path


def packed(path, keep=None, flip=None):
    raw = image(path.with_name("raw.fits")).read_bytes()
    made = bytearray(gzip.compress(raw, mtime=0))
    if flip:
        made[flip] ^= 0xFF
    return content(path, bytes(made[:keep]))


def tiled(path, keep=None):
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU((IMAGE * 7).astype("i4"), compression_type="RICE_1")]).writeto(
        path
    )
    made = bytearray(path.read_bytes())
    return content(path, bytes(made[:keep]))


def zipped(path, name="a.fits", spoil=False):
    raw = image(path.with_name("raw.fits")).read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, raw)
    made = bytearray(path.read_bytes())
    if spoil:
        made[300:400] = b"\xff" * 100
    return content(path, bytes(made)) / "a.fits"


def picture(path, keep=None):
    Image.fromarray((IMAGE % 256).astype(np.uint8)).save(path)
    return content(path, path.read_bytes()[:keep])


def bomb(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    return content(path, b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))


def broken_header(path):
    return content(
        path, image(path).read_bytes().replace(b"NAXIS1  =                   60", b"NAXIS1  =             parsnip", 1)
    )


# name: (make the file in a folder, arguments of read_frame, what the sentence says)
CASES = {
    "absent": (lambda d: d / "a.fits", {}, "does not exist"),
    "folder": (lambda d: d, {}, "is a folder"),
    "empty file": (lambda d: content(d / "a.fits", b""), {}, "is empty"),
    "empty gzip": (lambda d: content(d / "a.fits.gz", gzip.compress(b"")), {}, "is empty"),
    "truncated": (lambda d: content(d / "a.fits", image(d / "b.fits").read_bytes()[:7000]), {}, "is truncated"),
    "header only": (lambda d: content(d / "a.fits", image(d / "b.fits").read_bytes()[:2880]), {}, "is truncated"),
    "half a header": (lambda d: content(d / "a.fits", image(d / "b.fits").read_bytes()[:1000]), {}, "damaged FITS"),
    "broken header": (lambda d: broken_header(d / "a.fits"), {}, ""),
    "text named fits": (lambda d: text(d / "a.fits", ["hello"]), {}, "is not a FITS file"),
    "text named fits.gz": (lambda d: content(d / "a.fits.gz", gzip.compress(b"hello")), {}, "is not a FITS file"),
    "picture named fits": (lambda d: picture(d / "b.png").rename(d / "a.fits"), {}, "is not a FITS file"),
    "no pixels": (lambda d: image(d / "a.fits", None), {}, "holds no image"),
    "table without flux": (lambda d: columns(d / "a.fits", names=("ra", "dec")), {}, "no filled table"),
    "catalogue with a flux": (lambda d: columns(d / "a.fits", names=("ra", "flux")), {}, "no filled table"),
    "empty table": (lambda d: columns(d / "a.fits", wave=np.zeros(0)), {}, "holds no"),
    "table for an image": (lambda d: columns(d / "a.fits"), {"kind": "image"}, "no image"),
    "four real axes": (lambda d: image(d / "a.fits", np.ones((2, 3, 4, 5), "f4")), {}, "4 axes longer than 1"),
    "five real axes": (lambda d: image(d / "a.fits", np.ones((2, 3, 2, 3, 2), "f4")), {}, "5 axes longer than 1"),
    "five axes, cube": (lambda d: image(d / "a.fits", np.ones((2,) * 5, "f4")), {"kind": "cube"}, "is not a cube"),
    "stack": (lambda d: image(d / "a.fits", np.ones((4, 5, 6), "f4")), {"kind": "image"}, "choose one by its row"),
    "image as cube": (lambda d: image(d / "a.fits"), {"kind": "cube"}, "is not a cube"),
    "cube as spectrum": (lambda d: image(d / "a.fits", np.ones((4, 5, 6))), {"kind": "spectrum"}, "is not a spectrum"),
    "row too large": (lambda d: image(d / "a.fits"), {"kind": "spectrum", "row": 50}, "row 50 does not exist"),
    "row negative": (lambda d: image(d / "a.fits"), {"kind": "spectrum", "row": -1}, "row -1 does not exist"),
    "no such HDU": (lambda d: image(d / "a.fits"), {"hdu": 3}, "has no HDU 3"),
    "no such HDU name": (lambda d: image(d / "a.fits"), {"hdu": "SCI"}, "has no HDU 'SCI'"),
    "section outside": (lambda d: image(d / "a.fits"), {"section": (slice(70, 80), slice(0, 5))}, "has no pixels"),
    "all NaN": (lambda d: image(d / "a.fits", IMAGE * np.nan), {}, "all are NaN"),
    "all BLANK": (lambda d: image(d / "a.fits", np.full((4, 4), 7, "i2"), BLANK=7), {}, "all are NaN"),
    "wrong BUNIT": (lambda d: image(d / "a.fits", BUNIT="parsnip"), {}, "is not a unit"),
    "ambiguous BUNIT": (lambda d: image(d / "a.fits", BUNIT="MJY/BEAM"), {}, "milli- or mega"),
    "missing BUNIT": (lambda d: image(d / "a.fits"), {"unit": "Jy/beam"}, "has no unit"),
    "other BUNIT": (lambda d: image(d / "a.fits", BUNIT="ADU"), {"unit": "Jy/beam"}, "do not measure the same thing"),
    "no beam": (lambda d: image(d / "a.fits", BUNIT="Jy/beam"), {"unit": "K"}, "without a beam"),
    "wrong target": (lambda d: image(d / "a.fits", BUNIT="Jy/beam"), {"unit": "parsnip"}, "is not a unit"),
    "gzip cut": (lambda d: packed(d / "a.fits.gz", keep=900), {}, "damaged gzip"),
    "gzip of two bytes": (lambda d: content(d / "a.fits.gz", b"\x1f\x8b"), {}, "damaged gzip"),
    "gzip flipped": (lambda d: packed(d / "a.fits.gz", flip=500), {}, "damaged gzip"),
    "fz cut": (lambda d: tiled(d / "a.fits.fz", keep=8000), {}, "truncated"),
    "archive itself": (lambda d: zipped(d / "a.zip").parent, {}, "is a zip archive"),
    "not an archive": (lambda d: content(d / "a.zip", b"PK parsnip") / "a.fits", {}, "not a readable zip"),
    "no such member": (lambda d: zipped(d / "a.zip", "b.fits"), {}, "has no member"),
    "spoilt member": (lambda d: zipped(d / "a.zip", spoil=True), {}, "damaged"),
    "member above": (lambda d: zipped(d / "a.zip").parent / ".." / "raw.fits", {}, "leaves its archive"),
    "png cut": (lambda d: picture(d / "a.png", keep=150), {}, "damaged picture"),
    "jpeg cut": (lambda d: picture(d / "a.jpg", keep=400), {}, "damaged picture"),
    "text named png": (lambda d: text(d / "a.png", ["hello"]), {}, "not a PNG or JPEG"),
    "picture bomb": (lambda d: bomb(d / "a.png"), {}, "pixels"),
    "picture as spectrum": (lambda d: picture(d / "a.png"), {"kind": "spectrum"}, "is a picture"),
    "idx": (lambda d: content(d / "a", b"\0\0\x08\x01\0\0\0\x02ab"), {}, "idx file of many"),
    "binary": (lambda d: content(d / "a.dat", bytes(range(256))), {}, "neither FITS"),
    "words": (lambda d: text(d / "a.txt", ["one two", "three four"]), {}, "line 2 is not 2 numbers"),
    "only comments": (lambda d: text(d / "a.txt", ["# nothing", ""]), {}, "holds no numbers"),
    "one column": (lambda d: text(d / "a.txt", ["1", "2"]), {}, "one column"),
    "ragged": (lambda d: text(d / "a.txt", ["4000 1", "4001 2 3", "4002 1"]), {}, "line 2"),
    "unnamed columns": (lambda d: text(d / "a.txt", ["1 2 3 4", "2 3 4 5"]), {}, "4 columns"),
    "one point": (lambda d: text(d / "a.txt", ["4000 1"]), {}, "1 point"),
    "non-monotonic": (lambda d: text(d / "a.txt", ["4000 1", "4002 1", "4001 1"]), {}, "do not rise throughout"),
    "repeated wavelength": (lambda d: text(d / "a.txt", ["4000 1", "4001 1", "4001 2"]), {}, "do not rise throughout"),
    "negative wavelength": (lambda d: text(d / "a.txt", ["-1 1", "4001 1"]), {}, "not positive"),
    "NaN spectrum": (lambda d: text(d / "a.txt", ["4000 nan", "4001 nan"]), {}, "all are NaN"),
    "text as image": (lambda d: text(d / "a.txt", ["4000 1", "4001 2"]), {"kind": "image"}, "is text, not an image"),
    "text with row": (lambda d: text(d / "a.txt", ["4000 1", "4001 2"]), {"row": 3}, "row 3 does not exist"),
    "table non-monotonic": (lambda d: columns(d / "a.fits", wave=WAVE % 7 + 1), {}, "do not rise throughout"),
    "table NaN": (lambda d: columns(d / "a.fits", flux=WAVE * np.nan), {}, "all are NaN"),
    "table wrong unit": (lambda d: columns(d / "a.fits", unit="kg"), {}, "not a unit of wavelength"),
    "header wrong unit": (
        lambda d: image(d / "a.fits", IMAGE[0], CRVAL1=4000.0, CDELT1=1.0, CUNIT1="kg"),
        {"kind": "spectrum"},
        "not a unit of wavelength",
    ),
    "header negative": (
        lambda d: image(d / "a.fits", IMAGE[0], CRVAL1=20.0, CDELT1=-1.0),
        {"kind": "spectrum"},
        "not positive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_with_the_path(tmp_path, name):
    make, arguments, says = CASES[name]
    source = make(tmp_path)
    with pytest.raises(UserError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore", NoWCSWarning)
        read_frame(source, **arguments)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert message.startswith(str(tmp_path))
    assert message.endswith(".")
    assert not message.endswith("..")


INFO = ["absent", "folder", "empty file", "truncated", "header only", "half a header", "text named fits", "no pixels"]
INFO += ["five real axes", "wrong BUNIT", "archive itself", "no such member", "picture named fits", "gzip of two bytes"]


@pytest.mark.parametrize("name", INFO)
def test_the_header_alone_shows_it(tmp_path, name):
    make, _, says = CASES[name]
    with pytest.raises(UserError, match=says if "gzip" not in name else "a.fits.gz"):
        frame_info(make(tmp_path))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"hello world", "not an idx file"),
        (b"\0\0\x08\x03\0\0", "truncated"),
        (b"\0\0\x08\x01\0\0\0\x05ab", "promises"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "promises"),
        (b"\0\0\x07\x01\0\0\0\x02ab", "not an idx file"),
    ],
)
def test_bad_idx(tmp_path, data, says):
    with pytest.raises(UserError, match=says):
        read_idx(content(tmp_path / "a", data))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("make", [image, tiled, packed, picture], ids=["fits", "fz", "gz", "png"])
def test_random_damage_is_either_read_or_explained(tmp_path, make, seed):
    rng = np.random.default_rng(seed)
    suffix = {image: ".fits", tiled: ".fits.fz", packed: ".fits.gz", picture: ".png"}[make]
    path = make(tmp_path / f"a{suffix}")
    made = bytearray(path.read_bytes())
    for at in rng.integers(0, min(len(made), 6000), 8):
        made[at] = rng.integers(32, 127)
    path.write_bytes(bytes(made[: rng.integers(10, len(made))] if seed % 3 == 0 else made))
    reader = read_picture if make is picture else read_frame
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = reader(path)
        except UserError as error:
            assert str(error).startswith(str(path))
        else:
            assert result is not None
