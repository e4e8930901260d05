"""Judging a detector's catalogue on sky that it never saw: metrics.json, and matches.csv for the figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import QTable

from pipeline.detect.areas import Section, divide, within
from pipeline.detect.by_image import rows_by_image
from pipeline.detect.compared import visible
from pipeline.detect.comparison import Comparison, check_columns, compare, ellipses
from pipeline.detect.image import ContinuumImage
from pipeline.detect.judge import measure
from pipeline.detect.task_images import simulated_frames
from pipeline.detect.task_settings import DetectSettings, LabelledFrame
from pipeline.detect.truth import covered, response
from pipeline.errors import UserError
from pipeline.files import atomic, check_distinct, check_output, write_json
from pipeline.learn.model_file import read_description
from pipeline.provenance import provenance
from pipeline.score.definition import challenge
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.score.validate import check_table
from pipeline.sky.catalogue import read_catalogue
from pipeline.sky.geometry import sky_to_pixel

MATCHES = "matches.csv"
_LISTED = ("x", "y", "flux", "flux_error", "snr", "probability")
_TRUE = ("x", "y", "flux", "snr")


@dataclass(frozen=True)
class Judged:
    """A labelled frame, and whether only its "test" band of rows is judged."""

    frame: LabelledFrame
    band: bool


def evaluate(
    catalogue: Path,
    task: DetectSettings,
    model: Path,
    out: Path,
    *,
    seed: int,
    name: str | None = None,
    simulated: Path | None = None,
) -> None:
    """Write metrics.json to `out`, and matches.csv beside it.

    The catalogue is judged on the test frames, and without any on the "test" band of rows of the frames that the task
    trains on. Without any labelled sky metrics.json has `n_truth` null and only counts.

    Parameters
    ----------
    catalogue : as `fleming detect` wrote it, of one image or more.
    name : of the task; None takes the folder of `out`.
    simulated : the simulated field, or its folder; its truth.csv lies beside it. For a task that simulates.

    Raises
    ------
    UserError : a file is absent or not what it should be, the catalogue lists none of the images that are judged, or a
        truth has no source in the judged part of its image.
    """
    check_distinct([out], [catalogue, model])
    check_output(out)
    description = read_description(model)
    table, judged = read_catalogue(catalogue), judged_frames(task, simulated)
    check_columns(table, catalogue)
    definition = challenge(task.challenge.name, frequency=task.challenge.frequency or 560, mode=task.challenge.mode)
    per_image = rows_by_image(table, [entry.frame.image for entry in judged], catalogue)
    frames, told = [], []
    for entry, rows in zip(judged, per_image, strict=True):
        frame, facts = _judge_frame(entry, rows, task, definition)
        frames.append(frame)
        told.append(facts)
    counts = {"n_listed": len(table), "n_det": None, "n_match": None, "n_truth": None}
    result = {
        "task": name or Path(out).absolute().parent.name,
        "kind": "detect",
        "trained": task.trains,
        "network": description["line"],
        "threshold": description.get("threshold"),
        "purity_wanted": task.purity,
        "challenge": task.challenge.model_dump(),
        "frames": [{key: value for key, value in facts.items() if key != "pixels"} for facts in told],
        **counts,
        **(measure(frames) if frames else {}),
        "provenance": provenance(seed) | {"date": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    with atomic(Path(out).with_name(MATCHES)) as beside:
        _matches(frames, told).to_csv(beside, index=False, float_format="%.7g")
    write_json(out, result)


def judged_frames(task: DetectSettings, simulated: Path | None = None) -> list[Judged]:
    """The labelled frames that a task's catalogue is judged on."""
    if task.frames.test:
        return [Judged(frame, False) for frame in task.frames.test]
    if not (task.trains and task.areas.test > 0):
        return []
    return [Judged(frame, True) for frame in simulated_frames(task, simulated) + task.frames.train]


def _judge_frame(
    judged: Judged, rows: QTable, task: DetectSettings, definition: Sdc1
) -> tuple[Comparison, dict[str, Any]]:
    """The comparison of one frame, and what the figures and the reader need to know of it."""
    frame = judged.frame
    image = ContinuumImage.open(frame.image, frame.primary_beam)
    truth = read_table(frame.truth, definition, truth=True)
    check_table(truth, definition, frame.truth, truth=True)
    wcs = image.reader.wcs
    if task.challenge.frequency is None:
        definition = definition.for_beam(image.beam_arcsec)
    section: Section = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    if judged.band:
        labelled = truth[within(frame, truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))]
        section = divide(covered(image, labelled, frame.truth), task.areas, True)["test"]
    image.response = response(image, truth, frame.truth)
    truth = truth[_chosen(frame, wcs, section, truth["ra_cent"], truth["dec_cent"])].reset_index(drop=True)
    if not len(truth):
        what = f"holds no source in the part of {frame.image} that is judged"
        raise UserError(frame.truth, what, "check its positions, the region and the areas")
    rows = rows[_chosen(frame, wcs, section, rows["ra"], rows["dec"])]
    shown = image.attenuation_at(truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))
    compared = compare(rows, truth, image.objects(truth), wcs, image.reader.beam, definition, shown)
    image.reader.close()
    facts = {
        "image": frame.image,
        "truth": frame.truth,
        "section": [[part.start, part.stop] for part in section],
        "pixels": (wcs, image.beam),
        "beam_pixel": [image.beam.major, image.beam.minor, image.beam.theta],
        "median_rms": image.background.summary()["median_rms"],
        "n_det": compared.score.n_det,
        "n_match": compared.score.n_match,
        "n_truth": compared.score.n_truth,
        "score": compared.score.score,
    }
    return compared, facts


def _chosen(frame: LabelledFrame, wcs, section: Section, ra, dec) -> np.ndarray:
    """Which positions (n,) [deg] are in the judged part of the image, and in the frame's region."""
    ra, dec = (np.asarray(getattr(part, "value", part), float) for part in (ra, dec))
    if not len(ra):
        return np.zeros(0, bool)
    x, y = sky_to_pixel(wcs, ra, dec)
    inside = within(frame, ra, dec)
    for place, span in zip((y, x), section, strict=True):
        inside &= (place >= span.start - 0.5) & (place < span.stop - 0.5)
    return inside


def _matches(frames: Sequence[Comparison], told: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row for every detection, and for every missed source that the image could show; NaN where it has no such side.

    frame : number in metrics.json's "frames". x, y, major, minor, theta : the fitted ellipse [pixel, deg]. flux,
    flux_error, true_flux [Jy]; snr as listed, true_snr effective.
    """
    names = ["frame", "matched", *_LISTED, "major", "minor", "theta", *(f"true_{name}" for name in _TRUE)]
    parts = [pd.DataFrame({name: pd.Series(dtype=float) for name in names})] if not frames else []
    for number, (frame, facts) in enumerate(zip(frames, told, strict=True)):
        found, sources = frame.detections, frame.sources
        detected = found[list(_LISTED)].copy()
        detected["major"], detected["minor"], detected["theta"] = ellipses(found, facts["pixels"][0])
        has = found["source"].to_numpy() >= 0
        for name in _TRUE:
            detected[f"true_{name}"] = np.nan
            detected.loc[has, f"true_{name}"] = sources[name].to_numpy(float)[found.loc[has, "source"]]
        missed = sources[~sources["found"] & visible(sources["snr"].to_numpy(float))]
        rest = missed[list(_TRUE)].rename(columns={name: f"true_{name}" for name in _TRUE})
        parts.append(detected.assign(frame=number, matched=has))
        parts.append(rest.assign(frame=number, matched=False))
    parts = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(parts, ignore_index=True).reindex(columns=names)
