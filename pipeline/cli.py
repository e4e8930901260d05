"""The command `fleming`: one sub-command a stage, thin; the Snakemake rules call nothing else."""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import __version__, stages
from pipeline.errors import UserError
from pipeline.nn import tokens

log = logging.getLogger("fleming")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code: 0, 2 for a user's mistake, 1 for a fault of Fleming's own."""
    options = _parser().parse_args(arguments)
    try:
        with _logging(options.log, getattr(options, "task", None)):
            return _guarded(options)
    except UserError as error:
        print(f"fleming: {error}", file=sys.stderr)
        return 2


def _guarded(options: argparse.Namespace) -> int:
    try:
        options.run(options)
        return 0
    except UserError as error:
        log.debug("stopped by a user error", exc_info=True)
        for problem in error.problems:
            log.error("fleming: %s", problem)
        return 2
    except KeyboardInterrupt:
        log.error("fleming: interrupted; run the same command again to go on from the last whole epoch.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        log.debug("out of memory", exc_info=True)
        log.error(
            "fleming: %s: ran out of memory; use smaller samples, a smaller batch or a larger machine.", options.stage
        )
        return 2
    except BaseException:
        log.debug("a fault of Fleming's own", exc_info=True)
        details = options.log or _keep(traceback.format_exc())
        log.error("fleming: %s: met a fault of its own; report it with %s.", options.stage, details)
        return 1


def _keep(details: str) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="fleming-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(details)
    return file.name


@contextlib.contextmanager
def _logging(path: str | None, task: str | None) -> Iterator[None]:
    """Messages to the screen, with the task's name; to `path` too, with times and the tracebacks that it has not."""
    log.setLevel(logging.DEBUG)
    log.propagate = False
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO)
    screen.setFormatter(_OneLine(task))
    handlers: list[logging.Handler] = [screen]
    if path is not None:
        from pipeline.files import write_error

        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            file = _LogFile(path, mode="w", encoding="utf-8")
        except OSError as error:
            raise write_error(path, error) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(file)
    for handler in handlers:
        log.addHandler(handler)
    shown, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file that says once when it cannot be written any more, and lets the work go on."""

    def handleError(self, record: logging.LogRecord) -> None:
        from pipeline.files import write_error

        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            raise error
        log.removeHandler(self)
        log.warning("fleming: warning: %s", write_error(self.baseFilename, error))

    def close(self) -> None:
        # What the disk did not take is still in the buffer, and is refused again.
        with contextlib.suppress(OSError):
            super().close()


class _OneLine(logging.Formatter):
    """The message alone: tracebacks are for the log file. Progress says of which task, as tasks run side by side."""

    def __init__(self, task: str | None):
        super().__init__()
        self.task = task

    def format(self, record: logging.LogRecord) -> str:
        progress = self.task is not None and record.levelno < logging.WARNING
        return f"{self.task}: {record.getMessage()}" if progress else record.getMessage()


def _show_warning(message: Warning, category: type[Warning], *_: object) -> None:
    from pipeline.errors import FlemingWarning

    if issubclass(category, FlemingWarning):
        log.warning("fleming: warning: %s", message)
    else:
        log.debug("%s: %s", category.__name__, message)


def notation() -> str:
    """How networks are written, as `pipeline.nn.tokens` documents it."""
    table, text = tokens.__doc__.partition("\n\n")[2].split("Options follow")
    # in the table the marks of code keep the columns, in the text they go
    rows = [line.replace("``", "  ") for line in table.splitlines() if not line.startswith("=")]
    return "\n".join([*rows, "Options follow" + text.replace("``", "")])


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not channel,axis[,axis[,axis]], such as 1,28,28")
    return shape


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; the long usage is for --help."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fleming",
        description="From FITS files to catalogues, metrics and figures: train and apply CNN classifiers.",
        epilog="A whole run: snakemake --configfile config/demo.yaml. Each stage also runs by hand, as above.",
    )
    parser.add_argument("--version", action="version", version=f"fleming {__version__}")
    commands = parser.add_subparsers(title="stages", metavar="STAGE", dest="stage", required=True, parser_class=_Parser)

    def add(name, run, text, example, *groups):
        stage = commands.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        stage.set_defaults(run=run)
        stage.add_argument("--log", help="write messages, times and tracebacks to this file too")
        for group in groups:
            group(stage)
        return stage

    def config(stage):
        stage.add_argument("--config", required=True, help="the run's YAML file")

    def task(stage):
        config(stage)
        stage.add_argument("--task", required=True, help="the task's name in the config")

    def device(stage):
        stage.add_argument("--device", help="cpu, cuda, cuda:1 ...; chosen by itself when not given")

    def dataset(stage):
        stage.add_argument("--dataset", type=Path, required=True, help="the data set that fleming ingest wrote")

    def out(text, many=False):
        extra = {"action": "append"} if many else {}
        return lambda stage: stage.add_argument("--out", type=Path, required=True, help=text, **extra)

    stage = add(
        "check", stages.check, "validate a run's YAML file and its input files", "fleming check config/demo.yaml"
    )
    stage.add_argument("config", help="the run's YAML file")

    add(
        "simulate",
        stages.simulate,
        "inject noise-free frames into noise of a stated SNR",
        "fleming simulate --config config/demo.yaml --task hi_galaxies --out results/demo/hi_galaxies/simulated",
        task,
        out("the folder for samples.fits and manifest.csv"),
    )
    stage = add(
        "ingest",
        stages.ingest,
        "read the objects of a manifest into one HDF5 data set",
        "fleming ingest --config config/demo.yaml --task stars --out results/demo/stars/dataset.h5",
        task,
        out("the HDF5 file"),
    )
    stage.add_argument("--manifest", type=Path, help="use this manifest instead of the config's")
    add(
        "train",
        stages.train,
        "train a classifier; resumes where it was interrupted",
        "fleming train --config config/demo.yaml --task stars --dataset results/demo/stars/dataset.h5 "
        "--out results/demo/stars/model.safetensors",
        task,
        dataset,
        device,
        out("the model file; training.json, cost.json and history.csv are written beside it"),
    )
    stage = add(
        "crossvalidate",
        stages.crossvalidate,
        "judge a task's settings by k-fold cross-validation",
        "fleming crossvalidate --config config/iris.yaml --task iris --dataset results/iris/iris/dataset.h5 "
        "--folds 10 --out results/iris/iris/crossvalidation.json",
        task,
        dataset,
        device,
        out("the JSON file with scores and their spread"),
    )
    stage.add_argument("--folds", type=int, default=5, help="number of folds, at least 3 (default 5)")
    stage = add(
        "classify",
        stages.classify,
        "classify files of your own, or a data set, into a catalogue",
        "fleming classify my_spectra/*.fits --model results/demo/stars/model.safetensors --out types.fits",
        device,
        out("the catalogue: .fits, .ecsv, .vot or .csv; give it again for a second format", many=True),
    )
    stage.add_argument("files", nargs="*", help="FITS files, spectra as text, pictures, or archive.zip/member")
    stage.add_argument("--manifest", type=Path, help="a table with a path column (and row, id) instead of files")
    stage.add_argument("--dataset", type=Path, help="a data set that fleming ingest wrote instead of files")
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--skip-bad", action="store_true", help="leave unreadable files out, with a warning each")
    stage = add(
        "evaluate",
        stages.evaluate,
        "compare a catalogue with the labels of the test split",
        "fleming evaluate --config config/demo.yaml --task stars --dataset results/demo/stars/dataset.h5 "
        "--model results/demo/stars/model.safetensors --catalogue results/demo/stars/catalogue.fits "
        "--out results/demo/stars/metrics.json",
        task,
        dataset,
        out("metrics.json"),
    )
    stage.add_argument("--model", type=Path, required=True, help="the model file that made the catalogue")
    stage.add_argument("--catalogue", type=Path, required=True, help="the catalogue of the whole data set")
    stage = add(
        "figures", stages.figures, "draw a task's figures from its result files", "fleming figures results/demo/stars"
    )
    stage.add_argument("folder", type=Path, help="the task's folder")
    add(
        "report",
        stages.report,
        "gather the figures and metrics of a run in one HTML page",
        "fleming report --config config/demo.yaml --out results/demo/report.html",
        config,
        out("the page, in the run's folder"),
    )
    stage = add(
        "describe",
        stages.describe,
        "print shape, parameters and MACs of every layer of a network",
        "fleming describe 'C-6.5 P-2 C-16.5 P-2 C-48.3 D-1024_d0.5 D-256_d0.2 D-10' --input 1,28,28",
    )
    stage.epilog += f"\n\nthe notation, a token a layer:\n\n{notation()}"
    stage.add_argument("network", help="a network in notation, a name such as resnet-18, or a model file")
    stage.add_argument("--input", type=_shape, help="channel,axis[,axis[,axis]] of the input")
    return parser


if __name__ == "__main__":
    sys.exit(main())
