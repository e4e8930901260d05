"""What each sub-command does: read the options, call one function of a room, say how it went.

Every import of a room is inside its stage, so that `fleming --help` need not load torch.
"""

import argparse
import logging
import time
from pathlib import Path

from pipeline import detect_stages, generate_stages, hi_stages
from pipeline.errors import UserError

log = logging.getLogger("fleming")

# The stages of the kinds of task that have their own; those of a task that classifies are here.
_STAGES = {"detect": detect_stages, "hi": hi_stages, "generate": generate_stages}


def check(options: argparse.Namespace) -> None:
    from pipeline.config import load_config

    settings = load_config(options.config)
    for name, task in settings.tasks.items():
        print(f"{options.config}: task {name} ({task.kind}) is valid")


def simulate(options: argparse.Namespace) -> None:
    settings, task = _task(options)
    if task.simulate is None:
        raise UserError(options.config, f"task {options.task!r} has no simulate section", "add one or skip this stage")
    if task.kind in _STAGES:
        _STAGES[task.kind].simulate(options, settings, task)
        return
    from pipeline.simulate.injection import inject

    inject(task.simulate, options.out, seed=settings.seed)


def ingest(options: argparse.Namespace) -> None:
    from pipeline.data.ingest import ingest as read_objects

    settings, task = _task(options, "classify", "generate")
    source = task.input
    if options.manifest is not None:
        source = source.model_copy(update={"manifest": str(options.manifest)})
    if source.manifest is None:
        what = f"task {options.task!r} is simulated, so its manifest must be named"
        raise UserError(options.config, what, "run fleming simulate and pass its manifest.csv by --manifest")
    progress = _count("objects read")
    if task.kind == "generate":
        generate_stages.ingest(options, settings, task, source, progress)
        return
    read_objects(source, task.labels, task.classes, task.split, settings.seed, options.out, progress=progress)


def train(options: argparse.Namespace) -> None:
    settings, task = _task(options)
    if task.kind in _STAGES:
        _STAGES[task.kind].train(options, settings, task)
        return
    from pipeline.classify import train as classifier

    classifier.train(
        _needed(options, "dataset", "the data set that fleming ingest wrote"),
        task,
        options.out,
        seed=settings.seed,
        device=options.device,
    )


def crossvalidate(options: argparse.Namespace) -> None:
    from pipeline.classify import crossvalidate as validation

    settings, task = _task(options, "classify")
    result = validation.crossvalidate(
        options.dataset,
        task,
        options.out,
        folds=options.folds,
        seed=settings.seed,
        device=options.device,
    )
    for who in ("network", "baseline"):
        spread = result["spread"][who]["accuracy"]
        print(f"{who}: accuracy {spread['mean']:.4f} +- {spread['standard_deviation']:.4f} over {options.folds} folds")


def classify(options: argparse.Namespace) -> None:
    from pipeline.classify.apply import classify_dataset, classify_files

    if sum([bool(options.files), options.dataset is not None, options.manifest is not None]) != 1:
        raise UserError("fleming classify", "needs one source of objects", "name files, --manifest or --dataset")
    if options.dataset is not None:
        classify_dataset(options.dataset, options.model, options.out, options.device or "auto")
        return
    classify_files(
        options.files,
        options.model,
        options.out,
        manifest=options.manifest,
        skip_bad=options.skip_bad,
        device=options.device or "auto",
        progress=_count("files read"),
    )


def evaluate(options: argparse.Namespace) -> None:
    settings, task = _task(options)
    if task.kind == "generate":
        generate_stages.evaluate(options, settings, task)
        return
    catalogue = _needed(options, "catalogue", "the catalogue of the whole task")
    model = _needed(options, "model", "the model file that made the catalogue")
    if task.kind in _STAGES:
        _STAGES[task.kind].evaluate(options, settings, task)
        return
    from pipeline.classify import evaluate as judge
    from pipeline.files import read_json

    dataset = _needed(options, "dataset", "the data set that fleming ingest wrote")
    judge.evaluate(catalogue, dataset, model, options.out, task=options.task, seed=settings.seed)
    metrics = read_json(options.out)
    network, baseline = metrics["network"], metrics["baseline"]
    interval = f"{_shown(network['accuracy_low'])} to {_shown(network['accuracy_high'])}"
    log.info(
        "accuracy %s (95%% interval %s), balanced %s; logistic regression %s",
        _shown(network["accuracy"]),
        interval,
        _shown(network["balanced_accuracy"]),
        _shown(baseline["accuracy"]),
    )


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"


def figures(options: argparse.Namespace) -> None:
    from pipeline.report.figures import make_figures

    make_figures(options.folder)


def report(options: argparse.Namespace) -> None:
    from pipeline.config import load_config
    from pipeline.report.page import write_page

    settings = load_config(options.config)
    text = Path(options.config).read_text(encoding="utf-8")
    write_page(Path(settings.run), list(settings.tasks), options.out, text)


def describe(options: argparse.Namespace) -> None:
    from pipeline.nn import cost

    if options.network.endswith(".safetensors"):
        from pipeline.learn.model_file import load_model

        network, description = load_model(options.network)
        print(f"{description['line']}  on input {'x'.join(map(str, description['input_shape']))}")
        print(cost.format_table(cost.describe(network, network.ndim, network.input_shape)))
        return
    if options.input is None:
        raise UserError(
            "fleming describe", "needs the shape of the input", "add --input channel,axis,..., as --input 1,28,28"
        )
    print(cost.format_table(cost.describe(options.network, len(options.input) - 1, options.input)))


def _task(options: argparse.Namespace, *kinds: str):
    """The settings of the run, and its task of that name, which is of one of `kinds`, or of any."""
    from pipeline.config import KINDS, load_config, task_settings

    settings = load_config(options.config)
    return settings, task_settings(settings, options.task, options.config, kinds or KINDS)


def _needed(options: argparse.Namespace, name: str, what: str) -> Path:
    """The option of that name, which this kind of task cannot do without."""
    value = getattr(options, name)
    if value is None:
        raise UserError(f"fleming {options.stage}", f"needs --{name} for task {options.task!r}", f"name {what}")
    return value


def _count(noun: str, seconds: float = 5.0):
    """A progress call that says the count so far, at most every `seconds`."""
    said = time.monotonic()

    def show(count: int) -> None:
        nonlocal said
        if time.monotonic() - said >= seconds:
            said = time.monotonic()
            log.info("%d %s", count, noun)

    return show
