import json

import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable, vstack

from pipeline.detect.comparison import boxes, compare, listed
from pipeline.detect.continuum import CLASSES
from pipeline.detect.evaluate import evaluate, judged_frames
from pipeline.detect.judge import judge, measure
from pipeline.detect.task_settings import DetectSettings
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.learn.model_file import save_model
from pipeline.nn.network import build
from pipeline.score.sdc1 import Sdc1
from pipeline.sky.catalogue import write_catalogue

SDC1 = Sdc1(560, "centroid")


def judged(sky, catalogue):
    wcs, beam = sky.image.reader.wcs, sky.image.reader.beam
    return judge(catalogue, sky.truth, sky.objects, wcs=wcs, beam=beam, challenge=SDC1)


def compared(sky, catalogue):
    return compare(catalogue, sky.truth, sky.objects, sky.image.reader.wcs, sky.image.reader.beam, SDC1)


@pytest.fixture
def bright(sky):
    return sky.objects.snr > 3


def test_a_perfect_catalogue(sky, bright):
    result = judged(sky, sky.catalogue(bright))
    n = int(bright.sum())
    assert n > 200
    assert result["n_det"] == result["n_match"] == n and result["purity"] == 1
    # The core of a double is not at its centroid, which alone the catalogue gives; the score takes the nearer one.
    assert result["score"] == pytest.approx(n, abs=1e-6)
    assert result["sub_scores"] == pytest.approx(dict.fromkeys(SDC1.parameters, 1.0))
    for limit, count in ((3, n), (5, int((sky.objects.snr > 5).sum()))):
        ap = result["ap"][f"snr_above_{limit}"]
        assert ap["n_truth"] == count and ap["match"]["ap"] == 1 and ap["map"] == pytest.approx(1, abs=1e-3)
        assert all(one["ap"] == pytest.approx(1, abs=1e-3) for one in ap["box"].values())
        assert result["complete_above"][f"{limit}"]["fraction"] == 1
    above = [low >= 3 for low in result["completeness"]["snr"]["low"]]
    shares = np.array(result["completeness"]["snr"]["fraction"], float)
    assert (shares[above] == 1).all() and (shares[~np.array(above)] == 0).all()
    confusion = np.array(result["classes"]["confusion"])
    assert (confusion == np.diag(np.bincount(sky.objects.label[bright], minlength=3))).all()
    for name, row in result["parameters"].items():
        assert row["total"]["bias"] == pytest.approx(0, abs=1e-6), name
    assert all(row["coverage"] == 1 for row in result["coverage"].values())
    assert result["curve"]["recall"][-1] == 1 and len(result["curve"]["recall"]) <= 200
    assert 0 < result["chance"]["fraction"] < 0.2
    assert result["score_constant"] < result["score"]
    assert result["errors"]["pa_error_deg"]["p68"] == pytest.approx(0, abs=1e-6)


def test_error_bars_hold_what_they_were_built_to_hold(sky, bright):
    catalogue, draw, n = sky.catalogue(bright), np.random.default_rng(1), int(bright.sum())
    for name in ("ra", "dec", "flux", "peak_flux", "major", "core_fraction"):
        error = np.full(n, 0.02)
        if name in ("flux", "peak_flux"):
            error = 0.03 * catalogue[name]
        off = draw.normal(0, 1, n) * error
        if name in ("ra", "dec"):
            catalogue[f"{name}_error"] = error * catalogue[f"{name}_error"].unit
            squeeze = np.cos(np.radians(30)) if name == "ra" else 1
            catalogue[name] += off / 3600 / squeeze * catalogue[name].unit
        else:
            unit = catalogue[name].unit if name == "major" else 1
            catalogue[name] += off * unit
            catalogue[f"{name}_error"] = error * unit
    result = judged(sky, catalogue)
    assert result["n_match"] > 0.97 * n
    for name in ("ra", "dec", "flux", "peak_flux", "major", "core_fraction"):
        row = result["coverage"][name]
        assert abs(row["coverage"] - 0.683) < 4 * np.sqrt(0.683 * 0.317 / n), name
        assert row["width"] == pytest.approx(1, abs=0.2)
    assert result["parameters"]["flux"]["total"]["scatter"] == pytest.approx(0.03, rel=0.2)
    assert result["parameters"]["ra"]["total"]["scatter"] == pytest.approx(0.02, rel=0.2)
    assert result["coverage"]["minor"]["coverage"] == 1


def test_a_flux_factor_is_a_bias(sky, bright):
    catalogue = sky.catalogue(bright)
    catalogue["flux"] *= 1.1
    rows = judged(sky, catalogue)["parameters"]
    assert rows["flux"]["total"]["bias"] == pytest.approx(0.1)
    assert rows["ln_flux"]["total"]["bias"] == pytest.approx(np.log(1.1))
    assert rows["peak_flux"]["total"]["bias"] == pytest.approx(0)


def test_peaks_are_those_of_the_image_and_fluxes_those_of_the_sky(sky, bright):
    catalogue, share = sky.catalogue(bright), 0.5 + 0.5 * np.random.default_rng(0).random(len(sky.truth))
    catalogue["peak_flux"] *= share[bright]
    wcs, beam = sky.image.reader.wcs, sky.image.reader.beam
    rows = judge(catalogue, sky.truth, sky.objects, wcs=wcs, beam=beam, challenge=SDC1, attenuation=share)["parameters"]
    for name in ("flux", "peak_flux"):
        assert rows[name]["total"]["bias"] == pytest.approx(0) and rows[name]["total"]["scatter"] < 1e-9


def with_false(sky, bright, count, probability):
    """The perfect catalogue and as many bright detections at places without a source."""
    true, false = sky.catalogue(bright), sky.catalogue(bright)[:count]
    false["flux"] *= 1e4
    false["probability"] = probability
    return vstack([true, false], metadata_conflicts="silent")


def test_false_detections_cost_purity_and_rank(sky, bright):
    n, perfect = int(bright.sum()), judged(sky, sky.catalogue(bright))
    last, first = (judged(sky, with_false(sky, bright, 50, value)) for value in (0.01, 1.0))
    for result in (last, first):
        assert result["n_match"] == n and result["purity"] == pytest.approx(n / (n + 50))
        assert result["score"] == pytest.approx(perfect["score"] - 50)
    precision = [result["ap"]["snr_above_3"]["match"]["ap"] for result in (first, last)]
    assert precision[0] < 0.9 < precision[1] == 1
    assert last["reliability"]["ece"] < 0.1 < first["reliability"]["ece"]
    assert last["asked_purity"]["0.9"]["purity"] > first["asked_purity"]["0.9"]["purity"]
    assert first["asked_purity"]["0.99"]["purity"] < 0.9


def test_detections_of_fainter_sources_are_neither_right_nor_wrong(sky, bright):
    few, many = (judged(sky, sky.catalogue(sky.objects.snr > limit)) for limit in (3, 2))
    assert many["n_det"] > few["n_det"]
    for level in ("0.1", "0.5"):
        pair = [one["ap"]["snr_above_3"]["box"][level]["n_match"] for one in (few, many)]
        assert pair[0] == pair[1] == bright.sum()
    assert few["ap"]["snr_above_3"]["match"] == many["ap"]["snr_above_3"]["match"]
    # By boxes they are set aside only because a true source is there.
    missing = sky.objects.take(np.flatnonzero(bright)), sky.truth[bright].reset_index(drop=True)
    wcs, beam = sky.image.reader.wcs, sky.image.reader.beam
    unknown = judge(sky.catalogue(sky.objects.snr > 2), missing[1], missing[0], wcs=wcs, beam=beam, challenge=SDC1)
    assert unknown["purity"] < 1
    assert (compared(sky, sky.catalogue(sky.objects.snr > 2)).by_box[3.0] == -1).any()


def test_boxes_of_a_perfect_catalogue_are_those_of_the_objects(sky, bright):
    _, found = listed(sky.catalogue(bright), sky.image.reader.wcs, sky.image.reader.beam)
    # The objects have one beam in pixels, the catalogue that of the place.
    assert boxes(found, sky.image.reader.wcs) == pytest.approx(sky.objects.take(bright).boxes(), abs=1e-2)


def test_official_columns_are_judged_alike(sky, bright):
    table = sky.catalogue(bright)
    submission, found = listed(table, sky.image.reader.wcs, sky.image.reader.beam)
    assert list(submission.columns) == list(SDC1.names())
    submission["probability"], submission["snr"] = table["probability"], table["snr"]
    one, other = judged(sky, table), judged(sky, submission)
    for key in ("score", "score_constant", "n_match", "purity", "reliability", "asked_purity", "chance", "classes"):
        assert one[key] == other[key], key
    assert one["ap"]["snr_above_3"]["box"]["0.75"]["ap"] == pytest.approx(
        other["ap"]["snr_above_3"]["box"]["0.75"]["ap"]
    )
    assert other["coverage"] == {} and one["coverage"]
    # What is not known of a catalogue is left out, and brightness takes the place of the probability.
    plain = judged(sky, submission.drop(columns=["probability", "snr"]))
    assert plain["reliability"] is None and plain["asked_purity"] is None
    assert plain["ap"]["snr_above_3"]["match"]["ap"] == 1 and plain["purity_by"]["snr"]["outside"] == len(submission)
    assert submission["pa"].between(-90, 90).all()


def test_order_does_not_matter_and_frames_add_up(sky, bright):
    table = with_false(sky, bright, 20, np.linspace(0.1, 0.9, 20))
    shuffled = table[np.random.default_rng(0).permutation(len(table))]
    one, other = measure([compared(sky, table)]), measure([compared(sky, shuffled)])
    for key in ("n_match", "purity", "ap", "completeness", "purity_by", "chance"):
        assert one[key] == other[key], key
    assert one["asked_purity"]["0.9"] == pytest.approx(other["asked_purity"]["0.9"])
    both = measure([compared(sky, table), compared(sky, shuffled)])
    for key in ("score", "score_constant", "n_det", "n_match", "n_truth"):
        assert both[key] == pytest.approx(2 * one[key])
    for key in ("sub_scores", "purity", "score_per_match"):
        assert both[key] == pytest.approx(one[key])
    assert both["completeness"]["snr"]["fraction"] == one["completeness"]["snr"]["fraction"]
    assert both["ap"]["snr_above_3"]["match"]["ap"] == pytest.approx(one["ap"]["snr_above_3"]["match"]["ap"], abs=0.01)
    assert both["classes"]["confusion"] == (2 * np.array(one["classes"]["confusion"])).tolist()


def test_an_empty_catalogue_is_counted(sky, bright):
    result = judged(sky, sky.catalogue(bright)[:0])
    assert result["n_det"] == result["n_match"] == result["score"] == 0
    assert result["purity"] is None and result["ap"]["snr_above_3"]["match"]["ap"] == 0
    assert result["complete_above"]["3"]["fraction"] == 0 and result["curve"]["recall"] == []


def test_a_catalogue_without_a_column_is_refused(sky, bright):
    table = sky.catalogue(bright)
    table.remove_column("major")
    with pytest.raises(UserError, match="no column major"):
        judged(sky, table)


@pytest.fixture
def model(tmp_path):
    network = build("C-1.1_linear_none", 2, (2, 16, 16))
    save_model(tmp_path / "model.safetensors", network, {"kind": "detect", "threshold": 0.4})
    return tmp_path / "model.safetensors"


def task(sky, where="train", **more):
    frames = {where: [{"image": str(sky.folder / "field.fits"), "truth": str(sky.folder / "truth.csv")} | more]}
    return DetectSettings(kind="detect", frames=frames, model="model.safetensors")


def run(tmp_path, table, settings, model, **more):
    write_catalogue(table, tmp_path / "catalogue.fits")
    evaluate(tmp_path / "catalogue.fits", settings, model, tmp_path / "task" / "metrics.json", seed=5, **more)
    return read_json(tmp_path / "task" / "metrics.json"), pd.read_csv(tmp_path / "task" / "matches.csv")


def test_only_the_test_band_is_judged(sky, bright, model, tmp_path):
    settings, everywhere = task(sky), sky.catalogue(bright)
    metrics, matches = run(tmp_path, everywhere, settings, model)
    band = bright & (sky.objects.centre[:, 0] >= 239.5)
    assert metrics["frames"][0]["section"] == [[240, 320], [0, 256]]
    assert metrics["n_det"] == metrics["n_match"] == band.sum() and metrics["n_listed"] == bright.sum()
    assert metrics["n_truth"] == (sky.objects.centre[:, 0] >= 239.5).sum()
    assert metrics["kind"] == "detect" and metrics["task"] == "task" and metrics["trained"]
    assert metrics["provenance"]["seed"] == 5
    assert matches["matched"].sum() == band.sum()
    assert (matches["y"].dropna() >= 239.5).all() and (matches["true_y"] >= 239.5).all()
    pairs = matches[matches["matched"]]
    assert pairs["flux"].to_numpy() == pytest.approx(pairs["true_flux"].to_numpy(), rel=1e-5)
    missed = matches[matches["x"].isna()]
    assert missed["true_snr"].between(1, 3).all() and len(missed)
    # The file is the same for the same catalogue, but for the date.
    again, _ = run(tmp_path, everywhere, settings, model)
    for result in (metrics, again):
        result["provenance"].pop("date")
    assert metrics == again


def test_a_simulated_field_is_judged_on_its_test_band(sky, bright, model, tmp_path):
    settings = DetectSettings(kind="detect", simulate={})
    one, _ = run(tmp_path, sky.catalogue(bright), settings, model, simulated=sky.folder)
    assert one["n_match"] == (bright & (sky.objects.centre[:, 0] >= 239.5)).sum()
    with pytest.raises(UserError, match="simulated field"):
        judged_frames(settings)


def test_a_test_frame_is_judged_whole_or_in_its_region(sky, bright, model, tmp_path):
    whole, _ = run(tmp_path, sky.catalogue(bright), task(sky, "test"), model)
    assert whole["n_match"] == bright.sum() and whole["frames"][0]["n_truth"] == len(sky.truth)
    # West of right ascension 0, where the field's centre is, and the rest.
    half, _ = run(tmp_path, sky.catalogue(bright), task(sky, "test", region=[359, 0, -31, -29]), model)
    rest, _ = run(tmp_path, sky.catalogue(bright), task(sky, "test", exclude=[359, 0, -31, -29]), model)
    assert 0.3 < half["n_det"] / whole["n_det"] < 0.7
    for key in ("n_det", "n_truth"):
        assert half[key] + rest[key] == whole[key]


def test_several_images_in_one_catalogue(sky, bright, model, tmp_path):
    one, other = sky.catalogue(bright), sky.catalogue(bright)
    one["image"], other["image"] = "field.fits", "other.fits"
    both = vstack([one, other[:50]])
    metrics, _ = run(tmp_path, both, task(sky, "test"), model)
    assert metrics["n_det"] == metrics["n_match"] == bright.sum() and metrics["n_listed"] == bright.sum() + 50
    by_path = task(sky, "test")
    del one["image"], other["image"]
    one["image"], other["image"] = by_path.frames.test[0].image, "other/field.fits"
    assert run(tmp_path, vstack([one, other[:50]]), by_path, model)[0]["n_det"] == bright.sum()
    del other["image"]
    other["image"] = "other.fits"
    with pytest.raises(UserError, match=r"lists no source of field\.fits"):
        run(tmp_path, other, task(sky, "test"), model)
    twice = task(sky, "test")
    twice.frames.test.append(twice.frames.test[0])
    with pytest.raises(UserError, match="alike"):
        run(tmp_path, both, twice, model)
    with pytest.raises(UserError, match="no column image"):
        run(tmp_path, sky.catalogue(bright), twice, model)


def test_without_truth_there_are_counts_only(sky, bright, model, tmp_path):
    settings = DetectSettings(kind="detect", frames={"detect": ["a.fits"]}, model="model.safetensors")
    metrics, matches = run(tmp_path, sky.catalogue(bright), settings, model)
    assert metrics["n_truth"] is None and metrics["n_listed"] == bright.sum() and metrics["frames"] == []
    assert "score" not in metrics and not len(matches)
    assert "\n" not in json.dumps(metrics["network"])


@pytest.mark.parametrize("name", ["ra", "p_star_forming"])
def test_a_file_without_a_column_is_refused(sky, bright, model, tmp_path, name):
    table = sky.catalogue(bright)
    table.remove_column(name)
    with pytest.raises(UserError, match=rf"catalogue\.fits: has no column {name}"):
        run(tmp_path, table, task(sky, "test"), model)


def test_a_truth_elsewhere_is_refused(sky, bright, model, tmp_path):
    with pytest.raises(UserError, match=r"truth\.csv: holds no source in the part"):
        run(tmp_path, sky.catalogue(bright), task(sky, "test", region=[100, 101, 0, 1]), model)
    assert not (tmp_path / "task" / "metrics.json").exists()


def test_classes_are_those_of_the_catalogue(sky, bright):
    catalogue = sky.catalogue(bright)
    for name in CLASSES:
        catalogue[f"p_{name}"] = 0.9 if name == "flat_spectrum" else 0.05
    confusion = np.array(judged(sky, catalogue)["classes"]["confusion"])
    assert confusion[:, 1].sum() == confusion.sum() == bright.sum()
    assert isinstance(catalogue, QTable)
