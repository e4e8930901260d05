"""What is doubtful but not wrong: exit code 0, a warning that names the file, and a whole result."""

import numpy as np
import pytest

from pipeline.data.store import open_store
from pipeline.sky.catalogue import read_catalogue

BLANK = "galaxies/03.fits: every pixel is zero"
PIXELS = "galaxies/03.fits: no usable world coordinates"


def ingest(task):
    return f"ingest --config run.yaml --task {task} --out new/data.h5"


# name: (break it, what the warning says)
IMAGES = {
    "all zero": (lambda w: w.galaxy("galaxies/03.fits", np.zeros((8, 8))), BLANK),
    "no WCS": (lambda w: w.galaxy("galaxies/03.fits", without=["CTYPE1", "CTYPE2"]), PIXELS),
    "half a WCS": (lambda w: w.galaxy("galaxies/03.fits", CTYPE2="PARSNIP--SIN"), PIXELS),
    "two longitudes": (lambda w: w.galaxy("galaxies/03.fits", CTYPE2="RA---SIN"), PIXELS),
    "WCS of no size": (lambda w: w.galaxy("galaxies/03.fits", CDELT1=0.0), PIXELS),
    "singular WCS": (
        lambda w: w.galaxy(
            "galaxies/03.fits", without=["CDELT1", "CDELT2"], CD1_1=1.0, CD1_2=1.0, CD2_1=1.0, CD2_2=1.0
        ),
        PIXELS,
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_doubtful_image_is_read_with_a_warning(work, name):
    breaks, says = IMAGES[name]
    breaks(work)
    warned = work.assert_warned(ingest("galaxies"), says)
    assert len(warned) == 1
    with open_store("new/data.h5") as store:
        assert store.shape == (1, 8, 8)
        assert np.isfinite(store.read()).all()
        assert [text == "" for text in store.headers.tolist()] == [k == 3 and says == PIXELS for k in range(12)]
        # The manifest knows the positions whatever the headers say.
        assert store.ra[3] == 30.0


def test_equal_warnings_of_many_objects_are_one_line(work):
    for number in range(5):
        work.galaxy(f"galaxies/{number:02d}.fits", np.zeros((8, 8)))
    (line,) = work.assert_warned(ingest("galaxies"), "galaxies/00.fits: every pixel is zero")
    assert line.endswith("(and 4 more objects).")


@pytest.mark.parametrize("holes", [slice(3, 9), slice(0, 5), slice(2, None)])
def test_gaps_in_a_spectrum_are_bridged_or_stay_unknown(work, holes):
    flux = np.linspace(1.0, 2.0, 40)
    flux[holes] = np.nan
    work.star("stars/03.fits", flux)
    assert work.assert_warned(ingest("stars")) == []
    with open_store("new/data.h5") as store:
        read = store.read([3])[0, 0]
    valid = np.flatnonzero(np.isfinite(flux))
    inside = np.arange(valid[0], valid[-1] + 1)
    assert np.isfinite(read[inside]).all()
    assert np.isnan(np.delete(read, inside)).all()


def test_two_wavelengths_are_a_line(work):
    work.write("stars/03.txt", "4000 1\n4390 2\n")
    work.edit("stars.csv", "stars/03.fits", "stars/03.txt")
    assert work.assert_warned(ingest("stars")) == []
    with open_store("new/data.h5") as store:
        np.testing.assert_allclose(store.read([3])[0, 0], np.linspace(1, 2, 40), rtol=1e-6)


def test_a_group_in_two_splits_is_named(work):
    text = work.path("stars.csv").read_text().splitlines()
    rows = [f"{row},{('train', 'test', 'validation')[k // 4]},one" for k, row in enumerate(text[1:])]
    work.write("stars.csv", "\n".join([f"{text[0]},part,group", *rows]) + "\n")
    work.edit("run.yaml", "network", "split: {column: part}\n    network")
    work.assert_refused(ingest("stars"), "stars.csv: has only")
    rows = [row.replace(",one", f",{'one' if k % 2 else 'two'}") for k, row in enumerate(rows)]
    work.write("stars.csv", "\n".join([f"{text[0]},part,group", *rows]) + "\n")
    work.assert_warned(ingest("stars"), "stars.csv: 2 groups are in more than one split")


FORMATS = [".fits", ".ecsv", ".vot", ".csv"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_catalogue_of_nothing_has_every_column(work, suffix):
    model = "--model results/stars/model.safetensors"
    work.assert_warned(f"classify stars/00.fits {model} --out full{suffix}")
    work.write("stars/03.fits", "hello")
    warned = work.assert_warned(f"classify stars/03.fits no.fits {model} --skip-bad --out new/empty{suffix}")
    assert len(warned) == 2
    assert "stars/03.fits: is not a FITS file" in warned[0]
    assert "no.fits: does not exist, so that it is left out; check the path." in warned[1]
    full, empty = read_catalogue(f"full{suffix}"), read_catalogue(f"new/empty{suffix}")
    assert len(empty) == 0
    assert empty.colnames == full.colnames
    assert {"id", "file", "class", "probability", "p_A", "p_B", "p_C"} <= set(empty.colnames)
    if suffix != ".csv":
        assert [empty[name].dtype.kind for name in empty.colnames] == [full[name].dtype.kind for name in full.colnames]
        assert [empty[name].unit for name in empty.colnames] == [full[name].unit for name in full.colnames]
        assert empty.meta == full.meta


def test_bad_files_among_good_ones_are_left_out(work):
    work.write("stars/03.fits", "hello")
    files = "stars/02.fits stars/03.fits stars/04.fits"
    warned = work.assert_warned(
        f"classify {files} --model results/stars/model.safetensors --skip-bad --out new/some.fits"
    )
    assert len(warned) == 1
    assert read_catalogue("new/some.fits")["id"].tolist() == ["02", "04"]
