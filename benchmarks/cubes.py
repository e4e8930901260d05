"""Simulated HI cubes that nobody trained on: made, searched and timed, deleted, and judged by what was found."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from astropy.table import QTable

from pipeline.data.cube_noise import CubeNoise, measure_cube_noise
from pipeline.detect.model import Model
from pipeline.errors import UserError
from pipeline.files import read_json, sha256, write_json
from pipeline.hi.apply import search_cube
from pipeline.hi.catalogue import make_catalogue, write_galaxies
from pipeline.hi.comparison import CubeComparison, compare
from pipeline.hi.galaxies import to_objects
from pipeline.hi.judge import measure_hi
from pipeline.hi.practice import SkyGeometry
from pipeline.hi.task_settings import HiTaskSettings
from pipeline.simulate.field_names import CUBE, TRUTH
from pipeline.simulate.hi_files import write_cube
from pipeline.simulate.hi_settings import HiSettings
from pipeline.sky.catalogue import read_catalogue
from pipeline.sky.cube import CubeReader
from pipeline.sky.headers import Beam

ROOT = Path(__file__).parent.parent
# What is told of a judged set of cubes; curves and bins stay out.
_KEPT = (
    "n_truth", "n_det", "n_match", "score", "score_per_truth", "sdc2_equivalent", "score_sd", "purity", "purity_low",
    "purity_high", "score_per_match", "sub_scores", "n_shared", "pa_turned", "complete_above",
)  # fmt: skip
_OF_RANKING = ("threshold", "score", "score_per_truth", "n_det", "n_match", "purity", "sub_scores", "complete_above")
_CUTS = ("same_length", "chosen", "best")
_OF_ERRORS = ("count", "median", "width", "coverage")
NOISE, SPEED = "noise.json", "speed.json"


def task_settings(shape: Sequence[int] | None = None) -> HiTaskSettings:
    """The task of config/hi.yaml, its cubes of another shape where one is given."""
    (told,) = yaml.safe_load((ROOT / "config" / "hi.yaml").read_text(encoding="utf-8"))["tasks"].values()
    told["simulate"]["galaxies"] = str(ROOT / told["simulate"]["galaxies"])
    told["detector"]["network"] = str(ROOT / told["detector"]["network"])
    if shape is not None:
        told["simulate"]["shape"] = told["practice"]["shape"] = list(shape)
    return HiTaskSettings(**told)


def said(sky: HiSettings) -> dict[str, Any]:
    """What the settings of a sky are, the folder of galaxies by its name alone."""
    folder = None if sky.galaxies is None else Path(sky.galaxies).name
    return sky.model_dump(mode="json", exclude_defaults=True) | {"galaxies": folder, "shape": list(sky.shape)}


class Timed:
    """A reader of sections that counts the processor's time that reading takes, in whichever thread."""

    def __init__(self, reader: CubeReader):
        self._read, self._took = reader.read, []
        reader.read = self

    def __call__(self, section: Sequence[slice]) -> np.ndarray:
        began = time.thread_time()
        pixels = self._read(section)
        self._took.append(time.thread_time() - began)
        return pixels

    @property
    def seconds(self) -> float:
        """Of the processor, so far."""
        return sum(self._took)


@dataclass
class Search:
    """A searched cube: `table` of everything that was looked at, however improbable, and the `speed` of it."""

    reader: CubeReader
    noise: CubeNoise
    table: QTable
    speed: dict[str, float]


def search(path: Path, model: Model, out: Path, *, symmetric: bool | None = None, beam: Beam | None = None) -> Search:
    """Search a cube from the file to the catalogue `out`, everything counted; `symmetric` as in `search_cube`."""
    clocks = [(time.process_time(), time.perf_counter())]
    reader = CubeReader(path, beam=beam)
    timed = Timed(reader)
    noise = measure_cube_noise(reader.read, reader.shape, where=path)
    clocks.append((time.process_time(), time.perf_counter()))
    found = search_cube(reader, noise, model, symmetric=symmetric)
    clocks.append((time.process_time(), time.perf_counter()))
    table = make_catalogue(found.calibrated, reader, noise, model, matched_snr=found.matched_snr)
    write_galaxies(table, out, "fits")
    clocks.append((time.process_time(), time.perf_counter()))
    (cpu, wall), mvoxel = (np.array(clocks)[-1] - np.array(clocks)[0]).tolist(), np.prod(reader.shape) / 1e6
    parts = np.diff(np.array(clocks)[:, 0]).tolist()
    speed = {
        "mvoxel_per_cpu_second": mvoxel / cpu,
        "mvoxel_per_cpu_second_without_reading": mvoxel / (cpu - timed.seconds),
        "mvoxel_per_second": mvoxel / wall,
        "cpu_seconds": cpu,
        "cpu_seconds_reading": timed.seconds,
        **{f"cpu_seconds_{name}": part for name, part in zip(("noise", "search", "catalogue"), parts, strict=True)},
        "candidates": len(table),
    }
    return Search(reader, noise, table, speed)


@dataclass(frozen=True)
class Kept:
    """What is kept of a simulated cube that was searched: truth, noise, catalogues of candidates, speeds."""

    folder: Path
    sky: HiSettings

    def table(self, way: str) -> Path:
        """The candidates of one way of searching."""
        return self.folder / f"{way}.fits"

    def speed(self, way: str) -> dict[str, float]:
        """Of that way."""
        return read_json(self.folder / SPEED)[way]

    def compared(self, way: str, threshold: float) -> tuple[CubeComparison, CubeComparison]:
        """The catalogue above a probability, and all candidates, beside the truth; SNRs are the simulator's own."""
        cube, noise = SkyGeometry(self.sky), CubeNoise.from_dict(read_json(self.folder / NOISE))
        truth = truth_of(self.folder)
        objects = to_objects(truth, cube, lambda at: noise.at_positions(at)[1])
        table = read_catalogue(self.table(way))
        chosen = table[np.asarray(table["probability"], float) >= threshold]
        return compare(chosen, truth, objects, cube), compare(table, truth, objects, cube)


def searched(
    sky: HiSettings, seed: int, model: Path, loaded: Model, ways: dict[str, bool], work: Path, keep_cube: bool = False
) -> Kept:
    """Simulate a cube, search it in each of the `ways` (symmetric or not), delete it; what is there is used.

    keep_cube : leave the cube for other models.

    Raises
    ------
    UserError : the model was trained with this seed.
    """
    if loaded.trained.get("provenance", {}).get("seed") == seed:
        raise UserError("benchmark", f"seed {seed} is the model's own", "take another one")
    told = json.dumps([sha256(model), sky.model_dump(mode="json"), ways], sort_keys=True)
    place, folder = (
        cube_folder(sky, seed, work),
        work / f"found-{hashlib.sha256(told.encode()).hexdigest()[:12]}-{seed}",
    )
    kept = Kept(folder, sky)
    if (folder / SPEED).is_file():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    simulated(sky, seed, work)
    shutil.copyfile(place / TRUTH, folder / TRUTH)
    speeds = {}
    for way, symmetric in ways.items():
        found = search(place / CUBE, loaded, kept.table(way), symmetric=symmetric)
        speeds[way] = found.speed
        write_json(folder / NOISE, found.noise.to_dict())
    # Last, so that what is not whole is done again.
    write_json(folder / SPEED, speeds)
    if not keep_cube:
        shutil.rmtree(place)
    return kept


def cube_folder(sky: HiSettings, seed: int, work: Path) -> Path:
    """Where the simulated cube of a seed lies as long as it is needed."""
    return work / f"cube-{hashlib.sha256(sky.model_dump_json().encode()).hexdigest()[:12]}-{seed}"


def simulated(sky: HiSettings, seed: int, work: Path) -> Path:
    """The folder of a simulated cube, made unless it is there."""
    place = cube_folder(sky, seed, work)
    if not (place / TRUTH).is_file():
        write_cube(sky, seed, place, lambda text: print(f"seed {seed}: {text}", flush=True))
    return place


def truth_of(folder: Path) -> pd.DataFrame:
    """The truth table in a folder with the simulator's own SNR of every galaxy, which official tables lack."""
    return pd.read_csv(folder / TRUTH, float_precision="round_trip")


def judged(frames: Sequence[CubeComparison], candidates: Sequence[CubeComparison], model: Model) -> dict[str, Any]:
    """What the pipeline's own judge says of cubes together, without curves and bins."""
    found = measure_hi(frames, candidates, model.trained.get("matched_threshold"))
    result = {name: found[name] for name in _KEPT} | {"ap": _precisions(found["ap"])}
    result["coverage"] = {name: {part: row[part] for part in _OF_ERRORS} for name, row in found["coverage"].items()}
    for name in ("reliability", "reliability_candidates"):
        result[name] = None if found[name] is None else {part: found[name][part] for part in ("ece", "brier")}
    result["asked_purity"] = found["asked_purity"]
    result["matches_by_chance"] = found["chance"]["mean"]
    result["rankings"] = {name: _ranking(one) for name, one in found["rankings"].items()}
    return result


def _precisions(ap: dict[str, Any]) -> dict[str, Any]:
    """Average precision by true SNR: of the boxes at each IoU, and by the match."""
    return {
        span: {
            "n_truth": one["n_truth"],
            "match": one["match"]["ap"],
            **{f"iou {level}": box["ap"] for level, box in one["box"].items()},
        }
        for span, one in ap.items()
    }


def _ranking(one: dict[str, Any] | None) -> dict[str, Any] | None:
    if one is None:
        return None
    cuts = {cut: one[cut] and {name: one[cut][name] for name in _OF_RANKING} for cut in _CUTS}
    return {"n_candidates": one["n_candidates"], "ap": _precisions(one["ap"]), **cuts}


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Mean of what is known, its standard deviation from cube to cube, and the standard error of the mean."""
    known = np.array([value for value in values if value is not None], float)
    scatter = float(known.std(ddof=1)) if len(known) > 1 else None
    return {
        "cubes": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "sd": scatter,
        "standard_error": None if scatter is None else scatter / float(np.sqrt(len(known))),
    }
