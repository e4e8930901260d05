"""Are sources that are put into an image found as often as those that a simulation has there?

    python benchmarks/inject.py --work results/inject

A field is simulated with and without its sources, and the rows of its truth are put into the second at other places.
The detector that ships searches both, which are judged alike: with the noise that each image shows, to which faint
sources add.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import record

from pipeline.detect.apply import detect_images
from pipeline.detect.comparison import compare
from pipeline.detect.image import ContinuumImage
from pipeline.detect.recovery import summary
from pipeline.detect.shipped import shipped_model
from pipeline.detect.truth import read_truth
from pipeline.score.sdc1 import Sdc1
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import write_field
from pipeline.simulate.insert import insert
from pipeline.simulate.insert_settings import InsertSettings

DENSITY = 0.5  # of the fields: a source put in has as many neighbours as a simulated one, and few enough
SPANS = ("above 3", "above 5", "above 7", "4 to 5")


def main() -> None:
    """Simulate, put in, search, and write benchmarks/results/inject.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--work", type=Path, required=True, help="folder for the fields")
    options.add_argument("--side", type=int, default=2048, help="of the fields [pixels] (default 2048)")
    options.add_argument("--fields", type=int, default=2, help="number of fields (default 2)")
    told = options.parse_args()
    parts = [field(told.work / str(seed), told.side, seed) for seed in range(1, told.fields + 1)]
    curves = {name: summary(pd.concat([part[name] for part in parts])) for name in ("simulated", "injected")}
    differences = {
        span: curves["injected"]["complete_above"][span]["fraction"]
        - curves["simulated"]["complete_above"][span]["fraction"]
        for span in SPANS
    }
    figures = {"side": told.side, "fields": told.fields, "density": DENSITY, "difference": differences, **curves}
    record.record("inject", figures)


def field(folder: Path, side: int, seed: int) -> dict[str, pd.DataFrame]:
    """The sources of one field and whether each is found, simulated and put in."""
    common = {"shape": (side, side)}
    write_field(ContinuumSettings(**common, density=DENSITY), seed, folder / "full")
    write_field(ContinuumSettings(**common, density=0.0), seed + 1000, folder / "empty")
    simulated = judged(folder / "full")
    settings = InsertSettings(sources=str(folder / "full" / "truth.csv"), n=len(simulated))
    put = folder / "put"
    insert(folder / "empty" / "field.fits", put / "field.fits", put / "truth.csv", settings, seed)
    return {"simulated": simulated, "injected": judged(put)}


def judged(folder: Path) -> pd.DataFrame:
    """The truth of a field with flux, snr, found and measured_flux."""
    path = folder / "field.fits"
    image, truth = ContinuumImage.open(path), read_truth(folder / "truth.csv")
    challenge = Sdc1(560).for_beam(image.beam_arcsec)
    catalogue = detect_images([(path, None)], shipped_model(2), [])
    compared = compare(catalogue, truth, image.objects(truth), image.reader.wcs, image.reader.beam, challenge)
    sources = compared.sources.assign(measured_flux=np.nan)
    found = compared.detections[compared.detections["source"] >= 0]
    sources.loc[found["source"].to_numpy(), "measured_flux"] = found["flux"].to_numpy()
    return sources[["flux", "snr", "found", "measured_flux"]]


if __name__ == "__main__":
    main()
