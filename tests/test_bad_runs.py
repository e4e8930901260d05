"""A table of bad settings, models, data sets and catalogues, each met by the real command."""

import json

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from pipeline.learn.model_file import read_description
from pipeline.sky.catalogue import read_catalogue

CHECK = "check run.yaml"
STARS = "--config run.yaml --task stars"
DATA, MODEL, CATALOGUE = (f"results/stars/{name}" for name in ("dataset.h5", "model.safetensors", "catalogue.fits"))
INGEST = f"ingest {STARS} --out new/data.h5"
TRAIN = f"train {STARS} --dataset {DATA} --out new/model.safetensors"
CLASSIFY = f"classify stars/00.fits --model {MODEL} --out new/types.fits"
CLASSIFY_DATA = f"classify --dataset {DATA} --model {MODEL} --out new/types.fits"
CROSS = f"crossvalidate {STARS} --dataset {DATA} --out new/cross.json"
EVALUATE = f"evaluate {STARS} --dataset {DATA} --model {MODEL} --catalogue {CATALOGUE} --out new/metrics.json"
SIMULATE = "simulate --config run.yaml --task injected --out new/simulated"
REPORT = "report --config run.yaml --out results/report.html"


def replace(old, new):
    return lambda w: w.edit("run.yaml", old, new)


def nothing(w):
    """The command itself is wrong."""


def laughs(levels):
    """YAML whose aliases stand for 10**levels words."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "\n".join([*lines, "run: results", f"tasks: *a{levels - 1}", ""])


def network(line):
    return replace("C-2.5 P-4 D-3", line)


def edit_model(w, **changes):
    """The model file with other words in its description."""
    description = read_description(MODEL) | changes
    description = {key: value for key, value in description.items() if value is not None}
    save_file(load_file(MODEL), MODEL, {"fleming": json.dumps(description)})


def edit_data(name, value):
    def change(w):
        with h5py.File(DATA, "r+") as file:
            file.attrs[name] = value

    return change


def spoil_data(w):
    """One flipped byte in the compressed pixels."""
    with h5py.File(DATA) as file:
        place = file["x"].id.get_chunk_info(0).byte_offset
    made = bytearray(w.path(DATA).read_bytes())
    made[place + 20] ^= 0xFF
    w.write(DATA, bytes(made))


def rename_class(w):
    w.write("stars.csv", w.path("stars.csv").read_text().replace(",A,", ",Z,"))
    assert w.run(f"ingest {STARS} --out {DATA}")[0] == 0


def without_column(name):
    def change(w):
        table = read_catalogue(CATALOGUE)
        table.remove_column(name)
        table.write(CATALOGUE, overwrite=True)

    return change


def some_rows(w):
    read_catalogue(CATALOGUE)[:6].write(CATALOGUE, overwrite=True)


def other_program(w):
    w.path(DATA).unlink()
    with h5py.File(DATA, "w") as file:
        file["x"] = np.zeros((3, 3))


def pickled(w):
    torch.save({"weights": torch.zeros(3)}, MODEL)


# name: (command, break it, what the message says)
RUNS = {
    "config absent": ("check other.yaml", nothing, ["other.yaml: does not exist"]),
    "config a folder": ("check stars", nothing, ["stars: cannot be read"]),
    "config empty": (CHECK, lambda w: w.write("run.yaml", ""), ["run.yaml: holds no settings"]),
    "config a list": (CHECK, lambda w: w.write("run.yaml", "- run\n"), ["run.yaml: holds no settings"]),
    "config not text": (CHECK, lambda w: w.write("run.yaml", b"\xff\xfe\0"), ["run.yaml: cannot be read"]),
    "config with control characters": (CHECK, lambda w: w.write("run.yaml", "run: \x07\n"), ["run.yaml"]),
    "config syntax": (CHECK, replace("tasks:", "tasks: ["), ["run.yaml line", "is not valid YAML"]),
    "config with a tab": (CHECK, replace("  stars:", "\tstars:"), ["run.yaml line 3", "is not valid YAML"]),
    "config that runs code": (
        CHECK,
        replace("run: results", "run: !!python/object/apply:os.system ['touch owned']"),
        ["run.yaml line 1", "YAML"],
    ),
    "config of many aliases": (CHECK, lambda w: w.write("run.yaml", laughs(12)), ["run.yaml", "aliases"]),
    "config in itself": (CHECK, lambda w: w.write("run.yaml", "run: &a [*a]\ntasks: {}\n"), ["run.yaml"]),
    "config of deep brackets": (CHECK, lambda w: w.write("run.yaml", "run: " + 5000 * "["), ["run.yaml"]),
    "unknown key": (CHECK, replace("network:", "netwrok:"), ["run.yaml line 6, key tasks.stars.netwrok", "'network'"]),
    "key twice": (CHECK, replace("run: results", "run: a\nrun: b"), ["run.yaml line 2, key run: is given twice"]),
    "wrong type": (CHECK, replace("epochs: 1", "epochs: many"), ["tasks.stars.train.epochs", "'many'"]),
    "wrong value": (CHECK, replace("epochs: 1", "epochs: -1"), ["tasks.stars.train.epochs", "-1"]),
    "not a number": (CHECK, replace("epochs: 1", "learning_rate: .nan"), ["tasks.stars.train.learning_rate", "nan"]),
    "wrong grid": (CHECK, replace("[4000, 4400, 10]", "[4400, 4000, 10]"), ["run.yaml line 5", "start < stop"]),
    "missing key": (CHECK, replace("    network: C-2.5 P-4 D-3\n", ""), ["tasks.stars.network: is missing"]),
    "no task": (CHECK, lambda w: w.write("run.yaml", "run: a\ntasks: {}\n"), ["run.yaml line 2, key tasks"]),
    "unknown task": (INGEST.replace("stars", "suns"), nothing, ["run.yaml: has no task 'suns'", "stars"]),
    "task without simulation": (
        SIMULATE.replace("injected", "stars"),
        nothing,
        ["run.yaml: task 'stars' has no simulate"],
    ),
    "task that is simulated": (
        INGEST.replace("stars", "injected"),
        nothing,
        ["run.yaml: task 'injected' is simulated"],
    ),
    "wrong token": (CHECK, network("C-2.x D-3"), ["tasks.stars", '"C-2.x"']),
    "network that shrinks to nothing": (TRAIN, network("P-8 P-8 D-3"), ['network "P-8 P-8 D-3"', "token 2"]),
    "network for other classes": (TRAIN, network("C-2.5 D-4"), ['network "C-2.5 D-4"', "D-4"]),
    "unknown monitor": (TRAIN, replace("epochs: 1", "epochs: 1, monitor: beauty"), ["train.monitor is 'beauty'"]),
    "describe without a shape": ("describe D-2", nothing, ["fleming describe: needs the shape"]),
    "describe a wrong token": ("describe X-2 --input 1,8", nothing, ['"X-2"']),
    "describe an absent model": ("describe no.safetensors", nothing, ["no.safetensors: does not exist"]),
    "unknown device": (f"{TRAIN} --device abacus", nothing, ['device "abacus"']),
    "device that is not there": (f"{CLASSIFY} --device cuda:99", nothing, ['device "cuda:99"']),
    "two folds": (f"{CROSS} --folds 2", nothing, ["--folds 2"]),
    "too many folds": (f"{CROSS} --folds 9", nothing, [f"{DATA}: class ", "too few for 9 folds"]),
    "data absent": (TRAIN.replace(DATA, "no.h5"), nothing, ["no.h5: does not exist"]),
    "data a folder": (TRAIN.replace(DATA, "stars"), nothing, ["stars: is a folder"]),
    "data of text": (TRAIN, lambda w: w.write(DATA, "hello"), [f"{DATA}: is not an HDF5 file"]),
    "data cut short": (TRAIN, lambda w: w.cut(DATA, -3000), [f"{DATA}: "]),
    "data spoilt, train": (TRAIN, spoil_data, [f"{DATA}: is damaged in rows 0 to"]),
    "data spoilt, classify": (CLASSIFY_DATA, spoil_data, [f"{DATA}: is damaged in rows 0 to"]),
    "data of another program": (TRAIN, other_program, [f"{DATA}: is HDF5, but not"]),
    "data of a later version": (TRAIN, edit_data("format_version", 99), [f"{DATA}: has the format version 99"]),
    "data with a spoilt header": (TRAIN, edit_data("input", "{"), [f"{DATA}: is damaged"]),
    "data of other classes": (CLASSIFY_DATA, rename_class, [f"{DATA}: has the classes B, C, Z", "A, B, C"]),
    "data of another shape": (
        CLASSIFY_DATA.replace(DATA, "results/galaxies/dataset.h5"),
        nothing,
        ["galaxies/dataset.h5: holds samples of shape (1, 8, 8)"],
    ),
    "model absent": (CLASSIFY, lambda w: w.path(MODEL).unlink(), [f"{MODEL}: does not exist"]),
    "model a folder": (CLASSIFY.replace(MODEL, "stars"), nothing, ["stars: cannot be read"]),
    "model a pickle": (CLASSIFY, pickled, [f"{MODEL}: is a pickle"]),
    "model of text": (CLASSIFY, lambda w: w.write(MODEL, "hello"), [f"{MODEL}: is not a model file"]),
    "model empty": (CLASSIFY, lambda w: w.write(MODEL, ""), [f"{MODEL}: is not a model file"]),
    "model cut short": (CLASSIFY, lambda w: w.cut(MODEL, -40), [f"{MODEL}: has "]),
    "model cut in its header": (CLASSIFY, lambda w: w.cut(MODEL, 200), [f"{MODEL}: is cut short"]),
    "model without a description": (
        CLASSIFY,
        lambda w: save_file(load_file(MODEL), MODEL),
        [f"{MODEL}: is a safetensors file without a description"],
    ),
    "model of a later version": (
        CLASSIFY,
        lambda w: edit_model(w, format_version=99),
        [f"{MODEL}: has format version 99"],
    ),
    "model of another network": (CLASSIFY, lambda w: edit_model(w, line="C-2.3 P-4 D-3"), [f"{MODEL}: weights"]),
    "model of a wrong network": (CLASSIFY, lambda w: edit_model(w, line="parsnip"), ['network "parsnip"']),
    "model of another kind": (
        CLASSIFY,
        lambda w: edit_model(w, kind="detect"),
        [f"{MODEL}: is a model of kind 'detect'"],
    ),
    "model that lacks its classes": (CLASSIFY, lambda w: edit_model(w, classes=None), [f"{MODEL}: "]),
    "model that lacks its normalisation": (CLASSIFY, lambda w: edit_model(w, normaliser=None), [f"{MODEL}: "]),
    "model with a wrong normalisation": (CLASSIFY, lambda w: edit_model(w, normaliser={"steps": 3}), [f"{MODEL}: "]),
    "model with a wrong input": (CLASSIFY, lambda w: edit_model(w, input={"kind": "smell"}), [f"{MODEL}: "]),
    "model with other classes": (CLASSIFY, lambda w: edit_model(w, classes=["A", "B"]), [f"{MODEL}: "]),
    "model of images for spectra": (
        CLASSIFY.replace(MODEL, "results/galaxies/model.safetensors"),
        nothing,
        ["stars/00.fits: is not an image"],
    ),
    "nothing to classify": (CLASSIFY.replace("stars/00.fits ", ""), nothing, ["fleming classify: needs one source"]),
    "two sources to classify": (f"{CLASSIFY} --dataset {DATA}", nothing, ["fleming classify: needs one source"]),
    "an empty manifest to classify": (
        CLASSIFY.replace("stars/00.fits", "--manifest stars.csv"),
        lambda w: w.write("stars.csv", ""),
        ["stars.csv: is empty"],
    ),
    "a URL to classify": (
        CLASSIFY.replace("stars/00.fits", "--manifest stars.csv"),
        lambda w: w.edit("stars.csv", "stars/03.fits", "http://127.0.0.1:9/03.fits"),
        ["stars.csv", "http://127.0.0.1:9/03.fits"],
    ),
    "catalogue of an unknown kind": (
        CLASSIFY.replace("types.fits", "types.doc"),
        nothing,
        ['new/types.doc: ".doc" is not'],
    ),
    "second catalogue of an unknown kind": (
        f"{CLASSIFY} --out new/types.doc",
        nothing,
        ['new/types.doc: ".doc" is not'],
    ),
    "catalogue absent": (EVALUATE, lambda w: w.path(CATALOGUE).unlink(), [f"{CATALOGUE}: does not exist"]),
    "catalogue of text": (
        EVALUATE,
        lambda w: w.write(CATALOGUE, "hello"),
        [f"{CATALOGUE}: is not a readable fits table"],
    ),
    "catalogue without a probability": (EVALUATE, without_column("p_B"), [f"{CATALOGUE}: has no column 'p_B'"]),
    "catalogue without labels": (EVALUATE, without_column("label"), [f"{CATALOGUE}: has no column 'label'"]),
    "catalogue of fewer objects": (EVALUATE, some_rows, [f"{CATALOGUE}: "]),
    "model of other classes to evaluate": (
        EVALUATE.replace(MODEL, "results/galaxies/model.safetensors"),
        nothing,
        ["results/galaxies/model.safetensors"],
    ),
    "report before the stages": (
        REPORT,
        nothing,
        ["results/stars/metrics.json: does not exist; run the evaluate stage"],
    ),
    "figures before the stages": ("figures results/stars", nothing, ["results/stars/metrics.json: does not exist"]),
    "figures of no folder": ("figures results/suns", nothing, ["results/suns/metrics.json: does not exist"]),
    "report of damaged metrics": (
        REPORT,
        lambda w: w.write("results/stars/metrics.json", "{"),
        ["results/stars/metrics.json: is not"],
    ),
    "report of other metrics": (
        REPORT,
        lambda w: w.write("results/stars/metrics.json", "[]"),
        ["results/stars/metrics.json: "],
    ),
    "sources absent": (SIMULATE, lambda w: w.path("clouds.csv").unlink(), ["run.yaml line", "clouds.csv"]),
    "source of no signal": (
        SIMULATE,
        lambda w: w.galaxy("clouds/03.fits", np.zeros((4, 8, 8))),
        ["clouds.csv row 5: ", "clouds/03.fits holds no signal"],
    ),
    "source cut short": (SIMULATE, lambda w: w.cut("clouds/03.fits", 3000), ["clouds/03.fits", "truncated"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_bad_run(work, name):
    command, breaks, words = RUNS[name]
    breaks(work)
    work.assert_refused(command, *words)
