"""How real synthetic galaxies are, method by method, at equal training.

    python benchmarks/generate.py PART --work DIR [--data ../shared/data] [--only flow vae]

PART is `sersic` (simulated galaxies, all methods), `flux` (galaxies of a factor 100 in flux, as asked for), `mnist`
(digits, recognised by the classifier --features) or `galaxy_zoo` (SDSS colour pictures, with a classifier too). Each
method learns for as many seconds of the processor as BUDGETS says, unless it has a closed form. Samples are compared
with stamps that no method has seen, beside the same comparison of real stamps. --only trains some of the methods, for
a second process to train the others; without it the absent ones are trained and all are judged. Writes
benchmarks/results/generate_PART.json, and the contact sheet beside it.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from record import RESULTS, record

from pipeline.data.settings import InputSettings
from pipeline.data.store import open_store
from pipeline.files import read_json, write_json
from pipeline.generate.apply import sample_dataset, sample_model
from pipeline.generate.conditions import Conditions
from pipeline.generate.evaluate import evaluate
from pipeline.generate.method import is_closed, method
from pipeline.generate.stamps import ingest_stamps, told_table
from pipeline.generate.task import train
from pipeline.generate.task_settings import GenerateSettings
from pipeline.report.figure_folder import FigureFolder
from pipeline.report.generate_figures import generate_figures
from pipeline.simulate.sersic import simulate_galaxies

ROOT = Path(__file__).parent.parent
SEED = 42
# Processor seconds of training: 80 s of two cores for most methods, and what six minutes of one core buy.
# Colour pictures have 50 minutes of two cores, of the hour that they may take.
BUDGETS = {
    "sersic": {"": 160.0, "autoencoder": 80.0, "denoising_autoencoder": 80.0, "flow_6_minutes": 360.0},
    "flux": {"": 240.0},
    "mnist": {"": 600.0},
    "galaxy_zoo": {"": 6000.0},
}
# Parts whose conditions are measured on the stamps: told those of the very stamps that its samples are compared with, a
# method would have seen half of the answer. It is told those of training stamps.
DRAWN = ("galaxy_zoo",)
SPLIT = {"train": 0.8, "validation": 0.05, "test": 0.15}
SERSIC = {
    "kind": "generate",
    "simulate": {"sersic": {"n": 10000}},
    "conditions": ["flux", "size", "axis_ratio", "sersic_index"],
    "split": SPLIT,
    "augment": {"flip": True, "rotate": 90},
    "methods": {
        "flow": {}, "flow_6_minutes": {"name": "flow"}, "edm": {}, "ddpm": {}, "ncsn": {}, "vae": {},
        "mean_flow": {"train": {"learning_rate": 3e-3}},
        "mean_flow_4_steps": {"name": "mean_flow", "steps": 4, "train": {"learning_rate": 3e-3}},
        "autoencoder": {}, "denoising_autoencoder": {}, "wgan_gp": {}, "gan": {}, "mixture": {}, "ppca": {},
        "gaussian": {},
    },
    "train": {"epochs": 1, "batch": 32, "learning_rate": 1e-3, "warmup": 0.2, "ema": 0.995},
    "samples": 500,
}  # fmt: skip
_TIMED, _WARM = 6, 2


def settings_of(part: str, told: argparse.Namespace) -> GenerateSettings:
    """The task of a part."""
    if part == "sersic":
        return GenerateSettings.model_validate(SERSIC)
    if part == "flux":
        wide = {"simulate": {"sersic": {"n": 10000, "flux": [100, 10000]}}, "methods": {"flow": {}, "mixture": {}}}
        return GenerateSettings.model_validate(SERSIC | wide | {"samples": 1500})
    place = ROOT / "config" / ("mnist_generate.yaml" if part == "mnist" else "galaxyzoo_generate.yaml")
    (task,) = yaml.safe_load(place.read_text(encoding="utf-8"))["tasks"].values()
    name = Path(task["input"]["manifest"]).name
    task["input"]["manifest"] = str(told.manifests / name)
    if told.features is not None:
        task["features"] = str(told.features)
    return GenerateSettings.model_validate(task)


def data_set(part: str, task: GenerateSettings, work: Path) -> Path:
    """The stamps of a part as one file; what is there is used."""
    out = work / "dataset.h5"
    if out.is_file():
        return out
    source: InputSettings = task.input
    if task.simulate is not None:
        simulate_galaxies(task.simulate.sersic, work / "simulated", seed=SEED)
        source = source.model_copy(update={"manifest": str(work / "simulated" / "manifest.csv")})
    ingest_stamps(source, task, SEED, out)
    return out


def epochs(dataset: Path, task: GenerateSettings, name: str, seconds: float) -> int:
    """How many passes over the training stamps fit into so many seconds of the processor."""
    chosen = method(task.methods[name])
    batch = chosen.settings.training(task.train).batch
    with open_store(dataset) as store:
        rows = store.indices("train")
        table, units = told_table(store, rows[:2000], task.conditions, task.scale.blank)
        width = Conditions.fit(table, task.conditions, units, store.classes if task.labels else ()).width
        module, shape = chosen.build(len(store.shape) - 1, store.shape, width), store.shape
    optimiser = torch.optim.AdamW(module.parameters(), fused=True)
    x, condition = torch.randn(batch, *shape), torch.zeros(batch, width)
    began = 0.0
    for step in range(_WARM + _TIMED):
        if step == _WARM:
            began = time.process_time()
        optimiser.zero_grad()
        sum(chosen.objective(module, (x, condition)).values()).backward()
        optimiser.step()
    spent = (time.process_time() - began) / _TIMED
    return max(1, round(seconds / spent * batch / len(rows)))


def trained(part: str, dataset: Path, task: GenerateSettings, name: str, work: Path) -> Path:
    """The model file of a method; what is there is used."""
    out = work / name / "model.safetensors"
    if out.is_file():
        return out
    seconds = BUDGETS[part].get(name, BUDGETS[part][""])
    own = task.methods[name]
    if not is_closed(method(own)):
        changes = {} if own.train is None else own.train.model_dump(exclude_unset=True)
        passes = epochs(dataset, task, name, seconds)
        chosen = task.train.model_validate(
            task.train.model_dump() | changes | {"epochs": passes, "warmup": min(0.5, passes / 2)}
        )
        task = task.model_copy(update={"methods": task.methods | {name: own.model_copy(update={"train": chosen})}})
    began = time.process_time()
    train(dataset, task, name, out, seed=SEED)
    write_json(out.parent / "cost.json", {"cpu_seconds": time.process_time() - began})
    print(name, f"trained in {time.process_time() - began:.0f} s of the processor", flush=True)
    return out


def main() -> None:
    """Train, sample, judge, and write the results."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("part", choices=list(BUDGETS))
    options.add_argument("--work", type=Path, required=True, help="folder for data, models and samples")
    options.add_argument("--manifests", type=Path, default=Path("results/manifests"), help="of benchmarks/manifests.py")
    options.add_argument("--features", type=Path, help="a classifier of such stamps (model.safetensors)")
    options.add_argument("--methods", nargs="+", help="of the part, to compare (default: all)")
    options.add_argument("--only", nargs="+", help="train these methods and stop")
    told = options.parse_args()
    torch.set_num_threads(1)
    work, task = told.work / told.part, settings_of(told.part, told)
    if told.methods:
        task = task.model_copy(update={"methods": {name: task.methods[name] for name in told.methods}})
    dataset = data_set(told.part, task, work)
    samples = []
    for name in told.only or task.methods:
        model, out = trained(told.part, dataset, task, name, work), work / name / "galaxies.fits"
        common = {"n": task.samples, "seed": SEED, "out": out, "guidance": task.guidance, "device": "cpu"}
        if not out.is_file() and told.part in DRAWN:
            write_json(out.with_suffix(".json"), sample_model(model, {}, **common))
        elif not out.is_file():
            sample_dataset(model, dataset, task, **common)
        samples.append(out)
    if told.only:
        return
    evaluate(dataset, samples, task, work / "metrics.json", seed=SEED)
    found = read_json(work / "metrics.json")
    for name, one in found["methods"].items():
        one["cpu_seconds"] = read_json(work / name / "cost.json")["cpu_seconds"]
        one["samples"] = Path(one["samples"]).name
        one["realism"]["power_spectrum"] = {
            key: value for key, value in one["realism"]["power_spectrum"].items() if not isinstance(value, (list, dict))
        }
    figures: dict[str, Any] = {key: found[key] for key in ("stamps", "conditions", "classes", "methods")}
    generate_figures(work, FigureFolder(work / "figures"))
    for sheet in sorted((work / "figures").glob("*sheet*.png")):
        shutil.copyfile(sheet, RESULTS / f"generate_{told.part}.png")
    record(f"generate_{told.part}", figures)


if __name__ == "__main__":
    main()
