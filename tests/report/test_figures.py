import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from pipeline.classify.metrics import classification_metrics
from pipeline.data.store import open_store
from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.report import confusion, curves
from pipeline.report.examples import choose, draw_examples, load_examples
from pipeline.report.figures import make_figures
from pipeline.report.style import class_style, figure, plain, save
from pipeline.report.task_files import TaskFiles
from pipeline.sky.catalogue import read_catalogue, write_catalogue

FILES = [
    "confusion.png",
    "recall.png",
    "examples.png",
    "mistakes.png",
    "roc_pr.png",
    "reliability.png",
    "counts.png",
    "learning.png",
]


@pytest.mark.parametrize("task", ["stars", "images", "cubes", "many"])
def test_every_figure_is_drawn_and_captioned(finished_run, task):
    captions = read_json(finished_run / task / "figures/captions.json")
    assert [entry["file"] for entry in captions] == FILES
    for entry in captions:
        assert entry["title"] and entry["caption"].endswith(".")
        with Image.open(finished_run / task / "figures" / entry["file"]) as image:
            image.load()
            assert len(np.unique(np.asarray(image.convert("L")))) > 8


def labelled(canvas):
    """Whether each axis that has tick labels also has a name: its own, a shared one, or the figure's."""
    for axes in canvas.axes:
        if hasattr(axes, "coords"):
            assert all(coordinate.get_axislabel() for coordinate in axes.coords)
            continue
        for axis, shared in ((axes.xaxis, axes.get_shared_x_axes()), (axes.yaxis, axes.get_shared_y_axes())):
            names = [getattr(other, f"{axis.axis_name}axis").get_label_text() for other in shared.get_siblings(axes)]
            above = canvas.get_supylabel() if axis.axis_name == "y" else canvas.get_supxlabel()
            ticks = any(label.get_text() and label.get_visible() for label in axis.get_ticklabels())
            assert any(names) or above or not ticks


@pytest.mark.parametrize("task", ["stars", "images", "cubes"])
def test_every_axis_of_the_examples_is_labelled(finished_run, task):
    folder = finished_run / task
    with open_store(folder / "dataset.h5") as store:
        for samples in load_examples(folder / "catalogue.fits", store, "test", store.classes):
            with figure(8, 6) as canvas:
                draw_examples(canvas, samples)
                canvas.canvas.draw()
                labelled(canvas)


def test_every_axis_of_the_measures_is_labelled(finished_run):
    files = TaskFiles(finished_run / "stars", ("metrics.json",))
    metrics, history = files.json("metrics.json"), files.history()
    network = metrics["network"]
    for draw in (
        lambda f: confusion.draw_confusion(f, network),
        lambda f: confusion.draw_recall(f, network, metrics["baseline"]),
        lambda f: confusion.draw_counts(f, metrics["counts"], metrics["classes"]),
        lambda f: curves.draw_learning(f, history, 2),
        lambda f: curves.draw_roc_pr(f, network),
        lambda f: curves.draw_reliability(f, network, {}, 1.0),
    ):
        with figure(6, 4) as canvas:
            draw(canvas)
            canvas.canvas.draw()
            labelled(canvas)


def test_confusion_figure_shows_every_count_and_share(finished_run):
    network = read_json(finished_run / "stars/metrics.json")["network"]
    with figure(6, 6) as canvas:
        confusion.draw_confusion(canvas, network)
        shown = [text.get_text() for text in canvas.axes[0].texts]
    counts = [f"{value}" for row in network["confusion"] for value in row]
    recall = [f"{100 * score['recall']:.0f} %" for score in network["per_class"].values()]
    assert shown[: len(counts)] == counts
    assert shown[len(counts) : len(counts) + len(recall)] == recall


def test_a_figure_drawn_twice_has_the_same_bytes(finished_run, tmp_path):
    network = read_json(finished_run / "stars/metrics.json")["network"]
    for name in ("one.png", "two.png"):
        with figure(6, 4) as canvas:
            curves.draw_roc_pr(canvas, network)
            save(canvas, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_many_classes_fit(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"a class with a long name {index}" for index in range(30)]
    metrics = classification_metrics(rng.dirichlet(np.ones(30), 90), np.arange(90) % 30, names)
    for draw in (confusion.draw_confusion, curves.draw_roc_pr):
        with figure(8, 8) as canvas:
            draw(canvas, metrics)
            save(canvas, tmp_path / "figure.png")
    assert len({tuple(class_style(index).items()) for index in range(28)}) == 28


@pytest.mark.parametrize(
    ("loss", "expected"),
    [([3.0, 2.0, 1.0], None), ([3.0, 1.0, 2.0], 2), ([1.0, 2.0, 3.0], 1), ([float("nan")] * 2, None)],
)
def test_over_training_starts_at_the_lowest_validation_loss(loss, expected):
    epochs = list(range(1, len(loss) + 1))
    assert curves.over_training_epoch({"epoch": epochs, "val_loss": loss}) == expected


def test_examples_are_typical_and_mistakes_the_most_confident():
    rng = np.random.default_rng(2)
    n = 300
    label, given = rng.choice(["x", "y", "z", ""], n), rng.choice(["x", "y", "z"], n)
    split, probability = rng.choice(["train", "test"], n), rng.random(n)
    table = Table({"label": label, "class": given, "split": split, "probability": probability})
    correct, wrong = choose(table, "test", ["z", "y", "x"], 3)
    assert label[correct].tolist() == given[correct].tolist() == ["z", "y", "x"]
    assert (split[correct + wrong] == "test").all()
    for row in correct:
        same = probability[(label == given) & (label == label[row]) & (split == "test")]
        assert abs((same < probability[row]).mean() - 0.5) <= 1 / len(same)
    mistakes = probability[(label != given) & (label != "") & (split == "test")]
    assert probability[wrong].tolist() == sorted(mistakes, reverse=True)[:3]


def test_nothing_to_show_is_two_empty_lists():
    names = {name: np.array([], dtype=str) for name in ("label", "class", "split")}
    assert choose(Table(names | {"probability": np.array([])}), "test", ["a"], 8) == ([], [])


def test_absent_files_are_all_named_with_their_stage(make_task, tmp_path):
    folder = make_task(tmp_path / "stars", 1)
    for name in ("training.json", "dataset.h5", "history.csv"):
        (folder / name).unlink()
    with pytest.raises(UserError) as caught:
        make_figures(folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(stage in line for stage, line in zip(("train", "train", "ingest"), lines, strict=True))
    # What the task is of, and so what it needs, is in this one.
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"metrics\.json: does not exist; run the evaluate stage"):
        make_figures(folder)
    assert not (folder / "figures").exists()


@pytest.mark.parametrize("text", ["epoch,train_loss\n1,2\n", "epoch,train_loss,val_loss\n1,x,2\n", ""])
def test_damaged_history(make_task, tmp_path, text):
    folder = make_task(tmp_path / "stars", 1)
    (folder / "history.csv").write_text(text)
    with pytest.raises(UserError, match=r"history\.csv.*run the train stage"):
        make_figures(folder)


def test_catalogue_of_another_data_set(make_task, tmp_path):
    folder = make_task(tmp_path / "stars", 1)
    table = read_catalogue(folder / "catalogue.fits")
    table["id"] = [f"other-{row}" for row in range(len(table))]
    write_catalogue(table, folder / "catalogue.fits")
    with open_store(folder / "dataset.h5") as store, pytest.raises(UserError, match="classify stage"):
        load_examples(folder / "catalogue.fits", store, "test", store.classes)


def test_text_of_users_is_shown_as_it_is():
    assert plain("$x^2$") == r"\$x^2\$"
    assert plain("a\nb\tc") == "a b c"
    assert len(plain("x" * 100)) == 28
