"""How well HI galaxies are found and measured: python benchmarks/detect_hi.py PART --data ../shared/data --work DIR

PART is `cubes` (simulated cubes of the density and noise of the SDC2 that nobody trained on: score, completeness,
error bars and probabilities, speed, each with and without the average over symmetries, beside the order of a matched
filter on the same candidates), `sizes` (score against cost at equal training), `faint` (the same of one network, for
which galaxies just too faint to be learnt are sky, or are ignored), or `real` (small real cubes). Each writes
benchmarks/results/detect_hi_PART.json. What is found is kept in DIR, so that a benchmark that was killed goes on; the
cubes themselves are deleted.
"""

import argparse
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cubes
import numpy as np
import torch
from astropy.table import QTable
from record import RESULTS, record

from pipeline.data.cube_noise import measure_cube_noise
from pipeline.detect.model import Model, load
from pipeline.detect.pace import paced_on
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import Detector, new_detector
from pipeline.errors import FlemingWarning, UserError
from pipeline.hi.adapt import adapt
from pipeline.hi.choose import choose
from pipeline.hi.cutout import cut_out
from pipeline.hi.galaxies import NAMES
from pipeline.hi.labelled import KnownCube
from pipeline.hi.practice import Gallery, StampBatches, make_gallery
from pipeline.hi.task import RADIUS, complete, practised
from pipeline.hi.task_settings import HiAdaptSettings, HiTaskSettings
from pipeline.hi.thumbnails import draw_galaxies
from pipeline.nn.cost import describe, total
from pipeline.report.style import figure, save
from pipeline.simulate.field_names import CUBE
from pipeline.sky.cube import CubeReader
from pipeline.sky.geometry import ARCSEC, sky_offsets

SHIPPED = cubes.ROOT / "resources" / "hi.safetensors"
# Of the cubes that are judged, and of the sizes' practice and validation.
FIRST, LEARNT, VALIDATION = 7001, 6001, 6002
WAYS = {"symmetric": True, "plain": False}
_SHOWN = 4


@dataclass(frozen=True)
class RealCube:
    """A real cube: where its galaxy is (ICRS) [deg] and moves [km/s], None of one with no galaxy in it.

    most : so many detections of a cube without a galaxy are still nearly none.
    """

    ra: float | None = None
    dec: float | None = None
    velocity: tuple[float, float] = (0.0, 0.0)
    most: int = 1


# Centres by their headers; velocities of the HI by Walter et al. 2008 (AJ 136, 2563): systemic 556 and 43 km/s.
REAL = {
    "NGC_2903_HI": RealCube(143.0421, 21.5008, (350.0, 760.0)),
    "ngc6946_HI": RealCube(308.7180, 60.1539, (-90.0, 180.0)),
    "NGC4036_WSRT_subcube_0": RealCube(),
}
SKIPPED = {"l1448_13co": "13CO of a molecular cloud, not the 21 cm line of galaxies, and without a beam in its header"}


def part_cubes(told: argparse.Namespace) -> dict[str, Any]:
    """Simulated cubes by seed: each way of searching judged on all together and cube by cube.

    Both ways have the model's calibrator, which was fitted on one of them: their orders, and their best cuts, compare
    better than their purities.
    """
    model, sky = load(told.model), cubes.task_settings(told.shape).simulate
    frames: dict[str, list] = {way: [] for way in WAYS}
    speeds: dict[str, list] = {way: [] for way in WAYS}
    each: dict[str, dict[str, Any]] = {way: {} for way in WAYS}
    for seed in range(FIRST, FIRST + told.seeds):
        kept = cubes.searched(sky, seed, told.model, model, WAYS, told.work)
        for way in WAYS:
            pair = kept.compared(way, model.threshold)
            frames[way].append(pair)
            speeds[way].append(kept.speed(way))
            each[way][str(seed)] = _cube_facts(pair, model)
        print(seed, {way: _rounded(one[str(seed)]["score_per_truth"]) for way, one in each.items()}, flush=True)
    result: dict[str, Any] = {"sky": cubes.said(sky), "model": _model_facts(model)}
    for way, pairs in frames.items():
        own = {name: [one[name] for one in each[way].values()] for name in ("score_per_truth", "purity", *_SPANS)}
        result[way] = {
            "pooled": cubes.judged([pair[0] for pair in pairs], [pair[1] for pair in pairs], model),
            "over cubes": {name: cubes.spread(values) for name, values in own.items()}
            | {f"matched filter, {cut}": _over_rankings(each[way], cut) for cut in ("chosen", "best")}
            | {"speed": _speed(speeds[way])},
            "by cube": each[way],
        }
    return result


_SPANS = ("complete above 5", "complete above 7")
_SPEEDS = (
    "mvoxel_per_cpu_second", "mvoxel_per_cpu_second_without_reading", "mvoxel_per_second", "cpu_seconds_reading",
    "cpu_seconds_noise", "cpu_seconds_search", "cpu_seconds_catalogue", "candidates",
)  # fmt: skip


def _speed(speeds: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: cubes.spread(one[name] for one in speeds) for name in _SPEEDS}


def _cube_facts(pair: tuple, model: Model) -> dict[str, Any]:
    """The few figures of one cube."""
    whole = cubes.judged([pair[0]], [pair[1]], model)
    facts = {name: whole[name] for name in ("n_truth", "n_det", "n_match", "score", "score_per_truth", "purity")}
    facts |= {name: whole["complete_above"][name.split()[-1]]["fraction"] for name in _SPANS}
    ranking = whole["rankings"]["matched_filter"]
    facts["matched filter"] = {
        cut: ranking and ranking[cut] and {name: ranking[cut][name] for name in ("n_det", "purity", "score_per_truth")}
        for cut in ("chosen", "best")
    }
    return facts


def _over_rankings(each: dict[str, dict[str, Any]], cut: str) -> dict[str, Any]:
    """The score per true source of the matched filter's order, and by how much the network's is more."""
    pairs = [(one["score_per_truth"], one["matched filter"][cut]["score_per_truth"])
             for one in each.values() if one["matched filter"][cut]]  # fmt: skip
    pairs = [pair for pair in pairs if None not in pair]
    return {
        "score_per_truth": cubes.spread(other for _, other in pairs),
        "network_more": cubes.spread(own - other for own, other in pairs),
    }


def _model_facts(model: Model) -> dict[str, Any]:
    network = model.detector.network
    return {
        "line": network.line,
        **_costs(model.detector),
        "threshold": model.threshold,
        "matched_threshold": model.trained.get("matched_threshold"),
        "symmetric": model.symmetric,
        "measured on validation": model.trained.get("measured"),
    }


def _costs(detector: Detector) -> dict[str, Any]:
    costs = total(describe(detector.network))
    return {
        "parameters": costs.parameters,
        "macs_per_voxel": costs.macs / float(np.prod(detector.network.input_shape[1:])),
        "field": [int(part) for part in detector.network.field],
        "reduction": [int(part) for part in detector.network.reduction],
    }


def part_sizes(told: argparse.Namespace) -> dict[str, Any]:
    """Score against cost: each network learns for the same processor time from the same galaxies."""
    task = cubes.task_settings(told.shape)
    sky, way = task.simulate, {"symmetric": True}
    gallery = make_gallery(sky, told.galaxies, LEARNT, task.practice.least_snr)
    result: dict[str, Any] = {"sky": cubes.said(sky), "cpu_minutes": told.minutes, "networks": {}}
    for name in told.networks:
        place = told.work / f"hi-{name}-{told.minutes:g}-{told.galaxies}.safetensors"
        network, _, faint = name.partition("+")
        line = str(cubes.ROOT / "config" / "models" / f"{network}.txt")
        if not place.is_file():
            told_of = task.detector.model_dump() | {"network": line}
            told_of["objects"]["faint"] = faint or "background"
            settings = task.detector.__class__(**told_of)
            _trained(gallery, task, settings, told).save(place)
        model = load(place)
        pairs, speeds = [], []
        for seed in range(FIRST, FIRST + told.seeds):
            kept = cubes.searched(sky, seed, place, model, way, told.work, keep_cube=True)
            pairs.append(kept.compared("symmetric", model.threshold))
            speeds.append(kept.speed("symmetric"))
        found = cubes.judged([pair[0] for pair in pairs], [pair[1] for pair in pairs], model)
        result["networks"][name] = {
            **_model_facts(model),
            "seconds": model.trained["cpu_seconds"],
            "epochs": model.trained["epochs"],
            "speed": _speed(speeds),
            **{one: found[one] for one in _OF_SIZES},
            "matched filter, chosen": (found["rankings"]["matched_filter"] or {}).get("chosen"),
        }
        print(name, _rounded(found["score_per_truth"]), flush=True)
    for seed in (VALIDATION, *range(FIRST, FIRST + told.seeds)):
        for each in (sky, task.choosing_sky):
            shutil.rmtree(cubes.cube_folder(each, seed, told.work), ignore_errors=True)
    return result


_OF_SIZES = ("n_truth", "n_det", "n_match", "score", "score_per_truth", "score_sd", "purity", "sub_scores",
             "complete_above", "ap")  # fmt: skip


def _trained(gallery: Gallery, task: HiTaskSettings, settings: DetectorSettings, told: argparse.Namespace) -> Model:
    """A model of this network after `told.minutes` of practice; a denser cube chooses its thresholds."""
    settings = _paced(gallery, task, settings, told.minutes)
    folder = told.work / "sizes-checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.process_time()
    detector = practised(gallery, task.simulate, None, settings, task.practice.per_crop, folder, seed=LEARNT)
    spent = time.process_time() - began
    shutil.rmtree(folder, ignore_errors=True)
    detector.network.eval()
    place = cubes.simulated(task.choosing_sky, VALIDATION, told.work)
    reader = CubeReader(place / CUBE)
    noise = measure_cube_noise(reader.read, reader.shape, where=place)
    known = [KnownCube(reader, noise, cubes.truth_of(place), task.practice.density)]
    chosen = choose(detector, known, RADIUS, task.look.symmetries, task.look.candidates, LEARNT)
    model = complete(detector, chosen, known, task.look.symmetries, {}, LEARNT, None)
    model.trained |= {"cpu_seconds": spent, "epochs": settings.train.epochs}
    return model


def _paced(gallery: Gallery, task: HiTaskSettings, settings: DetectorSettings, minutes: float) -> DetectorSettings:
    """The settings with as many epochs as fit into so many minutes of the processor."""
    least = settings.objects.least_snr
    detector = new_detector([gallery.objects.take(gallery.objects.snr >= least)], 3, NAMES, settings, LEARNT)
    train, many = settings.train, task.practice.per_crop
    batches = StampBatches(gallery, task.simulate, settings.crop, train.batch, settings.steps, LEARNT, many, least)
    return paced_on(detector, batches, settings, minutes, device="cpu", making=True, clock=time.process_time)


def part_real(told: argparse.Namespace) -> dict[str, Any]:
    """Real cubes, by the model as it ships and adapted to each: is the galaxy that each shows there, alone?"""
    model, result, shown = load(told.model), {"minutes": told.adapt}, []
    for name, known in REAL.items():
        path, taught = told.data / "line_cubes" / f"{name}.fits.gz", told.work / f"real-{name}.safetensors"
        if not taught.is_file():
            adapt(path, told.model, taught, HiAdaptSettings(minutes=told.adapt), seed=1)
        result[name] = {}
        for way, used in (("as it ships", model), ("adapted", load(taught))):
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                found = cubes.search(path, used, told.work / f"real-{name}.fits")
            table = found.table[np.asarray(found.table["probability"]) >= used.threshold]
            table.sort("snr", reverse=True)
            result[name][way] = {
                "shape": list(found.reader.shape),
                "candidates": len(found.table),
                "detections": len(table),
                "brightest": [_row(one) for one in table[:_SHOWN]],
                "galaxy": None if known.ra is None else _galaxy(found, table, known),
                "as hoped": _as_hoped(found, table, known),
                "warned": sorted({one.category.__name__ for one in heard if issubclass(one.category, FlemingWarning)}),
            }
            facts = {key: result[name][way][key] for key in ("detections", "galaxy", "as hoped")}
            print(name, way, facts, flush=True)
        shown.append((name, [(row, cut_out(row, found.reader, found.noise)) for row in table[:_SHOWN]]))
    result |= {name: {"skipped": reason} for name, reason in SKIPPED.items()}
    _draw([part for part in shown if part[1]])
    return result


def _galaxy(found: cubes.Search, table: QTable, known: RealCube) -> dict[str, Any]:
    """The detection nearest to the galaxy within its velocities; it is found if that is nearer than a beam, or than a
    quarter of the size that it is said to have."""
    beam = ARCSEC * found.reader.beam.major
    offset = np.hypot(*sky_offsets(known.ra, known.dec, np.asarray(table["ra"]), np.asarray(table["dec"])))
    velocity = np.asarray(table["velocity"].value)
    moves = (velocity > known.velocity[0]) & (velocity < known.velocity[1])
    near = moves & (offset < np.maximum(beam, np.asarray(table["hi_size"].value) / 4))
    return {
        "beam_arcsec": beam,
        "nearest_arcsec": float(offset[moves].min()) if moves.any() else None,
        "detections_at_its_velocities": int(moves.sum()),
        "found": bool(near.any()),
    }


def _as_hoped(found: cubes.Search, table: QTable, known: RealCube) -> bool:
    return len(table) <= known.most if known.ra is None else _galaxy(found, table, known)["found"]


def _row(row: Any) -> dict[str, float]:
    names = ("ra", "dec", "velocity", "line_flux_kms", "hi_size", "w20", "pa", "inclination", "snr", "matched_snr",
             "probability")  # fmt: skip
    return {name: float(getattr(row[name], "value", row[name])) for name in names} | {"flags": int(row["flags"])}


def _draw(shown: Sequence[tuple[str, list]]) -> None:
    """The brightest detections of each cube, maps and spectra, as results/detect_hi_real.png."""
    if not shown:
        return
    rows = [-(-len(cuts) // 2) for _, cuts in shown]
    with figure(12.8, 2.25 * sum(rows) + 0.5 * len(shown)) as page:
        parts = np.atleast_1d(page.subfigures(len(shown), 1, height_ratios=rows))
        for part, (name, cuts) in zip(parts, shown, strict=True):
            part.suptitle(name, fontsize=10)
            draw_galaxies(part, cuts)
        save(page, RESULTS / "detect_hi_real.png")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


RUNS = {"cubes": part_cubes, "sizes": part_sizes, "faint": part_sizes, "real": part_real}
NETWORKS = {"sizes": ["hi-small", "hi", "hi-fine"], "faint": ["hi", "hi+ignore"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=(*RUNS,))
    parser.add_argument("--data", type=Path, default=None, help="folder with one sub-folder a data set; for `real`")
    parser.add_argument("--work", type=Path, required=True, help="folder for cubes and models; what is there is used")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="the model (default: the one that ships)")
    parser.add_argument("--seeds", type=int, default=None, help="cubes to judge (default: 12, of trainings 3)")
    parser.add_argument("--shape", type=int, nargs=3, default=None, help="of the cubes, frequency y x [pixel]")
    parser.add_argument("--minutes", type=float, default=12.0, help="of the processor, for every training")
    parser.add_argument("--adapt", type=float, default=4.0, help="minutes, for every adaptation of `real`")
    parser.add_argument("--galaxies", type=int, default=12000, help="that are practised on")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=None,
        help="files of config/models (default: ours, of `faint` hi); +ignore: of faint galaxies nothing is learnt",
    )
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    told.seeds = told.seeds or (3 if told.part in NETWORKS else 12)
    told.networks = told.networks or NETWORKS.get(told.part)
    if told.part == "real" and told.data is None:
        parser.error("real needs --data")
    if told.part not in NETWORKS and not told.model.is_file():
        raise SystemExit(str(UserError(told.model, "is not there", "name a trained model by --model")))
    torch.set_num_threads(told.threads)
    told.work.mkdir(parents=True, exist_ok=True)
    record(f"detect_hi_{told.part}", RUNS[told.part](told) | {"threads": told.threads})


if __name__ == "__main__":
    main()
