"""A table of bad fields, models, catalogues and options of the stages of detection, each met by the real command."""

import numpy as np
import pytest

SCORE = "score --challenge sdc1 --frequency 560 --truth sky/truth.csv --catalogue sky/truth.csv --json new/score.json"
FIELD = "field --shape 32 --out new/field.fits --truth new/truth.csv"
CLASSIFIER = "results/stars/model.safetensors"
DETECT = f"detect sky/field.fits --model {CLASSIFIER} --out new/sources.fits"
ADAPT = f"adapt sky/field.fits --model {CLASSIFIER} --out new/adapted.safetensors"
INJECT = "inject sky/field.fits --out new/injected.fits --truth-out new/sources.csv"
RECOVER = f"recover sky/field.fits --model {CLASSIFIER} --flux-range 1e-6 1e-5 --out new/found.json"
TASK = "--config run.yaml --task"
TASKS = """\
  own:
    kind: detect
    frames: {train: [{image: sky/field.fits, truth: sky/truth.csv}]}
  simulated:
    kind: detect
    simulate: {shape: [32, 32]}
  measured:
    kind: detect
    simulate: {shape: [32, 32], noise: measured}
  given:
    kind: detect
    model: results/stars/model.safetensors
    frames: {detect: [sky/field.fits]}
"""


@pytest.fixture(scope="module")
def field(made, tmp_path_factory):
    """The files of a small field."""
    from pipeline.simulate.continuum_settings import ContinuumSettings
    from pipeline.simulate.field_files import write_field

    folder = tmp_path_factory.mktemp("field")
    write_field(ContinuumSettings(shape=(32, 32)), 1, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def sky(work, field):
    """The tiny run with a field and tasks that detect."""
    for name, content in field.items():
        work.write(f"sky/{name}", content)
    work.write("run.yaml", work.path("run.yaml").read_text() + TASKS)
    return work


def nothing(w):
    """The command itself is wrong."""


def truth(old, new):
    return lambda w: w.edit("sky/truth.csv", old, new)


def twice(w):
    """Every source is there twice, under the same id."""
    head, *rows = w.path("sky/truth.csv").read_text().splitlines()
    w.write("sky/twice.csv", "\n".join([head, *rows, *rows]) + "\n")


def in_millijansky(w):
    import pandas as pd

    table = pd.read_csv("sky/truth.csv")
    table["flux_jy"] *= 1e3
    table.to_csv(w.path("sky/milli.csv"), index=False)


def moved(w):
    """The same sources ten degrees further north."""
    import pandas as pd

    table = pd.read_csv("sky/truth.csv")
    for end in ("core", "cent"):
        table[f"dec_{end}"] += 10
    table.to_csv(w.path("sky/moved.csv"), index=False)


# name: (command, break it, what the message says)
CASES = {
    "truth absent": (SCORE.replace("--truth sky/truth", "--truth sky/no"), nothing, ["sky/no.csv: does not exist"]),
    "catalogue absent": (SCORE.replace("--catalogue sky/truth", "--catalogue no"), nothing, ["no.csv: does not exist"]),
    "truth empty": (SCORE, lambda w: w.write("sky/truth.csv", ""), ["sky/truth.csv"]),
    "truth of text": (SCORE, lambda w: w.write("sky/truth.csv", "hello\n"), ["sky/truth.csv: "]),
    "truth without fluxes": (SCORE, truth("flux_jy", "fluks"), ["sky/truth.csv: has no column flux"]),
    "ids twice": (SCORE.replace("--catalogue sky/truth", "--catalogue sky/twice"), twice, ["sky/twice.csv", "id"]),
    "fluxes in mJy": (SCORE.replace("--catalogue sky/truth", "--catalogue sky/milli"), in_millijansky, ["Jy"]),
    "score of a folder": (SCORE.replace("new/score.json", "sky"), nothing, ["sky: cannot be written"]),
    "score over its truth": (SCORE.replace("new/score.json", "sky/truth.csv"), nothing, ["sky/truth.csv: is read by"]),
    "score without a band": (SCORE.replace(" --frequency 560", ""), nothing, ["fleming score: sdc1 needs --frequency"]),
    "score of a band in sdc2": (SCORE.replace("sdc1", "sdc2"), nothing, ["--frequency is no option of sdc2"]),
    "score of an image": (SCORE.replace("--catalogue sky/truth.csv", "--catalogue sky/field.fits"), nothing, ["field"]),
    "field of negative noise": (f"{FIELD} --rms -1", nothing, ["fleming field, --rms: is wrong", "greater than 0"]),
    "field of endless noise": (f"{FIELD} --rms inf", nothing, ["--rms: is wrong", "finite"]),
    "field beyond the pole": (f"{FIELD} --centre 10 95", nothing, ["--centre: is wrong", "declination"]),
    "field of a frequency in Hz": (f"{FIELD} --frequency 560e6", nothing, ["--frequency: is wrong"]),
    "field of three axes": (FIELD.replace("32", "8 8 8"), nothing, ["fleming field, --shape: is wrong"]),
    "field too small": (FIELD.replace("32", "4"), nothing, ["fleming field, --shape: is wrong", "8 pixels"]),
    "field of a sharp beam": (f"{FIELD} --beam-arcsec 0.3", nothing, ["--beam-arcsec: is wrong", "1.5 pixels"]),
    "field of two numbers for a beam": (f"{FIELD} --beam-arcsec 2 1", nothing, ["--beam-arcsec: is wrong"]),
    "no primary beam to save": (f"{FIELD} --save-primary-beam new/b.fits", nothing, ["no primary beam to save"]),
    "field into a folder": (FIELD.replace("new/field.fits", "sky"), nothing, ["sky: cannot be written"]),
    "field and truth in one file": (FIELD.replace("truth.csv", "field.fits"), nothing, ["as an output twice"]),
    "field of shapes that are absent": (f"{FIELD} --shapes none", nothing, ["--shapes: none is no folder"]),
    "nothing to put in": (INJECT, nothing, ["fleming inject: has neither stamps"]),
    "stamps that are absent": (f"{INJECT} --stamps no.fits", nothing, ["no.fits: does not exist"]),
    "stamps that are an image": (f"{INJECT} --stamps run.yaml", nothing, ["run.yaml"]),
    "stamps and a table": (f"{INJECT} --stamps a.fits --sources b.csv", nothing, ["sources cannot be given beside"]),
    "fluxes the wrong way round": (
        f"{INJECT} --flux-range 2 1",
        nothing,
        ["--flux-range: is wrong", "lower one first"],
    ),
    "clipping without stamps": (f"{INJECT} --flux-range 1 2 --clip 3", nothing, ["--clip: is wrong", "needs stamps"]),
    "no room for sources": (f"{INJECT} --flux-range 1 2 --apart 20", nothing, ["sky/field.fits: has room for"]),
    "sources into the image itself": (
        f"{INJECT.replace('new/injected', 'sky/field')} --flux-range 1 2",
        nothing,
        ["sky/field.fits: is read by"],
    ),
    "sources of another sky in place": (
        f"{INJECT} --sources sky/moved.csv --in-place",
        moved,
        ["sky/moved.csv: has no source inside sky/field.fits"],
    ),
    "no rounds": (f"{RECOVER} --rounds 0", nothing, ["fleming recover: --rounds 0"]),
    "recovery by a model that classifies": (RECOVER, nothing, [f"{CLASSIFIER}: is a model to classify"]),
    "recovery over the image": (RECOVER.replace("new/found.json", "sky/field.fits"), nothing, ["is read by"]),
    "recovery into its own table": (
        RECOVER.replace("found.json", "found.csv"),
        nothing,
        ["new/found.csv: is the name of the table"],
    ),
    "recovery into the folder": (RECOVER.replace("new/found.json", "."), nothing, [".: cannot be written"]),
    "no image to detect in": (DETECT.replace(" sky/field.fits", ""), nothing, ["fleming detect: needs an image"]),
    "an image twice": (DETECT.replace(" sky", " ./sky/field.fits sky"), nothing, ["sky/field.fits: is named twice"]),
    "three beams for an image": (
        f"{DETECT} {3 * '--primary-beam sky/field.fits '}",
        nothing,
        ["3 primary beams for 1"],
    ),
    "catalogue over the image": (DETECT.replace("new/sources", "sky/field"), nothing, ["sky/field.fits: is read by"]),
    "regions over the image": (f"{DETECT} --regions ./sky/field.fits", nothing, ["sky/field.fits: is read by"]),
    "regions over the catalogue": (f"{DETECT} --regions new/sources.fits", nothing, ["as an output twice"]),
    "adapted over the model": (
        ADAPT.replace("new/adapted.safetensors", CLASSIFIER),
        nothing,
        [f"{CLASSIFIER}: is read"],
    ),
    "purity beyond one": (f"{DETECT} --purity 99", nothing, ["--purity 99", "between 0 and 1"]),
    "image and config": (f"{DETECT} {TASK} given", nothing, ["fleming detect: has both --config and images"]),
    "config without a task": (f"{DETECT.replace('sky/field.fits', '')} --config run.yaml", nothing, ["without --task"]),
    "model absent": (DETECT.replace(CLASSIFIER, "no.safetensors"), nothing, ["no.safetensors: does not exist"]),
    "model that classifies": (DETECT, nothing, [f"{CLASSIFIER}: is a model to classify"]),
    "catalogue of an unknown kind": (DETECT.replace("sources.fits", "sources.doc"), nothing, ["new/sources.doc"]),
    "no image to adapt to": (ADAPT.replace(" sky/field.fits", ""), nothing, ["fleming adapt: needs an image"]),
    "no time to adapt": (f"{ADAPT} --minutes 0", nothing, ["fleming adapt, --minutes: is wrong", "greater than 0"]),
    "a model that classifies to adapt": (ADAPT, nothing, [f"{CLASSIFIER}: is a model to classify"]),
    "a task that adapts nothing": (f"adapt {TASK} given --out new/m.safetensors", nothing, ["has no adapt section"]),
    "a task that trains nothing": (f"train {TASK} given --out new/m.safetensors", nothing, ["has nothing to train on"]),
    "a field that is not named": (f"train {TASK} simulated --out new/m.safetensors", nothing, ["needs --simulated"]),
    "a field that is not named to search": (
        f"detect {TASK} simulated --out new/a.fits",
        nothing,
        ["needs --simulated"],
    ),
    "a data set that is not named": (f"train {TASK} stars --out new/m.safetensors", nothing, ["needs --dataset"]),
    "a task that detects nothing": (f"detect {TASK} stars --out new/a.fits", nothing, ["is of kind classify", "given"]),
    "a task that has no objects": (f"ingest {TASK} own --out new/data.h5", nothing, ["is of kind detect", "stars"]),
    "noise that is not given": (f"simulate {TASK} measured --out sky", nothing, ["noise: measured"]),
    "a task whose image is absent": (
        f"detect {TASK} given --out new/a.fits",
        lambda w: w.path("sky/field.fits").unlink(),
        ["run.yaml line", "tasks.given.frames.detect.0", "sky/field.fits"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_run(sky, name):
    command, breaks, words = CASES[name]
    breaks(sky)
    sky.assert_refused(command, *words)


@pytest.mark.parametrize("command", [FIELD, ADAPT], ids=["field", "adapt"])
@pytest.mark.parametrize("seed", ["-1", "1.5", "4294967296"])
def test_a_bad_seed(sky, command, seed):
    code, (line,) = sky.run(f"{command} --seed {seed}")
    assert code == 2
    assert "--seed" in line
    assert "from 0 to 4294967295" in line


def test_a_good_field_is_what_the_options_say(sky):
    assert sky.run(f"{FIELD} --beam-arcsec 2 1.5 30 --seed 3 --density 0.5")[0] == 0
    assert sky.path("new/truth.csv").read_text().startswith(sky.path("sky/truth.csv").read_text().partition("\n")[0])
    from pipeline.sky.window import FrameReader

    reader = FrameReader("new/field.fits")
    assert reader.shape == (32, 32)
    np.testing.assert_allclose([reader.beam.major * 3600, reader.beam.minor * 3600, reader.beam.pa], [2, 1.5, 30])


def test_the_truth_scores_fully_and_the_file_says_what_the_line_says(sky):
    import json

    code, (line,) = sky.run(SCORE)
    result = json.loads(sky.path("new/score.json").read_text())
    assert code == 0
    assert result["score"] == result["n_match"] == result["n_truth"]
    assert line.startswith(f"score {result['score']:.2f}: {result['n_match']} of {result['n_det']} detections")
