"""Adapting a model to a cube: practice on simulated galaxies in noise that has its rms, its texture and its beam."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pipeline.data.cube_noise import CubeNoise, measure_cube_noise
from pipeline.detect.model import Model, load
from pipeline.detect.pace import paced_on
from pipeline.detect.train import train_on
from pipeline.errors import UserError
from pipeline.files import check_distinct, check_output, scratch
from pipeline.hi.apply import CONTINUUM_LIMIT, check_hi, open_cube
from pipeline.hi.choose import choose
from pipeline.hi.galaxies import to_objects
from pipeline.hi.labelled import KnownCube, open_labelled, read_truth
from pipeline.hi.practice import SkyGeometry, make_gallery
from pipeline.hi.task import complete, practice_batches
from pipeline.hi.task_settings import HiAdaptSettings, HiTaskSettings, LabelledCube
from pipeline.hi.texture import cube_texture, sky_like
from pipeline.learn.device import pick_device
from pipeline.learn.settings import TrainSettings
from pipeline.simulate.field_names import CUBE, TRUTH
from pipeline.simulate.hi import approximate_snr, galaxies
from pipeline.simulate.hi_files import write_cube
from pipeline.simulate.hi_laws import expected_count
from pipeline.simulate.hi_noise import sdc2_rms
from pipeline.simulate.hi_settings import HIGHEST_HZ, HiSettings
from pipeline.simulate.noise import NoisePower
from pipeline.sky.headers import Beam

log = logging.getLogger("fleming")

_STEPS, _HELD_OUT_STEPS = 25, 5
_TRAIN = TrainSettings(epochs=2, batch=4, learning_rate=1e-3, warmup=0.5, ema=0.99, clip=2.0)
# The galaxies that can be seen in the cube that calibrates, by their approximate signal-to-noise ratio.
_WANTED, _SEEN = 400, 4.0
# The most of its voxels that are in the box of a galaxy, seen or not, and the rows that tell how many.
_FULLEST, _ROWS = 0.1, 4096
# Runs of channels, spread over the band of a cube, whose rms the simulated one has.
_RUNS = 4


def adapt(
    cube: str | os.PathLike,
    model: str | os.PathLike,
    out: Path,
    settings: HiAdaptSettings,
    *,
    seed: int,
    device: str | None = None,
    truth: str | os.PathLike | None = None,
    continuum: str | os.PathLike | None = None,
    beam: Beam | None = None,
    limit_jy: float = CONTINUUM_LIMIT,
) -> None:
    """Fine-tune the model file `model` on galaxies as `cube` would show them, and write the model file `out`.

    The laws of the galaxies are those that the model was trained with. A simulated cube, denser than the sky so that a
    small one is enough, chooses the calibrator and the thresholds; with a table of the true galaxies of the whole
    `cube`, that is searched for them too.

    Parameters
    ----------
    continuum, limit_jy, beam : as in `apply.detect_cubes`.

    Raises
    ------
    UserError : the cube, the truth or the model cannot be used, or nothing can be learnt from them.
    """
    check_distinct([out], [path for path in (cube, model, truth, continuum) if path is not None])
    check_output(out)
    where = pick_device(device or "auto")
    began = load(model)
    check_hi(began, model)
    reader, _ = open_cube(cube, beam, continuum, limit_jy)
    noise = measure_cube_noise(reader.read, reader.shape, where=reader.path)
    real = [] if truth is None else [KnownCube(reader, noise, read_truth(truth, reader, reader.path)[0])]
    told, texture = trained_settings(began, model), cube_texture(reader, noise)
    sky = sky_like(told.simulate, reader, noise)
    log.info("practising on galaxies in a median rms of %.3g Jy/beam", np.nanmedian(noise.rms))
    gallery = make_gallery(sky, settings.galaxies, seed, told.practice.least_snr, texture)
    start = told.detector.model_copy(update={"steps": _STEPS, "held_out_steps": _HELD_OUT_STEPS, "train": _TRAIN})
    batches, fixed = practice_batches(gallery, sky, texture, start, told.practice.per_crop, seed)
    # Beside a GPU the batches are made while it computes.
    making = where.type == "cpu"
    paced = paced_on(began.detector, batches, start, settings.minutes, device=device, making=making)
    with scratch(out.parent / f"{out.stem}-checkpoint") as folder:
        detector = train_on(batches, fixed, began.detector, paced, folder, seed=seed, device=device)
        detector.network.eval()
        known = [_simulated(sky, settings, noise, texture, folder / "validation", seed), *real]
        chosen = choose(detector, known, began.radius, began.symmetric, told.look.candidates, seed)
        changes = {"simulate": sky, "detector": paced, "adapt": settings, "model": Path(model).name}
        # The size of the cube that chooses is that of `settings`: where this sky begins, another may not fit.
        changes["practice"] = told.practice.model_copy(update={"shape": None})
        used = told.model_copy(update=changes)
        shown = used.model_dump(mode="json", exclude_defaults=True)
        adapted = complete(detector, chosen, known, began.symmetric, shown, seed, texture)
        adapted.radius = began.radius
        adapted.trained["adapted_to"] = Path(reader.path).name
        adapted.trained["began_with"] = {name: began.trained.get(name) for name in ("settings", "provenance")}
        adapted.save(out)
        shutil.copyfile(folder / "history.csv", out.parent / f"{out.stem}-history.csv")
    log.info(
        "adapted to %s: threshold %.3f, purity of the simulated cube %.3f",
        reader.path,
        chosen.threshold,
        chosen.figures["purity"],
    )


def trained_settings(model: Model, where: object) -> HiTaskSettings:
    """The settings of the task that a model was trained by, with a simulated sky in any case.

    Real galaxies whose folder is not there any more are left out.

    Raises
    ------
    UserError : they are not known, or those of another version.
    """
    try:
        told = HiTaskSettings.model_validate(model.trained.get("settings"))
    except ValidationError as error:
        what = "was trained with settings that this version does not know"
        raise UserError(where, what, "train the model again with this version") from error
    sky = told.simulate or HiSettings()
    if sky.galaxies is not None and not Path(sky.galaxies).is_dir():
        log.info("%s is not here: all galaxies are discs", sky.galaxies)
        sky = sky.model_copy(update={"galaxies": None})
    return told.model_copy(update={"simulate": sky})


def validation_sky(
    sky: HiSettings, settings: HiAdaptSettings, seed: int, spectral: Sequence[float] = (1.0,)
) -> HiSettings:
    """The sky of the cube that calibrates, around the middle of the band: so dense that enough galaxies are seen, but
    not so dense that they hide each other."""
    shape = (settings.channels, settings.side, settings.side)
    middle = sky.lowest_hz + sky.channel_hz * (sky.shape[0] - shape[0]) / 2
    lowest = min(max(middle, sky.lowest_hz), HIGHEST_HZ - shape[0] * sky.channel_hz)
    small = HiSettings(**(sky.model_dump() | {"shape": shape, "lowest_hz": lowest}))
    rows = galaxies(small, np.random.default_rng((seed, 4)), _ROWS)
    rms = small.noise * sdc2_rms(rows["central_freq"].to_numpy(), small.channel_hz)
    # Noise that is the same in several channels hides a line as much more noise would.
    rms = rms * np.sqrt(2 * sum(spectral) - spectral[0])
    seen = float((approximate_snr(rows, small, rms) > _SEEN).mean())
    filled = float(to_objects(rows, SkyGeometry(small), lambda centre: rms).size.prod(1).mean()) / np.prod(shape)
    area = shape[1] * shape[2] * (small.pixel_arcsec / 3600) ** 2
    count = expected_count(small, area, (lowest, lowest + shape[0] * small.channel_hz))
    factor = min(_WANTED / max(count * seen, 1e-9), _FULLEST / max(count * filled, 1e-9))
    return small.model_copy(update={"density": small.density * float(max(factor, 1.0))})


def channel_levels(noise: CubeNoise, channels: int) -> np.ndarray:
    """The rms (channels,) of runs of channels from all of a cube's band, the blank ones left out; of a cube that has
    fewer, repeated."""
    rms = noise.rms[~noise.blank]
    lengths = [len(part) for part in np.array_split(np.arange(channels), _RUNS)]
    starts = np.linspace(0, max(len(rms) - lengths[0], 0), _RUNS).astype(int)
    places = [start + np.arange(length) for start, length in zip(starts, lengths, strict=True)]
    return rms[np.concatenate(places) % len(rms)]


def _simulated(
    sky: HiSettings, settings: HiAdaptSettings, noise: CubeNoise, texture: NoisePower, folder: Path, seed: int
) -> KnownCube:
    """A cube with galaxies that are not practised on, in the noise of the real one."""
    dense = validation_sky(sky, settings, seed, texture.spectral)
    levels = channel_levels(noise, settings.channels)
    # The seeds of the galaxies that are practised on begin at the run's own.
    write_cube(dense, seed + 1000, folder, log.info, noise=texture, rms=levels)
    frame = LabelledCube(cube=str(folder / CUBE), truth=str(folder / TRUTH))
    return open_labelled(frame, CONTINUUM_LIMIT, dense.density / sky.density)
