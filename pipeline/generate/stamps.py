"""The stamps of a task: reading them into a data set, and what a model is told of each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from pipeline.data.evenly import evenly
from pipeline.data.ingest import ingest
from pipeline.data.settings import InputSettings
from pipeline.data.store import Store
from pipeline.errors import UserError
from pipeline.generate.conditions import CLASS
from pipeline.generate.morphology import morphology, statistic_names
from pipeline.generate.scale import Scale, valid_stamps
from pipeline.generate.task_settings import GenerateSettings

_SCALE_STAMPS = 20000  # the constants of a scale are taken from so many stamps
_BLOCK = 512  # stamps that are measured at a time
# Of the statistics, those that have the unit of the stamps, and those that are lengths in pixels; others have none.
_BRIGHT = ("flux", "peak", "background_rms", "background_median")
_OF_LIGHT = ("flux", "peak", "half_light_radius", "concentration")
_LENGTHS = ("half_light_radius",)


def ingest_stamps(
    source: InputSettings,
    task: GenerateSettings,
    seed: int,
    out: str | Path,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Read the stamps of a manifest, with the numbers that are conditions, and write the data set `out`.

    A condition that the manifest has no column for must be a statistic that can be measured.

    Raises
    ------
    UserErrors : every row, file and value that is wrong; then nothing is written.
    """
    measurable = statistic_names(task.ndim)
    given = [name for name in task.conditions if name not in measurable]
    ingest(
        source,
        task.labels,
        task.classes,
        task.split,
        seed,
        out,
        columns=given,
        optional_columns=[name for name in task.conditions if name in measurable],
        progress=progress,
    )


def told_table(store: Store, rows: np.ndarray, names: list[str], blank: bool = False) -> tuple[pd.DataFrame, list[str]]:
    """What is known of the stamps `rows`: `(n rows)` with a column a condition, and "class"; units of the conditions.

    A condition is the column of the data set, or measured on the stamps where there is none.

    Raises
    ------
    UserError : a condition that is neither a column nor a statistic, or stamps that cannot be measured.
    """
    known, units = store.columns, store.column_units
    unknown = [name for name in names if name not in known and name not in statistic_names(len(store.shape) - 1)]
    if unknown:
        have = ", ".join([*known, *statistic_names(len(store.shape) - 1)])
        what = f"name {unknown[0]!r}, which is neither a column of the data set nor a statistic ({have})"
        raise UserError("conditions", what, "correct the name, and run the ingest stage again")
    absent = [name for name in names if name not in known]
    measured = measured_rows(store, rows, blank) if absent else {}
    table = pd.DataFrame(
        {name: measured[name] if name in absent else known[name].to_numpy()[rows] for name in names},
        index=range(len(rows)),
    )
    if len(store.classes) and not store.multilabel:
        names_of = np.array([*store.classes, ""], dtype=object)  # -1, no label, is the last
        table[CLASS] = names_of[store.labels[rows].astype(int)]
    return table, [statistic_unit(name, store.unit) if name in absent else units[name] for name in names]


def measured_rows(store: Store, rows: np.ndarray, blank: bool = False) -> dict[str, np.ndarray]:
    """The statistics of the stamps `rows`, each `(n,)`; NaN where one that is positive of any light is not."""
    parts = [
        morphology(valid_stamps(store.read(some), stamp_names(store, some), blank))
        for some in (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    # A blank picture, or one of nothing but noise, is no galaxy of flux 0: how bright and how large one is, is unknown.
    return {
        name: np.where(values > 0, values, np.nan) if name in _OF_LIGHT else values for name, values in found.items()
    }


def fit_scale(store: Store, rows: np.ndarray, task: GenerateSettings) -> Scale:
    """The scale of a task, from training stamps `rows`; see `Scale.fit`."""
    some = rows[evenly(len(rows), _SCALE_STAMPS)]
    return Scale.fit(
        store.read(some),
        task.scale.softening,
        task.scale.noise,
        unit=store.unit,
        names=stamp_names(store, some),
        blank=task.scale.blank,
    )


def network_limits(store: Store, rows: np.ndarray, scale: Scale) -> list[float]:
    """What a sample may reach in network units: the range of stamps `rows`, and a half of it more at either end."""
    some = rows[evenly(len(rows), _SCALE_STAMPS)]
    x = store.read(some)
    extremes = np.array([np.nanmin(x), np.nanmax(x)], dtype=np.float64)
    low, high = scale.forward(extremes)
    return [float(low - (high - low) / 2), float(high + (high - low) / 2)]


def physical_stamps(store: Store, rows: np.ndarray, task: GenerateSettings) -> np.ndarray:
    """The stamps `rows` `(n, channel, *axes)` float32 in the unit of the data set."""
    return valid_stamps(store.read(rows), stamp_names(store, rows), task.scale.blank).astype(np.float32)


def stamp_names(store: Store, rows: np.ndarray) -> list[str]:
    """How messages name the stamps `rows`: the file, and which object in it."""
    pairs = zip(store.paths[rows], store.ids[rows], strict=True)
    return [f"{path} (id {name})" if path else str(name) for path, name in pairs]


def check_stamps(store: Store, rows: np.ndarray, task: GenerateSettings) -> None:
    """Refuse NaN pixels before a training meets them, unless they count as 0.

    Raises
    ------
    UserErrors : stamps with such pixels among `rows`, by file and object.
    """
    for start in range(0, len(rows) if not task.scale.blank else 0, _BLOCK):
        some = rows[start : start + _BLOCK]
        valid_stamps(store.read(some), stamp_names(store, some))


def statistic_unit(name: str, unit: str) -> str:
    """The unit of a statistic of stamps in `unit`, "" when dimensionless."""
    return unit if name in _BRIGHT else "pix" if name in _LENGTHS else ""


def stamp_facts(store: Store, task: GenerateSettings, scale: Scale) -> dict[str, Any]:
    """What a header says of stamps like these, None where it is not known.

    "pixel_scale" and "psf_arcsec", the FWHM of the PSF [arcsec], "psf", the same [pixels], "noise" [unit of a stamp].
    """
    simulated = None if task.simulate is None else task.simulate.chosen
    psf = task.psf if task.psf is not None else getattr(simulated, "psf", None)
    pixel = _pixel_scale(store) or getattr(simulated, "pixel_scale", None)
    arcsec = psf * pixel if psf is not None and pixel is not None else None
    return {"pixel_scale": pixel, "psf_arcsec": arcsec, "psf": psf, "noise": scale.noise}


def _pixel_scale(store: Store) -> float | None:
    """The size of a pixel [arcsec] by the coordinates of the first stamp that has some."""
    text = next((text for text in store.headers if text), "")
    if text:
        wcs = WCS(fits.Header.fromstring(text)).celestial
        if wcs.naxis == 2:
            return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600
    return store.input.get("pixel_scale")
