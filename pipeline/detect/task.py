"""Training for a detection task: its labelled frames in, one complete model file out."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detect.areas import divide
from pipeline.detect.choose import Chosen, choose
from pipeline.detect.continuum import NAMES
from pipeline.detect.labelled import LabelledArea, area_of
from pipeline.detect.model import Model, check_continuum, load
from pipeline.detect.predict import Search
from pipeline.detect.task_images import frame_files, simulated_frames
from pipeline.detect.task_settings import DetectSettings
from pipeline.detect.texture import texture
from pipeline.detect.train import Detector, train_detector
from pipeline.files import check_output, sha256
from pipeline.learn.record import checkpoint_folder, write_record
from pipeline.provenance import provenance
from pipeline.score.sdc1 import Sdc1


def train(
    task: DetectSettings, out: Path, *, seed: int, device: str | None = None, simulated: Path | None = None
) -> None:
    """Train on the labelled frames of `task`; write the model file `out`, and training.json, cost.json, history.csv.

    The frames are divided into bands (`areas`): one to learn from, one that chooses the epoch, the calibrator and the
    threshold, and, where the task has no test frame, one that is not looked at. `simulated` is the folder of a
    simulated field, for a task that has one. Checkpoints are kept beside `out` until it is written.

    Raises
    ------
    UserError : a frame or a truth table cannot be used, or there is nothing to learn.
    """
    check_output(out)
    begin = None if task.model is None else load(task.model)
    if begin is not None:
        check_continuum(begin, task.model)
    frames = simulated_frames(task, simulated) + task.frames.train
    areas = [area_of(frame) for frame in frames]
    learnt, held = [], []
    for area in areas:
        bands = divide(area.section, task.areas, test=not task.frames.test)
        learnt.append(replace(area, section=bands["train"]))
        held.append(replace(area, section=bands["validation"]))
    least = task.detector.objects.lowest_snr
    fields, tests = (
        [area.image.labelled(area.truth, area.section, least) for area in group] for group in (learnt, held)
    )
    depends = _origin(task, simulated, seed)
    folder = checkpoint_folder(out, depends)
    detector = train_detector(
        fields,
        tests,
        NAMES,
        task.detector,
        folder,
        seed=seed,
        device=device,
        begin=None if begin is None else begin.detector,
        depends=depends,
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return
    search = Search(symmetric=task.symmetries)
    chosen = choose(detector, held, Sdc1(560, task.challenge.mode), search, seed)
    write_record(out.parent, detector.network, detector.outcome, folder)
    _model(detector, chosen, areas, task, search, seed).save(out)
    shutil.rmtree(folder.parent, ignore_errors=True)


def _origin(task: DetectSettings, simulated: Path | None, seed: int) -> dict[str, Any]:
    """All that a training depends on, as JSON; the device is left out, so that a run may move."""
    told = task.model_dump(mode="json", exclude={"detector": {"train": {"device"}}})
    files = [*frame_files(simulated_frames(task, simulated) + task.frames.train), *filter(None, [task.model])]
    return {"data": [sha256(name) for name in files], "settings": told, "seed": seed}


def _model(
    detector: Detector, chosen: Chosen, areas: Sequence[LabelledArea], task: DetectSettings, search: Search, seed: int
) -> Model:
    beams = [area.image.beam.mean for area in areas]
    trained = {
        "beam": [0.95 * min(beams), 1.05 * max(beams)],
        "noise": [texture(area.image).to_dict() for area in areas],
        "settings": task.model_dump(mode="json", exclude_defaults=True),
        "response": float(np.mean([area.image.response for area in areas])),
        "measured": chosen.figures,
        "provenance": provenance(seed),
    }
    return Model(detector, chosen.calibrator, chosen.threshold, search.radius, search.symmetric, trained)
