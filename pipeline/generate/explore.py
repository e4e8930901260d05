"""A look into a trained model: its latent plane, and the real stamps that it finds odd."""

from pathlib import Path

import numpy as np
import torch

from pipeline.data.evenly import evenly
from pipeline.data.store import Store, open_store
from pipeline.errors import UserError
from pipeline.files import check_distinct, check_output
from pipeline.generate.latent import explore, write_latent
from pipeline.generate.model import Generator
from pipeline.generate.outlier import outlier_score, outlier_table
from pipeline.generate.scale import valid_stamps
from pipeline.sky.catalogue import catalogue_format, write_catalogue

_MOST = 4000  # stamps in the plane


def write_exploration(
    model: Path,
    dataset: Path,
    *,
    plane: Path | None = None,
    stamps: Path | None = None,
    outliers: Path | None = None,
    device: str = "auto",
) -> None:
    """Look at the stamps of a data set as a model sees them.

    Parameters
    ----------
    plane, stamps : JSON with the latent plane by class, and FITS with what grids of it decode to, see `write_latent`;
        both or none.
    outliers : catalogue of all stamps, the oddest first, see `outlier_table`.

    Raises
    ------
    UserError : no model of such stamps, or a method without a latent space or a score of that kind.
    """
    outs = [path for path in (plane, stamps, outliers) if path is not None]
    check_distinct(outs, [model, dataset])
    for path in outs:
        check_output(path)
    if outliers is not None:
        catalogue_format(outliers)
    generator = Generator.load(model, device)
    with open_store(dataset) as store:
        if store.shape != generator.sample_shape:
            sizes = [" x ".join(map(str, shape)) for shape in (store.shape, generator.sample_shape)]
            what = f"has stamps of {sizes[0]}, the model makes {sizes[1]}"
            raise UserError(dataset, what, "give the data set that it was trained on")
        if plane is not None and stamps is not None:
            _plane(generator, store, model, plane, stamps)
        if outliers is not None:
            _outliers(generator, store, model, outliers)


def _plane(generator: Generator, store: Store, model: Path, plane: Path, stamps: Path) -> None:
    if not hasattr(generator.method, "decode"):
        what = f"is of the method {generator.method.settings.name}, which has no latent space to decode"
        raise UserError(model, what, "give a model of an auto-encoder or of principal components")
    rows = evenly(store.n, _MOST)
    labels = [store.classes[index] for index in store.labels[rows]] if _labelled(store) else []
    found = explore(
        generator.method, generator.module, _ready(generator, store, rows), labels, inverse=generator.scale.inverse
    )
    facts = {"method": generator.name, "kind": generator.method.settings.name, "unit": generator.description["unit"]}
    write_latent(found, plane, stamps, generator.description["unit"], facts)


def _outliers(generator: Generator, store: Store, model: Path, out: Path) -> None:
    found = outlier_score(generator.method, generator.module, _ready(generator, store, np.arange(store.n)))
    if found is None:
        what = f"is of the method {generator.method.settings.name}, which gives stamps no score"
        raise UserError(model, what, "give a model of an auto-encoder, a mixture or principal components")
    kind, score = found
    table = outlier_table([str(name) for name in store.ids], {generator.name: score}, {generator.name: kind})
    write_catalogue(table, out)


def _ready(generator: Generator, store: Store, rows: np.ndarray) -> torch.Tensor:
    """The stamps `rows` in network units, on the device of the model."""
    raw = valid_stamps(store.read(rows), blank=True).astype(np.float64)
    return torch.from_numpy(generator.scale.forward(raw).astype(np.float32)).to(generator.device)


def _labelled(store: Store) -> bool:
    return bool(len(store.classes)) and not store.multilabel and bool((store.labels >= 0).all())
