"""What the sub-commands do for galaxies in cubes: simulating, training, adapting, searching, judging.

Every import of a room is inside its stage, so that `fleming --help` need not load torch.
"""

import argparse
import logging
from pathlib import Path

from pipeline.errors import UserError

log = logging.getLogger("fleming")

# What is asked for of images alone, and of cubes alone.
_OF_IMAGES = ("primary_beam",)
_OF_CUBES = ("beam", "continuum", "continuum_limit", "chunks", "candidates", "products", "page", "memory")


def simulate(options: argparse.Namespace, settings, task) -> None:
    from pipeline.hi.task_cubes import TEST, VALIDATION
    from pipeline.simulate.hi_files import write_cube

    if not task.simulates_cubes:
        what = f"task {options.task!r} has cubes of its own in frames.train, so that none is simulated"
        raise UserError(options.config, what, "skip this stage")
    # The seeds of the galaxies that are practised on begin at the run's own.
    for number, (part, sky) in enumerate(((VALIDATION, task.choosing_sky), (TEST, task.simulate))):
        write_cube(sky, settings.seed + 1000 + number, Path(options.out) / part, log.info)


def train(options: argparse.Namespace, settings, task) -> None:
    if not task.trains:
        what = f"task {options.task!r} has nothing to train on"
        raise UserError(options.config, what, "give it simulate or frames.train, or skip this stage")
    from pipeline.hi.task import train as train_detector

    train_detector(task, options.out, seed=settings.seed, device=options.device, simulated=_folder(options, task))


def adapt_task(options: argparse.Namespace, settings, task) -> None:
    """What a task of the config says of adapting; the command line says where the model goes."""
    from pipeline.hi.adapt import adapt
    from pipeline.hi.task_cubes import adapted_cube

    _check_task(options)
    frame = adapted_cube(task, _folder(options, task))
    adapt(
        frame.cube,
        options.model,
        options.out,
        task.adapt,
        seed=settings.seed,
        device=options.device,
        continuum=frame.continuum,
        limit_jy=task.frames.continuum_limit,
    )


def adapt_file(options: argparse.Namespace, how) -> None:
    """Adapt to the cube that the command line names, by the settings `how`."""
    from pipeline.hi.adapt import adapt
    from pipeline.hi.apply import CONTINUUM_LIMIT

    _check_cubes(options)
    if len(options.continuum or []) > 1:
        raise UserError("fleming adapt", "has more than one --continuum for one cube", "give it once")
    adapt(
        options.image,
        options.model,
        options.out,
        how,
        seed=42 if options.seed is None else options.seed,
        device=options.device,
        truth=options.truth,
        continuum=options.continuum[0] if options.continuum else None,
        beam=_beam(options.beam, options.stage),
        limit_jy=CONTINUUM_LIMIT if options.continuum_limit is None else options.continuum_limit,
    )


def detect_task(options: argparse.Namespace, task) -> None:
    """What a task of the config says of detecting; the command line says where the results go."""
    from pipeline.hi.task_cubes import searched_cubes

    _check_task(options)
    cubes = [(frame.cube, frame.continuum) for frame in searched_cubes(task, _folder(options, task))]
    purity = task.purity if options.purity is None else options.purity
    symmetric = options.symmetries or task.look.symmetries
    _detect(options, cubes, purity, symmetric, task.frames.continuum_limit)


def detect_files(options: argparse.Namespace) -> None:
    """Search the cubes that the command line names."""
    beams = options.continuum or [None]
    if len(beams) not in (1, len(options.images)):
        what = f"has {len(beams)} continuum images for {len(options.images)} cubes"
        raise UserError("fleming detect", what, "give --continuum once for all, or once a cube")
    cubes = list(zip(options.images, beams * len(options.images) if len(beams) == 1 else beams, strict=True))
    limit = options.continuum_limit
    if limit is not None and not limit > 0:
        what = f"--continuum-limit {limit:g} leaves no sky to search"
        raise UserError("fleming detect", what, "give a brightness in Jy/beam such as 0.003")
    _detect(options, cubes, options.purity, options.symmetries or None, limit)


def _detect(options: argparse.Namespace, cubes, purity: float | None, symmetric: bool | None, limit: float | None):
    from pipeline.hi.apply import CONTINUUM_LIMIT, detect_cubes
    from pipeline.hi.stream import MEMORY

    _check_cubes(options)
    detect_cubes(
        cubes,
        options.model,
        options.out,
        purity=purity,
        regions=options.regions,
        symmetric=symmetric,
        device=options.device,
        fmt=options.format,
        beam=_beam(options.beam, options.stage),
        limit_jy=CONTINUUM_LIMIT if limit is None else limit,
        folder=options.chunks,
        candidates=options.candidates,
        products=options.products,
        page=options.page,
        memory=MEMORY if options.memory is None else 1e9 * options.memory,
    )


def check_images(options: argparse.Namespace) -> None:
    """Refuse options that only cubes have."""
    for name in _OF_CUBES:
        if getattr(options, name, None) is not None:
            what = f"--{name.replace('_', '-')} is for cubes, not for images"
            raise UserError(f"fleming {options.stage}", what, "leave it out")


def _check_cubes(options: argparse.Namespace) -> None:
    """Refuse options that only images have."""
    for name in _OF_IMAGES:
        if getattr(options, name):
            what = f"--{name.replace('_', '-')} is for images, not for cubes"
            raise UserError(f"fleming {options.stage}", what, "leave it out")


def _check_task(options: argparse.Namespace) -> None:
    """Refuse what the config says, and demand what it does not."""
    given = [name for name in ("beam", "continuum", "continuum_limit") if getattr(options, name) is not None]
    if given:
        what = f"has both --config and --{given[0].replace('_', '-')}"
        raise UserError(f"fleming {options.stage}", what, "keep one: the config says it for its tasks")
    if options.model is None:
        what = f"needs the model of task {options.task!r}"
        raise UserError(f"fleming {options.stage}", what, "name it by --model")


def evaluate(options: argparse.Namespace, settings, task) -> None:
    from pipeline.hi import evaluate as judge

    judge.evaluate(
        options.catalogue,
        task,
        options.model,
        options.out,
        seed=settings.seed,
        name=options.task,
        simulated=_folder(options, task),
        candidates=options.candidates,
    )


def _folder(options: argparse.Namespace, task) -> Path | None:
    if task.simulates_cubes and options.simulated is None:
        what = f"needs --simulated for task {options.task!r}"
        raise UserError(f"fleming {options.stage}", what, "name the folder that fleming simulate wrote")
    return options.simulated


def _beam(given: list[float] | None, stage: str):
    """A beam of FWHM major, minor [arcsec] and position angle [deg], or of one width."""
    if given is None:
        return None
    from pipeline.sky.headers import Beam

    major, minor, angle = (*given, *given, 0.0) if len(given) == 1 else given if len(given) == 3 else (0, 0, 0)
    if not 0 < minor <= major < 3600 * 180:
        what = "--beam is not one width, or major, minor and position angle, in arcsec and degrees"
        raise UserError(f"fleming {stage}", what, "give for example --beam 7 or --beam 8 6 30")
    return Beam(major / 3600, minor / 3600, angle)
