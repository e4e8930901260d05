"""A table of bad manifests, each met by the real command: one sentence, exit code 2, nothing left behind."""

import re

import numpy as np
import pytest
from astropy.table import Table


def replace(old, new):
    """Another cell in the manifest of the stars; its row 5 is stars/03.fits."""
    return lambda w: w.edit("stars.csv", old, new)


def checksum(w):
    """A column of checksums, empty but for a wrong one in row 5."""
    text = w.path("stars.csv").read_text().replace("ra,dec", "sha256")
    cells = {"3": "0" * 64}
    w.write("stars.csv", re.sub(r",\d+,(\d+)$", lambda found: "," + cells.get(found[1], ""), text, flags=re.MULTILINE))


def row_of_a_table(w):
    """Row 5 names the spectrum 7 of a table of five."""
    wavelength = np.tile(np.arange(4000.0, 4400.0, 10.0), (5, 1))
    Table({"wavelength": wavelength, "flux": np.ones((5, 40))}).write(w.path("many.fits"))
    text = w.path("stars.csv").read_text().replace("path,", "row,path,").replace("stars/", ",stars/")
    w.write("stars.csv", text.replace(",stars/03.fits", "7,many.fits"))


def several(*changes):
    def change(w):
        for one in changes:
            one(w)

    return change


def config(old, new):
    return lambda w: w.edit("run.yaml", old, new)


def everywhere(name, *pairs):
    def change(w):
        text = w.path(name).read_text()
        for old, new in pairs:
            text = text.replace(old, new)
        w.write(name, text)

    return change


# Another manifest, name: (task, break it, where and what the message says).
MANIFESTS = {
    "absent": (
        "stars",
        lambda w: w.path("stars.csv").unlink(),
        ["run.yaml line 5", "'stars.csv', which does not exist"],
    ),
    "empty": ("stars", lambda w: w.write("stars.csv", ""), ["stars.csv: is empty"]),
    "only a header": ("stars", lambda w: w.write("stars.csv", "path,class\n"), ["stars.csv: has no rows"]),
    "not text": ("stars", lambda w: w.write("stars.csv", b"\xff\xfe\x00\x01" * 9), ["stars.csv: is not UTF-8"]),
    "zip instead of text": (
        "stars",
        lambda w: w.write("stars.csv", b"PK\x03\x04\0\0\0"),
        ["stars.csv: is not a text file"],
    ),
    "no path column": ("stars", replace("path,", "place,"), ['stars.csv: has no column "path"']),
    "no label column": ("stars", replace(",class", ",klass"), ['stars.csv: has no column "class"', '"klass"']),
    "a column twice": ("stars", replace(",id", ",path"), ['stars.csv: has the column "path" twice']),
    "a short row": ("stars", replace("stars-03,A,30,3", "stars-03"), ["stars.csv row 5: has 2 cells"]),
    "an open quote": ("stars", replace("stars-03", '"stars-03'), ["stars.csv row"]),
    "bad ECSV": (
        "stars",
        several(
            config("stars.csv", "stars.ecsv"),
            lambda w: w.write("stars.ecsv", "# %ECSV 1.0\n# ---\n# datatype: [\npath\n1\n"),
        ),
        ["stars.ecsv: is not ECSV"],
    ),
    "empty path": ("stars", replace("stars/03.fits", ""), ["stars.csv row 5: has no path"]),
    "empty id": ("stars", replace("stars-03", ""), ["stars.csv row 5: has an empty id"]),
    "ids twice": (
        "stars",
        replace("stars-03", "stars-01"),
        ['stars.csv row 5: the id "stars-01" is also that of row 3'],
    ),
    "an id that FITS cannot hold": ("stars", replace("stars-03", "st\u00e4r"), ['stars.csv row 5: the id "st\u00e4r"']),
    "a class that FITS cannot hold": (
        "stars",
        everywhere("stars.csv", (",A,", ",\u00c4,")),
        ['the class "\u00c4" is not'],
    ),
    "a class of many letters": ("stars", everywhere("stars.csv", (",A,", f",{41 * 'A'},")), ["at most 40 letters"]),
    "empty label": ("stars", replace("03,A", "03,"), ['stars.csv row 5: has an empty label in column "class"']),
    "unknown class": (
        "stars",
        several(config("network", "classes: [A, B, C]\n    network"), replace("03,A", "03,a")),
        ['stars.csv row 5: has the unknown class "a"'],
    ),
    "a class of nothing": (
        "stars",
        lambda w: w.edit("run.yaml", "network: C-2.5 P-4 D-3", "classes: [A, B, C, D]\n    network: C-2.5 P-4 D-4"),
        ['no object of class "D"'],
    ),
    "one class only": (
        "flowers",
        lambda w: w.write("flowers.csv", "length,class\n1,A\n2,A\n3,A\n4,A\n"),
        ['has the single class "A"'],
    ),
    "a class of one object": (
        "flowers",
        lambda w: w.edit("flowers.csv", "3,1,B", "3,1,C"),
        ['flowers.csv: has only one object of class "C"'],
    ),
    "a class of two objects": (
        "flowers",
        everywhere("flowers.csv", ("3,1,B", "3,1,C"), ("5,1,B", "5,1,C")),
        ['flowers.csv: class "C" has 2 groups, too few'],
    ),
    "table cell that is no number": (
        "flowers",
        several(
            everywhere("flowers.csv", ("3,1,B", "three,1,B")), config("kind: table", "kind: table, features: [length]")
        ),
        ['flowers.csv row 5: has "three" in feature column "length"'],
    ),
    "no column of numbers": (
        "flowers",
        lambda w: w.write("flowers.csv", "class\n" + 4 * "A\nB\n"),
        ["no column of numbers"],
    ),
    "a row that is no number": (
        "stars",
        lambda w: w.write("stars.csv", "path,class,row\nstars/03.fits,A,first\n"),
        ['stars.csv row 2: row is "first"'],
    ),
    "a row out of range": (
        "stars",
        row_of_a_table,
        ["stars.csv row 5: many.fits", "row 7 does not exist"],
    ),
    "digits cut short": (
        "pictures",
        several(
            config("pictures.csv, kind: image", "digits.csv, kind: idx"),
            lambda w: w.write("digits.csv", "path,class\nimages,labels\n"),
            lambda w: w.write("images", b"\0\0\x08\x03\0\0\0\x09\0\0\0\x08\0\0\0\x08"),
        ),
        ["images: has 16 bytes where its header promises 592"],
    ),
    "right ascension out of range": ("stars", replace("A,30,3", "A,400,3"), ['stars.csv row 5: ra is "400"']),
    "declination in words": ("stars", replace("A,30,3", "A,30,north"), ['stars.csv row 5: dec is "north"']),
    "split that is none": (
        "stars",
        config("network", "split: {column: class}\n    network"),
        ['stars.csv row 5: class is "A"', "train, validation or test"],
    ),
    "bad checksum": ("stars", replace("ra,dec", "ra,sha256"), ['stars.csv row 5: sha256 is "3"']),
    "another checksum": (
        "stars",
        checksum,
        ["stars.csv row 5: ", "stars/03.fits has the sha256"],
    ),
    "file URL": (
        "stars",
        replace("stars/03.fits", "file:///etc/hostname"),
        ["stars.csv row 5", "file:///etc/hostname", "http"],
    ),
    "ftp URL": (
        "stars",
        replace("stars/03.fits", "ftp://example.org/03.fits"),
        ["stars.csv row 5", "ftp://example.org/03.fits"],
    ),
    "refused connection": (
        "stars",
        replace("stars/03.fits", "http://127.0.0.1:9/03.fits"),
        ["stars.csv row 5", "http://127.0.0.1:9/03.fits", "refused"],
    ),
    "manifest at a refused address": (
        "stars",
        config("stars.csv", "http://127.0.0.1:9/stars.csv"),
        ["run.yaml line 5", "http://127.0.0.1:9/stars.csv"],
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_bad_manifest(work, name, monkeypatch):
    monkeypatch.setattr("pipeline.data.fetch.PAUSE", 0.0)
    task, breaks, words = MANIFESTS[name]
    breaks(work)
    work.assert_refused(f"ingest --config run.yaml --task {task} --out new/data.h5", *words)
