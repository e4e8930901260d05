"""A generative task on the page, from files alone: of spectra, images, colours and cubes, with and without extras."""

import csv

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from pipeline.data.store import Dataset, write_store
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.report.figures import make_figures
from pipeline.report.generate_section import generate_card, headline
from pipeline.report.page import write_page
from pipeline.report.realism_plots import draw_statistics, statistics_size
from pipeline.report.stamp_files import real_stamps
from pipeline.report.stamp_sheets import Look, as_pictures, montage
from pipeline.report.style import figure
from pipeline.report.task_files import TaskFiles

SHAPES = {"lines": (1, 24), "images": (1, 12, 10), "colours": (3, 12, 10), "cubes": (1, 4, 8, 8)}
KINDS = {1: "spectrum", 2: "image", 3: "cube"}
STATISTICS = ("flux", "half_light_radius", "gini")
METHODS = ("flow", "mixture")


def judged(rng):
    found = {name: {"w1": 0.1, "w1_floor": 0.07, "undefined": 0, "undefined_held": 0} for name in STATISTICS}
    spectrum = {"dex": 0.03, "dex_floor": 0.01, "frequency": [0.0, 0.1, 0.2, 0.3]}
    spectrum |= {"held": [9.0, 3.0, 1.0, 0.4], "synthetic": rng.uniform(0.3, 3, 4).tolist()}
    met = {"measured_as": "flux", "n": 20, "unit": "dex", "bias": 0.01, "scatter": 0.05, "correlation": 0.97}
    return {
        "n": 20,
        "mean_w1": 0.13,
        "mean_w1_floor": 0.07,
        "auc": 0.64,
        "auc_error": 0.02,
        "auc_floor": 0.51,
        "statistics": found,
        "power_spectrum": spectrum,
        "features": None,
        "neighbours": {"ratio": 0.98, "copies": 0.01},
        "conditions": {"flux": met | {"lost": 0.0, "held": None}},
    }


def write_run(folder, shape, extras):
    rng = np.random.default_rng(len(shape))
    n, ndim = 20, len(shape) - 1
    real = rng.normal(size=(3 * n, *shape)).astype(np.float32)
    ids = [f"galaxy-{row}" for row in range(3 * n)]
    split = np.array(["train"] * n + ["validation"] * n + ["test"] * n)
    labels = rng.integers(0, 2, 3 * n)
    folder.mkdir(parents=True)
    axis = np.linspace(4000, 5000, shape[-1]) if ndim == 1 else None
    data = Dataset(real, labels, ids, ids, split, ["A", "<b>"], axis=axis, unit="Jy/beam", kind=KINDS[ndim])
    write_store(folder / "dataset.h5", data)
    tables, methods = [pd.DataFrame({"source": "real", **{s: rng.lognormal(size=n) for s in STATISTICS}})], {}
    for name in METHODS:
        stamps = rng.normal(size=(n, *shape)).astype(np.float32)
        flux = rng.lognormal(size=n)
        table = Table({"id": ids[:n], "flux": flux, "measured_flux": flux * 1.1})
        place = folder / ("galaxies.fits" if name == "flow" else "mixture/galaxies.fits")
        (folder / name).mkdir()
        hdus = [fits.PrimaryHDU(stamps[:, 0] if shape[0] == 1 else stamps), fits.table_to_hdu(table)]
        hdus[1].name = "TRUTH"
        fits.HDUList(hdus).writeto(place)
        tables.append(pd.DataFrame({"source": name, **{s: rng.lognormal(size=n) for s in STATISTICS}}))
        methods[name] = {
            "kind": name,
            "samples": str(place.relative_to(folder)),
            "n": n,
            "sampler": "heun",
            "steps": 25 if name == "flow" else None,
            "guidance": 1.0,
            "training": {"parameters": 1000, "seconds": 80.0} if extras else {},
            "sampling": {"stamps_per_second": 20.0, "evaluations": 50, "macs": 10**8} if extras else {},
            "realism": judged(rng),
        }
    pd.concat(tables).to_csv(folder / "statistics.csv", index=False)
    told = {"train": n, "test": n, "shape": list(shape), "unit": "Jy/beam", "noise": 1.0}
    metrics = {"task": folder.name, "kind": "generate", "product": "flow", "stamps": told, "methods": methods}
    write_json(folder / "metrics.json", metrics | {"conditions": {"flux": "Jy"}, "classes": ["A", "<b>"]})
    if extras:
        _write_extras(folder, shape, rng)


def _write_extras(folder, shape, rng):
    with open(folder / "flow" / "history.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["epoch", "train_loss", "val_loss"], [1, 2.0, 2.1], [2, 1.5, 1.7]])
    points = rng.normal(size=(30, 2)).tolist()
    told = {"explained": [0.6, 0.2], "points": points, "labels": ["A", "<b>"] * 15, "ends": [0, 1]}
    write_json(folder / "mixture" / "latent.json", told | {"regular": [], "polar": [], "path": points[:5]})
    grids = {"REGULAR": (3, 4), "POLAR": (2, 6), "PATH": (5,)}
    hdus = [fits.PrimaryHDU()]
    hdus += [fits.ImageHDU(rng.normal(size=(*grid, *shape)).astype("f4"), name=name) for name, grid in grids.items()]
    fits.HDUList(hdus).writeto(folder / "mixture" / "latent.fits")
    names = ("OBSERVED", "MEAN", "SPREAD", "TRUE")
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(rng.normal(size=(6, *shape)).astype("f4"), name=name) for name in names)]
    fits.HDUList(hdus).writeto(folder / "flow" / "restored.fits")


BASIC = ["sheet.png", "realism.png", "statistics.png", "power.png", "fidelity.png"]
EXTRAS = ["learning.png", "restored_flow.png"]
EXTRAS += [f"latent{part}_mixture.png" for part in ("", "_grid", "_polar", "_path")]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_run_is_drawn_and_shown(tmp_path, kind):
    extras = kind in ("images", "lines")
    write_run(tmp_path / "run" / kind, SHAPES[kind], extras)
    make_figures(tmp_path / "run" / kind)
    drawn = [entry["file"] for entry in read_json(tmp_path / "run" / kind / "figures" / "captions.json")]
    assert set(drawn) == set(BASIC + EXTRAS if extras else BASIC)
    write_page(tmp_path / "run", [kind], tmp_path / "run" / "report.html", "tasks: {}")
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("data:image/png") == len(drawn)
    assert "0.640" in page
    assert "floor 0.510" in page
    assert "<b>" not in page


def test_what_is_damaged_is_named_with_the_stage_to_run(tmp_path):
    write_run(tmp_path / "images", SHAPES["images"], False)
    (tmp_path / "images" / "galaxies.fits").write_text("hello")
    with pytest.raises(UserError, match=r"galaxies.fits: .*run the sample stage"):
        make_figures(tmp_path / "images")
    (tmp_path / "images" / "statistics.csv").unlink()
    with pytest.raises(UserError, match=r"statistics.csv: does not exist; run the evaluate stage"):
        make_figures(tmp_path / "images")


def test_what_is_not_known_is_a_dash_and_no_fault(tmp_path):
    write_run(tmp_path / "images", SHAPES["images"], False)
    metrics = read_json(tmp_path / "images" / "metrics.json")
    row = metrics["methods"]["flow"]["realism"]
    row |= {"mean_w1": None, "auc": None, "neighbours": {"ratio": None}, "conditions": {}}
    write_json(tmp_path / "images" / "metrics.json", metrics)
    make_figures(tmp_path / "images")
    assert "–" in generate_card("images", metrics)
    assert "standard deviations" not in headline(metrics)


def test_a_montage_keeps_every_stamp_in_its_place():
    shades = np.random.default_rng(0).random((2, 3, 4, 5))
    joined = montage(shades)
    assert joined.shape == (2 * 5 - 1, 3 * 6 - 1)
    for row in range(2):
        for column in range(3):
            part = joined[5 * row : 5 * row + 4, 6 * column : 6 * column + 5]
            np.testing.assert_array_equal(part, shades[row, column])
    assert montage(np.zeros((1, 2, 4, 5, 3))).shape == (4, 11, 3)


def test_the_sky_is_shown_north_up_and_a_picture_as_it_is():
    stamps = np.zeros((1, 1, 4, 4))
    stamps[0, 0, 0, 1] = 1.0  # the first row: at the bottom of an image, on top of a picture
    assert Look(0, 1, None)(stamps)[0].argmax() == 3 * 4 + 1
    assert Look(0, 1, None, picture=True)(stamps)[0].argmax() == 1
    shades = Look(0.0, 100.0, 3.0)(np.array([0.0, 10.0, 100.0]).reshape(1, 1, 1, 3))
    np.testing.assert_allclose(shades[0, 0], [0, np.arcsinh(10 / 3) / np.arcsinh(100 / 3), 1])


def test_cubes_are_summed_and_channels_that_are_no_colours_averaged():
    cube = np.random.default_rng(0).random((2, 1, 5, 3, 4))
    np.testing.assert_allclose(as_pictures(cube), cube[:, 0].sum(1))
    five = np.random.default_rng(0).random((2, 5, 3, 4))
    np.testing.assert_allclose(as_pictures(five), five.mean(1))


def test_of_a_sorted_file_the_stamps_shown_are_of_every_kind(tmp_path):
    stamps = np.repeat(np.arange(4, dtype=np.float32), 25)[:, None, None, None] + np.zeros((1, 1, 5, 5), np.float32)
    ids = [f"galaxy-{row}" for row in range(100)]
    split = np.array(["test"] * 100)
    write_store(tmp_path / "dataset.h5", Dataset(stamps, np.zeros(100, int), ids, ids, split, ["A"], kind="image"))
    shown, picture = real_stamps(TaskFiles(tmp_path, ("dataset.h5",), "sample"), 8)
    assert shown.shape == (8, 1, 5, 5) and not picture
    np.testing.assert_array_equal(shown[:, 0, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    early, _ = real_stamps(TaskFiles(tmp_path, ("dataset.h5",), "sample"), 8, among=50)
    np.testing.assert_array_equal(early[:, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("constant", [(), ("gini",), STATISTICS])
def test_a_statistic_that_does_not_vary_has_no_panel(tmp_path, constant):
    write_run(tmp_path / "images", SHAPES["images"], False)
    table = pd.read_csv(tmp_path / "images" / "statistics.csv").assign(**dict.fromkeys(constant, 0.0))
    metrics = read_json(tmp_path / "images" / "metrics.json")
    with figure(*statistics_size(table, metrics)) as made:
        draw_statistics(made, table, metrics)
        titles = [axes.get_title(loc="left").split("  ")[0].replace(" ", "_") for axes in made.axes if axes.axison]
    assert titles == [name for name in STATISTICS if name not in constant]
