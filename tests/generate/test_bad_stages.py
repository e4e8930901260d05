"""Bad input to the stages of a generative task by the real command: one sentence, exit code 2, nothing left behind."""

import shutil

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from pipeline.data.store import open_store

TASK = {
    "kind": "generate",
    "simulate": {"sersic": {"n": 40, "shape": [12, 12], "size": [1.2, 2.5], "rms": 1e-8}},
    "conditions": ["flux", "size"],
    "methods": {
        "flow": {"network": "unet-4.8_p2_r1_a0", "steps": 2},
        "gaussian": {"axes": 4},
    },
    "train": {"epochs": 1, "batch": 16},
    "samples": 9,
}
STAGE = "--config my.yaml --task galaxies"
DATASET = "--dataset out/galaxies/dataset.h5"
MODEL = "out/galaxies/flow/model.safetensors"
MANIFEST = "out/galaxies/simulated/manifest.csv"
RESTORE = f"restore stamps.fits --model {MODEL} --draws 2 --out new/restored.fits"
AGAIN = f"restore {DATASET} --model {MODEL} --n 2 --draws 2 --out new/restored.fits"


def run(work, command):
    code, lines = work.run(command)
    assert code == 0, "\n".join(lines)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, workplace):
    """A folder with a data set, and with models and samples of two methods."""
    folder = tmp_path_factory.mktemp("generate")
    work = workplace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        work.write("my.yaml", yaml.safe_dump({"run": "out", "seed": 3, "tasks": {"galaxies": TASK}}, sort_keys=False))
        run(work, f"simulate {STAGE} --out out/galaxies/simulated")
        run(work, f"ingest {STAGE} --manifest {MANIFEST} --out out/galaxies/dataset.h5")
        for name in TASK["methods"]:
            model = f"out/galaxies/{name}/model.safetensors"
            run(work, f"train {STAGE} --method {name} {DATASET} --device cpu --out {model}")
            run(work, f"sample {STAGE} {DATASET} --model {model} --device cpu --out out/galaxies/{name}/galaxies.fits")
    return folder


@pytest.fixture
def work(trained, tmp_path, workplace, monkeypatch):
    """A copy of that folder as the current one."""
    folder = tmp_path / "work"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return workplace(folder)


def stamps(work, pixels=None, **cards):
    noise = 1e-8 * np.random.default_rng(0).normal(size=(2, 12, 12))
    noise[:, 5:7, 5:7] += 1e-6
    work.fits("stamps.fits", (noise if pixels is None else pixels * noise).astype("f4"), **({"BUNIT": "Jy"} | cards))


@pytest.mark.parametrize("unit", ["mJy", "count", "Jy/beam"])
def test_stamps_in_another_unit_are_not_restored(work, unit):
    stamps(work, BUNIT=unit)
    work.assert_refused(f"{RESTORE} --noise 1e-8", "stamps.fits: is in ", "the model makes stamps in Jy")


def test_stamps_of_no_unit_are_taken_for_the_models(work):
    stamps(work, BUNIT="")
    work.assert_warned(f"{RESTORE} --noise 1e-8", "stamps.fits: no BUNIT in its header; its pixels are taken for Jy")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--noise inf", "--noise inf is no standard deviation"),
        ("--noise nan", "--noise nan is no standard deviation"),
        ("--noise 0", "--noise 0 is no standard deviation"),
        ("--noise 1e-300", "more than a million times apart"),
        ("--noise 1e30", "more than a million times apart"),
        ("--noise 1 --blur inf", "--blur inf is no width"),
        ("--noise 1 --blur nan", "--blur nan is no width"),
        ("--noise 1 --blur -1", "--blur -1 is no width"),
        ("--noise 1 --blur 1e7", "has stamps of 12 pixels, which a blur of 1e+07 pixels is broader than"),
    ],
)
def test_a_noise_or_a_blur_that_is_none(work, option, said):
    stamps(work)
    work.assert_refused(f"{RESTORE} {option.replace('--noise 1 ', '--noise 1e-8 ')}", said)
    work.assert_refused(f"{AGAIN} {option}", said)


@pytest.mark.parametrize("told", ["loud", -1e-8, 0.0])
def test_a_noise_in_the_header_that_is_none(work, told):
    stamps(work, RMS=told)
    work.assert_refused(RESTORE, f"stamps.fits: has RMS = {told} in its header, where a number above 0 must be")


def test_stamps_that_do_not_tell_their_noise(work):
    stamps(work)
    work.assert_refused(RESTORE, "stamps.fits: does not tell its noise (no RMS); give --noise")


def test_stamps_without_a_valid_pixel(work):
    stamps(work, np.array([1.0, np.nan])[:, None, None])
    work.assert_refused(f"{RESTORE} --noise 1e-8", "stamps.fits: has no valid pixel in stamp 1")


def test_a_data_set_in_another_unit(work):
    manifest = work.path(MANIFEST).read_text()
    work.path("other").mkdir()
    fits.writeto("other/samples.fits", 1e3 * fits.getdata("out/galaxies/simulated/samples.fits"))
    fits.setval("other/samples.fits", "BUNIT", value="mJy")
    work.write("other/manifest.csv", manifest)
    run(work, f"ingest {STAGE} --manifest other/manifest.csv --out other/dataset.h5")
    work.assert_refused(AGAIN.replace("out/galaxies/dataset.h5", "other/dataset.h5"), 'has stamps in "mJy"', 'in "Jy"')


def changed(work, change):
    """The stamps of the task, after `change` of their table of conditions and of their pixels, as a data set."""
    shutil.copytree("out/galaxies/simulated", "other")
    table = Table.read("other/manifest.csv", format="ascii.ecsv")
    with fits.open("other/samples.fits", mode="update") as hdus:
        change(table, hdus[0].data)
    table.write("other/manifest.csv", format="ascii.ecsv", delimiter=",", overwrite=True)
    run(work, f"ingest {STAGE} --manifest other/manifest.csv --out other/dataset.h5")


TRAIN = f"train {STAGE} --method gaussian --dataset other/dataset.h5 --device cpu --out new/model.safetensors"


def test_a_few_fluxes_without_a_logarithm_are_told_of(work):
    with open_store("out/galaxies/dataset.h5") as store:
        row, rows = store.indices("train")[0], len(store.indices("train"))

    def negative(table, pixels):
        table["flux"][row] *= -1

    changed(work, negative)
    work.assert_warned(TRAIN, f"condition flux: 1 of its {rows} values is not above 0", "and not its logarithm")


@pytest.mark.parametrize("part", ["train", "validation"])
def test_stamps_with_blank_pixels_are_named_by_file_and_object(work, part):
    with open_store("out/galaxies/dataset.h5") as store:
        row = store.indices(part)[1]

    def blank(table, pixels):
        pixels[row, 3, 4] = np.nan

    changed(work, blank)
    told = f"samples.fits (id galaxy-{row:05d}): has 1 of 144 pixels that are NaN or infinite"
    work.assert_refused(TRAIN, told)
    work.assert_refused(TRAIN.replace("gaussian", "flow"), told)


EVALUATE = f"evaluate {STAGE} {DATASET} --samples out/galaxies/flow/galaxies.fits --samples bad.fits --out new/m.json"


def spoiled(change):
    """Samples of the method gaussian, after `change` of the image HDU and of the table."""
    with fits.open("out/galaxies/gaussian/galaxies.fits") as hdus:
        copied = fits.HDUList([hdu.copy() for hdu in hdus])
        change(*copied)
        copied.writeto("bad.fits", overwrite=True)


def blank(image, table):
    image.data = image.data.copy()
    image.data[2, 3, 4] = np.nan


def empty(image, table):
    image.data, table.data = image.data[:0], table.data[:0]


def in_mjy(image, table):
    image.header["BUNIT"] = "mJy"


def unmade(image, table):
    del image.header["SAMPLER"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (blank, "bad.fits: has NaN or infinite pixels in stamp 2"),
        (empty, "bad.fits: holds no stamp"),
        (in_mjy, 'bad.fits: holds stamps in "mJy", the data set in "Jy"'),
        (unmade, "was not made by fleming sample"),
    ],
)
def test_samples_that_cannot_be_judged(work, change, said):
    spoiled(change)
    work.assert_refused(EVALUATE, said)


def test_what_is_beside_the_samples_or_the_metrics_is_looked_at_first(work, monkeypatch):
    def judge(*_, **__):
        raise AssertionError("judged")

    monkeypatch.setattr("pipeline.generate.evaluate.Reference", judge)
    spoiled(lambda image, table: None)
    work.assert_refused(EVALUATE.replace("new/m.json", "."), ".: cannot be written")
    work.write("bad.json", "[]")
    work.assert_refused(EVALUATE, "bad.json: is not what a stage wrote there")
    work.path("new/statistics.csv").mkdir(parents=True)
    work.assert_refused(EVALUATE, "new/statistics.csv: cannot be written")


def test_too_few_stamps_to_compare_with(work):
    def few(table, pixels):
        table.remove_rows(slice(4, None))

    changed(work, few)
    spoiled(lambda image, table: None)
    work.assert_refused(
        EVALUATE.replace("out/galaxies/dataset.h5", "other/dataset.h5"), "has 2 stamps to train on and 1 to test"
    )
