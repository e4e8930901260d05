import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable
from PIL import Image

from pipeline.detect.comparison import UNITS, measures
from pipeline.detect.continuum import CLASSES
from pipeline.detect.evaluate import evaluate
from pipeline.detect.image import ContinuumImage
from pipeline.detect.task_settings import DetectSettings
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.learn.model_file import save_model
from pipeline.nn.network import build
from pipeline.report import detections
from pipeline.report.detect_section import detect_card, headline
from pipeline.report.figures import make_figures
from pipeline.report.page import write_page
from pipeline.report.sky_cut import draw_cut, read_cut
from pipeline.report.style import figure
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.sky.catalogue import write_catalogue
from pipeline.sky.frame import write_frame

FILES = [
    "sky.png",
    "completeness.png",
    "precision.png",
    "reliability.png",
    "flux.png",
    "coverage.png",
    "classes.png",
    "learning.png",
]


def write_listed(folder, truth, image):
    """A catalogue of what is brighter than 4 times the noise, measured with some error, and false detections."""
    draw, snr = np.random.default_rng(0), image.objects(truth).snr
    true = measures(truth, image.reader.wcs, image.reader.beam)[snr > 4].reset_index(drop=True)
    n = len(true)
    true.loc[: n // 20, "flux"] *= 1e4
    table = QTable({"id": np.arange(n)})
    for name, unit in UNITS.items():
        values = np.nan_to_num(true[name].to_numpy())
        error = 0.1 * np.abs(values) if name in ("flux", "peak_flux", "major", "minor") else np.full(n, 0.02)
        off = 0 if name in ("ra", "dec") else draw.normal(0, 1, n) * error
        table[name] = (values + off) * (unit or 1)
        table[f"{name}_error"] = error * (u.arcsec if name in ("ra", "dec") else unit or 1)
    for name in CLASSES:
        table[f"p_{name}"] = draw.random(n)
    table["snr"], table["probability"] = snr[snr > 4], draw.uniform(0.6, 1, n)
    write_catalogue(table, folder / "catalogue.fits")


@pytest.fixture(scope="module")
def detect_run(tmp_path_factory):
    """A run with a trained task, one that was given its model, and one without truth; their figures drawn."""
    run = tmp_path_factory.mktemp("sky") / "run"
    field = simulate(ContinuumSettings(shape=(260, 240)), 4)
    write_frame(run / "simulated/field.fits", field.frame)
    field.truth.to_csv(run / "simulated/truth.csv", index=False)
    image = ContinuumImage.open(run / "simulated/field.fits")
    truth = read_table(run / "simulated/truth.csv", Sdc1(560), truth=True)
    frame = {"image": str(run / "simulated/field.fits"), "truth": str(run / "simulated/truth.csv")}
    tasks = {
        "trained": DetectSettings(kind="detect", simulate={}, areas={"test": 0.8, "validation": 0.1}),
        "given": DetectSettings(kind="detect", frames={"test": [frame]}, model="model.safetensors"),
        "blind": DetectSettings(kind="detect", frames={"detect": ["a.fits"]}, model="model.safetensors"),
    }
    for name, task in tasks.items():
        folder = run / name
        folder.mkdir()
        write_listed(folder, truth, image)
        save_model(folder / "model.safetensors", build("C-1.1_linear_none", 2, (2, 16, 16)), {"kind": "detect"})
        evaluate(
            folder / "catalogue.fits",
            task,
            folder / "model.safetensors",
            folder / "metrics.json",
            seed=1,
            simulated=run / "simulated",
        )
    (run / "trained/history.csv").write_text("epoch,train_loss,val_loss\n1,1.0,1.1\n2,0.8,0.9\n")
    training = {"best_epoch": 2, "epochs_run": 2, "seconds": 66.0, "parameters": 54321, "device": {"kind": "cpu"}}
    write_json(run / "trained/training.json", training)
    for name in tasks:
        make_figures(run / name)
    return run


def names(run, task):
    return [entry["file"] for entry in read_json(run / task / "figures/captions.json")]


def test_every_figure_is_drawn_that_there_is_data_for(detect_run):
    assert names(detect_run, "trained") == FILES
    assert names(detect_run, "given") == FILES[:-1]
    assert names(detect_run, "blind") == []
    for task in ("trained", "given"):
        for entry in read_json(detect_run / task / "figures/captions.json"):
            assert entry["title"] and entry["caption"].endswith(".")
            with Image.open(detect_run / task / "figures" / entry["file"]) as image:
                image.load()
                assert len(np.unique(np.asarray(image.convert("L")))) > 8


def test_every_axis_is_labelled(detect_run):
    metrics = read_json(detect_run / "given/metrics.json")
    matches = pd.read_csv(detect_run / "given/matches.csv")
    cut = read_cut(metrics["frames"][0], matches)
    for draw in (
        lambda f: detections.draw_completeness(f, metrics),
        lambda f: detections.draw_precision(f, metrics),
        lambda f: detections.draw_probability(f, metrics),
        lambda f: detections.draw_flux(f, metrics, matches),
        lambda f: detections.draw_coverage(f, metrics),
        lambda f: draw_cut(f, cut),
    ):
        with figure(8, 4) as canvas:
            draw(canvas)
            canvas.canvas.draw()
            for axes in canvas.axes:
                for axis, shared in ((axes.xaxis, axes.get_shared_x_axes()), (axes.yaxis, axes.get_shared_y_axes())):
                    told = [getattr(one, f"{axis.axis_name}axis").get_label_text() for one in shared.get_siblings(axes)]
                    ticks = any(label.get_text() and label.get_visible() for label in axis.get_ticklabels())
                    assert any(told) or not ticks


def test_the_cut_shows_the_judged_sky_only(detect_run):
    metrics = read_json(detect_run / "trained/metrics.json")
    matches = pd.read_csv(detect_run / "trained/matches.csv")
    frame = metrics["frames"][0]
    cut = read_cut(frame, matches)
    assert cut.corner[0] >= frame["section"][0][0] == 52 and max(cut.pixels.shape) <= 400
    with ContinuumImage.open(frame["image"]).reader as reader:
        (y, x), (height, width) = cut.corner, cut.pixels.shape
        assert (reader.read([slice(y, y + height), slice(x, x + width)]) == cut.pixels).all()
    assert len(cut.matches) and cut.matches["true_x"].dropna().between(x - 1, x + width).mean() > 0.95
    assert read_cut(frame | {"image": "nowhere.fits"}, matches) is None
    wide = frame | {"section": [[0, 260], [0, 240]], "beam_pixel": [50.0, 50.0, 0.0]}
    assert read_cut(wide, matches).pixels.shape == (260, 240)


def test_the_page_shows_detection_beside_classification(detect_run, make_task):
    folder = make_task(detect_run / "stars", 1)
    make_figures(folder)
    tasks = ["trained", "given", "blind", "stars"]
    write_page(detect_run, tasks, detect_run / "report.html", "run: x\n")
    page = (detect_run / "report.html").read_text()
    assert page.count("<img ") == 8 + 7 + 0 + 8
    metrics = read_json(detect_run / "given/metrics.json")
    for text in (
        f"{metrics['score']:,.0f}",
        f"{100 * metrics['purity']:.1f} %",
        f"{metrics['ap']['snr_above_3']['match']['ap']:.3f}",
        f"{metrics['sub_scores']['flux']:.3f}",
        "54,321",
        "The model was trained before.",
        "C-1.1_linear_none",
        "nothing was judged",
        "field.fits",
    ):
        assert text in page
    assert 'href="given/matches.csv"' in page and 'href="given/history.csv"' not in page
    assert headline(metrics) in page


def test_absent_files_are_named_with_their_stage(detect_run, tmp_path):
    metrics = read_json(detect_run / "given/metrics.json")
    (tmp_path / "one").mkdir()
    write_json(tmp_path / "one/metrics.json", metrics)
    with pytest.raises(UserError, match=r"matches\.csv: does not exist; run the evaluate stage"):
        make_figures(tmp_path / "one")
    with pytest.raises(UserError) as caught:
        write_page(tmp_path, ["one"], tmp_path / "report.html", "")
    lines = str(caught.value).splitlines()
    assert [line.partition("run the ")[2].split()[0] for line in lines] == ["evaluate", "detect", "figures"]
    (tmp_path / "one/matches.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"matches\.csv.*run that stage again"):
        make_figures(tmp_path / "one")


def test_a_catalogue_without_a_match_is_shown(detect_run, tmp_path):
    """Figures about detections and matches are left out, and nothing is divided by zero."""
    metrics = read_json(detect_run / "given/metrics.json")
    folder = tmp_path / "none"
    folder.mkdir()
    table = QTable.read(detect_run / "given/catalogue.fits")[:0]
    write_catalogue(table, folder / "catalogue.fits")
    frame = {key: metrics["frames"][0][key] for key in ("image", "truth")}
    task = DetectSettings(kind="detect", frames={"test": [frame]}, model="model.safetensors")
    model = detect_run / "given/model.safetensors"
    evaluate(folder / "catalogue.fits", task, model, folder / "metrics.json", seed=1)
    make_figures(folder)
    assert names(tmp_path, "none") == FILES[:3]
    empty = read_json(folder / "metrics.json")
    assert "no source" in headline(empty) and "0 detections" in detect_card("none", empty)
    write_page(tmp_path, ["none"], tmp_path / "report.html", "")
