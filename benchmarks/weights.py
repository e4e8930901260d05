"""Train the weights that ship: python benchmarks/weights.py --out resources/continuum.safetensors

The images are simulated (pipeline/detect/practice.py): no real sky, and none of the data that the benchmarks test on.
`--begin` goes on from a model file, on other fields when the seed is another; with `--calibrate` its network stays, and
only calibrator and threshold are chosen anew.
"""

import argparse
import time
from pathlib import Path

from pipeline.detect.choose import choose
from pipeline.detect.continuum import NAMES
from pipeline.detect.model import Model, load
from pipeline.detect.practice import practise, varied
from pipeline.detect.predict import Search
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import train_detector
from pipeline.learn.settings import TrainSettings
from pipeline.provenance import provenance
from pipeline.score.sdc1 import Sdc1
from pipeline.simulate.noise import measure

_TEXTURES = 24


def main() -> None:
    told = _options()
    began = time.time()
    train = TrainSettings(
        epochs=told.epochs, batch=told.batch, learning_rate=told.rate, warmup=0.5, ema=0.999, clip=2.0
    )
    settings = DetectorSettings(steps=told.steps, train=train, **({"network": told.network} if told.network else {}))
    least = settings.objects.least_snr
    fields, textures, beams = [], [], []
    for number in range(0 if told.calibrate else told.fields):
        area = _area(told, number)
        fields.append(area.image.labelled(area.truth, area.section, least))
        beams.append(area.image.beam.mean)
        if number < _TEXTURES:
            textures.append(measure(area.image.reader.data, area.image.beam.mean).to_dict())
    held = [_area(told, told.fields + number) for number in range(told.held_out)]
    print(f"{told.fields + told.held_out} fields simulated in {time.time() - began:.0f} s", flush=True)
    search = Search()
    if told.calibrate:
        model = load(told.begin)
        chosen = choose(model.detector, held, Sdc1(560), search, told.seed)
        trained = model.trained | {"measured": chosen.figures}
        Model(model.detector, chosen.calibrator, chosen.threshold, search.radius, search.symmetric, trained).save(
            told.out
        )
        print(chosen.threshold, chosen.figures)
        return
    detector = train_detector(
        fields,
        [area.image.labelled(area.truth, area.section, least) for area in held],
        NAMES,
        settings,
        told.out.parent / f"{told.out.stem}-checkpoint",
        seed=told.seed,
        device=told.device,
        begin=None if told.begin is None else load(told.begin).detector,
        progress=_show,
    )
    chosen = choose(detector, held, Sdc1(560), search, told.seed)
    trained = {
        "beam": [min(beams), max(beams)],
        "noise": textures,
        "settings": settings.model_dump(mode="json"),
        # A path of this machine is of no use to anybody else.
        "command": {name: value.name if isinstance(value, Path) else value for name, value in vars(told).items()},
        "seconds": detector.outcome.seconds,
        "measured": chosen.figures,
        "provenance": provenance(told.seed),
    }
    if told.begin is not None:
        trained["began_with"] = load(told.begin).trained.get("command")
    Model(detector, chosen.calibrator, chosen.threshold, search.radius, search.symmetric, trained).save(told.out)
    print(chosen.threshold, chosen.figures, f"{time.time() - began:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--begin", type=Path, help="a model file to go on from")
    parser.add_argument("--calibrate", action="store_true", help="keep the network of --begin")
    parser.add_argument("--fields", type=int, default=360)
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--network")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device")
    return parser.parse_args()


def _area(told: argparse.Namespace, number: int):
    seed = told.seed * 10_000 + number
    return practise(varied(seed, told.side), seed)


def _show(row: dict) -> None:
    shown = f"train {row['train_loss']:.4f} val {row['val_loss']:.4f} {row['seconds']:.0f} s"
    print(f"epoch {row['epoch']} {shown}", flush=True)


if __name__ == "__main__":
    main()
