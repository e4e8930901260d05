"""A whole task on galaxies in cubes through the command line: simulate, train, detect, evaluate, figures, report."""

import json

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from pydantic import ValidationError

from pipeline.hi import stream
from pipeline.hi.products import FILES
from pipeline.hi.task_settings import HiTaskSettings
from pipeline.score.sdc2 import Sdc2
from pipeline.sky.cube import CubeReader

UNITS = {
    "ra": u.deg, "dec": u.deg, "ra_error": u.arcsec, "frequency": u.Hz, "velocity": u.km / u.s,
    "line_flux": u.Jy * u.Hz, "line_flux_kms": u.Jy * u.km / u.s, "hi_size": u.arcsec, "w20": u.km / u.s, "pa": u.deg,
    "inclination": u.deg, "local_rms": u.Jy / u.beam,
}  # fmt: skip
MEASURED = ("frequency", "line_flux", "hi_size", "w20", "pa", "inclination")


@pytest.fixture
def to(hi_run):
    return hi_run / "results" / "hi"


@pytest.fixture
def catalogue(to):
    return QTable.read(to / "catalogue.fits")


@pytest.fixture
def truth(to):
    return pd.read_csv(to / "simulated" / "test" / "truth.csv")


@pytest.fixture
def metrics(to):
    return json.loads((to / "metrics.json").read_text())


def test_every_file_of_the_task_is_there_and_no_checkpoint_is_left(to):
    files = {path.name for path in to.iterdir() if path.is_file()}
    wanted = "catalogue.fits catalogue.ecsv catalogue.reg submission.txt candidates.fits model.safetensors"
    assert files == {
        *wanted.split(), "training.json", "cost.json", "history.csv", "metrics.json", "matches.csv", "galaxies.json",
        "galaxies.png",
    }  # fmt: skip
    assert not list(to.glob("*checkpoint*"))
    assert json.loads((to / "training.json").read_text())["epochs_run"] == len(pd.read_csv(to / "history.csv")) == 8


def test_the_cube_that_chooses_has_its_own_size_and_density(to, truth):
    folder = to / "simulated"
    shapes = {part: fits.getdata(folder / part / "cube.fits").shape for part in ("validation", "test")}
    assert shapes == {"validation": (128, 64, 72), "test": (128, 64, 64)}
    expected = 2 * 72 / 64 * len(truth)
    assert abs(len(pd.read_csv(folder / "validation" / "truth.csv")) - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"simulate": {}, "practice": {"shape": [4, 64, 64]}}, "practice.shape: shape must be three numbers"),
        ({"simulate": {}, "practice": {"shape": [20000, 64, 64]}}, "practice.shape: lowest_hz and shape must keep"),
        ({"model": "m", "frames": {"detect": [{"cube": "c"}]}, "practice": {"shape": [64] * 3}}, "none is simulated"),
    ],
)  # fmt: skip
def test_the_cube_that_chooses_must_be_one_that_can_be(changes, words):
    with pytest.raises(ValidationError, match=words):
        HiTaskSettings(kind="hi", **changes)


def test_columns_have_units_and_errors_and_values_that_can_be(catalogue):
    for name, unit in UNITS.items():
        assert catalogue[name].unit == unit, name
    assert len(set(catalogue["id"])) == len(catalogue) > 10
    for name in MEASURED:
        assert np.all(np.isfinite(catalogue[name].value)), name
        assert np.all(catalogue[f"{name}_error"].value > 0), name
    assert np.all((catalogue["pa"].value >= 0) & (catalogue["pa"].value < 360))
    assert np.all((catalogue["inclination"].value >= 0) & (catalogue["inclination"].value <= 90))
    threshold = catalogue.meta["THRESHOL"]
    assert np.all((catalogue["probability"] >= threshold) & (catalogue["probability"] <= 1))


def test_every_format_says_the_same(to, catalogue):
    other = QTable.read(to / "catalogue.ecsv")
    official = pd.read_csv(to / "submission.txt", sep=r"\s+")
    assert list(official.columns) == Sdc2.names()
    for one, two, three in (("ra", "ra", "ra"), ("line_flux", "line_flux", "line_flux_integral"), ("pa", "pa", "pa")):
        np.testing.assert_allclose(catalogue[one].value, other[two].value, rtol=1e-12)
        np.testing.assert_allclose(catalogue[one].value, official[three], rtol=1e-9)
    assert (to / "catalogue.reg").read_text().count("ellipse") == len(catalogue)


def test_positions_in_pixels_and_on_the_sky_are_the_same(to, catalogue):
    reader = CubeReader(to / "simulated" / "test" / "cube.fits")
    z, y, x = reader.from_sky(*(catalogue[name].value for name in ("ra", "dec", "frequency")))
    for name, place in (("x", x), ("y", y), ("z", z)):
        np.testing.assert_allclose(catalogue[name].value, place, atol=1e-4)


def test_most_bright_galaxies_are_found_where_they_are(catalogue, truth):
    bright = truth[truth["snr"] > truth["snr"].median()]
    away = [bright[axis].to_numpy()[:, None] - catalogue[axis].value for axis in "xyz"]
    beside = (np.hypot(away[0], away[1]) < 2.5) & (np.abs(away[2]) < 12)
    assert beside.any(1).mean() > 0.6
    nearest = np.where(beside, np.abs(away[2]), np.inf).argmin(1)[beside.any(1)]
    ratio = catalogue["line_flux"].value[nearest] / bright["line_flux_integral"].to_numpy()[beside.any(1)]
    assert 0.6 < np.median(ratio) < 1.6


def test_what_was_looked_at_holds_what_is_listed(to, catalogue):
    candidates = QTable.read(to / "candidates.fits")
    threshold = catalogue.meta["THRESHOL"]
    assert np.count_nonzero(candidates["probability"] >= threshold) == len(catalogue) < len(candidates)
    assert set(catalogue["ra"].value) <= set(candidates["ra"].value)


def test_the_submission_has_the_score_of_the_metrics(to, metrics, workplace, tmp_path):
    work, out = workplace(tmp_path), tmp_path / "score.json"
    for name in ("submission.txt", "catalogue.fits"):
        given = f"--truth {to}/simulated/test/truth.csv --catalogue {to}/{name} --json {out}"
        code, (line,) = work.run(f"score --challenge sdc2 {given}")
        assert code == 0, line
        scored = json.loads(out.read_text())
        assert scored["n_det"] == metrics["n_det"]
        assert scored["n_match"] == metrics["n_match"]
        assert scored["score"] == pytest.approx(metrics["score"], abs=1e-6)


def test_the_metrics_are_complete(metrics, catalogue, truth):
    assert metrics["kind"] == metrics["task"] == "hi"
    assert metrics["n_listed"] == metrics["n_det"] == len(catalogue)
    assert metrics["n_truth"] == len(truth)
    assert metrics["purity"] == metrics["n_match"] / metrics["n_det"]
    assert set(metrics["sub_scores"]) == {"position", "central_freq", "flux", "hi_size", "pa", "w20", "i"}
    assert set(metrics["rankings"]) == {"network", "matched_filter"}
    assert set(metrics["coverage"]) >= {"ra", "dec", *MEASURED}
    assert metrics["score_sd"]["score"] > 0
    for key in ("ap", "completeness", "purity_by", "parameters", "reliability", "asked_purity", "provenance", "errors"):
        assert metrics[key], key


def test_the_page_shows_the_task(hi_run, metrics):
    page = (hi_run / "results" / "report.html").read_text()
    assert "HI galaxies" in page
    assert f"{metrics['n_det']:,} detections" in page
    assert page.count("data:image/png") >= 8


def test_products_are_fits_with_coordinates_at_the_galaxy(to, catalogue):
    assert {path.name for path in (to / "galaxies").iterdir()} == {str(number) for number in catalogue["id"]}
    row = catalogue[np.argmax(catalogue["snr"])]
    folder = to / "galaxies" / str(row["id"])
    assert {path.name for path in folder.iterdir()} == set(FILES)
    with fits.open(folder / "cubelet.fits", checksum=True) as hdus:
        cubelet, sky = hdus[0].data, WCS(hdus[0].header)
    x, y, z = sky.wcs_world2pix([[row["ra"].value, row["dec"].value, row["frequency"].value]], 0)[0]
    inside = [-0.5 <= place <= side - 0.5 for place, side in zip((z, y, x), cubelet.shape, strict=True)]
    assert all(inside)
    cube = fits.getdata(to / "simulated" / "test" / "cube.fits")
    start = [round(row[axis].value - place) for axis, place in (("z", z), ("y", y), ("x", x))]
    part = tuple(slice(low, low + side) for low, side in zip(start, cubelet.shape, strict=True))
    np.testing.assert_allclose(cubelet, cube[part], rtol=1e-6)
    for name, unit in (("moment0.fits", u.Jy / u.beam * u.Hz), ("moment1.fits", u.km / u.s)):
        with fits.open(folder / name) as hdus:
            assert hdus[0].data.shape == cubelet.shape[1:]
            assert u.Unit(hdus[0].header["BUNIT"]) == unit
            assert WCS(hdus[0].header).wcs_world2pix([[row["ra"].value, row["dec"].value]], 0)[0] == pytest.approx(
                [x, y]
            )
    spectrum = QTable.read(folder / "spectrum.fits", hdu=1)
    assert len(spectrum) == len(cubelet)
    assert spectrum["flux"].unit == u.Jy


def test_a_killed_search_goes_on_to_the_same_catalogue(hi_work, hi_detect, monkeypatch):
    memory = f"--memory {(stream._PROGRAM + 3e6) / 1e9}"
    assert hi_work.run(f"{hi_detect('whole')} {memory}")[0] == 0
    kept = sorted(path.name for path in hi_work.path("whole/chunks").rglob("*.npz"))
    assert len(kept) > 4
    save, left = stream.ChunkStore.save, []

    def killed(*words):
        save(*words)
        left.pop() if left else pytest.fail("computed what was kept")
        if not left:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream.ChunkStore, "save", killed)
        for after in (1, 2, len(kept) - 4):
            left[:] = [None] * after
            code, lines = hi_work.run(f"{hi_detect('killed')} {memory}")
            assert code == 130
            assert "run the same command again to go on" in lines[-1]
            assert not hi_work.path("killed/catalogue.fits").exists()
        left[:] = [None] * 2
        code, lines = hi_work.run(f"{hi_detect('killed')} {memory}")
    assert code == 0, lines
    assert any("an earlier run has searched" in line for line in lines)
    for name in ("submission.txt", "catalogue.reg"):
        assert hi_work.path(f"killed/{name}").read_bytes() == hi_work.path(f"whole/{name}").read_bytes()
    one, other = (QTable.read(f"{folder}/catalogue.fits") for folder in ("killed", "whole"))
    assert len(one) > 10
    assert all(np.array_equal(one[name], other[name]) for name in other.colnames)
