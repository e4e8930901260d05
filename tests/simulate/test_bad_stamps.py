"""Bad stamps, frames and options of fleming inject, each met by the real command: one sentence, nothing left behind."""

import time

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import QTable

from pipeline.generate.samples_file import write_samples
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import save_field
from pipeline.simulate.hi import simulate_hi
from pipeline.simulate.hi_files import save_cube
from pipeline.simulate.hi_settings import HiSettings

CARDS = {"BUNIT": "Jy/pixel", "PIXSCALE": 0.6, "PSFFWHM": 0.0}
INJECT = "inject frame.fits --stamps stamps.fits --n 2 --out new/out.fits --truth-out new/truth.csv"


def stamps(work, shape=(2, 9, 9), **cards):
    """A file of stamps, each a broad Gaussian."""
    y, x = (np.indices(shape[-2:]).T - (np.array(shape[-2:]) - 1) / 2).T
    pixels = np.broadcast_to(np.exp(-(y**2 + x**2) / 8), shape).astype("f4")
    header = fits.Header((CARDS | cards).items())
    fits.writeto(work.path("stamps.fits"), pixels, header, overwrite=True)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    save_field(simulate(ContinuumSettings(shape=(40, 44), density=0.0), 1), folder / "frame.fits")
    save_cube(simulate_hi(HiSettings(shape=(12, 32, 36), density=0.0), 1), folder)
    return {name: (folder / name).read_bytes() for name in ("frame.fits", "cube.fits")}


@pytest.fixture
def work(empty_work, frames):
    for name, content in frames.items():
        empty_work.write(name, content)
    stamps(empty_work)
    return empty_work


@pytest.mark.parametrize("option", ["stamp-pixel", "stamp-psf", "apart", "clip"])
@pytest.mark.parametrize("number", ["inf", "nan", "-1"])
def test_a_width_that_is_none(work, option, number):
    work.assert_refused(f"{INJECT} --{option} {number}", f"--{option}: is wrong")


@pytest.mark.parametrize("key", ["PIXSCALE", "PSFFWHM", "PSFPIX", "RMS"])
@pytest.mark.parametrize("told", ["broad", -0.5])
def test_a_card_that_is_no_number(work, key, told):
    stamps(work)
    header = fits.getheader("stamps.fits")
    if key == "PSFPIX":
        del header["PSFFWHM"]
    header[key] = told
    fits.writeto("stamps.fits", fits.getdata("stamps.fits"), header, overwrite=True)
    work.assert_refused(INJECT, "stamps.fits: has ", f"{key} = {told} in its header", "a number ")


def test_a_psf_in_pixels_of_unknown_size(work):
    stamps(work)
    header = fits.getheader("stamps.fits")
    del header["PSFFWHM"], header["PIXSCALE"]
    header["PSFPIX"] = 1.5
    fits.writeto("stamps.fits", fits.getdata("stamps.fits"), header, overwrite=True)
    work.assert_refused(INJECT, "stamps.fits: tells the width of its PSF in pixels", "--stamp-pixel or --stamp-psf")
    for option in ("--stamp-pixel 0.6", "--stamp-psf 0.9"):
        assert work.run(f"{INJECT} {option}")[0] == 0


def test_a_card_that_cannot_be_read(work):
    content = work.path("stamps.fits").read_bytes()
    card = next(content[at : at + 80] for at in range(0, 2880, 80) if content[at : at + 8] == b"PIXSCALE")
    work.write("stamps.fits", content.replace(card, b"PIXSCALE= 0.6 arcsec".ljust(80)))
    work.assert_refused(INJECT, "stamps.fits: has a card PIXSCALE that cannot be read", "a number above 0")
    # What the user says stands in for it.
    assert work.run(f"{INJECT} --stamp-pixel 0.6")[0] == 0


@pytest.mark.parametrize("cards", [{"BMAJ": "broad"}, {"BMAJ": -1.0}, {"BMAJ": 1e-4, "BMIN": 2e-4}])
def test_a_beam_that_makes_no_sense(work, cards):
    stamps(work, **cards)
    work.assert_refused(INJECT, "stamps.fits: has a beam that makes no sense", "BMAJ is")


def test_coordinates_that_cannot_be_read(work):
    stamps(work, CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRVAL1=1.0, CRVAL2=2.0, CDELT1=0.0, CDELT2=1e-4)
    header = fits.getheader("stamps.fits")
    del header["PIXSCALE"]
    fits.writeto("stamps.fits", fits.getdata("stamps.fits"), header, overwrite=True)
    work.assert_refused(INJECT, "stamps.fits: has coordinates that cannot be read")


@pytest.mark.parametrize(
    ("shape", "cards", "words"),
    [
        ((2, 9, 9), {"PIXSCALE": 1e-3}, "has pixels of 0.001 arcsec, more than 256 times finer than the beam"),
        ((2, 9, 9), {"PIXSCALE": 1e-300}, "more than 256 times finer than the beam"),
        ((2, 9, 9), {"PSFFWHM": 1e300}, "has a PSF of 1e+300 arcsec"),
        ((2, 9, 9), {"PIXSCALE": 60.0}, "has pixels of 60 arcsec, broader than the beam of the frame, 1.5 arcsec"),
        ((1400, 1400), {}, "has 1400 x 1400 pixels in a plane, where a stamp has at most as many as 1024 x 1024"),
        ((60, 64), {}, "has stamps as large as 64 x 60 pixels of frame.fits, which has no more than 44 x 40"),
        ((2, 9, 9), {"CTYPE3": "FREQ"}, "has a stamp of a cube (its CTYPE3 is spectral), and the frame is an image"),
    ],
    ids=["fine", "finest", "smeared", "broad", "frame", "large", "cube"],
)
def test_stamps_that_do_not_suit_the_frame_are_refused_at_once(work, shape, cards, words):
    stamps(work, shape, **cards)
    began = time.perf_counter()
    work.assert_refused(INJECT, words)
    assert time.perf_counter() - began < 5


def test_stamps_of_images_are_not_one_of_a_cube(work):
    stamps(work, (5, 9, 9), PIXSCALE=2.8)
    command = INJECT.replace("frame.fits", "cube.fits")
    work.assert_refused(command, "stamps.fits: has stamps of images", "the frame is a cube", "an array of 4 axes")
    stamps(work, (5, 9, 9), PIXSCALE=2.8, CTYPE3="VRAD", CUNIT3="km/s")
    code, lines = work.run(command)
    assert code == 0, lines


def test_stamps_of_several_colours_are_none_of_a_cube(work):
    stamps = np.random.default_rng(3).random((2, 3, 9, 9), dtype=np.float32)
    cards = [("BUNIT", "Jy/pixel", ""), ("PIXSCALE", 2.8, "")]
    write_samples(work.path("colours.fits"), stamps, cards, QTable({"id": [0, 1]}))
    command = INJECT.replace("frame.fits", "cube.fits").replace("stamps.fits", "colours.fits")
    work.assert_refused(command, "colours.fits: has stamps of images of several colours", "the frame is a cube")


@pytest.mark.parametrize("name", ["frame.fits", "cube.fits"])
def test_a_frame_without_a_valid_pixel(work, name):
    with fits.open(name, mode="update") as hdus:
        hdus[0].data[...] = np.nan
    command = INJECT.replace("frame.fits", name).replace("--stamps stamps.fits", "--flux-range 1 2")
    work.assert_refused(command, f"{name}: has no valid pixel")


def test_a_flux_that_no_pixel_can_hold(work):
    work.assert_refused(f"{INJECT} --flux-range 1e-6 1e50", "--flux-range: is wrong", "up to 1e+20")


def test_a_source_larger_than_can_be_drawn(work):
    from pipeline.simulate.insert import insert
    from pipeline.simulate.insert_settings import InsertSettings

    insert("frame.fits", "points.fits", "points.csv", InsertSettings(flux_range=(1, 1), n=3), 1)
    table = pd.read_csv("points.csv").assign(b_maj_arcsec=[1.0, 1e9, 1.0])
    table.to_csv("large.csv", index=False)
    command = INJECT.replace("--stamps stamps.fits", "--sources large.csv")
    work.assert_refused(command, "large.csv", "is 1e+09 arcsec large, where at most 2048 pixels, 1.23e+03 arcsec")
