"""A table of bad files, each met by the real command: one sentence, exit code 2, nothing left behind."""

import gzip
import struct
import zipfile
import zlib

import numpy as np
import pytest
from astropy.table import Table

MODELS = ("stars", "galaxies")
NAN = np.full((8, 8), np.nan)


def ingest(task):
    return f"ingest --config run.yaml --task {task} --out new/data.h5"


def classify(name, task="stars"):
    return f"classify {name} --model results/{task}/model.safetensors --out new/types.fits"


def table(w, name, **columns):
    Table(columns).write(w.path(name), overwrite=True)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(w):
    """A small picture that unpacks to 3.6 gigapixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    w.write("pictures/03.png", b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))


def archive(w, spoil=False, path="stars.zip/03.fits"):
    raw = w.path("stars/03.fits").read_bytes()
    with zipfile.ZipFile(w.path("stars.zip"), "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("03.fits", raw)
    if spoil:
        made = bytearray(w.path("stars.zip").read_bytes())
        made[60:160] = b"\xff" * 100
        w.write("stars.zip", bytes(made))
    w.edit("stars.csv", "stars/03.fits", path)


def directory(w, name):
    w.path(name).unlink()
    w.path(name).mkdir()


def packed(w, keep):
    w.write("stars/03.fits.gz", gzip.compress(w.path("stars/03.fits").read_bytes(), mtime=0)[:keep])
    w.edit("stars.csv", "stars/03.fits", "stars/03.fits.gz")


def text(w, lines):
    w.write("stars/03.txt", lines)
    w.edit("stars.csv", "stars/03.fits", "stars/03.txt")


def binary(w):
    w.write("stars/03.txt", bytes(range(256)))
    w.edit("stars.csv", "stars/03.fits", "stars/03.txt")


# One object in a file that is bad, name: (task, file, break it, words). Each is met by ingest, and, where there is
# a model of the task, by classify too.
FILES = {
    "absent": ("stars", "stars/03.fits", lambda w: w.path("stars/03.fits").unlink(), ["does not exist"]),
    "a folder": ("stars", "stars/03.fits", lambda w: directory(w, "stars/03.fits"), ["is a folder"]),
    "empty": ("stars", "stars/03.fits", lambda w: w.write("stars/03.fits", ""), ["is empty"]),
    "text named fits": ("stars", "stars/03.fits", lambda w: w.write("stars/03.fits", "hello"), ["not a FITS file"]),
    "binary named txt": ("stars", "stars/03.txt", binary, ["neither FITS"]),
    "truncated in the data": ("galaxies", "galaxies/03.fits", lambda w: w.cut("galaxies/03.fits", 2900), ["truncated"]),
    "truncated in the header": ("galaxies", "galaxies/03.fits", lambda w: w.cut("galaxies/03.fits", 900), ["damaged"]),
    "truncated gzip": ("stars", "stars/03.fits.gz", lambda w: packed(w, 300), ["damaged gzip"]),
    "one byte of gzip": ("stars", "stars/03.fits.gz", lambda w: packed(w, 2), ["damaged gzip"]),
    "all NaN image": ("galaxies", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", NAN), ["no valid pixel"]),
    "all NaN spectrum": ("stars", "stars/03.fits", lambda w: w.star("stars/03.fits", NAN[0]), ["no valid pixel"]),
    "five axes": (
        "galaxies",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", np.ones((2,) * 5)),
        ["2 x 2 x 2 x 2 x 2"],
    ),
    "a cube as image": (
        "galaxies",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", np.ones((3, 8, 8))),
        ["stack of 3 images"],
    ),
    "an image as cube": ("clouds", "clouds/03.fits", lambda w: w.galaxy("clouds/03.fits"), ["is not a cube"]),
    "an image as spectrum": ("stars", "stars/03.fits", lambda w: w.galaxy("stars/03.fits"), ["is not a spectrum"]),
    "another shape": (
        "galaxies",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", np.ones((8, 9))),
        ["has the shape 1 x 8 x 9"],
    ),
    "wrong BUNIT": (
        "galaxies",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", BUNIT="parsnip"),
        ['"parsnip" is not a unit'],
    ),
    "BUNIT of another kind": (
        "kelvin",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", BUNIT="adu"),
        ["do not measure the same"],
    ),
    "BUNIT missing": (
        "kelvin",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", without=["BUNIT"]),
        ["has no unit"],
    ),
    "beam missing": (
        "kelvin",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", without=["BMAJ", "BMIN"]),
        ["without a beam"],
    ),
    "frequency missing": (
        "kelvin",
        "galaxies/03.fits",
        lambda w: w.galaxy("galaxies/03.fits", without=["RESTFRQ"]),
        ["without a frequency"],
    ),
    "no wavelengths": (
        "stars",
        "stars/03.fits",
        lambda w: w.fits("stars/03.fits", np.ones(40, "f4")),
        ["has no wavelength scale"],
    ),
    "wavelengths in kilograms": (
        "stars",
        "stars/03.fits",
        lambda w: w.star("stars/03.fits", CUNIT1="kg"),
        ["not a unit of wavelength"],
    ),
    "no overlap with the grid": (
        "stars",
        "stars/03.fits",
        lambda w: w.star("stars/03.fits", CRVAL1=9000.0),
        ["covers 9000 to 9390"],
    ),
    "wavelengths that fall and rise": (
        "stars",
        "stars/03.txt",
        lambda w: text(w, "4000 1\n4020 1\n4010 1\n"),
        ["do not rise throughout"],
    ),
    "one wavelength": ("stars", "stars/03.txt", lambda w: text(w, "4000 1\n"), ["1 point"]),
    "words": ("stars", "stars/03.txt", lambda w: text(w, "4000 1\n4010 bright\n"), ["line 2"]),
    "table without flux": (
        "stars",
        "stars/03.fits",
        lambda w: table(w, "stars/03.fits", ra=[1.0, 2.0], dec=[1.0, 2.0]),
        ["ra, dec"],
    ),
    "table of several spectra": (
        "stars",
        "stars/03.fits",
        lambda w: table(w, "stars/03.fits", flux=np.ones((5, 40))),
        ["holds 5 spectra"],
    ),
    "damaged picture": ("pictures", "pictures/03.png", lambda w: w.cut("pictures/03.png", 60), ["damaged picture"]),
    "text named png": ("pictures", "pictures/03.png", lambda w: w.write("pictures/03.png", "hello"), ["PNG or JPEG"]),
    "decompression bomb": ("pictures", "pictures/03.png", bomb, ["has more than"]),
    "spoilt zip member": (
        "stars",
        "stars.zip/03.fits",
        lambda w: archive(w, spoil=True),
        ["damaged inside its archive"],
    ),
    "absent zip member": ("stars", "stars.zip/04.fits", lambda w: archive(w, path="stars.zip/04.fits"), ["no member"]),
    "zip member above": ("stars", "stars.zip/../x.fits", lambda w: archive(w, path="stars.zip/../x.fits"), [".."]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_in_a_manifest(work, name):
    task, file, breaks, words = FILES[name]
    breaks(work)
    manifest = "galaxies.csv" if task == "kelvin" else f"{task}.csv"
    # The object that the others must agree with is the first one, in row 2.
    place = f"{manifest} row 5: " if name != "another shape" else f"{manifest} row 5"
    work.assert_refused(ingest(task), place, file.rsplit("/", 1)[-1], *words)


@pytest.mark.parametrize("name", [name for name, row in FILES.items() if row[0] in MODELS and name != "another shape"])
def test_a_bad_file_to_classify(work, name):
    task, file, breaks, words = FILES[name]
    breaks(work)
    work.assert_refused(classify(f"{task}/00.fits {file}", task), f"fleming: {file}: ", *words)
