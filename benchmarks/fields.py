"""Labelled fields to tune and judge detectors on, as files that the normal commands read.

    python benchmarks/fields.py --data ../shared/data --out results/fields

Writes the halves of the given simulated field, the folds of the SDC1 cut-out, and fields of our own simulator.
A truth is a CSV in the columns of the data sets, with the sources whose centroid is on the image.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.files import write_text
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.populations import COLUMNS
from pipeline.sky.frame import read_frame, write_frame
from pipeline.sky.geometry import sky_to_pixel
from pipeline.sky.window import FrameReader

CONTINUUM = ("continuum_field/field.fits.gz", "continuum_field/truth.csv.gz")
SDC1 = ("sdc1_b1_1000h/B1_1000h_x0-760.fits.gz", "sdc1_b1_1000h/truth.csv.gz")

Section = tuple[slice, slice]


@dataclass(frozen=True)
class Labelled:
    """A FITS image and the CSV of the sources on it."""

    image: Path
    truth: Path


@dataclass(frozen=True)
class Fold:
    """Images to train on, which share no pixel with the one to test on."""

    train: tuple[Labelled, ...]
    test: Labelled


def simulated_fields(
    n: int, seed0: int, folder: Path, shape: tuple[int, int] = (2048, 2048), **settings: object
) -> list[Labelled]:
    """Fields like continuum_field by our own simulator, seeds seed0 ... seed0 + n - 1.

    One who trained on that simulator is judged too kindly by them; `continuum_field_halves` is by another one.
    """
    fields = []
    for seed in range(seed0, seed0 + n):
        place = _named(folder, f"simulated-{seed}")
        if not _there(place):
            field = simulate(ContinuumSettings(shape=shape, **settings), seed)
            write_frame(place.image, field.frame)
            _write_truth(place.truth, field.truth)
        fields.append(place)
    return fields


def continuum_field_halves(data: Path, folder: Path) -> Fold:
    """The field of an independent simulator: its lower rows to train and tune on, its upper ones to test on."""
    image, truth = (data / name for name in CONTINUUM)
    rows = _shape(image)[0]
    lower, upper = (
        cut(image, truth, (span, slice(None)), _named(folder, f"continuum-{name}"))
        for name, span in (("tune", slice(0, rows // 2)), ("test", slice(rows // 2, rows)))
    )
    return Fold((lower,), upper)


def sdc1_strips(k: int, data: Path, folder: Path, axis: int = 1) -> list[Fold]:
    """k folds of the SDC1 cut-out by strips along an axis (0 rows, 1 columns).

    Each strip is tested on once, after training on what lies on its two sides.
    """
    image, truth = (data / name for name in SDC1)
    size = _shape(image)[axis]
    borders = np.rint(np.linspace(0, size, k + 1)).astype(int).tolist()
    folds = []
    for number in range(k):
        low, high = borders[number], borders[number + 1]
        spans = {"test": (low, high), "before": (0, low), "after": (high, size)}
        parts = {
            name: cut(image, truth, _section(axis, span), _named(folder, f"sdc1-{'yx'[axis]}{k}-{number}-{name}"))
            for name, span in spans.items()
            if span[1] > span[0]
        }
        test = parts.pop("test")
        folds.append(Fold(tuple(parts.values()), test))
    return folds


def cut(image: Path, truth: Path, section: Section, place: Labelled) -> Labelled:
    """Write a section (y, x) of an image and its sources, unless they are there, and give their place."""
    if _there(place):
        return place
    with FrameReader(image) as reader:
        x, y = sky_to_pixel(reader.wcs, *_centroids(table := pd.read_csv(truth)))
        spans = [part.indices(size)[:2] for part, size in zip(section, reader.shape, strict=True)]
    inside = np.all([(at >= low - 0.5) & (at < high - 0.5) for at, (low, high) in zip((y, x), spans, strict=True)], 0)
    write_frame(place.image, read_frame(image, section=section))
    _write_truth(place.truth, table[inside])
    return place


def _centroids(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return table["ra_cent"].to_numpy(), table["dec_cent"].to_numpy()


def _section(axis: int, span: Sequence[int]) -> Section:
    whole = [slice(None), slice(None)]
    whole[axis] = slice(*span)
    return tuple(whole)


def _shape(image: Path) -> tuple[int, ...]:
    with FrameReader(image) as reader:
        return reader.shape


def _named(folder: Path, name: str) -> Labelled:
    return Labelled(folder / f"{name}.fits", folder / f"{name}.csv")


def _there(place: Labelled) -> bool:
    # The truth is written last.
    return place.image.is_file() and place.truth.is_file()


def _write_truth(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.loc[:, COLUMNS].to_csv(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the images and truths")
    parser.add_argument("--strips", type=int, default=3, help="folds of the SDC1 cut-out")
    parser.add_argument("--simulated", type=int, default=0, help="fields of our own simulator")
    parser.add_argument("--seed", type=int, default=1000, help="of the first simulated field")
    options = parser.parse_args()
    continuum_field_halves(options.data, options.out)
    sdc1_strips(options.strips, options.data, options.out)
    simulated_fields(options.simulated, options.seed, options.out)
    print("\n".join(sorted(str(path) for path in options.out.glob("*.fits"))))


if __name__ == "__main__":
    main()
