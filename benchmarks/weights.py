"""Train the weights that ship: python benchmarks/weights.py --out resources/continuum.safetensors

The images are simulated (pipeline/detect/practice.py): no real sky, and none of the data that the benchmarks test on.
"""

import argparse
import time
from pathlib import Path

from pipeline.detect.choose import choose
from pipeline.detect.continuum import NAMES
from pipeline.detect.model import Model
from pipeline.detect.practice import practise, varied
from pipeline.detect.predict import Search
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import train_detector
from pipeline.learn.settings import TrainSettings
from pipeline.provenance import provenance
from pipeline.score.sdc1 import Sdc1
from pipeline.simulate.noise import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fields", type=int, default=80)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--network", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default=None)
    told = parser.parse_args()
    began = time.time()
    images = [practise(varied(told.seed * 1000 + at, told.side), told.seed * 1000 + at) for at in range(told.fields)]
    print(f"{len(images)} fields simulated in {time.time() - began:.0f} s", flush=True)
    settings = DetectorSettings(
        steps=told.steps,
        train=TrainSettings(
            epochs=told.epochs, batch=told.batch, learning_rate=told.rate, warmup=0.5, ema=0.999, clip=2.0
        ),
    )
    if told.network:
        settings = settings.model_copy(update={"network": told.network})
    fields = [area.image.labelled(area.truth, area.section, settings.objects.least_snr) for area in images]
    last = max(len(fields) // 5, 2)
    detector = train_detector(
        fields[:-last],
        fields[-last:],
        NAMES,
        settings,
        told.out.parent / f"{told.out.stem}-checkpoint",
        seed=told.seed,
        device=told.device,
        progress=lambda row: print(
            f"epoch {row['epoch']} train {row['train_loss']:.4f} val {row['val_loss']:.4f} {row['seconds']:.0f} s",
            flush=True,
        ),
    )
    search = Search()
    chosen = choose(detector, images[-last:], Sdc1(560), search, told.seed)
    beams = [area.image.beam.mean for area in images]
    texture = [measure(area.image.reader.data, area.image.beam.mean).to_dict() for area in images[:-last]]
    model = Model(
        detector,
        chosen.calibrator,
        chosen.threshold,
        search.radius,
        search.symmetric,
        {
            "beam": [min(beams), max(beams)],
            "noise": texture[:24],
            "settings": settings.model_dump(mode="json"),
            "fields": {"count": told.fields, "side": told.side, "seed": told.seed},
            "measured": chosen.figures,
            "provenance": provenance(told.seed),
        },
    )
    model.save(told.out)
    print(chosen.threshold, chosen.figures, f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
