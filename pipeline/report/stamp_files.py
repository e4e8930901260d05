"""The files of a generative task that its figures are drawn from.

In the folder of the task, `<run>/<task>`:

metrics.json : "product", "stamps", "conditions" (name to unit), "classes" and "methods": by name what each method is
    ("kind", "samples", the path of its stamps from here, "n", "sampler", "steps", "guidance", "training", "sampling")
    and how real its stamps are ("realism", see `generate.realism.Reference.judge`; "recognised" with a classifier).
statistics.csv : a row a stamp, "source" (real, or the method) and its statistics.
dataset.h5 : the real stamps.
<method>/galaxies.fits : stamps ``(n, *axes)`` or ``(n, channel, *axes)``, and a table TRUTH with a column for every
    condition asked for and "measured_" ones.
<method>/history.csv : the losses of each epoch, of methods that are trained.
<method>/latent.json and latent.fits : a look at the latent space, where there is one, as `generate.latent` writes.
<method>/restored.fits : images OBSERVED, MEAN, SPREAD and, where it is known, TRUE, ``(n, channel, *axes)``: noisy
    stamps and what a model makes of them.

All but the first three may be absent.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table

from pipeline.data.evenly import evenly
from pipeline.data.store import open_store
from pipeline.errors import UserError
from pipeline.report.task_files import TaskFiles

_FLAWS = (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError)
_PICTURES = {".png", ".jpg", ".jpeg"}
RESTORED = ("OBSERVED", "MEAN", "SPREAD", "TRUE")
DECODED = ("REGULAR", "POLAR", "PATH")


@dataclass(frozen=True)
class Stamped:
    """Synthetic stamps `(n, channel, *axes)` and the columns of their table, numbers `(n,)` by name."""

    stamps: np.ndarray
    columns: dict[str, np.ndarray]


def real_stamps(files: TaskFiles, most: int, among: int | None = None) -> tuple[np.ndarray, bool]:
    """At most `most` test stamps `(n, channel, *axes)`, and whether they are pictures.

    They are evenly spread over all of the test stamps, or the first `among`.
    """
    with open_store(files.path("dataset.h5")) as store:
        rows = store.indices("test")[:among]
        rows = rows[evenly(len(rows), most)]
        names = {Path(str(store.paths[row])).suffix.lower() for row in rows}
        return store.read(rows), store.kind == "idx" or bool(names) and names <= _PICTURES


def read_stamped(path: Path, ndim: int) -> Stamped:
    """The stamps and numbers of a file of `fleming sample`; `ndim` is that of a stamp.

    Raises
    ------
    UserError : it is absent, or is none of these.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            stamps = np.asarray(hdus[0].data, np.float32)
            table = Table.read(hdus["TRUTH"], character_as_bytes=False)
    except _FLAWS as error:
        raise _damaged(path, "sample") from error
    stamps = stamps[:, None] if stamps.ndim == ndim + 1 else stamps
    if stamps.ndim != ndim + 2 or len(stamps) != len(table):
        raise _damaged(path, "sample")
    numbers = {name: np.ma.filled(table[name], np.nan) for name in table.colnames if table[name].dtype.kind == "f"}
    return Stamped(stamps, {name: np.asarray(values, float) for name, values in numbers.items()})


def read_images(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the images of a FITS file that have these names.

    Raises
    ------
    UserError : it is no FITS file.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            return {hdu.name: np.asarray(hdu.data, np.float32) for hdu in hdus if hdu.name in names}
    except _FLAWS as error:
        raise _damaged(path, "train") from error


def read_statistics(files: TaskFiles) -> pd.DataFrame:
    """The table statistics.csv.

    Raises
    ------
    UserError : it is not that table.
    """
    path = files.path("statistics.csv")
    try:
        table = pd.read_csv(path)
        table["source"].astype(str)
        return table
    except (ValueError, KeyError) as error:
        raise _damaged(path, "evaluate") from error


def of_method(files: TaskFiles, name: str) -> TaskFiles:
    """The files of one method of the task."""
    return TaskFiles(files.path(name), (), files.kind)


def _damaged(path: Path, stage: str) -> UserError:
    what = "is not the file that this stage wrote" if path.is_file() else "does not exist"
    return UserError(path, what, f"run the {stage} stage of this task again")
