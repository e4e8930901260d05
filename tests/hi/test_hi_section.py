import numpy as np
import pandas as pd
import pytest
from astropy.table import vstack
from PIL import Image

from pipeline.files import read_json, write_json
from pipeline.hi.evaluate import LabelledCube, evaluate_cubes
from pipeline.hi.labelled import whole
from pipeline.report.figures import make_figures
from pipeline.report.galaxies import draw_cube, draw_measures, draw_rankings
from pipeline.report.hi_section import headline
from pipeline.report.page import write_page
from pipeline.report.style import figure
from pipeline.sky.catalogue import write_catalogue

FILES = [
    "cube.png",
    "completeness.png",
    "precision.png",
    "rankings.png",
    "reliability.png",
    "measures.png",
    "coverage.png",
    "learning.png",
]


def measured(sky):
    """Candidates as a finder of some skill leaves them, and the catalogue of those it believes in."""
    draw, snr = np.random.default_rng(2), sky.objects.snr
    true, false = sky.catalogue(snr > 2.5), sky.catalogue(snr > 2)[:60]
    for table in (true, false):
        noise = 1 / np.maximum(np.asarray(table["snr"]), 2)
        for name, scale in (("line_flux", 1), ("hi_size", 0.8), ("w20", 0.8)):
            table[f"{name}_error"] = noise * scale * table[name]
            table[name] *= np.exp(draw.normal(0, 1, len(table)) * noise * scale)
        for name, scale in (("pa", 180), ("inclination", 60), ("frequency", 1e6)):
            table[f"{name}_error"] = noise * scale * table[name].unit
            table[name] += draw.normal(0, 1, len(table)) * noise * scale * table[name].unit
        table["probability"] = 1 / (1 + np.exp(4 - np.asarray(table["snr"]) - draw.normal(0, 1, len(table))))
        table["matched_snr"] += draw.normal(0, 1, len(table))
    place = (draw.uniform(0, side - 1, len(false)) for side in sky.cube.shape)
    for name, values in zip(("ra", "dec", "frequency"), sky.cube.to_sky(*place), strict=True):
        false[name] = values * false[name].unit
    false["probability"] *= 0.7
    candidates = vstack([true, false], metadata_conflicts="silent")
    candidates["id"] = np.arange(len(candidates))
    return candidates, candidates[candidates["probability"] > 0.5]


@pytest.fixture(scope="module")
def hi_run(galaxies, tmp_path_factory):
    """A run of a trained task, of one without truth, and of one that lists nothing; their figures drawn."""
    run, sky = tmp_path_factory.mktemp("cubes") / "run", galaxies(400, 5)
    candidates, catalogue = measured(sky)
    judged = [LabelledCube("a/cube.fits", "truth.csv", sky.cube, sky.truth, sky.objects, whole(sky.cube))]
    for name, table, cubes in (
        ("trained", catalogue, judged),
        ("blind", catalogue, []),
        ("none", catalogue[:0], judged),
    ):
        folder = run / name
        folder.mkdir(parents=True)
        write_catalogue(table, folder / "catalogue.fits")
        write_catalogue(candidates if len(table) else table, folder / "candidates.fits")
        evaluate_cubes(
            folder / "catalogue.fits",
            cubes,
            folder / "metrics.json",
            seed=1,
            candidates=folder / "candidates.fits",
            matched_threshold=4.5,
            told={"network": "C-48.3"},
        )
    (run / "trained/history.csv").write_text("epoch,train_loss,val_loss\n1,1.0,1.1\n2,0.8,0.9\n")
    training = {"best_epoch": 2, "epochs_run": 2, "seconds": 66.0, "parameters": 54321, "device": {"kind": "cpu"}}
    write_json(run / "trained/training.json", training)
    for name in ("trained", "blind", "none"):
        make_figures(run / name)
    return run


def names(run, task):
    return [entry["file"] for entry in read_json(run / task / "figures/captions.json")]


def test_every_figure_is_drawn_that_there_is_data_for(hi_run):
    assert names(hi_run, "trained") == FILES
    assert names(hi_run, "blind") == []
    assert names(hi_run, "none") == FILES[:3]
    for entry in read_json(hi_run / "trained/figures/captions.json"):
        assert entry["title"] and entry["caption"].endswith(".")
        with Image.open(hi_run / "trained/figures" / entry["file"]) as image:
            image.load()
            assert len(np.unique(np.asarray(image.convert("L")))) > 8


def test_every_axis_is_labelled(hi_run):
    metrics, matches = read_json(hi_run / "trained/metrics.json"), pd.read_csv(hi_run / "trained/matches.csv")
    for draw in (
        lambda f: draw_cube(f, metrics["frames"][0], matches),
        lambda f: draw_measures(f, metrics, matches),
        lambda f: draw_rankings(f, metrics),
    ):
        with figure(8, 4) as canvas:
            draw(canvas)
            canvas.canvas.draw()
            for axes in canvas.axes:
                for axis, shared in ((axes.xaxis, axes.get_shared_x_axes()), (axes.yaxis, axes.get_shared_y_axes())):
                    told = [getattr(one, f"{axis.axis_name}axis").get_label_text() for one in shared.get_siblings(axes)]
                    named = any(label.get_text() and not _number(label.get_text()) for label in axis.get_ticklabels())
                    assert any(told) or named


def _number(text):
    return text.strip("−-.0123456789") == ""


def test_the_page_shows_what_was_reached(hi_run):
    write_page(hi_run, ["trained", "blind", "none"], hi_run / "report.html", "run: x\n")
    page, metrics = (hi_run / "report.html").read_text(), read_json(hi_run / "trained/metrics.json")
    assert page.count("<img ") == 8 + 0 + 3
    for text in (
        headline(metrics),
        f"{metrics['score_per_truth']:.3f}",
        f"{metrics['sub_scores']['pa']:.3f}",
        f"{metrics['rankings']['matched_filter']['best']['score_per_truth']:.3f}",
        f"{metrics['ap']['snr_above_7']['match']['ap']:.3f}",
        "matched filter alone",
        "threshold chosen on validation",
        "54,321",
        "The model was trained before.",
        "nothing was judged",
        "lists no galaxy in the cubes",
        "cube.fits",
    ):
        assert text in page, text
    assert 'href="trained/candidates.fits"' in page and 'href="blind/history.csv"' not in page
