"""The sub-commands of `fleming` and their options: one a stage, thin; the Snakemake rules call nothing else."""

import argparse
from pathlib import Path

from pipeline import __version__, stages
from pipeline.detect_options import detection
from pipeline.generate_options import generation
from pipeline.nn import tokens
from pipeline.option_parts import config, dataset, device, out, shape, simulated, task


def notation() -> str:
    """How networks are written, as `pipeline.nn.tokens` documents it."""
    table, text = tokens.__doc__.partition("\n\n")[2].split("Options follow")
    # in the table the marks of code keep the columns, in the text they go
    rows = [line.replace("``", "  ") for line in table.splitlines() if not line.startswith("=")]
    return "\n".join([*rows, "Options follow" + text.replace("``", "")])


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; the long usage is for --help."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line; building it loads no library."""
    top = _Parser(
        prog="fleming",
        description="From FITS files to catalogues, metrics and synthetic images: classify, detect and generate.",
        epilog="A whole run: snakemake --configfile config/demo.yaml. Each stage also runs by hand, as above.",
    )
    top.add_argument("--version", action="version", version=f"fleming {__version__}")
    commands = top.add_subparsers(title="stages", metavar="STAGE", dest="stage", required=True, parser_class=_Parser)

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

    _shared(add)
    _classification(add)
    detection(add)
    generation(add)
    _results(add)
    return top


def _shared(add):
    stage = add(
        "check", stages.check, "validate a run's YAML file and its input files", "fleming check config/demo.yaml"
    )
    stage.add_argument("config", help="the run's YAML file")
    add(
        "simulate",
        stages.simulate,
        "make the simulated data of a task: objects in noise, a labelled field, or stamps of galaxies",
        "fleming simulate --config config/demo.yaml --task hi_galaxies --out results/demo/hi_galaxies/simulated",
        task,
        out("the folder for samples.fits and manifest.csv, or field.fits and truth.csv"),
    )
    stage = add(
        "train",
        stages.train,
        "train a classifier, a detector or a generative method; resumes where it was interrupted",
        "fleming train --config config/demo.yaml --task stars --dataset results/demo/stars/dataset.h5 "
        "--out results/demo/stars/model.safetensors",
        task,
        dataset,
        simulated,
        device,
        out("the model file; training.json, cost.json and history.csv are written beside it"),
    )
    stage.add_argument("--method", help="tasks that generate: the method to train, as the config names it")
    stage.add_argument("--begin", type=Path, help="methods that start from another one: its model")
    stage = add(
        "evaluate",
        stages.evaluate,
        "compare a catalogue with the truth that was kept for it",
        "fleming evaluate --config config/demo.yaml --task stars --dataset results/demo/stars/dataset.h5 "
        "--model results/demo/stars/model.safetensors --catalogue results/demo/stars/catalogue.fits "
        "--out results/demo/stars/metrics.json",
        task,
        dataset,
        simulated,
        out("metrics.json; of a detector matches.csv is written beside it, of a generative task statistics.csv"),
    )
    stage.add_argument("--model", type=Path, help="the model file that made the catalogue")
    stage.add_argument("--catalogue", type=Path, help="the catalogue of the whole task")
    stage.add_argument("--candidates", type=Path, help="tasks on cubes: the catalogue of all that was looked at twice")
    stage.add_argument(
        "--samples", type=Path, action="append", help="tasks that generate: what fleming sample wrote; once a method"
    )


def _classification(add):
    stage = add(
        "ingest",
        stages.ingest,
        "read the objects of a manifest into one HDF5 data set",
        "fleming ingest --config config/demo.yaml --task stars --out results/demo/stars/dataset.h5",
        task,
        out("the HDF5 file"),
    )
    stage.add_argument("--manifest", type=Path, help="use this manifest instead of the config's")
    stage = add(
        "crossvalidate",
        stages.crossvalidate,
        "judge a task's settings by k-fold cross-validation",
        "fleming crossvalidate --config config/iris.yaml --task iris --dataset results/iris/iris/dataset.h5 "
        "--folds 10 --out results/iris/iris/crossvalidation.json",
        task,
        device,
        out("the JSON file with scores and their spread"),
    )
    stage.add_argument("--dataset", type=Path, required=True, help="the data set that fleming ingest wrote")
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


def _results(add):
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
    stage.add_argument("--input", type=shape, help="channel,axis[,axis[,axis]] of the input")
