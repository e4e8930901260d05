"""How well the detector finds and measures: python benchmarks/detect_continuum.py PART --data ../shared/data --work DIR

PART is `fields` (simulated fields, the shipped weights, error bars and probabilities), `sdc1` (the official cut-out:
as shipped, adapted without labels, adapted with the truth of other strips), `sizes` (score against cost at equal
training), or `real` (small real fields). Each writes benchmarks/results/detect_PART.json. sep runs beside on the same
areas, with the settings that the literature would use, and tuned by the score on the training area.
"""

import argparse
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fields
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import peers
import torch
import yaml
from astropy.table import Table
from record import RESULTS, record

from pipeline.detect.adapt import adapt
from pipeline.detect.apply import detect_image, detect_images
from pipeline.detect.catalogue import make_catalogue, to_sdc1
from pipeline.detect.choose import choose
from pipeline.detect.continuum import NAMES
from pipeline.detect.image import ContinuumImage
from pipeline.detect.judge import judge
from pipeline.detect.labelled import LabelledArea
from pipeline.detect.measures import threshold_for_purity
from pipeline.detect.model import Model, load
from pipeline.detect.official import has_signed_angles
from pipeline.detect.pace import paced
from pipeline.detect.predict import Search
from pipeline.detect.residual import subtract
from pipeline.detect.settings import NETWORK, DetectorSettings
from pipeline.detect.shipped import shipped_model
from pipeline.detect.task_settings import AdaptSettings
from pipeline.detect.texture import NoiseMismatchWarning, texture
from pipeline.detect.train import new_detector, train_detector
from pipeline.detect.truth import read_truth, response
from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.nn.cost import describe, total
from pipeline.score.match import score
from pipeline.score.sdc1 import Sdc1
from pipeline.sky.catalogue import read_catalogue
from pipeline.sky.geometry import sky_offsets

CHALLENGE = Sdc1(560)
SEEDS = (5001, 5002, 5003)
# Trained for the same time each: width and depth of the trunk, and the reference method's own network.
SIZES = {
    "small": "C-16.4_s2_p1 [ C-32.4_s2_p1 R-32.3 R-32.3 R-32.3 U-2 ] C-24.3",
    "medium": NETWORK,
    "large": "C-48.4_s2_p1 [ C-96.4_s2_p1 R-96.3 R-96.3 R-96.3 R-96.3 R-96.3 U-2 ] C-48.3",
    "stride 4": "C-32.4_s2_p1 C-64.4_s2_p1 R-64.3 R-64.3 R-64.3 R-64.3 C-64.1",
}
# The catalogue, its columns of right ascension, declination and peak, and how near a source must be [beam]. Of what is
# extended the peaks tell; the integrated fluxes of these catalogues are led by fits to diffuse emission.
REAL = {
    "1904-66_SIN": ("1904_comp.fits", ("ra", "dec", "peak_flux"), 0.5),
    "pybdsf_test_ch0_I": ("pybdsf_test_srl.fits", ("RA", "DEC", "Peak_flux"), 0.5),
    "AMI-LA_GRB120422A": None,
    "LOFAR_GRB201006A_cutout": None,
}
# What of sep is tuned on the training part: what the trial that set the bar tuned, all corrections, or everything.
FREEDOMS: dict[str, tuple[dict[str, Any], str]] = {
    "flux and size floors": (
        {
            "extraction_grids": {},
            "corrections": ("flux", "flux_factor", "least_major", "least_minor", "pa", "core_fraction"),
        },
        "sep-few",
    ),
    "corrections": ({"extraction_grids": {}}, "sep"),
    "all": ({}, "sep-all"),
}
KEPT = (
    "score", "score_constant", "n_det", "n_match", "n_truth", "purity", "score_per_match", "sub_scores", "errors",
    "ap", "completeness", "complete_above", "parameters", "coverage", "reliability", "asked_purity", "chance",
)  # fmt: skip


def figures(image: ContinuumImage, truth: pd.DataFrame, catalogue: Any) -> dict[str, Any]:
    """What the pipeline's own judge says of a catalogue."""
    seen = ContinuumImage(image.reader, image.background, image.attenuation, response(image, truth))
    found = judge(
        catalogue, truth, seen.objects(truth), wcs=image.reader.wcs, beam=image.reader.beam, challenge=CHALLENGE
    )
    return {name: found[name] for name in KEPT}


def ours(model: Model, place: fields.Labelled, symmetric: bool = False) -> dict[str, Any]:
    """The detector on one labelled image: figures, speed, and whether it warned of the noise."""
    truth = read_truth(place.truth)
    began, burnt = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        image = ContinuumImage.open(place.image)
        calibrated = detect_image(image, model, symmetric=symmetric)
        table = make_catalogue(calibrated, image, model)
    burnt, took = time.process_time() - burnt, time.perf_counter() - began
    probability = np.asarray(table["probability"])
    result = figures(image, truth, table[probability >= model.threshold])
    for purity in (0.95, 0.99):
        threshold = threshold_for_purity(probability, purity)
        if threshold is None:
            continue
        kept = to_sdc1(table[probability >= threshold], has_signed_angles(truth))
        found = score(CHALLENGE, kept, truth)
        asked = {"purity": found.n_match / max(found.n_det, 1), "n_det": found.n_det, "score": found.score}
        result[f"asked {purity}"] = asked
    pixels = float(np.prod(image.shape)) / 1e6
    return result | {
        "mpix_per_cpu_second": pixels / burnt,
        "mpix_per_second": pixels / took,
        "threshold": model.threshold,
        "warned": any(issubclass(one.category, NoiseMismatchWarning) for one in said),
    }


def theirs(settings: peers.PeerSettings, place: fields.Labelled) -> dict[str, Any]:
    """A peer on one labelled image."""
    area, truth = peers.Area.open(place.image), read_truth(place.truth)
    image = ContinuumImage.open(place.image)
    result = figures(image, truth, peers.apply(settings, area))
    return result | {"mpix_per_cpu_second": peers.measure(settings, area, truth)["mpix_per_cpu_second"]}


def tuned(
    places: Sequence[fields.Labelled], start: peers.PeerSettings, freedom: dict[str, Any], kept: Path
) -> peers.PeerSettings:
    """sep with the `freedom` of `peers.tune`, tuned by the score on labelled images; `kept` holds what was found."""
    if not kept.is_file():
        areas = [(peers.Area.open(place.image), read_truth(place.truth)) for place in places]
        found = peers.tune(areas, start=start, **freedom)[0]
        write_json(kept, asdict(found))
    stored = read_json(kept)
    return peers.PeerSettings(peers.Extraction(**stored["extraction"]), peers.Corrections(**stored["corrections"]))


def part_fields(told: argparse.Namespace) -> dict[str, Any]:
    """Fields that nobody trained on: ours by seed, and one by an independent simulator."""
    model = load(told.model)
    halves = fields.continuum_field_halves(told.data, told.work)
    places = {f"seed {place.image.stem}": place for place in _simulated(told)}
    places["independent simulator"] = _whole(told, fields.CONTINUUM)
    start = peers.PeerSettings(peers.Extraction(threshold=3.0, least_pixels=2))
    settings = {"sep, 3 rms, 2 px": start, "sep, tuned": tuned(halves.train, start, {}, told.work / "sep-field.json")}
    result: dict[str, Any] = {"fields": {}, "sep settings": {name: repr(one) for name, one in settings.items()}}
    for name, place in places.items():
        result["fields"][name] = {"ours": ours(model, place), "ours, symmetric": ours(model, place, True)}
        result["fields"][name] |= {peer: theirs(one, place) for peer, one in settings.items()}
        print(name, {who: round(found["score"]) for who, found in result["fields"][name].items()}, flush=True)
    return result


def part_sdc1(told: argparse.Namespace) -> dict[str, Any]:
    """The outer thirds of the cut-out by columns and by rows; learnt from and tuned on the other two thirds."""
    whole = _whole(told, fields.SDC1)
    blind = told.work / "sdc1-blind.safetensors"
    settings = AdaptSettings(minutes=told.minutes)
    if not blind.is_file():
        adapt(whole.image, told.model, blind, settings, seed=1)
    shipped, adapted = load(told.model), load(blind)
    start = peers.PeerSettings(peers.Extraction(threshold=2.5, least_pixels=3))
    on_all = {
        "shipped": ours(shipped, whole),
        "adapted without labels": ours(adapted, whole),
        "sep": theirs(start, whole),
    }
    result: dict[str, Any] = {"whole": on_all, "folds": {}, "minutes": told.minutes}
    for axis in (1, 0):
        folds = fields.sdc1_strips(3, told.data, told.work, axis)
        for fold in (folds[0], folds[2]):
            name = fold.test.image.stem
            taught = told.work / f"{name}.safetensors"
            if not taught.is_file():
                (labelled,) = fold.train
                adapt(labelled.image, told.model, taught, settings, seed=1, truth=labelled.truth)
            theirs_tuned = {
                f"sep, {what} tuned": theirs(
                    tuned(fold.train, start, freedom, told.work / f"{name}-{kept}.json"), fold.test
                )
                for what, (freedom, kept) in FREEDOMS.items()
            }
            found = {
                "shipped": ours(shipped, fold.test),
                "adapted without labels": ours(adapted, fold.test),
                "adapted without labels, symmetric": ours(adapted, fold.test, True),
                "adapted with labels": ours(load(taught), fold.test),
                "adapted with labels, symmetric": ours(load(taught), fold.test, True),
                "sep, 2.5 rms, 3 px": theirs(start, fold.test),
                **theirs_tuned,
            }
            result["folds"][name] = found
            print(name, {who: round(one["score"]) for who, one in found.items()}, flush=True)
    return result


def part_sizes(told: argparse.Namespace) -> dict[str, Any]:
    """Score against cost: each network is trained anew for the same time on one half of the independent field."""
    halves = fields.continuum_field_halves(told.data, told.work)
    own = {name: DetectorSettings(network=line, steps=25, held_out_steps=5) for name, line in SIZES.items()}
    result = {}
    for name, settings in (own | {"YOLO-CIANNA": yolo_cianna()}).items():
        model, facts = _trained(halves.train[0], settings, told)
        result[name] = {"line": settings.network, **facts, **ours(model, halves.test)}
        print(name, round(result[name]["score"]), flush=True)
    return result


def yolo_cianna() -> DetectorSettings:
    """The reference method with its own network, as config/yolo_cianna.yaml has it; its random start cut to fit."""
    text = (Path(__file__).parent.parent / "config" / "yolo_cianna.yaml").read_text(encoding="utf-8")
    (task,) = yaml.safe_load(text)["tasks"].values()
    settings = DetectorSettings(**task["detector"])
    boxes = settings.association.model_copy(
        update={"match": settings.association.match.model_copy(update={"startup": 500})}
    )
    # The optimiser of ours: the reference's schedule has no time to begin with.
    train = DetectorSettings().train.model_copy(update={"learning_rate": 1e-3, "batch": 2})
    return settings.model_copy(update={"association": boxes, "steps": 25, "held_out_steps": 5, "train": train})


def _trained(place: fields.Labelled, settings: DetectorSettings, told: argparse.Namespace) -> tuple[Model, dict]:
    """A model of this network, trained for `told.minutes`: the last fifth of the rows chooses and calibrates."""
    image, truth = ContinuumImage.open(place.image), read_truth(place.truth)
    rows, columns = image.shape
    border = round(0.8 * rows)
    areas = [LabelledArea(image, truth, (span, slice(0, columns))) for span in (slice(0, border), slice(border, rows))]
    learnt, held = ([image.labelled(truth, area.section, 2.0)] for area in areas)
    beginning = new_detector([field.objects for field in learnt], 2, NAMES, settings, seed=1)
    settings = paced(beginning, learnt, settings, told.minutes, seed=1, device=None, clock=time.process_time)
    folder = told.work / "sizes-checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    detector = train_detector(learnt, held, NAMES, settings, folder, seed=1)
    search = Search()
    chosen = choose(detector, areas[1:], CHALLENGE, search, seed=1)
    costs = total(describe(detector.network))
    facts = {"weights": costs.parameters, "macs_per_pixel": costs.macs / settings.crop**2}
    facts |= {"cpu_minutes": told.minutes, "seconds": detector.outcome.seconds, "epochs": settings.train.epochs}
    beams = [0.95 * image.beam.mean, 1.05 * image.beam.mean]
    trained = {"beam": beams, "noise": [texture(image).to_dict()]}
    return Model(detector, chosen.calibrator, chosen.threshold, search.radius, False, trained), facts


def part_real(told: argparse.Namespace) -> dict[str, Any]:
    """Real images, adapted without labels: which sources of another finder's catalogue are found, and what is left."""
    folder, result, shown = told.data / "radio_fields", {}, {}
    for name, listed in REAL.items():
        image, taught = folder / f"{name}.fits.gz", told.work / f"real-{name}.safetensors"
        if not taught.is_file():
            taught = _adapted(image, told, taught)
        table = detect_images([(image, None)], taught, [told.work / f"real-{name}.fits"])
        opened = ContinuumImage.open(image)
        whole = [slice(0, side) for side in opened.shape]
        left, (median, rms) = subtract(opened, table).data, opened.background.at(whole)
        shown[name] = (opened.reader.read(whole) - median) / rms, (left - median) / rms, table
        result[name] = {
            "adapted": taught != told.model,
            "sources": len(table),
            "peak_snr_before": float(np.nanmax(opened.reader.read(whole) / rms)),
            "rms_before": float(np.nanstd(opened.reader.read(whole) / rms)),
            "rms_after": float(np.nanstd(left / rms)),
        }
        if listed is not None:
            result[name]["found"] = _found(table, folder / listed[0], *listed[1:], opened)
        print(name, result[name], flush=True)
    _draw(shown)
    return result


def _draw(shown: dict[str, tuple[np.ndarray, np.ndarray, Table]]) -> None:
    """Each image with its catalogue, and what is left of it, in units of the noise, as results/detect_real.png."""
    figure, axes = plt.subplots(len(shown), 2, figsize=(8, 4 * len(shown)), squeeze=False, layout="constrained")
    for row, (name, (image, left, table)) in zip(axes, shown.items(), strict=True):
        for axis, pixels, title in zip(row, (image, left), (name, "less the catalogue"), strict=True):
            stretched = axis.imshow(np.arcsinh(pixels), origin="lower", cmap="gray", vmin=-2, vmax=5)
            axis.set(title=title, xlabel="x [pixel]", ylabel="y [pixel]")
        row[0].scatter(table["x"].value, table["y"].value, s=40, facecolors="none", edgecolors="tab:orange", lw=0.8)
    figure.colorbar(stretched, ax=axes, label="asinh(brightness / noise)", shrink=0.4)
    figure.savefig(RESULTS / "detect_real.png", dpi=75)
    plt.close(figure)


def _adapted(image: Path, told: argparse.Namespace, out: Path) -> Path:
    """The model adapted to an image, or the one to start from where the image is too crowded for it."""
    try:
        adapt(image, told.model, out, AdaptSettings(minutes=told.minutes, side=512), seed=1)
    except UserError as error:
        print(error, flush=True)
        return told.model
    return out


def _found(table: Table, catalogue: Path, names: tuple[str, str, str], scale: float, image: ContinuumImage) -> dict:
    """Of the sources of another finder's catalogue, brightest first, how many are within half a beam of one of ours."""
    other = read_catalogue(catalogue)
    ra, dec, flux = (np.asarray(getattr(other[name], "value", other[name]), float) for name in names)
    order = np.argsort(-flux)
    near = []
    for row in order:
        east, north = sky_offsets(ra[row], dec[row], np.asarray(table["ra"]), np.asarray(table["dec"]))
        away = np.hypot(east, north)
        near.append(bool(len(away) and away.min() < scale * 3600 * image.reader.beam.major))
    return {
        f"of the brightest {count}": int(sum(near[:count])) for count in (5, 10, 20, len(near)) if count <= len(near)
    }


def _whole(told: argparse.Namespace, names: tuple[str, str]) -> fields.Labelled:
    return fields.Labelled(told.data / names[0], told.data / names[1])


def _simulated(told: argparse.Namespace) -> list[fields.Labelled]:
    return [place for seed in SEEDS for place in fields.simulated_fields(1, seed, told.work)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("fields", "sdc1", "sizes", "real"))
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder a data set")
    parser.add_argument("--work", type=Path, required=True, help="folder for fields and models; what is there is used")
    parser.add_argument("--model", type=Path, default=None, help="the model (default: the one that ships)")
    parser.add_argument("--minutes", type=float, default=3.0, help="of every adaptation or training")
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    told.model = told.model or shipped_model()
    torch.set_num_threads(told.threads)
    told.work.mkdir(parents=True, exist_ok=True)
    run = {"fields": part_fields, "sdc1": part_sdc1, "sizes": part_sizes, "real": part_real}[told.part]
    record(f"detect_{told.part}", run(told) | {"threads": told.threads})


if __name__ == "__main__":
    main()
