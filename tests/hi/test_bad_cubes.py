"""A table of cubes of all kinds, good and bad, each met by the real command."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

from pipeline.detect.shipped import shipped_model
from pipeline.simulate.hi_settings import REST_HZ

LIGHT = 299792458.0
MODEL = "results/hi/model.safetensors"
TEST = "results/hi/simulated/test/cube.fits"
DETECT = f"detect cube.fits --model {MODEL} --out new/galaxies.fits"
TASK = "detect --config run.yaml --task hi --out new/galaxies.fits"
IMAGE = {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 180.0, "CRVAL2": -30.0, "CRPIX1": 16.0, "CRPIX2": 16.0,
         "CDELT1": -0.0008, "CDELT2": 0.0008, "CUNIT1": "deg", "CUNIT2": "deg", "BUNIT": "Jy/beam", "BMAJ": 0.002,
         "BMIN": 0.002, "BPA": 0.0, "RESTFRQ": 1.4e9}  # fmt: skip


def write(work, data, header, name="cube.fits", *others):
    fits.HDUList([fits.PrimaryHDU(data, header), *others]).writeto(work.path(name), overwrite=True)


@pytest.fixture(scope="module")
def part(hi_run):
    """The pixels and the header of 72 channels of 40 x 40 pixels of the test cube."""
    with fits.open(hi_run / TEST) as hdus:
        data, header = hdus[0].data[:72, 12:52, 12:52].astype("f4"), hdus[0].header.copy()
    header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - 12, header["CRPIX2"] - 12
    return data, header


@pytest.fixture
def cube(hi_work, part):
    """The folder with that part as cube.fits."""
    hi_work.data, hi_work.header = part
    write(hi_work, *part)
    return hi_work


@pytest.fixture(scope="module")
def whole(hi_run, part, workplace, tmp_path_factory):
    """The catalogue of that part as it is."""
    work = workplace(tmp_path_factory.mktemp("whole"))
    write(work, *part)
    with contextlib.chdir(work.folder):
        table, warned = found(work, model=hi_run / MODEL)
    assert len(table) > 2 and not warned
    return table


def change(change_data=None, drop=(), rename=(), **cards):
    """Breaks cube.fits: a function of its pixels, cards without which it is, and cards that it has instead."""

    def breaks(work):
        header = work.header.copy()
        for key in drop:
            header.remove(key, ignore_missing=True)
        header.update(cards)
        write(work, work.data if change_data is None else change_data(work.data.copy()), header)

    return breaks


def nothing(work):
    """The command itself is wrong."""


def image(work):
    work.fits("image.fits", np.random.default_rng(1).normal(0, 1e-6, (32, 32)).astype("f4"), **IMAGE)


def noiseless(data):
    data[:] = 1e-5
    return data


def nan_all(data):
    data[:] = np.nan
    return data


# name: (command, break it, what the message says)
REFUSED = {
    "absent": (DETECT.replace("cube.fits", "none.fits"), nothing, ["none.fits: does not exist"]),
    "truncated": (DETECT, lambda w: w.cut("cube.fits", -20000), ["cube.fits: is truncated"]),
    "of text": (DETECT, lambda w: w.write("cube.fits", "hello\n"), ["cube.fits: "]),
    "without a beam": (DETECT, change(drop=("BMAJ", "BMIN", "BPA")), ["cube.fits: has no beam", "--beam"]),
    "without a spectral axis": (DETECT, change(CTYPE3="PIXELS"), ["no axis of frequency", "CTYPE3"]),
    "of wavelengths": (DETECT, change(CTYPE3="WAVE", CUNIT3="m"), ["no axis of frequency or velocity"]),
    "logarithmic": (DETECT, change(CTYPE3="FREQ-LOG"), ["not linear", "regrid it to equal steps"]),
    "without a step": (DETECT, change(drop=("CDELT3", "CRVAL3")), ["has no CRVAL3 or no step CDELT3"]),
    "of negative frequencies": (DETECT, change(CRVAL3=-1e9), ["without a positive frequency"]),
    "in magnitudes": (DETECT, change(BUNIT="mag"), ["mag", "cannot be turned into"]),
    "without coordinates": (DETECT, change(CTYPE1="LINEAR", CTYPE2="LINEAR"), ["no celestial coordinates"]),
    "all blank": (DETECT, change(nan_all), ["cube.fits: holds no channel with noise"]),
    "without noise": (DETECT, change(noiseless), ["cube.fits: holds no channel with noise"]),
    "of oblong pixels": (DETECT, change(CDELT1=-0.002), ["not square"]),
    "an image": (DETECT.replace("cube.fits", "image.fits"), image, ["image.fits", "cube"]),
    "a model of images": (f"{DETECT} --model {shipped_model()}", nothing, ["cube.fits: is a cube", "--model"]),
    "twice": (DETECT.replace(" cube", " ./cube.fits cube"), nothing, ["cube.fits: is named twice"]),
    "written over": (DETECT.replace("new/galaxies", "cube"), nothing, ["cube.fits: is read by"]),
    "in too little memory": (f"{DETECT} --memory 0.5", nothing, ["memory: of 0.5 GB is too little"]),
    "into its own products": (f"{DETECT} --products new/galaxies.fits", nothing, ["named as an output twice"]),
    "with half a beam": (f"{DETECT} --beam 7 6", nothing, ["--beam is not one width"]),
    "with a beam of nothing": (f"{DETECT} --beam 0", nothing, ["--beam is not one width"]),
    "with a primary beam": (f"{DETECT} --primary-beam cube.fits", nothing, ["--primary-beam is for images"]),
    "with three continua": (f"{DETECT} {3 * '--continuum cube.fits '}", nothing, ["3 continuum images for 1 cubes"]),
    "without its continuum": (f"{DETECT} --continuum no.fits", nothing, ["no.fits: does not exist"]),
    "with no limit": (f"{DETECT} --continuum cube.fits --continuum-limit 0", nothing, ["--continuum-limit"]),
    "for another challenge": (f"{DETECT} --format sdc1", nothing, ["SDC1"]),
    "too pure": (f"{DETECT} --purity 2", nothing, ["--purity 2.0 is not between 0 and 1"]),
    "an image with products": (
        "detect image.fits --out new/sources.fits --products new/p", image, ["--products is for cubes"]
    ),
    "of a task and a beam": (
        f"{TASK} --simulated results/hi/simulated --model {MODEL} --beam 7", nothing, ["both --config and --beam"]
    ),
    "of a task that is not simulated": (
        f"{TASK} --model {MODEL}", nothing, ["needs --simulated"]
    ),
    "of a task without its model": (
        f"{TASK} --simulated results/hi/simulated", nothing, ["needs the model of task 'hi'", "--model"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_cube_that_cannot_be_searched(cube, name):
    command, breaks, words = REFUSED[name]
    breaks(cube)
    cube.assert_refused(command, *words)


def found(work, options="", model=MODEL, shown=()):
    """The catalogue of cube.fits and the warnings."""
    warned = work.assert_warned(f"{DETECT.replace(MODEL, str(model))} {options}", *shown)
    return QTable.read(work.folder / "new/galaxies.fits"), warned


def test_one_bad_cube_of_several_leaves_nothing_but_what_a_killed_run_had_done(cube):
    write(cube, np.full_like(cube.data, np.nan), cube.header, "blank.fits")
    command = DETECT.replace("cube.fits", "cube.fits blank.fits")
    cube.assert_refused(command, "blank.fits: holds no channel with noise")
    assert not cube.path("new/galaxies.fits.chunks").exists()
    cube.write("new/galaxies.fits.chunks/key/chunk_000000.npz", "done")
    assert cube.run(command)[0] == 2
    assert cube.path("new/galaxies.fits.chunks/key/chunk_000000.npz").read_text() == "done"


def test_blank_channels_and_edges_hide_no_galaxy_elsewhere(cube, hi_run):
    with fits.open(TEST) as hdus:
        data, header = hdus[0].data.astype("f4"), hdus[0].header
    data[:4] = data[:, :8] = data[:, :, -6:] = np.nan
    data[[6, 120]] = 0
    write(cube, data, header)
    table, warned = found(cube)
    assert not warned
    assert ((table["y"].value > 6) & (table["x"].value < 59)).all()
    whole = QTable.read(hi_run / "results/hi/catalogue.fits")
    far = (whole["y"].value > 14) & (whole["x"].value < 52) & (whole["z"].value > 24) & (whole["z"].value < 110)
    away = [whole[axis].value[far, None] - table[axis].value for axis in "xyz"]
    assert (np.abs(away[0]) + np.abs(away[1]) + np.abs(away[2]) / 4 < 2).any(1).mean() > 0.7


def radio(header):
    """The spectral axis as radio velocities."""
    first, step = header["CRVAL3"], header["CDELT3"]
    return {
        "CTYPE3": "VRAD", "CUNIT3": "m/s", "CRVAL3": LIGHT * (1 - first / REST_HZ), "CDELT3": -LIGHT * step / REST_HZ,
    }  # fmt: skip


def backwards(header):
    return {"CRVAL3": header["CRVAL3"] + 71 * header["CDELT3"], "CDELT3": -header["CDELT3"]}


def in_kelvin(data, header):
    frequency = header["CRVAL3"] + header["CDELT3"] * np.arange(72)
    beam = np.pi / 4 / np.log(2) * header["BMAJ"] * header["BMIN"] * u.deg**2
    kelvin = (1 * u.Jy / beam).to(u.K, u.brightness_temperature(frequency * u.Hz)).value
    return data * kelvin[:, None, None].astype("f4")


BEAM = ("BMAJ", "BMIN", "BPA")
POLARISED = {"CTYPE4": "STOKES", "CRVAL4": 1.0, "CRPIX4": 1.0, "CDELT4": 1.0}
# name: (options, pixels, cards, cards left out, what a warning says)
ALIKE = {
    "in mJy per beam": ("", lambda data, _: 1e3 * data, lambda _: {"BUNIT": "mJy/beam"}, (), ()),
    "in kelvin": ("", in_kelvin, lambda _: {"BUNIT": "K"}, (), ()),
    "without a beam": ("--beam 7", None, None, BEAM, ()),
    "with an axis of polarisation": ("", lambda data, _: data[None], lambda _: POLARISED, (), ()),
    "without a rest frequency": ("", None, None, ("RESTFRQ",), ()),
    "of falling frequency": ("", lambda data, _: data[::-1], backwards, (), ()),
    "of radio velocity": ("", None, radio, (), ()),
    "of velocity without a rest frequency": ("", None, radio, ("RESTFRQ",), ("no rest frequency",)),
    "without a unit": ("", None, None, ("BUNIT",), ("no BUNIT",)),
}


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_cube_stored_otherwise_has_the_same_galaxies(cube, whole, name):
    options, pixels, cards, drop, shown = ALIKE[name]
    data = cube.data if pixels is None else pixels(cube.data, cube.header)
    change(lambda _: data, drop, **({} if cards is None else cards(cube.header)))(cube)
    table, warned = found(cube, options, shown=shown)
    assert len(warned) == len(shown)
    assert len(table) == len(whole)
    for key in ("ra", "dec", "frequency", "line_flux", "w20"):
        np.testing.assert_allclose(
            table[key].value, whole[key].value, rtol=2e-3 if key in ("line_flux", "w20") else 1e-6
        )


def test_beams_of_channels_are_taken_for_one_with_a_warning(cube, whole):
    header, rows = cube.header.copy(), np.arange(72)
    for key in BEAM:
        header.remove(key)
    header["CASAMBM"] = True
    told = {"BMAJ": 7 + 0.001 * rows, "BMIN": 7.0 - 0 * rows, "BPA": 0.0 * rows, "CHAN": 1.0 * rows, "POL": 0.0 * rows}
    units = {"BMAJ": "arcsec", "BMIN": "arcsec", "BPA": "deg"}
    columns = [fits.Column(key, "E", units.get(key), array=values) for key, values in told.items()]
    write(cube, cube.data, header, "cube.fits", fits.BinTableHDU.from_columns(columns, name="BEAMS"))
    table, (warned,) = found(cube)
    assert "a beam for every channel" in warned
    assert abs(len(table) - len(whole)) <= 1


@pytest.mark.parametrize("shape", [(72, 8, 8), (9, 40, 40), (3, 5, 4), (1, 40, 40)])
def test_a_cube_smaller_than_the_network_sees_is_searched(cube, shape):
    cube.data = cube.data[tuple(slice(side) for side in shape)]
    change()(cube)
    code, lines = cube.run(f"{DETECT} --log run.log")
    assert code == 0, lines + [cube.path("run.log").read_text()]
    assert set(QTable.read("new/galaxies.fits").colnames) > {"ra", "line_flux"}


def test_bright_continuum_is_left_out(cube, whole):
    row = whole[0]
    plane = np.zeros((40, 40), "f4")
    y, x = (round(row[axis].value) for axis in "yx")
    plane[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = 0.1
    cards = {key: cube.header[key] for key in IMAGE if key in cube.header} | {"BUNIT": "Jy/beam"}
    cube.fits("continuum.fits", plane, **cards)
    table, warned = found(cube, "--continuum continuum.fits")
    assert not warned
    assert not ((np.abs(table["x"].value - x) < 2) & (np.abs(table["y"].value - y) < 2)).any()
    assert len(table) > 0


OUTSIDE = "    frames: {test: [{cube: cube.fits, truth: truth.csv}]}\n"


def test_a_truth_outside_the_cube(cube):
    truth = pd.read_csv("results/hi/simulated/test/truth.csv").assign(ra=10.0)
    truth.to_csv("truth.csv", index=False)
    found(cube)
    cube.edit("run.yaml", "    practice", OUTSIDE + "    practice")
    evaluate = "evaluate --config run.yaml --task hi --simulated results/hi/simulated --catalogue new/galaxies.fits"
    cube.assert_refused(f"{evaluate} --model {MODEL} --out new/metrics.json", "truth.csv: holds no galaxy in the part")
