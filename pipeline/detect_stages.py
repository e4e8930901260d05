"""What the sub-commands of detection do: fields, training, adapting, detecting, judging and scoring.

Every import of a room is inside its stage, so that `fleming --help` need not load torch.
"""

import argparse
import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline import hi_stages
from pipeline.errors import UserError, UserErrors

log = logging.getLogger("fleming")

# Columns that tell a catalogue of fleming detect from an official one.
_OWN = {"sdc1": {"deconvolved_major", "core_fraction"}, "sdc2": {"line_flux", "inclination", "frequency_error"}}


def field(options: argparse.Namespace) -> None:
    from pipeline.files import check_distinct, check_output
    from pipeline.simulate.continuum import simulate
    from pipeline.simulate.continuum_settings import ContinuumSettings
    from pipeline.simulate.field_files import save_field, summary

    given = {name: getattr(options, name) for name in ContinuumSettings.model_fields if hasattr(options, name)}
    if len(options.shape or ()) == 1:
        given["shape"] = options.shape * 2
    if len(options.beam_arcsec or ()) == 1:
        given["beam_arcsec"] = (*options.beam_arcsec * 2, 0.0)
    if options.save_primary_beam is not None and options.primary_beam is None:
        raise UserError("fleming field", "has no primary beam to save", "give --primary-beam, its FWHM in degrees")
    settings = checked_settings(ContinuumSettings, given, options.stage)
    if settings.shapes is not None and not Path(settings.shapes).is_dir():
        raise UserError("fleming field, --shapes", f"{settings.shapes} is no folder", "name a folder of FITS images")
    written = [path for path in (options.out, options.truth, options.save_primary_beam) if path is not None]
    check_distinct(written)
    for path in written:
        check_output(path)
    made = simulate(settings, options.seed)
    save_field(made, options.out, options.truth, options.save_primary_beam)
    log.info("%s", summary(made))


def simulate(options: argparse.Namespace, settings, task) -> None:
    from pipeline.simulate.field_files import write_field

    write_field(task.simulate, settings.seed, options.out, log.info)


def train(options: argparse.Namespace, settings, task) -> None:
    if not task.trains:
        what = f"task {options.task!r} has nothing to train on"
        raise UserError(options.config, what, "give it frames.train or simulate, or skip this stage")
    _check_simulated(options, task)
    from pipeline.detect.task import train as train_detector

    train_detector(task, options.out, seed=settings.seed, device=options.device, simulated=options.simulated)


def adapt(options: argparse.Namespace) -> None:
    from pipeline.detect.task_settings import AdaptSettings

    if options.config is None:
        image, beam, seed = options.image, options.primary_beam, options.seed
        if image is None:
            raise UserError("fleming adapt", "needs an image", "name one, or a task by --config and --task")
        given = {"minutes": options.minutes}
        if _axes(options.model, image) == 3:
            from pipeline.hi.task_settings import HiAdaptSettings

            options.model = _model(options, 3)
            hi_stages.adapt_file(options, checked_settings(HiAdaptSettings, given, options.stage))
            return
        how = checked_settings(AdaptSettings, given, options.stage)
    else:
        from pipeline.detect.task_images import adapted_image

        alone = ("image", "minutes", "truth", "primary_beam", "seed")
        settings, task = _detect_task(options, alone, ("detect", "hi"))
        if task.adapt is None:
            what = f"task {options.task!r} has no adapt section"
            raise UserError(options.config, what, "add one or skip this stage")
        if task.kind == "hi":
            hi_stages.adapt_task(options, settings, task)
            return
        (image, beam), seed, how = adapted_image(task, options.simulated), settings.seed, task.adapt
    hi_stages.check_images(options)
    from pipeline.detect.adapt import adapt as adapt_model

    adapt_model(
        image,
        _model(options),
        options.out,
        how,
        seed=42 if seed is None else seed,
        device=options.device,
        truth=options.truth,
        primary_beam=beam,
    )


def detect(options: argparse.Namespace) -> None:
    purity, symmetric = options.purity, options.symmetries or None
    if purity is not None and not 0 < purity < 1:
        raise UserError("fleming detect", f"--purity {purity} is not between 0 and 1", "give a share such as 0.95")
    if options.config is None:
        if not options.images:
            raise UserError("fleming detect", "needs an image", "name one or more, or a task by --config and --task")
        if _axes(options.model, options.images[0]) == 3:
            options.model = _model(options, 3)
            hi_stages.detect_files(options)
            return
        images = _images(options)
    else:
        from pipeline.detect.task_images import searched_images

        _, task = _detect_task(options, ("images", "primary_beam"), ("detect", "hi"))
        if task.kind == "hi":
            hi_stages.detect_task(options, task)
            return
        images = searched_images(task, options.simulated)
        purity = task.purity if purity is None else purity
        symmetric = symmetric or task.symmetries or None
    hi_stages.check_images(options)
    from pipeline.detect.apply import detect_images

    detect_images(
        images,
        _model(options),
        options.out,
        purity=purity,
        regions=options.regions,
        symmetric=symmetric,
        device=options.device,
        fmt=options.format,
    )


def evaluate(options: argparse.Namespace, settings, task) -> None:
    from pipeline.detect import evaluate as judge

    judge.evaluate(
        options.catalogue,
        task,
        options.model,
        options.out,
        seed=settings.seed,
        name=options.task,
        simulated=options.simulated,
    )


def score(options: argparse.Namespace) -> None:
    from pipeline.files import check_distinct, check_output, write_json
    from pipeline.score.files import score_files

    of_sdc1 = {name: getattr(options, name) for name in ("frequency", "mode", "area")}
    of_sdc1 = {name: value for name, value in of_sdc1.items() if value is not None}
    if options.challenge != "sdc1" and of_sdc1:
        what = f"--{next(iter(of_sdc1))} is no option of {options.challenge}"
        raise UserError("fleming score", what, "leave it out")
    if options.challenge == "sdc1" and "frequency" not in of_sdc1:
        raise UserError("fleming score", "sdc1 needs --frequency", "give 560, 1400 or 9200 MHz")
    if options.json is not None:
        check_distinct([options.json], [options.truth, options.catalogue])
        check_output(options.json)
    with _submission(options.catalogue, options.challenge, options.truth) as catalogue:
        result = score_files(
            options.challenge, options.truth, catalogue, official=options.official, where=options.catalogue, **of_sdc1
        )
    if options.json is not None:
        write_json(options.json, result)
    shares = f"purity {result['purity']:.3f}, completeness {result['completeness']:.3f}"
    found = f"{result['n_match']} of {result['n_det']} detections match, {result['n_truth']} sources could be found"
    print(f"score {result['score']:.2f}: {found}; {shares}, mean score of a match {result['acc_pc']:.2f} %")


@contextlib.contextmanager
def _submission(catalogue: Path, challenge: str, truth: Path) -> Iterator[Path]:
    """A catalogue of fleming detect in the columns of the challenge, as a file; any other catalogue as it is.

    Position angles are counted as in the truth table.
    """
    own = _own_catalogue(catalogue, challenge)
    if own is None:
        yield catalogue
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{catalogue.stem}.txt")
        if challenge == "sdc2":
            from pipeline.hi.catalogue import write_galaxies

            write_galaxies(own, path, "sdc2")
        else:
            from pipeline.detect.catalogue import to_sdc1
            from pipeline.detect.official import has_signed_angles
            from pipeline.detect.truth import read_truth
            from pipeline.score.write import write_sdc1

            write_sdc1(to_sdc1(own, has_signed_angles(read_truth(truth))), path)
        yield path


def _own_catalogue(path: Path, challenge: str):
    """The table of a catalogue of fleming detect, of what the challenge is about; None of any other file."""
    from pipeline.sky.catalogue import FORMATS, read_catalogue

    needed = _OWN[challenge]
    kind = FORMATS.get(path.suffix.lower(), "csv")
    if kind == "csv" and not all(name in _first_line(path) for name in needed):
        return None
    own = read_catalogue(path, kind)
    return own if needed <= set(own.colnames) else None


def _first_line(path: Path) -> str:
    """Of a text file that may not be there or may be none."""
    if not path.is_file():
        return ""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.readline(10000)


def _detect_task(options: argparse.Namespace, alone: tuple[str, ...], kinds: tuple[str, ...] = ("detect",)):
    """The settings and the task, of one of `kinds`; the options in `alone` are for use without a config."""
    from pipeline.config import load_config, task_settings

    if options.task is None:
        raise UserError(f"fleming {options.stage}", "has --config without --task", "name the task in the config")
    for name in alone:
        if getattr(options, name):
            shown = name if name in ("image", "images") else f"--{name.replace('_', '-')}"
            what = f"has both --config and {shown}"
            raise UserError(f"fleming {options.stage}", what, "keep one: the config says it for its tasks")
    settings = load_config(options.config)
    task = task_settings(settings, options.task, options.config, kinds)
    if task.kind == "detect":
        _check_simulated(options, task)
    return settings, task


def _check_simulated(options: argparse.Namespace, task) -> None:
    if task.simulate is not None and options.simulated is None:
        what = f"needs --simulated for task {options.task!r}"
        raise UserError(f"fleming {options.stage}", what, "name the folder that fleming simulate wrote")


def _images(options: argparse.Namespace) -> list[tuple[str, str | None]]:
    """The images named on the command line, each with its primary beam."""
    beams = options.primary_beam or [None]
    if len(beams) not in (1, len(options.images)):
        what = f"has {len(beams)} primary beams for {len(options.images)} images"
        raise UserError("fleming detect", what, "give --primary-beam once for all, or once an image")
    return list(zip(options.images, beams * len(options.images) if len(beams) == 1 else beams, strict=True))


def _axes(model: Path | None, frame: str) -> int:
    """How many axes the frames have that a model is for, or without one those of a frame.

    What is no model of a detector, or no frame, is refused later.
    """
    if model is None:
        from pipeline.sky.frame import frame_info

        try:
            return sum(side > 1 for side in frame_info(frame).shape)
        except UserError:
            return 2
    from pipeline.learn.model_file import read_description

    layout = read_description(model).get("layout")
    return len(layout.get("reduction", "  ")) if isinstance(layout, dict) else 2


def _model(options: argparse.Namespace, axes: int = 2) -> Path:
    """The model file that is named, else the one that ships for frames of so many axes."""
    if options.model is not None:
        return options.model
    from pipeline.detect.shipped import shipped_model

    return shipped_model(axes)


def checked_settings(kind, given: dict, stage: str):
    """Settings of class `kind` from the options of a command; what is refused is named by its option."""
    from pydantic import ValidationError

    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            reason = detail["msg"].removeprefix("Value error, ")
            key = str(detail["loc"][0]) if detail["loc"] else reason.partition(" ")[0]
            reason = reason[:1].lower() + reason[1:]
            remedy = f"see fleming {stage} --help"
            problems.append(UserError(f"fleming {stage}, --{key.replace('_', '-')}", f"is wrong ({reason})", remedy))
        raise UserErrors(problems) from error
