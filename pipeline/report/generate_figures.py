"""The figures of a generative task, drawn from the files that its stages wrote."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.evenly import evenly
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.realism_plots import (
    draw_fidelity,
    draw_histories,
    draw_plane,
    draw_power,
    draw_realism,
    draw_statistics,
    histories_size,
    shown_conditions,
    statistics_size,
)
from pipeline.report.stamp_files import (
    DECODED,
    RESTORED,
    Stamped,
    of_method,
    read_images,
    read_stamped,
    read_statistics,
    real_stamps,
)
from pipeline.report.stamp_sheets import Look, draw_grid, draw_polar, draw_rows, sheet_size
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "statistics.csv", "dataset.h5")
_IN_ROW = {1: 6, 2: 12, 3: 10}
_RESTORED = 5  # objects that are shown noisy, restored and true
_LOOKED_AT = 200  # real stamps that say how brightness is shown


def generate_figures(task_folder: Path, out: FigureFolder) -> None:
    """Draw every figure that the task has the files for (`report.stamp_files` names them).

    Raises
    ------
    UserError : a file that a figure needs is absent or damaged; the stage that writes it is named.
    """
    files = TaskFiles(task_folder, NEEDED, "sample")
    metrics, table = files.json("metrics.json"), read_statistics(files)
    ndim = len(metrics["stamps"]["shape"]) - 1
    made = {name: read_stamped(files.path(row["samples"]), ndim) for name, row in metrics["methods"].items()}
    real, picture = real_stamps(files, _LOOKED_AT)
    look = Look.of(real, metrics["stamps"].get("noise"), picture)
    _sheet(out, files, metrics, made, look)
    out.add(
        "realism.png",
        (10.4, 1.3 + 0.34 * len(made)),
        lambda f: draw_realism(f, metrics),
        "How real",
        "Left: how far the distributions of the statistics are from those of real stamps, in their standard "
        "deviations. Middle: how well a forest tells the two apart by them; 0.5 is not at all. Right: distance of the "
        "synthetic stamps to the nearest training stamp over that of real ones, far below 1 where a model copies. "
        "Dotted: the same of real stamps. Blue is the method whose stamps are the product.",
    )
    out.add(
        "statistics.png",
        statistics_size(table, metrics),
        lambda f: draw_statistics(f, table, metrics),
        "What astronomers measure",
        f"Statistics of real test stamps (grey) and of those of {metrics['product']} (line), with the Wasserstein "
        "distance of the two in standard deviations.",
    )
    out.add(
        "power.png",
        (10.4, 4.0),
        lambda f: draw_power(f, metrics),
        "Structure on every scale",
        "Mean power spectra of real and synthetic stamps. Right: their ratio, with the mean deviation in dex.",
    )
    product = made[metrics["product"]]
    met = shown_conditions(product, metrics)
    if met:
        out.add(
            "fidelity.png",
            (min(10.4, 0.8 + 3.6 * len(met)), 3.6),
            lambda f: draw_fidelity(f, product, metrics),
            "Asked for, and measured",
            f"Each stamp of {metrics['product']}: the condition that was asked for against what is measured on it.",
        )
    _histories(out, files, metrics)
    for name in made:
        _latent(out, of_method(files, name), name, look, ndim)
        _restored(out, of_method(files, name), name, look, ndim)


def _sheet(out: FigureFolder, files: TaskFiles, metrics: dict[str, Any], made: dict[str, Stamped], look: Look) -> None:
    """Stamps of the test set, and under each what every method made of its conditions."""
    shape = next(iter(made.values())).stamps.shape[1:]
    among = min(metrics["stamps"]["test"], *(len(one.stamps) for one in made.values()))
    real, _ = real_stamps(files, _IN_ROW[len(shape) - 1], among)
    chosen = evenly(among, len(real))
    rows = {"real": real, **{name: one.stamps[chosen] for name, one in made.items()}}
    out.add(
        "sheet.png",
        sheet_size(len(rows), len(real), shape[1:]),
        lambda f: draw_rows(f, rows, look),
        "Real and synthetic",
        "Stamps evenly spread over each file, not chosen by eye, all shown alike. The first row is real.",
    )


def _histories(out: FigureFolder, files: TaskFiles, metrics: dict[str, Any]) -> None:
    trained = {name: of_method(files, name) for name in metrics["methods"]}
    histories = {name: own.history() for name, own in trained.items() if own.has("history.csv")}
    if histories:
        out.add(
            "learning.png",
            histories_size(len(histories)),
            lambda f: draw_histories(f, histories),
            "Training",
            "Loss after each epoch, on training and validation stamps. The losses of different methods are different "
            "quantities.",
        )


def _latent(out: FigureFolder, files: TaskFiles, name: str, look: Look, ndim: int) -> None:
    if not files.has("latent.json", "latent.fits"):
        return
    told, decoded = files.json("latent.json"), read_images(files.path("latent.fits"), DECODED)
    if told["points"]:
        out.add(
            f"latent_{name}.png",
            (7.4, 4.9),
            lambda f: draw_plane(f, told),
            f"Latent plane of {name}",
            "Real stamps where the encoder puts them, by class. The line is the way between two of them.",
        )
    if "REGULAR" in decoded:
        grid = decoded["REGULAR"]
        out.add(
            f"latent_grid_{name}.png",
            _grid_size(grid),
            lambda f: draw_grid(f, grid, look),
            f"Over the plane of {name}",
            "What evenly spaced places of the latent plane decode to, its second axis upwards.",
        )
    if "POLAR" in decoded:
        out.add(
            f"latent_polar_{name}.png",
            (6.0, 6.0),
            lambda f: draw_polar(f, decoded["POLAR"], look),
            f"Around the middle of {name}",
            "What places on ellipses around the middle of the latent plane decode to.",
        )
    if "PATH" in decoded:
        path = decoded["PATH"]
        out.add(
            f"latent_path_{name}.png",
            sheet_size(1, len(path), path.shape[2:]),
            lambda f: draw_rows(f, {"": path}, look),
            f"From one to another by {name}",
            "Stamps on the way through the latent space from one real stamp, left, to another, right.",
        )


def _restored(out: FigureFolder, files: TaskFiles, name: str, look: Look, ndim: int) -> None:
    if not files.has("restored.fits"):
        return
    images = read_images(files.path("restored.fits"), RESTORED)
    if not {"OBSERVED", "MEAN", "SPREAD"} <= set(images):
        return
    labels = {"OBSERVED": "observed", "MEAN": "estimate", "TRUE": "true", "SPREAD": "uncertainty"}
    rows = {labels[key]: images[key][:_RESTORED] for key in labels if key in images}
    out.add(
        f"restored_{name}.png",
        sheet_size(len(rows), _RESTORED, images["MEAN"].shape[2:], 6.4),
        lambda f: draw_rows(f, rows, look),
        f"Noise taken away by {name}",
        "From above: what was observed, the mean of what it may have been"
        + (", what it was" if "TRUE" in images else "")
        + ", and the standard deviation of what it may have been.",
    )


def _grid_size(grid: np.ndarray) -> tuple[float, float]:
    rows, columns = grid.shape[:2]
    if grid.ndim == 4:
        return 6.0, 6.0
    return 6.0, 6.0 * rows * grid.shape[-2] / (columns * grid.shape[-1])
