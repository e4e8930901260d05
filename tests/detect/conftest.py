"""A small simulated field with its truth as files, and catalogues made from that truth."""

from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable

from pipeline.detect.comparison import UNITS, measures
from pipeline.detect.continuum import CLASSES
from pipeline.detect.image import ContinuumImage
from pipeline.detect.objects import Objects
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.sky.fitsout import frame_hdus


@dataclass
class LabelledSky:
    """A field on disk, opened: its truth with the official columns, and what the image shows of it."""

    folder: Path
    image: ContinuumImage
    truth: pd.DataFrame
    objects: Objects

    def catalogue(self, chosen):
        """The catalogue that a perfect detector would write of the chosen sources."""
        true = measures(self.truth[chosen], self.image.reader.wcs, self.image.reader.beam).reset_index(drop=True)
        table = QTable({"id": np.arange(len(true))})
        for name, unit in UNITS.items():
            table[name] = np.nan_to_num(true[name].to_numpy()) * (unit or 1)
            table[f"{name}_error"] = np.full(len(true), 1e-3) * (u.arcsec if name in ("ra", "dec") else unit or 1)
        for number, name in enumerate(CLASSES):
            table[f"p_{name}"] = np.where(self.objects.label[chosen] == number, 0.8, 0.1)
        table["snr"] = self.objects.snr[chosen]
        table["probability"] = np.clip(0.99 - 0.2 / self.objects.snr[chosen], 0, 1)
        return table


@pytest.fixture(scope="session")
def sky(tmp_path_factory):
    """A field of 320 x 256 pixels with an elliptical beam."""
    folder = tmp_path_factory.mktemp("sky")
    settings = ContinuumSettings(shape=(320, 256), beam_arcsec=(1.8, 1.4, 30.0), centre=(0.0, -30.0))
    field = simulate(settings, 3)
    frame_hdus(field.frame).writeto(folder / "field.fits")
    field.truth.to_csv(folder / "truth.csv", index=False)
    image = ContinuumImage.open(folder / "field.fits")
    truth = read_table(folder / "truth.csv", Sdc1(560), truth=True)
    return LabelledSky(folder, image, truth, image.objects(truth))
