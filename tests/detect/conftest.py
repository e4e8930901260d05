"""A small simulated field with its truth as files, and catalogues made from that truth."""

from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
import torch
from astropy.table import QTable
from astropy.wcs import WCS

from pipeline.data.background import Background
from pipeline.detect.calibrate import Calibrator, Truth, fit_calibrator
from pipeline.detect.comparison import UNITS, measures
from pipeline.detect.continuum import CLASSES, NAMES, PixelBeam
from pipeline.detect.head import Layout
from pipeline.detect.image import ContinuumImage, MemoryReader
from pipeline.detect.inputs import input_channels
from pipeline.detect.model import Model
from pipeline.detect.objects import Objects
from pipeline.detect.predict import Detections
from pipeline.detect.task import train
from pipeline.detect.task_settings import DetectSettings
from pipeline.detect.train import Detector
from pipeline.nn.network import build
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_files import write_field
from pipeline.simulate.noise import white_beam
from pipeline.sky.fitsout import frame_hdus
from pipeline.sky.geometry import pixel_to_sky
from pipeline.sky.headers import Beam

_PIXEL = 1 / 3600


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


class Memory:
    """Continuum images without light in memory, truth tables of them, and Gaussians to draw there."""

    beam = PixelBeam(4.0, 3.0, 25.0)

    @staticmethod
    def wcs_of(shape):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], [150.0, 2.0]
        wcs.wcs.crpix, wcs.wcs.cdelt = [(side + 1) / 2 for side in shape[::-1]], [-_PIXEL, _PIXEL]
        return wcs

    @staticmethod
    def image_of(shape=(90, 120), rms=1e-5, attenuation=None):
        wcs = Memory.wcs_of(shape)
        # A pixel angle of 25 degrees from +x to +y is a position angle of -65 degrees.
        beam = Beam(Memory.beam.major * _PIXEL, Memory.beam.minor * _PIXEL, Memory.beam.theta - 90)
        edges = tuple(np.array([0, side]) for side in shape)
        background = Background(shape, edges, np.zeros((1, 1)), np.full((1, 1), rms))
        beams = None if attenuation is None else MemoryReader(attenuation, wcs, None, "beam")
        return ContinuumImage(MemoryReader(np.zeros(shape, np.float32), wcs, beam, "memory"), background, beams)

    @staticmethod
    def truth_of(image, x, y, **columns):
        ra, dec = pixel_to_sky(image.reader.wcs, np.asarray(x, float), np.asarray(y, float))
        count = len(ra)
        random = np.random.default_rng(count)
        axes = np.sort(random.uniform(0.5, 9, (2, count)), axis=0)
        table = {
            "id": np.arange(count),
            "ra_core": ra,
            "dec_core": dec,
            "ra_cent": ra,
            "dec_cent": dec,
            "flux": np.exp(random.normal(-8, 1, count)),
            "core_frac": random.uniform(0, 1, count),
            "b_maj": axes[1],
            "b_min": axes[0],
            "pa": random.uniform(0, 180, count),
            "size": 2,
            "class": random.integers(1, 4, count),
        }
        return pd.DataFrame(table | columns)

    @staticmethod
    def gaussian(shape, y, x, squares):
        """A Gaussian of peak 1 whose squared full widths (x, y) are `squares`."""
        yy, xx = np.indices(shape, float)
        away = np.stack([xx - x, yy - y], axis=-1)
        return np.exp(-4 * np.log(2) * np.einsum("...i,ij,...j", away, np.linalg.inv(squares), away))


@pytest.fixture(scope="session")
def memory():
    return Memory


def _random_model(ndim=2, names=NAMES, **trained):
    """A random network that takes much of an image for sources, with a calibrator of random weights."""
    p = len(names.values)
    mean, spread = (*[1.6] * ndim, 2.5, 2.0, -0.5, -1.0, 0.0, 0.0, 0.3)[: ndim + p], (*[0.5] * (ndim + p),)
    layout = Layout(names.values, names.classes, (2,) * ndim, mean, spread)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        shape = (input_channels(len(names.conditions), ndim), *[32] * ndim)
        network = build(f"C-8.4_s2_p1 C-8.3 C-{layout.channels}.3_linear_none", ndim, shape).eval()
        with torch.no_grad():
            last = [module for module in network.modules() if hasattr(module, "weight")][-1]
            last.weight.mul_(3.0)
    calibrator = _calibrator(ndim, p, len(names.classes))
    told = {"beam": [2.3, 2.7], "noise": [white_beam((2.5, 2.5, 0.0)).to_dict()], "noise_tolerance": 0.2} | trained
    return Model(Detector(network, layout, names), calibrator, 0.3, 2.75, False, told)


def _calibrator(ndim, p, classes) -> Calibrator:
    random = np.random.default_rng(0)
    n = 40
    found = Detections(
        logit=random.normal(size=n),
        centre=random.uniform(0, 64, (n, ndim)),
        size=random.uniform(4, 8, (n, ndim)),
        values=random.normal(size=(n, p)),
        width=random.uniform(0.1, 1.0, (n, ndim + p)),
        classes=random.normal(size=(n, classes)),
        rms=np.ones(n),
    )
    truth = Truth(found.logit > random.normal(size=n), found.centre + 0.1, found.values + 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.detect.calibrate._STEPS", 30)
        return fit_calibrator([found], [truth], 0)


@pytest.fixture(scope="session")
def random_model():
    return _random_model


@dataclass
class Tiny:
    """A detector of a few weights, trained for seconds on a small field of bright sources."""

    folder: Path
    task: DetectSettings
    model: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_detector")
    task = DetectSettings(
        kind="detect",
        simulate={"shape": (192, 192), "density": 6.0, "flux_limit": 12.0, "size_factor": 0.3},
        areas={"validation": 0.4, "test": 0.2},
        detector={
            "network": "C-16.4_s2_p1 C-16.3",
            "crop": 64,
            "steps": 10,
            "held_out_steps": 2,
            "train": {"epochs": 4, "batch": 8, "learning_rate": 0.02, "precision": "fp32"},
        },
    )
    write_field(task.simulate, 1, folder / "simulated")
    train(task, folder / "model.safetensors", seed=1, device="cpu", simulated=folder / "simulated")
    return Tiny(folder, task, folder / "model.safetensors")
