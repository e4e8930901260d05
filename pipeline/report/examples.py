"""Which objects a reader sees: a typical correct one of each class, and the mistakes made with most confidence."""

from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from pipeline.data.store import Store
from pipeline.errors import UserError
from pipeline.report.samples import Sample, draw_cube, draw_image, draw_spectrum, read_wcs
from pipeline.report.style import INK, WARNING, quantity
from pipeline.sky.catalogue import read_catalogue

MOST = {1: 8, 2: 8, 3: 6}
_IMAGES_IN_ROW = 4
_PICTURES = (".png", ".jpg", ".jpeg")


def choose(catalogue: Table, split: str, classes: list[str], most: int) -> tuple[list[int], list[int]]:
    """Rows of the catalogue that show the classifier at its usual and at its worst.

    Parameters
    ----------
    catalogue : with columns id, label, class, probability and, unless it is all one split, split.
    split : the split that the metrics were measured on.
    classes : their order is the order of the examples.
    most : examples of each kind at most.

    Returns
    -------
    Correct rows, for each class those of middling probability (not the prettiest); and wrong rows, those of
    highest probability first. Objects without a true class are in neither.
    """
    label, given = _texts(catalogue, "label"), _texts(catalogue, "class")
    judged = label != ""
    if "split" in catalogue.colnames:
        judged &= _texts(catalogue, "split") == split
    probability = np.asarray(catalogue["probability"], dtype=float)
    names = [name for name in classes if (judged & (label == given) & (label == name)).any()]
    names = names or sorted(set(label[judged & (label == given)].tolist()))
    each = max(1, most // max(1, len(names)))
    correct: list[int] = []
    for name in names[:most]:
        rows = np.flatnonzero(judged & (label == given) & (label == name))
        ordered = rows[np.argsort(probability[rows], kind="stable")]
        places = np.unique(((np.arange(min(each, len(rows))) + 0.5) / min(each, len(rows)) * len(rows)).astype(int))
        correct += ordered[places].tolist()
    wrong = np.flatnonzero(judged & (label != given))
    return correct, wrong[np.argsort(-probability[wrong], kind="stable")][:most].tolist()


def load_examples(path: str | Path, store: Store, split: str, classes: list[str]) -> tuple[list[Sample], list[Sample]]:
    """The chosen objects of the catalogue at `path`, with their data from the store.

    Raises
    ------
    UserError : the catalogue names an object that the store does not hold.
    """
    catalogue = read_catalogue(path)
    correct, wrong = choose(catalogue, split, classes, MOST[len(store.shape) - 1])
    place = {name: index for index, name in enumerate(store.ids.tolist())}
    return tuple(
        [_sample(path, catalogue[row], store, place, right) for row in rows]
        for rows, right in ((correct, True), (wrong, False))
    )


def draw_examples(figure: Figure, samples: list[Sample]) -> None:
    """All samples in one figure: spectra below each other, images side by side, cubes as map and spectrum."""
    axes_number = samples[0].x.ndim - 1
    if axes_number == 1:
        panels = figure.subplots(len(samples), 1, sharex=samples[0].axis is not None, squeeze=False)[:, 0]
        for panel, sample in zip(panels, samples, strict=True):
            draw_spectrum(panel, sample)
        name = "pixel" if samples[0].axis is None else quantity("wavelength", "angstrom")
        panels[-1].set_xlabel(name)
        figure.supylabel(quantity("flux", samples[0].unit), size=9.5)
    elif axes_number == 2:
        columns = min(_columns(samples), len(samples))
        grid = figure.add_gridspec(-(-len(samples) // columns), columns)
        for index, sample in enumerate(samples):
            draw_image(figure, grid[divmod(index, columns)], sample)
    else:
        rows = -(-len(samples) // 2)
        grid = figure.add_gridspec(rows, 4, width_ratios=[1, 1.15, 1, 1.15])
        for index, sample in enumerate(samples):
            row, side = divmod(index, 2)
            draw_cube(figure, grid[row, 2 * side], grid[row, 2 * side + 1], sample)


def examples_size(samples: list[Sample]) -> tuple[float, float]:
    """Width and height in inches of a figure with these samples."""
    axes_number = samples[0].x.ndim - 1
    if axes_number == 1:
        return 10.4, 0.8 + 1.12 * len(samples)
    if axes_number == 2:
        return 10.4, 0.2 + 10.4 / _columns(samples) * 0.83 * -(-len(samples) // _columns(samples))
    return 10.4, 0.2 + 2.5 * -(-len(samples) // 2)


def _columns(samples: list[Sample]) -> int:
    return 3 if any(sample.wcs is not None for sample in samples) else _IMAGES_IN_ROW


def _sample(path: str | Path, row: Table.Row, store: Store, place: dict[str, int], right: bool) -> Sample:
    name, label, given = str(row["id"]), str(row["label"]), str(row["class"])
    if name not in place:
        raise UserError(path, f'names the object "{name}", which {store.path} lacks', "run the classify stage again")
    index = place[name]
    return Sample(
        x=store.read([index])[0],
        axis=store.axis,
        unit=store.unit,
        wcs=read_wcs(str(store.headers[index])),
        picture=store.kind == "idx" or Path(str(store.paths[index])).suffix.lower() in _PICTURES,
        title=(label or "no label") if right else f"{label or 'no label'} taken for {given or 'no label'}",
        note=f"{name}  ({100 * float(row['probability']):.0f} %)",
        colour=INK if right else WARNING,
    )


def _texts(catalogue: Table, name: str) -> np.ndarray:
    return np.array([str(value).strip() for value in catalogue[name]], dtype=object)
