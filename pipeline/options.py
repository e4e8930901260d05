"""The sub-commands of `fleming` and their options: one a stage, thin; the Snakemake rules call nothing else."""

import argparse
from pathlib import Path

from pipeline import __version__, detect_stages, generate_stages, inject_stages, stages
from pipeline.nn import tokens

FORMATS = ("fits", "ecsv", "votable", "csv", "sdc1", "sdc2")


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


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


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
    _detection(add)
    _generation(add)
    _results(add)
    return top


def _config(stage):
    stage.add_argument("--config", required=True, help="the run's YAML file")


def _task(stage):
    _config(stage)
    stage.add_argument("--task", required=True, help="the task's name in the config")


def _any_task(stage):
    """A detection task, for what also works on files without a config."""
    stage.add_argument("--config", help="a run's YAML file, to do what one of its detection tasks says")
    stage.add_argument("--task", help="the task's name in the config")
    _simulated(stage)


def _device(stage):
    stage.add_argument("--device", help="cpu, cuda, cuda:1 ...; chosen by itself when not given")


def _dataset(stage):
    stage.add_argument(
        "--dataset", type=Path, help="tasks that classify or generate: the data set that fleming ingest wrote"
    )


def _simulated(stage):
    stage.add_argument("--simulated", type=Path, help="tasks with a simulated field: the folder that it was written to")


def _out(text, many=False):
    extra = {"action": "append"} if many else {}
    return lambda stage: stage.add_argument("--out", type=Path, required=True, help=text, **extra)


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
        _task,
        _out("the folder for samples.fits and manifest.csv, or field.fits and truth.csv"),
    )
    stage = add(
        "train",
        stages.train,
        "train a classifier, a detector or a generative method; resumes where it was interrupted",
        "fleming train --config config/demo.yaml --task stars --dataset results/demo/stars/dataset.h5 "
        "--out results/demo/stars/model.safetensors",
        _task,
        _dataset,
        _simulated,
        _device,
        _out("the model file; training.json, cost.json and history.csv are written beside it"),
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
        _task,
        _dataset,
        _simulated,
        _out("metrics.json; of a detector matches.csv is written beside it"),
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
        _task,
        _out("the HDF5 file"),
    )
    stage.add_argument("--manifest", type=Path, help="use this manifest instead of the config's")
    stage = add(
        "crossvalidate",
        stages.crossvalidate,
        "judge a task's settings by k-fold cross-validation",
        "fleming crossvalidate --config config/iris.yaml --task iris --dataset results/iris/iris/dataset.h5 "
        "--folds 10 --out results/iris/iris/crossvalidation.json",
        _task,
        _device,
        _out("the JSON file with scores and their spread"),
    )
    stage.add_argument("--dataset", type=Path, required=True, help="the data set that fleming ingest wrote")
    stage.add_argument("--folds", type=int, default=5, help="number of folds, at least 3 (default 5)")
    stage = add(
        "classify",
        stages.classify,
        "classify files of your own, or a data set, into a catalogue",
        "fleming classify my_spectra/*.fits --model results/demo/stars/model.safetensors --out types.fits",
        _device,
        _out("the catalogue: .fits, .ecsv, .vot or .csv; give it again for a second format", many=True),
    )
    stage.add_argument("files", nargs="*", help="FITS files, spectra as text, pictures, or archive.zip/member")
    stage.add_argument("--manifest", type=Path, help="a table with a path column (and row, id) instead of files")
    stage.add_argument("--dataset", type=Path, help="a data set that fleming ingest wrote instead of files")
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--skip-bad", action="store_true", help="leave unreadable files out, with a warning each")


def _detection(add):
    _detect(add)
    _adapt(add)
    _field(add)
    _inject(add)
    _recover(add)
    _score(add)


def _detect(add):
    stage = add(
        "detect",
        detect_stages.detect,
        "find and measure the sources of radio-continuum images, or the galaxies of spectral-line cubes",
        "fleming detect image.fits --out catalogue.fits --purity 0.95 --regions catalogue.reg",
        _any_task,
        _device,
        _out("the catalogue: .fits, .ecsv, .vot, .csv, or .txt for the SDC; again for a second one", many=True),
    )
    stage.add_argument("images", nargs="*", metavar="image", help="FITS images or cubes with beam and coordinates")
    stage.add_argument("--model", type=Path, help="a model of fleming train or adapt (default: the one that ships)")
    stage.add_argument(
        "--purity", type=float, help="wanted share of true sources (default: maximise the score of the SDC)"
    )
    stage.add_argument("--regions", type=Path, help="write DS9 regions to this file too")
    stage.add_argument(
        "--format", choices=FORMATS, help="format of every catalogue (default: by the ending of its name)"
    )
    stage.add_argument(
        "--primary-beam", action="append", help="FITS image of the primary beam; once for all images, or once an image"
    )
    stage.add_argument(
        "--symmetries",
        action="store_true",
        help="average over flips and turns, at 8 times the cost; of cubes 16, around candidates",
    )
    of_cubes = _cubes(stage)
    of_cubes.add_argument("--chunks", type=Path, help="folder for what is done, for a killed run to go on from")
    of_cubes.add_argument("--candidates", type=Path, help="write all that was looked at twice to this FITS catalogue")
    of_cubes.add_argument("--products", type=Path, help="folder for cubelet, maps and spectrum of every galaxy")
    of_cubes.add_argument("--page", type=Path, help="folder for a picture of the galaxies, galaxies.png")
    of_cubes.add_argument("--memory", type=float, help="the most to take in GB (default 4)")


def _cubes(stage):
    """The options of whatever reads cubes."""
    group = stage.add_argument_group("cubes")
    group.add_argument(
        "--beam", type=float, nargs="+", help="FWHM, or major, minor [arcsec] and angle [deg], instead of the header's"
    )
    group.add_argument(
        "--continuum", action="append", help="FITS image or cube of the continuum, whose bright sources are left out"
    )
    group.add_argument("--continuum-limit", type=float, help="what is bright there [Jy/beam] (default 0.003)")
    return group


def _adapt(add):
    stage = add(
        "adapt",
        detect_stages.adapt,
        "adapt a detector to the noise, beam and depth of an image or a cube; needs no labels",
        "fleming adapt image.fits --out adapted.safetensors",
        _any_task,
        _device,
        _out("the model file; its history is written beside it"),
    )
    stage.add_argument("image", nargs="?", help="FITS image or cube with beam and coordinates")
    stage.add_argument("--model", type=Path, help="the model to start from (default: the one that ships)")
    stage.add_argument("--minutes", type=float, help="time to train (default 3, for cubes 10)")
    stage.add_argument(
        "--truth", help="table of the sources in part of the image, or in all of the cube, to learn from them too"
    )
    stage.add_argument("--primary-beam", help="FITS image of the primary beam")
    stage.add_argument("--seed", type=_seed, help="seed of everything random (default 42)")
    _cubes(stage)


def _field(add):
    stage = add(
        "field",
        detect_stages.field,
        "simulate a radio-continuum field and its truth, without a config",
        "fleming field --seed 1 --shape 1024 --out field.fits --truth truth.csv",
        _out("the FITS image, in Jy/beam"),
    )
    stage.add_argument("--truth", type=Path, help="write the table of the sources to this file (CSV)")
    stage.add_argument("--save-primary-beam", type=Path, help="write the image of the primary beam to this file (FITS)")
    stage.add_argument("--seed", type=_seed, default=42, help="seed of everything random (default 42)")
    stage.add_argument("--shape", type=int, nargs="+", help="rows and columns, or one number for both (default 1024)")
    stage.add_argument("--pixel-arcsec", type=float, help="side of a pixel (default 0.6)")
    stage.add_argument(
        "--beam-arcsec", type=float, nargs="+", help="FWHM of a round beam, or major, minor and angle (default 1.5)"
    )
    stage.add_argument("--frequency", type=float, help="MHz (default 560)")
    stage.add_argument("--centre", type=float, nargs=2, help="right ascension and declination in degrees")
    stage.add_argument("--rms", type=float, help="rms of the noise in Jy/beam (default 2.55e-7)")
    stage.add_argument("--density", type=float, help="factor on the number of sources (default 1)")
    stage.add_argument("--primary-beam", type=float, help="FWHM of a Gaussian primary beam in degrees (default none)")
    stage.add_argument("--shapes", help="folder of images of real radio galaxies (FITS)")


def _sources(stage):
    """What is put into a frame."""
    stage.add_argument("--stamps", help="FITS file of stamps, as fleming sample writes it")
    stage.add_argument("--sources", help="table of sources to draw from, as fleming field --truth writes it")
    stage.add_argument("--n", type=int, help="number of sources (default 500)")
    stage.add_argument("--seed", type=_seed, default=42, help="seed of everything random (default 42)")
    stage.add_argument(
        "--flux-range", type=float, nargs=2, help="lowest and highest flux in Jy, of lines Jy Hz (default: their own)"
    )
    stage.add_argument("--apart", type=float, help="least distance between two sources in beams (default 0)")
    stage.add_argument("--clip", type=float, help="stamps: leave out what is fainter than so many times their noise")
    stage.add_argument("--stamp-pixel", type=float, help="stamps: side of a pixel in arcsec, instead of the header's")
    stage.add_argument("--stamp-psf", type=float, help="stamps: FWHM of their PSF in arcsec, instead of the header's")


def _inject(add):
    stage = add(
        "inject",
        inject_stages.inject,
        "put synthetic or simulated sources into an image or a cube",
        "fleming inject image.fits --stamps galaxies.fits --n 500 --seed 1 --flux-range 1e-6 1e-4 "
        "--out injected.fits --truth-out truth.csv",
        _sources,
        _out("the FITS file of the frame with the sources"),
    )
    stage.add_argument("frame", help="FITS image or cube with beam and coordinates")
    stage.add_argument("--truth-out", type=Path, required=True, help="the table of the sources (CSV)")
    stage.add_argument("--in-place", action="store_true", help="put the rows of --sources at their own positions")


def _recover(add):
    stage = add(
        "recover",
        inject_stages.recover,
        "measure what share of sources put into an image the detector finds, by their signal-to-noise ratio and flux",
        "fleming recover image.fits --flux-range 1e-6 1e-4 --n 200 --rounds 5 --out completeness.json",
        _sources,
        _device,
        _out("the JSON file; a table of the sources is written beside it (.csv)"),
    )
    stage.add_argument("image", help="FITS image with beam and coordinates")
    stage.add_argument("--model", type=Path, help="a model of fleming train or adapt (default: the one that ships)")
    stage.add_argument("--rounds", type=int, default=5, help="times that sources are put in and searched (default 5)")
    stage.add_argument("--purity", type=float, help="as of fleming detect")


def _score(add):
    stage = add(
        "score",
        detect_stages.score,
        "score a catalogue against the truth as a data challenge does",
        "fleming score --challenge sdc1 --frequency 560 --truth truth.csv --catalogue catalogue.fits --json score.json",
    )
    stage.add_argument("--challenge", choices=("sdc1", "sdc2"), required=True, help="whose definition of the score")
    stage.add_argument("--frequency", type=int, choices=(560, 1400, 9200), help="sdc1: band in MHz")
    stage.add_argument("--mode", choices=("core", "centroid"), help="sdc1: the positions compared (default core)")
    stage.add_argument(
        "--area", choices=("all", "train", "outside"), help="sdc1: which part of the field counts (default all)"
    )
    stage.add_argument("--truth", type=Path, required=True, help="the truth table")
    stage.add_argument("--catalogue", type=Path, required=True, help="the catalogue, of Fleming or in official columns")
    stage.add_argument("--official", action="store_true", help="skip all checks, as the official scorer does")
    stage.add_argument("--json", type=Path, help="write everything that was measured to this file")


def _generation(add):
    _sample(add)
    stage = add(
        "explore",
        generate_stages.explore,
        "look into a generative model: the plane of its latent space, and the real stamps that it finds odd",
        "fleming explore --model vae/model.safetensors --dataset dataset.h5 --plane latent.json --stamps latent.fits",
        _device,
    )
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--dataset", type=Path, required=True, help="the data set that fleming ingest wrote")
    stage.add_argument("--plane", type=Path, help="write the latent plane by class to this file (JSON)")
    stage.add_argument("--stamps", type=Path, help="write what grids of the plane decode to to this file (FITS)")
    stage.add_argument("--outliers", type=Path, help="write a catalogue of all stamps, the oddest first")
    stage = add(
        "restore",
        generate_stages.restore,
        "take noise and blur out of stamps by a trained flow: the estimate and its uncertainty",
        "fleming restore noisy.fits --model flow/model.safetensors --noise 5e-5 --out restored.fits",
        _device,
        _out("the FITS file: estimate, uncertainty and what was observed"),
    )
    stage.add_argument("images", nargs="?", type=Path, help="FITS image or array of stamps, of the model's shape")
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--noise", type=float, help="standard deviation of the noise (default: RMS of the header)")
    stage.add_argument("--blur", type=float, default=0.0, help="FWHM of a blur in pixels (default 0, none)")
    stage.add_argument("--draws", type=_positive, default=16, help="draws from the posterior (default 16)")
    stage.add_argument("--seed", type=_seed, default=42, help="seed of everything random (default 42)")
    group = stage.add_argument_group("an example: test stamps that noise is added to; --noise is in units of theirs")
    group.add_argument("--dataset", type=Path, help="the data set that fleming ingest wrote")
    group.add_argument("--n", type=_positive, default=6, help="stamps (default 6)")


def _sample(add):
    stage = add(
        "sample",
        generate_stages.sample,
        "make synthetic galaxies with a trained model, in physical units",
        "fleming sample --model galaxies.safetensors --n 1000 --condition flux=2e-5,size=1.5 --out galaxies.fits",
        _device,
        _out("the FITS file: the stamps, and a table of what was asked for and what they have"),
    )
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--n", type=_positive, help="stamps to make (default 1000)")
    stage.add_argument(
        "--condition",
        action="append",
        metavar="NAME=VALUE[,...]",
        help="what every galaxy shall be; without it they are as the training set is, see --untold",
    )
    stage.add_argument("--untold", action="store_true", help="tell the model nothing at all")
    stage.add_argument("--seed", type=_seed, help="seed of everything random (default 42)")
    stage.add_argument("--steps", type=_positive, help="steps of the sampler (default: those of its training)")
    stage.add_argument("--guidance", type=float, help="weight of the conditions: 1 as learnt, 0 without any")
    stage.add_argument("--strict", action="store_true", help="refuse conditions outside the training range")
    stage.add_argument("--catalogue", type=Path, action="append", help="write the table to this catalogue too")
    stage.add_argument("--one-file-each", action="store_true", help="--out is a folder for one FITS file a stamp")
    group = stage.add_argument_group("with a config: conditions are those of the test stamps of a task")
    group.add_argument("--config", help="the run's YAML file")
    group.add_argument("--task", help="the task's name in the config")
    group.add_argument("--dataset", type=Path, help="the data set that fleming ingest wrote")


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
        _config,
        _out("the page, in the run's folder"),
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
