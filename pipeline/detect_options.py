"""The options of what finds sources, and of what puts them into a frame."""

from pathlib import Path

from pipeline import detect_stages, inject_stages
from pipeline.option_parts import any_task, device, out, seed

FORMATS = ("fits", "ecsv", "votable", "csv", "sdc1", "sdc2")


def detection(add):
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
        any_task,
        device,
        out("the catalogue: .fits, .ecsv, .vot, .csv, or .txt for the SDC; again for a second one", many=True),
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
        any_task,
        device,
        out("the model file; its history is written beside it"),
    )
    stage.add_argument("image", nargs="?", help="FITS image or cube with beam and coordinates")
    stage.add_argument("--model", type=Path, help="the model to start from (default: the one that ships)")
    stage.add_argument("--minutes", type=float, help="time to train (default 3, for cubes 10)")
    stage.add_argument(
        "--truth", help="table of the sources in part of the image, or in all of the cube, to learn from them too"
    )
    stage.add_argument("--primary-beam", help="FITS image of the primary beam")
    stage.add_argument("--seed", type=seed, help="seed of everything random (default 42)")
    _cubes(stage)


def _field(add):
    stage = add(
        "field",
        detect_stages.field,
        "simulate a radio-continuum field and its truth, without a config",
        "fleming field --seed 1 --shape 1024 --out field.fits --truth truth.csv",
        out("the FITS image, in Jy/beam"),
    )
    stage.add_argument("--truth", type=Path, help="write the table of the sources to this file (CSV)")
    stage.add_argument("--save-primary-beam", type=Path, help="write the image of the primary beam to this file (FITS)")
    stage.add_argument("--seed", type=seed, default=42, help="seed of everything random (default 42)")
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
    stage.add_argument("--seed", type=seed, default=42, help="seed of everything random (default 42)")
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
        out("the FITS file of the frame with the sources"),
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
        device,
        out("the JSON file; a table of the sources is written beside it (.csv)"),
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
