"""The stages of a generative task by the command line, on a few small stamps, for every method."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits
from astropy.table import QTable

from pipeline.data.store import Dataset, open_store, write_store
from pipeline.generate.conditions import Conditions
from pipeline.generate.methods import SETTINGS
from pipeline.generate.stamps import told_table
from pipeline.learn.model_file import read_description

NETWORK = {"network": "unet-4.8_p2_r1_a0"}
CODED = {"widths": [4, 8]}
LINEAR = {"axes": 4}
METHODS = {
    "flow": NETWORK | {"steps": 2},
    "mean_flow": NETWORK | {"begin": "flow"},
    "edm": NETWORK | {"steps": 3, "whiten": True, "axes": 4},
    "ddpm": NETWORK | {"steps": 3},
    "ncsn": NETWORK | {"levels": 3, "steps": 1},
    "vae": CODED | {"latent": 2, "components": 2},
    "autoencoder": CODED | {"latent": 3, "components": 2},
    "denoising_autoencoder": CODED | {"latent": 3, "components": 2},
    "gan": CODED | {"latent": 4},
    "wgan_gp": CODED | {"latent": 4},
    "mixture": LINEAR | {"components": 2},
    "ppca": LINEAR,
    "gaussian": LINEAR,
}
TASK = {
    "kind": "generate",
    "simulate": {"sersic": {"n": 60, "shape": [12, 12], "size": [1.2, 2.5], "rms": 1e-8}},
    "labels": "label",
    "conditions": ["flux", "size", "gini"],
    "augment": {"flip": True, "rotate": 90},
    "methods": METHODS,
    "train": {"epochs": 2, "batch": 16, "warmup": 0.5, "ema": 0.9},
    "samples": 9,
}
STAGE = "--config my.yaml --task galaxies"
DATASET = "--dataset out/galaxies/dataset.h5"
MODEL = "out/galaxies/flow/model.safetensors"


def truth(path):
    with fits.open(path) as hdus:
        return QTable.read(hdus["TRUTH"], mask_invalid=False)


def run(work, command):
    code, lines = work.run(command)
    assert code == 0, "\n".join(lines)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, workplace):
    """A folder with the data set, and with model and samples of every method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch._decomp.decompositions_for_jvp  # noqa: F401  PyTorch warns of itself when it is first needed
    folder = tmp_path_factory.mktemp("generate")
    work = workplace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        work.write("my.yaml", yaml.safe_dump({"run": "out", "seed": 3, "tasks": {"galaxies": TASK}}, sort_keys=False))
        run(work, f"simulate {STAGE} --out out/galaxies/simulated")
        run(work, f"ingest {STAGE} --manifest out/galaxies/simulated/manifest.csv --out out/galaxies/dataset.h5")
        for name in METHODS:
            model = f"out/galaxies/{name}/model.safetensors"
            begin = f"--begin {MODEL}" if name == "mean_flow" else ""
            run(work, f"train {STAGE} --method {name} {DATASET} {begin} --device cpu --out {model}")
            out = "out/galaxies" if name == "flow" else f"out/galaxies/{name}"
            more = "--catalogue out/galaxies/catalogue.fits" if name == "flow" else ""
            run(work, f"sample {STAGE} {DATASET} --model {model} --device cpu --out {out}/galaxies.fits {more}")
    return work


@pytest.fixture
def work(trained, monkeypatch):
    """The same folder as the current one; what a test writes there has a name of its own."""
    monkeypatch.chdir(trained.folder)
    return trained


def samples(work, name, part="galaxies.fits"):
    return work.folder / "out" / "galaxies" / ("" if name == "flow" else name) / part


def test_every_method_is_tried():
    assert set(METHODS) == set(SETTINGS)


@pytest.mark.parametrize("name", METHODS)
def test_samples_are_in_the_units_of_the_stamps(work, name):
    with fits.open(samples(work, name)) as hdus:
        stamps, header = hdus[0].data, hdus[0].header
        assert stamps.shape == (9, 12, 12)
        assert np.isfinite(stamps).all()
        assert 1e-10 < stamps.std() < 1e-3  # the noise is 1e-8, the galaxies are hundreds of it
        assert header["BUNIT"] == "Jy"
        assert header["METHOD"] == header["KIND"] == name
        assert header["PIXSCALE"] == 0.5
        assert header["PSFPIX"] == 2.5
        assert header["PSFFWHM"] == 1.25
        assert header["RMS"] == pytest.approx(1e-8, rel=0.5)
        assert header["SEED"] == 3
        assert len(header["MODEL"]) == 64
        table = QTable.read(hdus["TRUTH"])
    assert {"id", "row", "flux", "size", "gini", "class", "measured_flux", "measured_gini"} <= set(table.colnames)
    assert str(table["flux"].unit) == str(table["measured_flux"].unit) == "Jy"
    assert set(table["class"]) <= {"disc", "spheroid"}


@pytest.mark.parametrize("name", METHODS)
def test_a_sample_does_not_depend_on_how_many_are_made(work, name, tmp_path):
    model = f"out/galaxies/{name}/model.safetensors"
    for n in (2, 5):
        condition = "--condition flux=1e-5,class=disc"
        run(work, f"sample --model {model} --n {n} {condition} --seed 7 --device cpu --out {tmp_path}/{n}.fits")
    few, more = fits.getdata(tmp_path / "2.fits"), fits.getdata(tmp_path / "5.fits")
    assert np.allclose(few, more[:2], rtol=1e-3, atol=1e-4 * more.std())
    assert not np.allclose(more[0], more[1], rtol=1e-2, atol=1e-2 * more.std())


def test_the_table_says_what_was_asked(work, tmp_path):
    asked = "--condition flux=1e-5 --condition class=disc"
    run(work, f"sample --model {MODEL} --n 2 {asked} --out {tmp_path}/a.fits --catalogue {tmp_path}/a.ecsv")
    table = QTable.read(tmp_path / "a.ecsv")
    assert (table["flux"].value == 1e-5).all()
    assert np.isnan(table["size"].value).all()
    assert (table["class"] == "disc").all()
    assert table["flux"].info.meta["ucd"] == "phot.flux"


def test_conditions_of_a_task_are_those_of_its_test_stamps(work):
    from pipeline.data.store import open_store

    with open_store("out/galaxies/dataset.h5") as store:
        rows = store.indices("test")
        expected = store.columns["flux"].to_numpy()[rows]
    table = truth(samples(work, "flow"))
    assert np.allclose(table["flux"].value, np.resize(expected, 9))


def test_without_conditions_they_are_drawn_from_the_training_set(work, tmp_path):
    run(work, f"sample --model {MODEL} --n 30 --out {tmp_path}/a.fits")
    told = truth(tmp_path / "a.fits")["flux"].value
    known = read_description(MODEL)["population"]["flux"]
    assert set(told) <= set(known)
    assert len(set(told)) > 5
    run(work, f"sample --model {MODEL} --n 3 --untold --out {tmp_path}/b.fits")
    assert np.isnan(truth(tmp_path / "b.fits")["flux"].value).all()


def test_a_sample_is_made_again_by_its_seed(work, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(work, f"sample --model {MODEL} --n 2 --seed {seed} --steps 3 --out {tmp_path}/{name}.fits")
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    assert not np.allclose(fits.getdata(tmp_path / "a.fits"), fits.getdata(tmp_path / "c.fits"))
    assert fits.getheader(tmp_path / "a.fits")["STEPS"] == 3


def test_one_file_each(work, tmp_path):
    run(work, f"sample --model {MODEL} --n 3 --one-file-each --out {tmp_path}/each")
    names = sorted(path.name for path in (tmp_path / "each").iterdir())
    assert names == ["galaxy-00000.fits", "galaxy-00001.fits", "galaxy-00002.fits"]
    run(work, f"sample --model {MODEL} --n 3 --out {tmp_path}/all.fits")
    together = fits.getdata(tmp_path / "all.fits")
    assert np.allclose(np.concatenate([fits.getdata(tmp_path / "each" / name) for name in names]), together)
    work.assert_refused(f"sample --model {MODEL} --n 3 --one-file-each --out {tmp_path}/each", "exists already")


def test_training_goes_on_where_it_was_killed(work, tmp_path, monkeypatch):
    from pathlib import Path

    from pipeline.config import load_config
    from pipeline.generate.task import train

    task = load_config("my.yaml").tasks["galaxies"]

    class KilledError(Exception):
        pass

    def kill(row):
        raise KilledError

    out = tmp_path / "m.safetensors"
    with pytest.raises(KilledError):
        train(Path("out/galaxies/dataset.h5"), task, "vae", out, seed=3, device="cpu", progress=kill)
    assert not out.exists()
    seen = []
    train(Path("out/galaxies/dataset.h5"), task, "vae", out, seed=3, device="cpu", progress=seen.append)
    assert [row["epoch"] for row in seen] == [2]
    from safetensors.numpy import load_file

    once, twice = load_file(work.folder / "out/galaxies/vae/model.safetensors"), load_file(out)
    assert all(np.array_equal(once[key], twice[key]) for key in once)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "m.safetensors", "training.json"]


def test_methods_are_compared(work):
    files = " ".join(f"--samples {samples(work, name)}" for name in reversed(METHODS))
    run(work, f"evaluate {STAGE} {DATASET} {files} --out out/galaxies/metrics.json")
    metrics = json.loads((work.folder / "out/galaxies/metrics.json").read_text())
    assert metrics["kind"] == "generate"
    assert metrics["product"] == "flow"
    assert list(metrics["methods"]) == list(METHODS)
    for name, found in metrics["methods"].items():
        assert found["kind"] == name
        assert found["realism"]["mean_w1_floor"] > 0
        assert (work.folder / "out" / "galaxies" / found["samples"]).is_file()
        assert found["training"]["parameters"] >= 0
        assert found["sampling"]["stamps_per_second"] > 0
    assert metrics["methods"]["flow"]["training"]["macs"] > 0
    lines = (work.folder / "out/galaxies/statistics.csv").read_text().splitlines()
    assert {line.partition(",")[0] for line in lines[1:]} == {"real", *METHODS}


def test_a_method_without_samples_is_named(work):
    files = " ".join(f"--samples {samples(work, name)}" for name in METHODS if name != "vae")
    work.assert_refused(f"evaluate {STAGE} {DATASET} {files} --out new.json", "has no samples of vae")


def test_a_latent_plane_and_odd_stamps(work, tmp_path):
    model = "--model out/galaxies/vae/model.safetensors"
    plane = f"--plane {tmp_path}/p.json --stamps {tmp_path}/p.fits --outliers {tmp_path}/odd.fits"
    run(work, f"explore {model} {DATASET} {plane}")
    found = json.loads((tmp_path / "p.json").read_text())
    assert len(found["points"]) == len(found["labels"]) == 60
    assert set(found["labels"]) == {"disc", "spheroid"}
    table = QTable.read(tmp_path / "odd.fits")
    assert len(table) == 60
    assert table["rank"][0] == 1
    work.assert_refused(f"explore --model {MODEL} {DATASET} --plane a.json --stamps a.fits", "no latent space")


def test_noise_is_taken_out(work, tmp_path):
    run(work, f"restore --model {MODEL} {DATASET} --n 2 --noise 4 --draws 3 --out {tmp_path}/r.fits")
    with fits.open(tmp_path / "r.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["MEAN", "SPREAD", "OBSERVED", "TRUE"]
        assert all(hdu.data.shape == (2, 1, 12, 12) and np.isfinite(hdu.data).all() for hdu in hdus)
        assert (hdus["SPREAD"].data > 0).all()
        assert hdus[0].header["RMS"] == pytest.approx(4e-8, rel=0.5)
    work.assert_refused(
        f"restore --model out/galaxies/vae/model.safetensors {DATASET} --out new.fits", "restore with a model"
    )


SAMPLE = f"sample --model {MODEL} --n 2 --out new.fits"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--condition fulx=1e-5", "unknown to this model, which can be told flux, size, gini, class"),
        ("--condition flux=-1", "is -1, which has no logarithm; give a positive number, or leave it out."),
        ("--condition ,", '"" is not name=value'),
        ("--condition flux=1e-5,", '"" is not name=value'),
        ("--condition flux=bright", 'is "bright"'),
        ("--condition class=star", '"star" is not a class of this model'),
        ("--condition flux", '"flux" is not name=value'),
        ("--condition flux=1,flux=2", "flux is given twice"),
        ("--condition flux=1e3 --strict", "is outside the training range"),
        ("--condition flux=1e-5 --untold", "has both --condition and --untold"),
        ("--guidance -1", "is not from 0 to 100"),
        ("--catalogue c.txt", "is not a catalogue format"),
        ("--task galaxies", "has --task without --config"),
        (f"{STAGE}", "has --config without --dataset"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(work, words, said):
    work.assert_refused(f"{SAMPLE} {words}", said)


def test_a_condition_outside_the_training_range_is_warned_of(work, tmp_path):
    command = f"sample --model {MODEL} --n 1 --condition flux=1e-2 --out {tmp_path}/a.fits"
    work.assert_warned(command, "is outside the training range", "extrapolation")


def test_the_cost_is_for_evaluate_and_never_in_the_way_of_other_files(work, tmp_path):
    (tmp_path / "a.json").write_text("mine")
    run(work, f"sample --model {MODEL} --n 2 --out {tmp_path}/a.fits")
    assert (tmp_path / "a.json").read_text() == "mine"
    work.assert_refused(f"sample {STAGE} {DATASET} --model {MODEL} --out .", ".: cannot be written")
    (tmp_path / "b.json").mkdir()
    work.assert_refused(
        f"sample {STAGE} {DATASET} --model {MODEL} --out {tmp_path}/b.fits", "b.json: cannot be written"
    )
    assert not (tmp_path / "b.fits").exists()
    run(work, f"sample {STAGE} {DATASET} --model {MODEL} --n 2 --out {tmp_path}/c.fits")
    assert json.loads((tmp_path / "c.json").read_text())["n"] == 2


def test_models_of_other_tasks_are_named(work, made):
    other = made / "results/stars/model.safetensors"
    for command in ("sample --n 2", f"explore {DATASET} --outliers new.fits", f"restore {DATASET}"):
        out = "" if "explore" in command else "--out new.fits"
        work.assert_refused(f"{command} --model {other} {out}", "is a model of kind classify, which makes no samples")


def test_another_model_makes_no_samples(work, tmp_path):
    shutil.copy(MODEL, tmp_path / "m.safetensors")
    work.cut(tmp_path / "m.safetensors", -9)
    work.assert_refused(f"sample --model {tmp_path}/m.safetensors --n 2 --out new.fits", "bytes")
    work.assert_refused(f"sample --model {tmp_path}/none.safetensors --n 2 --out new.fits", "does not exist")


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (f"train {STAGE} {DATASET} --out new.safetensors", "needs --method"),
        (f"train {STAGE} {DATASET} --method flwo --out new.safetensors", "choose among flow"),
        (f"train {STAGE} --method flow --out new.safetensors", "needs --dataset"),
        (f"train {STAGE} {DATASET} --method mean_flow --out new.safetensors", "name its model by --begin"),
        (f"train {STAGE} {DATASET} --method vae --begin {MODEL} --out new.safetensors", "leave --begin out"),
        (f"evaluate {STAGE} {DATASET} --out new.json", "needs --samples"),
        (f"ingest {STAGE} --out new.h5", "is simulated, so its manifest must be named"),
    ],
)
def test_what_a_stage_lacks_is_named(work, stage, said):
    work.assert_refused(stage, said)


@pytest.mark.parametrize(
    ("shape", "given"), [([12, 8, 8], {"kind": "cube"}), ([24], {"kind": "spectrum", "grid": [1.0, 25.0, 1.0]})]
)
def test_cubes_and_spectra_of_rotating_discs_are_learnt_too(tmp_path, workplace, monkeypatch, shape, given):
    work = workplace(tmp_path)
    monkeypatch.chdir(tmp_path)
    task = TASK | {
        "simulate": {"discs": {"n": 60, "shape": shape}},
        "input": given,
        "conditions": ["flux", "w20"],
        "methods": {"flow": {"network": "unet-8.8_p1", "steps": 2}, "mixture": {"components": 2, "axes": 6}},
        "augment": {},
    }
    work.write("my.yaml", yaml.safe_dump({"run": "out", "seed": 3, "tasks": {"galaxies": task}}, sort_keys=False))
    run(work, f"simulate {STAGE} --out out/galaxies/simulated")
    run(work, f"ingest {STAGE} --manifest out/galaxies/simulated/manifest.csv --out out/galaxies/dataset.h5")
    for name in task["methods"]:
        model = f"out/galaxies/{name}/model.safetensors"
        run(work, f"train {STAGE} --method {name} {DATASET} --device cpu --out {model}")
        run(work, f"sample {STAGE} {DATASET} --model {model} --device cpu --out out/galaxies/{name}/galaxies.fits")
        with fits.open(f"out/galaxies/{name}/galaxies.fits") as hdus:
            header, stamps = hdus[0].header, hdus[0].data
            assert stamps.shape[0] == 9 and list(stamps.shape[-len(shape) :]) == shape
            assert header["PIXSCALE"] == 2.8 and header["PSFPIX"] == 2.5
    wrong = {"run": "out", "tasks": {"galaxies": task | {"input": {"kind": "image"}}}}
    work.write("wrong.yaml", yaml.safe_dump(wrong))
    code, lines = work.run("check wrong.yaml")
    assert code == 2
    assert "input.kind is image, the simulated stamps are of kind" in lines[-1]


def test_of_a_blank_picture_the_measured_conditions_are_unknown(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 1, 16, 16)).astype("f4")
    x[:, :, 6:10, 6:10] += 50
    x[3] = 0
    path = tmp_path / "d.h5"
    write_store(path, Dataset(x, np.full(6, -1), list("abcdef"), list("abcdef"), ["train"] * 6, [], kind="image"))
    with open_store(path) as store:
        table, _ = told_table(store, np.arange(6), ["flux", "half_light_radius", "background_median"])
    assert table["flux"].isna().tolist() == [False, False, False, True, False, False]
    assert table["half_light_radius"].isna()[3]
    encoded = Conditions.fit(table, ["flux"], [""], []).encode(table[["flux"]])
    assert torch.isfinite(encoded).all() and not encoded[3].any()
