"""Judging a catalogue of HI galaxies on cubes whose truth is known: metrics.json, and matches.csv for the figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import QTable

from pipeline.detect.by_image import rows_by_image
from pipeline.detect.compared import visible
from pipeline.detect.objects import Objects
from pipeline.files import atomic, check_distinct, check_output, write_json
from pipeline.hi import task_settings as settings
from pipeline.hi.comparison import MEASURES, Cube, CubeComparison, check_columns, compare
from pipeline.hi.galaxies import to_objects
from pipeline.hi.judge import measure_hi
from pipeline.hi.labelled import open_labelled, whole, within
from pipeline.hi.task_cubes import judged_cubes
from pipeline.hi.task_settings import HiTaskSettings
from pipeline.learn.model_file import read_description
from pipeline.provenance import provenance
from pipeline.score.sdc2 import Sdc2
from pipeline.sky.catalogue import read_catalogue

KIND = "hi"
MATCHES = "matches.csv"
_PLACE = ("x", "y", "z")
_SHOWN = (*_PLACE, *list(MEASURES)[2:], "snr")


@dataclass(frozen=True)
class LabelledCube:
    """An open cube and the galaxies that truly are in the part of it that is judged.

    path, truth_path : where they come from. cube : its geometry, as `compare` needs it.
    truth : official columns `(m,)`. objects : what the cube shows of these rows.
    section : the judged part, (start, stop) of z, y and x.
    outside : how many rows of the truth lie elsewhere. rms : median noise [Jy/beam].
    """

    path: str
    truth_path: str
    cube: Cube
    truth: pd.DataFrame
    objects: Objects
    section: tuple[tuple[int, int], ...]
    outside: int = 0
    rms: float | None = None


def evaluate_cubes(
    catalogue: Path,
    cubes: Sequence[LabelledCube],
    out: Path,
    *,
    seed: int,
    name: str | None = None,
    candidates: Path | None = None,
    matched_threshold: float | None = None,
    told: Mapping[str, Any] | None = None,
) -> None:
    """Write metrics.json to `out`, and matches.csv beside it; without a cube metrics.json only counts.

    Parameters
    ----------
    catalogue : as `fleming detect` wrote it, of one cube or more. candidates : the same of all that was looked at.
    name : of the task; None takes the folder of `out`.
    matched_threshold : as `judge_hi`.
    told : what else metrics.json shall say of the task and its model, such as its network.

    Raises
    ------
    UserError : a file is absent or not what it should be, or the catalogue lists none of the cubes.
    """
    check_distinct([out], [path for path in (catalogue, candidates) if path is not None])
    check_output(out)
    count, frames = _compared(catalogue, cubes)
    looked_at = None if candidates is None else _compared(candidates, cubes)[1]
    result = {
        "task": name or Path(out).absolute().parent.name,
        "kind": KIND,
        **(told or {}),
        "challenge": {"name": Sdc2.name},
        "frames": [_facts(one, frame) for one, frame in zip(cubes, frames, strict=True)],
        "n_listed": count,
        "n_det": None,
        "n_match": None,
        "n_truth": None,
        **(measure_hi(frames, looked_at, matched_threshold) if frames else {}),
        "provenance": provenance(seed) | {"date": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    with atomic(Path(out).with_name(MATCHES)) as beside:
        matches(frames).to_csv(beside, index=False, float_format="%.9g")
    write_json(out, result)


def _compared(path: Path, cubes: Sequence[LabelledCube]) -> tuple[int, list[CubeComparison]]:
    table = read_catalogue(path)
    check_columns(table, path)
    per_cube = rows_by_image(table, [one.path for one in cubes], path, "cube")
    return len(table), [
        compare(_inside(rows, one), one.truth, one.objects, one.cube) for one, rows in zip(cubes, per_cube, strict=True)
    ]


def _inside(rows: QTable, labelled: LabelledCube) -> QTable:
    """The rows of a catalogue in the judged part."""
    if not len(rows):
        return rows
    frequency = rows["central_freq" if "central_freq" in rows.colnames else "frequency"]
    place = (
        np.asarray(part.to_value(unit) if getattr(part, "unit", None) is not None else part, float)
        for part, unit in ((rows["ra"], "deg"), (rows["dec"], "deg"), (frequency, "Hz"))
    )
    return rows[within(np.stack(labelled.cube.from_sky(*place), axis=1), labelled.section)]


def _facts(labelled: LabelledCube, frame: CubeComparison) -> dict[str, Any]:
    own = frame.score
    return {
        "cube": labelled.path,
        "truth": labelled.truth_path,
        "section": [list(span) for span in labelled.section],
        "median_rms": labelled.rms,
        "n_outside": labelled.outside,
        "n_det": own.n_det,
        "n_match": own.n_match,
        "n_truth": own.n_truth,
        "score": own.score,
        "score_per_truth": own.score / own.n_truth if own.n_truth else None,
    }


def matches(frames: Sequence[CubeComparison]) -> pd.DataFrame:
    """A row for every detection, and for every missed galaxy that the cube could show; NaN where it has no such side.

    frame : number in metrics.json's "frames". x, y, z [pixel, z by rising frequency], the measures in the units of
    the catalogue, snr as listed; true_* the same of the galaxy, true_snr effective; probability, matched_snr.
    """
    names = ["frame", "matched", *_SHOWN, "probability", "matched_snr", *(f"true_{name}" for name in _SHOWN)]
    parts = [pd.DataFrame({name: pd.Series(dtype=float) for name in names})]
    for number, frame in enumerate(frames):
        found, sources = frame.detections, frame.sources
        detected, has = found[[*_SHOWN, "probability", "matched_snr"]].copy(), found["source"].to_numpy() >= 0
        for name in _SHOWN:
            detected[f"true_{name}"] = np.nan
            detected.loc[has, f"true_{name}"] = sources[name].to_numpy(float)[found.loc[has, "source"]]
        missed = sources[~sources["found"] & visible(sources["snr"].to_numpy(float))]
        rest = missed[list(_SHOWN)].rename(columns={name: f"true_{name}" for name in _SHOWN})
        parts += [detected.assign(frame=number, matched=has), rest.assign(frame=number, matched=False)]
    filled = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(filled, ignore_index=True).reindex(columns=names)


def evaluate(
    catalogue: Path,
    task: HiTaskSettings,
    model: Path,
    out: Path,
    *,
    seed: int,
    name: str | None = None,
    simulated: Path | None = None,
    candidates: Path | None = None,
) -> None:
    """Judge the catalogue of a task on its test cubes; arguments as in `evaluate_cubes` and `hi.task.train`.

    Raises
    ------
    UserError : as `evaluate_cubes`, or a cube that cannot be read.
    """
    check_distinct([out], [catalogue, model])
    described = read_description(model)
    cubes = [_labelled(frame, task.frames.continuum_limit) for frame in judged_cubes(task, simulated)]
    told = {
        "trained": task.trains,
        "network": described["line"],
        "threshold": described.get("threshold"),
        "purity_wanted": task.purity,
    }
    evaluate_cubes(
        catalogue,
        cubes,
        out,
        seed=seed,
        name=name,
        candidates=candidates,
        matched_threshold=described["trained"].get("matched_threshold"),
        told=told,
    )


def _labelled(frame: settings.LabelledCube, limit: float) -> LabelledCube:
    known = open_labelled(frame, limit)
    objects = to_objects(known.truth, known.reader, lambda centre: known.noise.at_positions(centre)[1])
    rms, section = known.noise.summary()["median_rms"], whole(known.reader)
    return LabelledCube(frame.cube, frame.truth, known.reader, known.truth, objects, section, known.outside, rms)
