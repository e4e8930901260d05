"""A table of bad images, truths and models of detection, each met by the real command."""

import shutil

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from pipeline.detect.head import Layout
from pipeline.detect.model import load
from pipeline.detect.train import Detector, Names
from pipeline.learn.model_file import save_model
from pipeline.nn.network import build
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import save_field
from pipeline.sky.catalogue import read_catalogue

CONFIG = """\
run: results
tasks:
  sky:
    kind: detect
    frames: {train: [{image: field.fits, truth: truth.csv}]}
    areas: {validation: 0.4, test: 0.2}
    detector:
      network: C-16.4_s2_p1 C-16.3
      crop: 64
      steps: 5
      train: {epochs: 1, batch: 4}
"""
MODEL = "--model model.safetensors"
DETECT = f"detect field.fits {MODEL} --device cpu --out new/catalogue.fits"
ADAPT = f"adapt field.fits {MODEL} --device cpu --minutes 0.001 --out new/adapted.safetensors"
TAUGHT = f"{ADAPT} --truth truth.csv"
TRAIN = "train --config run.yaml --task sky --device cpu --out new/model.safetensors"
EVALUATE = f"evaluate --config run.yaml --task sky --catalogue catalogue.fits {MODEL} --out new/metrics.json"
ALL = {"detect": DETECT, "adapt": ADAPT, "train": TRAIN, "evaluate": EVALUATE}
LABELLED = {"adapt": TAUGHT, "train": TRAIN, "evaluate": EVALUATE}


@pytest.fixture(scope="session")
def made_field(tiny, tmp_path_factory):
    """A field of bright sources, its truth, a model and a catalogue that it made."""
    folder = tmp_path_factory.mktemp("field")
    settings = ContinuumSettings(shape=(192, 192), density=4.0, flux_limit=12.0, size_factor=0.3)
    save_field(simulate(settings, 5), folder / "field.fits", folder / "truth.csv")
    shutil.copy(tiny.model, folder / "model.safetensors")
    (folder / "run.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def field(made_field, empty_work):
    shutil.copytree(made_field, empty_work.folder, dirs_exist_ok=True)
    if not (made_field / "catalogue.fits").exists():
        assert empty_work.run(DETECT.replace("new/", ""))[0] == 0
        shutil.copy("catalogue.fits", made_field)
    return empty_work


def image(change=lambda data: data, without=(), **cards):
    """Write the field again with other pixels and cards."""

    def rewrite(w):
        with fits.open("field.fits") as hdus:
            data, header = hdus[0].data.copy(), hdus[0].header.copy()
        for name in without:
            header.remove(name, ignore_missing=True)
        header.update(cards)
        fits.PrimaryHDU(change(data), header).writeto("field.fits", overwrite=True)

    return rewrite


def truth(**columns):
    def rewrite(w):
        table = pd.read_csv("truth.csv")
        table.assign(**{name: change(table) for name, change in columns.items()}).to_csv("truth.csv", index=False)

    return rewrite


def empty_truth(w):
    pd.read_csv("truth.csv")[:0].to_csv("truth.csv", index=False)


def classifier(w):
    network = build("C-2.3 GAP D-2", 2, (1, 8, 8), 2)
    save_model("model.safetensors", network, {"kind": "classify", "classes": ["A", "B"]})


def of_spectra(w):
    """A detector of lines."""
    model = load("model.safetensors")
    network = build("C-4.4_s2_p1 C-6.1_linear_none", 1, (3, 64))
    layout = Layout(("ln_flux",), (), (2,), (0.0, 0.0), (1.0, 1.0))
    model.detector = Detector(network, layout, Names(values=("ln_flux",)))
    model.save("model.safetensors")


def of_other_images(w):
    """A detector whose objects are not continuum sources."""
    model = load("model.safetensors")
    network = build("C-4.4_s2_p1 C-9.1_linear_none", 2, (3, 64, 64))
    layout = Layout(("ln_flux",), (), (2, 2), (0.0,) * 3, (1.0,) * 3)
    model.detector = Detector(network, layout, Names(values=("ln_flux",)))
    model.save("model.safetensors")


def of_nan(w):
    """A training that went wrong, or a file that was damaged within."""
    model = load("model.safetensors")
    next(model.detector.network.parameters()).data[0] = np.nan
    model.save("model.safetensors")


def without_layout(w):
    network = load("model.safetensors").detector.network
    save_model("model.safetensors", network, {"kind": "detect"})


def constant(data):
    return np.full_like(data, 1e-6)


NO_WCS = ["CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CUNIT1", "CUNIT2"]
IMAGES = {
    "no noise": (image(constant), "field.fits: has no noise"),
    "all NaN": (image(lambda data: data * np.nan), "field.fits: holds no valid pixels"),
    "no beam": (image(without=["BMAJ"]), "field.fits: has no beam"),
    "no WCS": (image(without=NO_WCS), "field.fits: has no celestial coordinates"),
    "a reference in words": (
        image(CRVAL1="one"),
        "field.fits: has no celestial coordinates (CRVAL1 is 'one', which is no number)",
    ),
    "a beam in words": (image(BMAJ="1.5 arcsec"), "field.fits: has no beam (BMAJ is '1.5 arcsec'"),
    "a beam turned round": (image(BMAJ=2e-4), "field.fits: has no beam (BMAJ is 0.0002 and BMIN is"),
    "a cube": (image(lambda data: np.stack([data] * 3)), "field.fits: is a cube of 3 x 192 x 192 pixels"),
    "a spectrum": (image(lambda data: data[0]), "field.fits: "),
    "cut short": (lambda w: w.cut("field.fits", 60000), "field.fits: "),
    "absent": (lambda w: w.path("field.fits").unlink(), "field.fits"),
    "another unit": (image(BUNIT="km/s"), "field.fits: has the unit km / s"),
}
TRUTHS = {
    "in mJy": (truth(flux_jy=lambda t: 1e3 * t["flux_jy"]), "truth.csv: its fluxes are not those of field.fits"),
    "a thousand times too faint": (
        truth(flux_jy=lambda t: 1e-3 * t["flux_jy"]),
        "truth.csv: its fluxes are not those of field.fits",
    ),
    "outside the image": (
        truth(dec_cent=lambda t: t["dec_cent"] + 5, dec_core=lambda t: t["dec_core"] + 5),
        "truth.csv: has no source inside field.fits",
    ),
    "a NaN": (truth(flux_jy=lambda t: t["flux_jy"].where(t.index != 3)), "truth.csv"),
    "negative sizes": (truth(b_maj_arcsec=lambda t: -t["b_maj_arcsec"]), "truth.csv"),
    "a column less": (lambda w: w.edit("truth.csv", "flux_jy", "brightness"), "truth.csv"),
    "no row": (empty_truth, "truth.csv: holds no source"),
    "absent": (lambda w: w.path("truth.csv").unlink(), "truth.csv"),
}
MODELS = {
    "of classes": (classifier, "model.safetensors: is a model to classify"),
    "of spectra": (of_spectra, "model.safetensors: is a model of spectra"),
    "of other images": (of_other_images, "model.safetensors: does not measure the parameters of continuum sources"),
    "without its layout": (without_layout, "model.safetensors: "),
    "of NaN": (of_nan, "model.safetensors: has weights"),
    "no model": (lambda w: w.write("model.safetensors", "hello"), "model.safetensors: "),
}


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_image(field, name, command):
    breaks, says = IMAGES[name]
    breaks(field)
    field.assert_refused(ALL[command], says)


@pytest.mark.parametrize("command", LABELLED)
@pytest.mark.parametrize("name", TRUTHS)
def test_a_bad_truth(field, name, command):
    breaks, says = TRUTHS[name]
    breaks(field)
    field.assert_refused(LABELLED[command], says)


@pytest.mark.parametrize("command", [DETECT, ADAPT], ids=["detect", "adapt"])
@pytest.mark.parametrize("name", MODELS)
def test_a_bad_model(field, name, command):
    breaks, says = MODELS[name]
    breaks(field)
    field.assert_refused(command, says)


def test_a_primary_beam_without_coordinates(field):
    fits.PrimaryHDU(np.ones((192, 192), np.float32)).writeto("beam.fits")
    field.assert_refused(f"{DETECT} --primary-beam beam.fits", "beam.fits: has no celestial coordinates")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data, "holds values up to"),
        (lambda data: 0 * data + 100, "holds values up to 100"),
        (lambda data: 0 * data, "holds values up to 0"),
        (lambda data: 0 * data - 1, "holds values up to -1"),
        (lambda data: np.nan * data, "has no valid pixel where field.fits is"),
    ],
    ids=["brightness", "percent", "zero", "negative", "NaN"],
)
def test_what_is_no_primary_beam(field, change, says):
    with fits.open("field.fits") as hdus:
        fits.PrimaryHDU(change(hdus[0].data), hdus[0].header).writeto("beam.fits")
    field.assert_refused(f"{DETECT} --primary-beam beam.fits", f"beam.fits: {says}")


def test_a_primary_beam_of_another_sky(field):
    with fits.open("field.fits") as hdus:
        hdus[0].header["CRVAL2"] += 20
        fits.PrimaryHDU(np.ones_like(hdus[0].data), hdus[0].header).writeto("beam.fits")
    field.assert_refused(f"{DETECT} --primary-beam beam.fits", "beam.fits: has no valid pixel where field.fits is")


def test_ids_that_repeat_are_told(field):
    truth(id=lambda table: 1)(field)
    field.assert_warned(EVALUATE, "truth.csv", "the id of an earlier row")


def test_images_of_one_name_are_told_apart(field):
    field.path("other/x")
    shutil.copy("field.fits", "other/field.fits")
    field.assert_warned(DETECT.replace("field.fits", "field.fits other/field.fits", 1))
    assert set(read_catalogue("new/catalogue.fits")["image"]) == {"field.fits", "other/field.fits"}


def test_empty_sky_is_an_empty_catalogue_of_the_same_columns(field):
    from pipeline.simulate.noise import generate, white_beam

    noise = generate(white_beam((2.5, 2.5, 0.0), 2.55e-7), (192, 192), np.random.default_rng(0))
    image(lambda data: noise)(field)
    field.assert_warned(f"{DETECT} --purity 0.999", "field.fits: no source was found")
    found, full = read_catalogue("new/catalogue.fits"), read_catalogue("catalogue.fits")
    assert len(found) == 0 < len(full)
    assert found.colnames == full.colnames
    for name in full.colnames:
        assert getattr(found[name], "unit", None) == getattr(full[name], "unit", None)
        assert found[name].dtype.kind == full[name].dtype.kind


def test_the_score_of_a_catalogue_does_not_depend_on_its_format(field):
    outs = ["new/a.fits", "new/a.ecsv", "new/a.csv", "new/a.txt"]
    field.assert_warned(" ".join([DETECT, *(f"--out {out}" for out in outs)]))
    score = "score --challenge sdc1 --frequency 560 --truth truth.csv --catalogue"
    assert len({tuple(field.run(f"{score} {out}")[1]) for out in outs}) == 1
    field.assert_warned(f"{score} new/a.fits --area train", "new/a.fits: none of its")


@pytest.mark.parametrize("shape", [(20, 24), (33, 192), (1, 64)])
def test_a_frame_smaller_than_a_tile_is_searched(field, shape):
    image(lambda data: data[: shape[0], : shape[1]])(field)
    field.assert_warned(DETECT)
    found = read_catalogue("new/catalogue.fits")
    assert ((found["x"].value > -0.5) & (found["x"].value < shape[1] - 0.5)).all()
    assert ((found["y"].value > -0.5) & (found["y"].value < shape[0] - 0.5)).all()


def test_sources_on_the_border_are_flagged(field):
    def on_the_border(data):
        y, x = np.indices(data.shape)
        places = [(-0.4, 100), (191.4, 40), (90, -0.4), (150, 191.4), (0, 0)]
        return data + sum(
            6e-6 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 1.06**2) for row, column in places
        ).astype(np.float32)

    image(on_the_border)(field)
    field.assert_warned(DETECT)
    found = read_catalogue("new/catalogue.fits")
    place = np.stack([found["y"].value, found["x"].value], axis=1)
    near = np.minimum(place, 191 - place).min(1) < 2
    assert near.any()
    assert (np.asarray(found["flags"])[near] & 1).all()
