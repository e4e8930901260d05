"""A table of bad files and manifests, each met by the real command: one sentence, exit code 2, nothing left behind."""

import gzip
import re
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from pipeline.sky.catalogue import read_catalogue

MODELS = ("stars", "galaxies")
NAN = np.full((8, 8), np.nan)


def ingest(task):
    return f"ingest --config run.yaml --task {task} --out new/data.h5"


def classify(name, task="stars"):
    return f"classify {name} --model results/{task}/model.safetensors --out new/types.fits"


def replace(old, new):
    """Another cell in the manifest of the stars; its row 5 is stars/03.fits."""
    return lambda w: w.edit("stars.csv", old, new)


def table(w, name, **columns):
    from astropy.table import Table

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


# One object in a file that is bad, name: (task, file, break it, words). Each is met by ingest, and, where there is
# a model of the task, by classify too.
FILES = {
    "absent": ("stars", "stars/03.fits", lambda w: w.path("stars/03.fits").unlink(), ["does not exist"]),
    "a folder": ("stars", "stars/03.fits", lambda w: directory(w, "stars/03.fits"), ["is a folder"]),
    "empty": ("stars", "stars/03.fits", lambda w: w.write("stars/03.fits", ""), ["is empty"]),
    "text named fits": ("stars", "stars/03.fits", lambda w: w.write("stars/03.fits", "hello"), ["not a FITS file"]),
    "binary named txt": ("stars", "stars/03.txt", lambda w: binary(w), ["neither FITS"]),
    "truncated in the data": ("galaxies", "galaxies/03.fits", lambda w: w.cut("galaxies/03.fits", 2900), ["truncated"]),
    "truncated in the header": ("galaxies", "galaxies/03.fits", lambda w: w.cut("galaxies/03.fits", 900), ["damaged"]),
    "truncated gzip": ("stars", "stars/03.fits.gz", lambda w: packed(w, 300), ["damaged gzip"]),
    "one byte of gzip": ("stars", "stars/03.fits.gz", lambda w: packed(w, 2), ["damaged gzip"]),
    "all NaN image": ("galaxies", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", NAN), ["no valid pixel"]),
    "all NaN spectrum": ("stars", "stars/03.fits", lambda w: w.star("stars/03.fits", NAN[0]), ["no valid pixel"]),
    "five axes": (
        "galaxies", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", np.ones((2,) * 5)), ["2 x 2 x 2 x 2 x 2"],
    ),
    "a cube as image": (
        "galaxies", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", np.ones((3, 8, 8))), ["stack of 3 images"],
    ),
    "an image as cube": ("clouds", "clouds/03.fits", lambda w: w.galaxy("clouds/03.fits"), ["is not a cube"]),
    "an image as spectrum": ("stars", "stars/03.fits", lambda w: w.galaxy("stars/03.fits"), ["is not a spectrum"]),
    "another shape": (
        "galaxies", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", np.ones((8, 9))), ["has the shape 1 x 8 x 9"],
    ),
    "wrong BUNIT": (
        "galaxies", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", BUNIT="parsnip"), ['"parsnip" is not a unit'],
    ),
    "BUNIT of another kind": (
        "kelvin", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", BUNIT="adu"), ["do not measure the same"],
    ),
    "BUNIT missing": (
        "kelvin", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", without=["BUNIT"]), ["has no unit"],
    ),
    "beam missing": (
        "kelvin", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", without=["BMAJ", "BMIN"]), ["without a beam"],
    ),
    "frequency missing": (
        "kelvin", "galaxies/03.fits", lambda w: w.galaxy("galaxies/03.fits", without=["RESTFRQ"]), ["without a frequency"],
    ),
    "no wavelengths": (
        "stars", "stars/03.fits", lambda w: w.fits("stars/03.fits", np.ones(40, "f4")), ["has no wavelength scale"],
    ),
    "wavelengths in kilograms": (
        "stars", "stars/03.fits", lambda w: w.star("stars/03.fits", CUNIT1="kg"), ["not a unit of wavelength"],
    ),
    "no overlap with the grid": (
        "stars", "stars/03.fits", lambda w: w.star("stars/03.fits", CRVAL1=9000.0), ["covers 9000 to 9390"],
    ),
    "wavelengths that fall and rise": (
        "stars", "stars/03.txt", lambda w: text(w, "4000 1\n4020 1\n4010 1\n"), ["do not rise throughout"],
    ),
    "one wavelength": ("stars", "stars/03.txt", lambda w: text(w, "4000 1\n"), ["1 point"]),
    "words": ("stars", "stars/03.txt", lambda w: text(w, "4000 1\n4010 bright\n"), ["line 2"]),
    "table without flux": (
        "stars", "stars/03.fits", lambda w: table(w, "stars/03.fits", ra=[1.0, 2.0], dec=[1.0, 2.0]), ["ra, dec"],
    ),
    "table of several spectra": (
        "stars", "stars/03.fits", lambda w: table(w, "stars/03.fits", flux=np.ones((5, 40))), ["holds 5 spectra"],
    ),
    "damaged picture": ("pictures", "pictures/03.png", lambda w: w.cut("pictures/03.png", 60), ["damaged picture"]),
    "text named png": ("pictures", "pictures/03.png", lambda w: w.write("pictures/03.png", "hello"), ["PNG or JPEG"]),
    "decompression bomb": ("pictures", "pictures/03.png", bomb, ["has more than"]),
    "spoilt zip member": ("stars", "stars.zip/03.fits", lambda w: archive(w, spoil=True), ["damaged inside its archive"]),
    "absent zip member": ("stars", "stars.zip/04.fits", lambda w: archive(w, path="stars.zip/04.fits"), ["no member"]),
    "zip member above": ("stars", "stars.zip/../x.fits", lambda w: archive(w, path="stars.zip/../x.fits"), [".."]),
}  # fmt: skip


def text(w, lines):
    w.write("stars/03.txt", lines)
    w.edit("stars.csv", "stars/03.fits", "stars/03.txt")


def binary(w):
    w.write("stars/03.txt", bytes(range(256)))
    w.edit("stars.csv", "stars/03.fits", "stars/03.txt")


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


# Another manifest, name: (task, break it, where and what the message says).
MANIFESTS = {
    "absent": ("stars", lambda w: w.path("stars.csv").unlink(), ["run.yaml line 5", "'stars.csv', which does not exist"]),
    "empty": ("stars", lambda w: w.write("stars.csv", ""), ["stars.csv: is empty"]),
    "only a header": ("stars", lambda w: w.write("stars.csv", "path,class\n"), ["stars.csv: has no rows"]),
    "not text": ("stars", lambda w: w.write("stars.csv", b"\xff\xfe\x00\x01" * 9), ["stars.csv: is not UTF-8"]),
    "zip instead of text": ("stars", lambda w: w.write("stars.csv", b"PK\x03\x04\0\0\0"), ["stars.csv: is not a text file"]),
    "no path column": ("stars", replace("path,", "place,"), ['stars.csv: has no column "path"']),
    "no label column": ("stars", replace(",class", ",klass"), ['stars.csv: has no column "class"', '"klass"']),
    "a column twice": ("stars", replace(",id", ",path"), ['stars.csv: has the column "path" twice']),
    "a short row": ("stars", replace("stars-03,A,30,3", "stars-03"), ["stars.csv row 5: has 2 cells"]),
    "an open quote": ("stars", replace("stars-03", '"stars-03'), ["stars.csv row"]),
    "bad ECSV": (
        "stars",
        lambda w: (w.write("stars.ecsv", "# %ECSV 1.0\n# ---\n# datatype: [\npath\n1\n"), w.edit("run.yaml", "stars.csv", "stars.ecsv")),
        ["stars.ecsv: is not ECSV"],
    ),
    "empty path": ("stars", replace("stars/03.fits", ""), ["stars.csv row 5: has no path"]),
    "empty id": ("stars", replace("stars-03", ""), ["stars.csv row 5: has an empty id"]),
    "ids twice": ("stars", replace("stars-03", "stars-01"), ['stars.csv row 5: the id "stars-01" is also that of row 3']),
    "empty label": ("stars", replace("03,A", "03,"), ['stars.csv row 5: has an empty label in column "class"']),
    "unknown class": (
        "stars",
        lambda w: (w.edit("run.yaml", "network", "classes: [A, B, C]\n    network"), w.edit("stars.csv", "03,A", "03,a")),
        ['stars.csv row 5: has the unknown class "a"'],
    ),
    "a class of nothing": (
        "stars", lambda w: w.edit("run.yaml", "network", "classes: [A, B, C, D]\n    network"), ['no object of class "D"'],
    ),
    "one class only": (
        "flowers", lambda w: w.write("flowers.csv", "length,class\n1,A\n2,A\n3,A\n4,A\n"), ['has the single class "A"'],
    ),
    "a class of one object": (
        "flowers", lambda w: w.edit("flowers.csv", "3,1,B", "3,1,C"), ['flowers.csv: has only one object of class "C"'],
    ),
    "a class of two objects": (
        "flowers",
        lambda w: w.write("flowers.csv", w.path("flowers.csv").read_text().replace("3,1,B", "3,1,C").replace("5,1,B", "5,1,C")),
        ['flowers.csv: class "C" has 2 groups, too few'],
    ),
    "table cell that is no number": (
        "flowers",
        lambda w: (w.edit("flowers.csv", "3,1,B", "three,1,B"), w.edit("run.yaml", "kind: table", "kind: table, features: [length]")),
        ['flowers.csv row 5: has "three" in feature column "length"'],
    ),
    "no column of numbers": ("flowers", lambda w: w.write("flowers.csv", "class\n" + 4 * "A\nB\n"), ["no column of numbers"]),
    "a row that is no number": (
        "stars", lambda w: w.write("stars.csv", "path,class,row\nstars/03.fits,A,first\n"), ['stars.csv row 2: row is "first"'],
    ),
    "a row out of range": (
        "stars",
        lambda w: (table(w, "many.fits", wavelength=np.ones((5, 40)) * np.arange(4000, 4400, 10), flux=np.ones((5, 40))),
                   w.edit("stars.csv", "path,", "row,path,"),
                   w.write("stars.csv", w.path("stars.csv").read_text().replace("stars/", ",stars/").replace(",stars/03", "7,stars/03")),
                   w.edit("stars.csv", "stars/03.fits", "many.fits")),
        ["stars.csv row 5: many.fits", "row 7 does not exist"],
    ),
    "right ascension out of range": ("stars", replace("A,30,3", "A,400,3"), ['stars.csv row 5: ra is "400"']),
    "declination in words": ("stars", replace("A,30,3", "A,30,north"), ['stars.csv row 5: dec is "north"']),
    "split that is none": (
        "stars",
        lambda w: w.edit("run.yaml", "network", "split: {column: class}\n    network"),
        ['stars.csv row 5: class is "A"', "train, validation or test"],
    ),
    "bad checksum": ("stars", replace("ra,dec", "ra,sha256"), ['stars.csv row 5: sha256 is "3"']),
    "another checksum": (
        "stars",
        lambda w: w.write("stars.csv", re.sub(r",\d+,(\d+)$", lambda found: "," + (64 * "0" if found[1] == "3" else ""), w.path("stars.csv").read_text().replace("ra,dec", "sha256"), flags=re.MULTILINE)),
        ["stars.csv row 5: ", "stars/03.fits has the sha256"],
    ),
    "file URL": ("stars", replace("stars/03.fits", "file:///etc/hostname"), ["stars.csv row 5", "file:///etc/hostname", "http"]),
    "ftp URL": ("stars", replace("stars/03.fits", "ftp://example.org/03.fits"), ["stars.csv row 5", "ftp://example.org/03.fits"]),
    "refused connection": (
        "stars", replace("stars/03.fits", "http://127.0.0.1:9/03.fits"), ["stars.csv row 5", "http://127.0.0.1:9/03.fits", "refused"],
    ),
    "manifest at a refused address": (
        "stars", lambda w: w.edit("run.yaml", "stars.csv", "http://127.0.0.1:9/stars.csv"), ["run.yaml line 5", "http://127.0.0.1:9/stars.csv"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_bad_manifest(work, name, monkeypatch):
    monkeypatch.setattr("pipeline.data.fetch.PAUSE", 0.0)
    task, breaks, words = MANIFESTS[name]
    breaks(work)
    work.assert_refused(ingest(task), *words)
