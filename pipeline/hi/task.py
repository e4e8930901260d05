"""Training for a task on galaxies in cubes: practice on simulated galaxies, thresholds from cubes with a truth."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.detect.model import Model, load
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import Detector, new_detector, train_on
from pipeline.files import check_output, sha256
from pipeline.hi.apply import check_hi
from pipeline.hi.choose import Chosen, choose
from pipeline.hi.galaxies import NAMES
from pipeline.hi.labelled import KnownCube, open_labelled
from pipeline.hi.practice import Gallery, StampBatches, make_gallery
from pipeline.hi.task_cubes import learnt_cubes
from pipeline.hi.task_settings import HiTaskSettings, LabelledCube
from pipeline.hi.texture import beam_pixels, cube_texture, sky_like
from pipeline.learn.record import checkpoint_folder, write_record
from pipeline.provenance import provenance
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import NoisePower

# The galaxies that validate the training, of those that it learns from.
_HELD_OUT = 0.1
# Two detections within so many channels, rows and columns are one.
RADIUS = (24.0, 3.0, 3.0)


def train(
    task: HiTaskSettings, out: Path, *, seed: int, device: str | None = None, simulated: Path | None = None
) -> None:
    """Train on galaxies like those of `task`; write the model file `out`, and training.json, cost.json, history.csv.

    Practice is on simulated galaxies in noise with the texture of the labelled cubes, or else of the simulated sky.
    The labelled cubes, or else the first of the simulated ones in the folder `simulated`, choose the calibrator and
    the thresholds. Checkpoints are kept beside `out` until it is written.

    Raises
    ------
    UserError : a cube or a truth table cannot be used, or there is nothing to learn.
    """
    check_output(out)
    begin = None if task.model is None else load(task.model)
    if begin is not None:
        check_hi(begin, task.model)
    frames = learnt_cubes(task, simulated)
    density = task.practice.density if task.simulates_cubes else 1.0
    known = [open_labelled(frame, task.frames.continuum_limit, density) for frame in frames]
    sky, texture = task.simulate or HiSettings(), None
    if not task.simulates_cubes:
        sky, texture = sky_like(sky, known[0].reader, known[0].noise), cube_texture(known[0].reader, known[0].noise)
    gallery = make_gallery(sky, task.practice.galaxies, seed, task.practice.least_snr, texture)
    depends = _origin(task, frames, seed)
    folder = checkpoint_folder(out, depends)
    detector = practised(
        gallery,
        sky,
        texture,
        task.detector,
        task.practice.per_crop,
        folder,
        seed=seed,
        device=device,
        begin=None if begin is None else begin.detector,
        depends=depends,
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return
    detector.network.eval()
    chosen = choose(detector, known, RADIUS, task.look.symmetries, task.look.candidates, seed)
    write_record(out.parent, detector.network, detector.outcome, folder)
    settings = task.model_dump(mode="json", exclude_defaults=True)
    complete(detector, chosen, known, task.look.symmetries, settings, seed, texture).save(out)
    shutil.rmtree(folder.parent, ignore_errors=True)


def practised(
    gallery: Gallery,
    sky: HiSettings,
    texture: NoisePower | None,
    settings: DetectorSettings,
    per_crop: float,
    folder: Path,
    *,
    seed: int,
    device: str | None = None,
    begin: Detector | None = None,
    depends: dict[str, Any] | None = None,
) -> Detector:
    """A detector, new or begun, after practice on the galaxies of a gallery; a tenth of them validates."""
    batches, fixed = practice_batches(gallery, sky, texture, settings, per_crop, seed)
    if begin is None:
        learnt = batches.gallery.objects
        begin = new_detector([learnt.take(learnt.snr >= settings.objects.least_snr)], 3, NAMES, settings, seed)
    return train_on(batches, fixed, begin, settings, folder, seed=seed, device=device, depends=depends)


def practice_batches(
    gallery: Gallery,
    sky: HiSettings,
    texture: NoisePower | None,
    settings: DetectorSettings,
    per_crop: float,
    seed: int,
) -> tuple[StampBatches, StampBatches]:
    """What is learnt from and, of other galaxies, what validates it."""
    held, learnt = gallery.split(max(int(_HELD_OUT * len(gallery)), 1))
    least, batch = settings.objects.lowest_snr, settings.train.batch
    return tuple(
        StampBatches(part, sky, settings.crop, batch, steps, seed + number, per_crop, least, texture)
        for number, (part, steps) in enumerate(((learnt, settings.steps), (held, settings.held_out_steps)))
    )


def complete(
    detector: Detector,
    chosen: Chosen,
    cubes: Sequence[KnownCube],
    symmetric: bool,
    settings: dict[str, Any],
    seed: int,
    texture: NoisePower | None,
) -> Model:
    """The model of a detector and what was chosen for it."""
    beams = [
        float(np.sqrt(cube.reader.beam.major * cube.reader.beam.minor) / cube.reader.pixel_scale) for cube in cubes
    ]
    trained = {
        "beam": [0.95 * min(beams), 1.05 * max(beams)],
        "channel_hz": float(np.median(cubes[0].reader.channel_hz)),
        "beam_pixels": beam_pixels(cubes[0].reader),
        # None is white noise smoothed by that beam.
        "noise": None if texture is None else texture.to_dict(),
        "least_logit": chosen.least_logit,
        "matched_threshold": chosen.matched_threshold,
        "settings": settings,
        "measured": chosen.figures,
        "provenance": provenance(seed),
    }
    return Model(detector, chosen.calibrator, chosen.threshold, RADIUS, symmetric, trained)


def _origin(task: HiTaskSettings, frames: Sequence[LabelledCube], seed: int) -> dict[str, Any]:
    """All that a training depends on, as JSON; the device is left out, so that a run may move.

    Of cubes, which may be terabytes, only size and time: what is learnt from them is their noise.
    """
    told = task.model_dump(mode="json", exclude={"detector": {"train": {"device"}}})
    states = [[Path(frame.cube).stat().st_size, Path(frame.cube).stat().st_mtime_ns] for frame in frames]
    tables = [sha256(name) for name in [*(frame.truth for frame in frames), *filter(None, [task.model])]]
    return {"cubes": states, "tables": tables, "settings": told, "seed": seed}
