"""Injection and recovery: bright sources are found, faint ones not, and the curve is that of simulated sources."""

import numpy as np
import pandas as pd
import pytest

from pipeline.detect.apply import detect_images
from pipeline.detect.comparison import compare
from pipeline.detect.image import ContinuumImage
from pipeline.detect.recovery import recover, summary
from pipeline.detect.shipped import shipped_model
from pipeline.detect.truth import read_truth
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.score.sdc1 import Sdc1
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import write_field
from pipeline.simulate.insert_settings import InsertSettings

FIELD = {"shape": (320, 320), "size_factor": 0.3, "flux_limit": 3.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A sparse field, one with sources and without: what is found of the simulated, and of the same rows put in."""
    folder = tmp_path_factory.mktemp("recovery")
    write_field(ContinuumSettings(**FIELD, density=1.0), 1, folder / "full")
    write_field(ContinuumSettings(**FIELD, density=0.0), 1, folder / "empty")
    count = len(pd.read_csv(folder / "full" / "truth.csv"))
    # As many as are simulated, so that as many have a neighbour.
    settings = InsertSettings(sources=str(folder / "full" / "truth.csv"), n=count)
    found = recover(folder / "empty" / "field.fits", shipped_model(2), folder / "r.json", settings, rounds=1, seed=3)
    return folder, found


def simulated(folder):
    """The same measures of the simulated field."""
    path = folder / "full" / "field.fits"
    image = ContinuumImage.open(path)
    truth = read_truth(folder / "full" / "truth.csv")
    catalogue = detect_images([(path, None)], shipped_model(2), [])
    challenge = Sdc1(560).for_beam(image.beam_arcsec)
    compared = compare(catalogue, truth, image.objects(truth), image.reader.wcs, image.reader.beam, challenge)
    sources = compared.sources.assign(measured_flux=np.nan)
    return summary(sources)


def test_the_curve_of_injected_sources_is_that_of_simulated_ones(runs):
    folder, found = runs
    true = simulated(folder)
    for span in ("above 3", "above 5"):
        ours, theirs = found["complete_above"][span], true["complete_above"][span]
        assert min(ours["count"], theirs["count"]) > 30
        error = np.hypot(ours["high"] - ours["low"], theirs["high"] - theirs["low"]) / 2
        assert abs(ours["fraction"] - theirs["fraction"]) < 3 * error
    assert found["complete_above"]["above 7"]["fraction"] > 0.9


def test_the_files_say_the_same(runs):
    folder, found = runs
    table = pd.read_csv(folder / "r.csv")
    assert len(table) == found["n"]
    assert table["found"].sum() == found["by_snr"]["total"]["success"]
    assert table.loc[~table["found"], "measured_flux"].isna().all()
    bright = table[table["found"] & (table["snr"] > 10)]
    assert np.abs(np.log(bright["measured_flux"] / bright["flux"])).median() < 0.15
    assert read_json(folder / "r.json")["complete_above"] == found["complete_above"]
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "full", "r.csv", "r.json"]


def test_sources_too_faint_to_see_are_not_found(runs):
    folder, _ = runs
    settings = InsertSettings(flux_range=(1e-8, 2e-8), n=60)
    found = recover(folder / "empty" / "field.fits", shipped_model(2), folder / "f.json", settings, rounds=1)
    assert found["by_snr"]["total"]["fraction"] < 0.1


def test_sources_that_cannot_be_put_in_are_refused_before_anything_is_searched(runs, monkeypatch):
    folder, _ = runs

    def search(*_, **__):
        raise AssertionError("searched")

    monkeypatch.setattr("pipeline.detect.recovery.detect_images", search)
    pd.read_csv(folder / "full" / "truth.csv").assign(flux_jy=-1.0).to_csv(folder / "full" / "dark.csv", index=False)
    settings = InsertSettings(sources=str(folder / "full" / "dark.csv"))
    with pytest.raises(UserError, match="which is negative"):
        recover(folder / "empty" / "field.fits", shipped_model(2), folder / "d.json", settings)


def test_no_round_at_all_is_refused(tmp_path):
    with pytest.raises(UserError, match="--rounds 0"):
        recover("a.fits", "m", tmp_path / "r.json", InsertSettings(flux_range=(1, 2)), rounds=0)
