"""What the sub-commands do for generative tasks: simulating stamps, training a method, sampling, judging.

Every import of a room is inside its stage, so that `fleming --help` need not load torch.
"""

import argparse
import logging

from pipeline.errors import UserError

log = logging.getLogger("fleming")


def simulate(options: argparse.Namespace, settings, task) -> None:
    from pipeline.simulate.disc_stamps import simulate_discs
    from pipeline.simulate.sersic import simulate_galaxies

    simulated = simulate_galaxies if task.simulate.discs is None else simulate_discs
    simulated(task.simulate.chosen, options.out, seed=settings.seed)


def ingest(options: argparse.Namespace, settings, task, source, progress) -> None:
    from pipeline.generate.stamps import ingest_stamps

    ingest_stamps(source, task, settings.seed, options.out, progress)


def train(options: argparse.Namespace, settings, task) -> None:
    if options.method is None:
        what = f"needs --method for task {options.task!r}"
        raise UserError("fleming train", what, f"name one of {', '.join(task.methods)}")
    if options.dataset is None:
        what = f"needs --dataset for task {options.task!r}"
        raise UserError("fleming train", what, "name the data set that fleming ingest wrote")
    from pipeline.generate.task import train as train_method

    train_method(
        options.dataset,
        task,
        options.method,
        options.out,
        seed=settings.seed,
        begin=options.begin,
        device=options.device,
    )


def sample(options: argparse.Namespace) -> None:
    from pipeline.generate.apply import sample_dataset, sample_model

    common = {
        "out": options.out,
        "catalogues": options.catalogue or [],
        "each": options.one_file_each,
        "steps": options.steps,
        "device": options.device or "auto",
    }
    if options.untold and options.condition:
        raise UserError("fleming sample", "has both --condition and --untold", "keep one")
    if options.config is None:
        if options.task is not None or options.dataset is not None:
            given = "task" if options.task is not None else "dataset"
            raise UserError("fleming sample", f"has --{given} without --config", "name the run's YAML file too")
        sample_model(
            options.model,
            None if options.untold else _conditions(options.condition),
            n=1000 if options.n is None else options.n,
            seed=42 if options.seed is None else options.seed,
            guidance=options.guidance,
            strict=options.strict,
            **common,
        )
        return
    from pipeline.config import load_config, task_settings

    if options.task is None or options.dataset is None:
        missing = "task" if options.task is None else "dataset"
        raise UserError("fleming sample", f"has --config without --{missing}", "name it, or leave --config out")
    if options.condition or options.untold or options.strict:
        given = "condition" if options.condition else "untold" if options.untold else "strict"
        what = f"has both --config and --{given}"
        raise UserError("fleming sample", what, "keep one: with a task the conditions are those of its test stamps")
    settings = load_config(options.config)
    task = task_settings(settings, options.task, options.config, ["generate"])
    sample_dataset(
        options.model,
        options.dataset,
        task,
        n=task.samples if options.n is None else options.n,
        seed=settings.seed if options.seed is None else options.seed,
        guidance=task.guidance if options.guidance is None else options.guidance,
        **common,
    )


def evaluate(options: argparse.Namespace, settings, task) -> None:
    from pipeline.generate.evaluate import evaluate as judge

    if options.dataset is None or not options.samples:
        missing, what = ("dataset", "the data set that fleming ingest wrote")
        if options.dataset is not None:
            missing, what = ("samples", "the files that fleming sample wrote, one a method")
        raise UserError("fleming evaluate", f"needs --{missing} for task {options.task!r}", f"name {what}")
    judge(options.dataset, options.samples, task, options.out, seed=settings.seed)


def explore(options: argparse.Namespace) -> None:
    from pipeline.generate.explore import write_exploration

    if (options.plane is None) != (options.stamps is None):
        raise UserError("fleming explore", "has only one of --plane and --stamps", "give both, or none")
    if options.plane is None and options.outliers is None:
        raise UserError("fleming explore", "has nothing to write", "give --plane and --stamps, or --outliers")
    write_exploration(
        options.model,
        options.dataset,
        plane=options.plane,
        stamps=options.stamps,
        outliers=options.outliers,
        device=options.device or "auto",
    )


def restore(options: argparse.Namespace) -> None:
    from pipeline.generate.restore_stamps import restore_dataset, restore_images

    if (options.images is None) == (options.dataset is None):
        raise UserError("fleming restore", "needs one source of stamps", "name a FITS file, or a data set by --dataset")
    common = {
        "blurred": options.blur,
        "draws": options.draws,
        "seed": options.seed,
        "device": options.device or "auto",
    }
    if options.noise is not None and not 0 < options.noise < float("inf"):
        what = f"--noise {options.noise:g} is no standard deviation"
        raise UserError("fleming restore", what, "give a finite number above 0")
    if not 0 <= options.blur < float("inf"):
        raise UserError(
            "fleming restore", f"--blur {options.blur:g} is no width", "give a FWHM in pixels, or 0 for none"
        )
    if options.dataset is None:
        restore_images(options.images, options.model, options.out, noise=options.noise, **common)
        return
    noise = 5.0 if options.noise is None else options.noise
    restore_dataset(options.dataset, options.model, options.out, n=options.n, noise=noise, **common)


def _conditions(words: list[str] | None) -> dict[str, str]:
    """What --condition says: names and values, as in flux=2e-5,size=1.5."""
    asked: dict[str, str] = {}
    for word in ",".join(words).split(",") if words else ():
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise UserError("fleming sample, --condition", f'"{word}" is not name=value', "write for example flux=2e-5")
        if name in asked:
            raise UserError("fleming sample, --condition", f"{name} is given twice", "keep one of the two")
        asked[name] = value
    return asked
