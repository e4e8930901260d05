import csv

import numpy as np
import pytest
from astropy.table import QTable
from astropy.wcs import WCS

from pipeline.classify.calibrate import probabilities
from pipeline.classify.metrics import classification_metrics
from pipeline.data.store import Dataset, write_store
from pipeline.files import write_json
from pipeline.sky.catalogue import write_catalogue

KINDS = {1: "spectrum", 2: "image", 3: "cube"}
CLASSES = ["A & B", "<script>alert(1)</script>", "$x^2$"]


def sky_header(ndim):
    """The header text of a WCS of 2 or 3 axes (the third a velocity), "" for a spectrum."""
    if ndim == 1:
        return ""
    wcs = WCS(naxis=ndim)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN", "VRAD"][:ndim]
    wcs.wcs.crval = [10.0, -30.0, 1e6][:ndim]
    wcs.wcs.crpix = [4.0, 4.0, 1.0][:ndim]
    wcs.wcs.cdelt = [-1e-3, 1e-3, 1e4][:ndim]
    wcs.wcs.cunit = ["deg", "deg", "m/s"][:ndim]
    return wcs.to_header().tostring()


def write_task(folder, ndim, multilabel=False):
    """A task folder as the stages leave it: 60 objects of 8 pixels an axis, hostile class names, 30 in the test set."""
    rng = np.random.default_rng(ndim)
    n, k = 60, len(CLASSES)
    truth = rng.integers(0, 2, (n, k)) if multilabel else rng.integers(0, k, n)
    x = rng.normal(size=(n, 1) + (8,) * ndim).astype(np.float32)
    x[0, 0, ..., 2] = np.nan
    split = np.array(["train"] * 20 + ["validation"] * 10 + ["test"] * 30)
    ids = [f"object-{row}" for row in range(n)]
    axis = np.linspace(4000, 5000, 8) if ndim == 1 else None
    headers = [sky_header(ndim) if row % 2 else "" for row in range(n)]
    kind = KINDS[ndim]
    data = Dataset(x, truth, ids, ids, split, CLASSES, headers=headers, axis=axis, unit="Jy/beam", kind=kind)
    write_store(folder / "dataset.h5", data)

    logits = rng.normal(size=(n, k)) + 2 * (truth if multilabel else np.eye(k)[truth])
    chance = probabilities(logits, 1.5, multilabel)
    given = chance >= 0.5 if multilabel else chance.argmax(axis=1)[:, None] == np.arange(k)
    true = truth.astype(bool) if multilabel else truth[:, None] == np.arange(k)
    names = [["|".join(np.array(CLASSES)[row]) for row in rows] for rows in (true, given)]
    columns = {"id": ids, "split": split, "label": names[0], "class": names[1], "probability": chance.max(axis=1)}
    write_catalogue(QTable(columns), folder / "catalogue.fits")

    test = split == "test"
    network = classification_metrics(chance[test], truth[test], CLASSES, multilabel)
    flat = np.full((30, k), 0.4 if multilabel else 1 / k)
    baseline = classification_metrics(flat, truth[test], CLASSES, multilabel)
    raw = classification_metrics(probabilities(logits, 1, multilabel)[test], truth[test], CLASSES, multilabel)
    totals = {name: true[split == name].sum(axis=0).tolist() for name in ("train", "validation", "test")}
    counts = {name: dict(zip(CLASSES, total, strict=True)) for name, total in totals.items()}
    metrics = {
        "task": folder.name,
        "kind": "classify",
        "multilabel": multilabel,
        "classes": CLASSES,
        "split": "test",
        "counts": counts,
        "network": network,
        "baseline": baseline,
        "uncalibrated": {name: raw[name] for name in ("ece", "log_loss", "reliability")},
        "temperature": 1.5,
        "provenance": {"fleming": "0.1", "commit": "abc", "seed": ndim, "date": "2026-01-02T03:04:05+00:00"},
    }
    write_json(folder / "metrics.json", metrics)
    training = {"best_epoch": 2, "epochs_run": 3, "stopped": "early", "seconds": 75.0, "data_wait_share": 0.01}
    device = {"kind": "cpu", "name": "a <fast> processor", "cores": 2}
    training |= {"energy_joule": None, "device": device, "parameters": 12345, "macs": 10**8, "samples_per_second": 99.5}
    write_json(folder / "training.json", training)
    row = {"name": "1 dense", "token": "D-3", "output_shape": [3], "parameters": 27, "macs": 24}
    write_json(folder / "cost.json", [row])
    with open(folder / "history.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", "train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy"])
        writer.writerows([[1, 1.0, 1.0, 0.4, 0.3], [2, 0.5, 0.8, 0.6, 0.5], [3, 0.2, 0.9, 0.5, ""]])
    return folder


@pytest.fixture
def make_task():
    return write_task


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run folder with a spectrum, an image, a cube and a multi-label task, their figures drawn."""
    from pipeline.report.figures import make_figures

    run = tmp_path_factory.mktemp("run") / "my <survey>"
    for name, ndim, multilabel in (("stars", 1, False), ("images", 2, False), ("cubes", 3, False), ("many", 1, True)):
        make_figures(write_task(run / name, ndim, multilabel))
    return run
