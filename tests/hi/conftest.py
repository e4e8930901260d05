"""Cubes without a file, with voxels or without, galaxies in them, detections and catalogues."""

import contextlib
import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from pipeline.detect.calibrate import Calibrated
from pipeline.detect.head import Layout
from pipeline.detect.objects import Objects
from pipeline.detect.predict import Detections
from pipeline.hi.comparison import MEASURES, boxes, measures
from pipeline.hi.galaxies import VALUES
from pipeline.sky.geometry import pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam

RMS, REST = 3e-5, 1.420405752e9


class MemoryCube:
    """What a `CubeReader` offers, of voxels in memory: the channels as regular in frequency or optical velocity."""

    def __init__(self, shape=(60, 50, 54), *, kind="FREQ", falls=False, turn=0.0, crval=(150.0, -30.0), data=None):
        self.shape, self.rest_hz, self.convention, self.path = shape, REST, f"{kind}, LSRK", "cube.fits"
        self.data = np.zeros(shape, "f4") if data is None else data
        self.wcs = WCS(naxis=2)
        self.wcs.wcs.ctype, self.wcs.wcs.crval, self.wcs.wcs.crpix = ["RA---SIN", "DEC--SIN"], crval, [27.0, 25.0]
        angle, scale = np.deg2rad(turn), 2.8 / 3600
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.wcs.wcs.cd = turned @ np.diag([-scale, scale])
        self.wcs.wcs.set()
        self.pixel_scale, self.beam = scale, Beam(8 / 3600, 7 / 3600, 20.0)
        first, step = (1.04e9, 3e4) if kind == "FREQ" else (1.1e8 + 8e3 * (shape[0] - 1), -8e3)
        scale = first + step * np.arange(shape[0])
        self.frequency = scale if kind == "FREQ" else REST / (1 + scale / 299792458.0)
        self.channel_hz = np.abs(np.gradient(self.frequency))
        self.axis = SimpleNamespace(descending=falls, frame="LSRK")
        stored = (first + step * (shape[0] - 1), -step) if falls else (first, step)
        self.header = fits.Header({"NAXIS": 3, "CTYPE3": kind, "CRPIX3": 1.0, "CRVAL3": stored[0], "CDELT3": stored[1]})

    def stored_channel(self, z):
        return self.shape[0] - 1 - z if self.axis.descending else z

    def read(self, section):
        return self.data[tuple(section)]

    def to_sky(self, z, y, x):
        return *pixel_to_sky(self.wcs, x, y), np.interp(z, np.arange(self.shape[0]), self.frequency)

    def from_sky(self, ra, dec, frequency):
        x, y = sky_to_pixel(self.wcs, ra, dec)
        return np.interp(frequency, self.frequency, np.arange(self.shape[0])), y, x


class ChannelNoise:
    """The rms of each channel, NaN where it is blank."""

    def __init__(self, rms):
        self.rms = np.asarray(rms, float)
        self.blank = np.isnan(self.rms)

    def at(self, section):
        rms = self.rms[section[0]][:, None, None]
        return np.zeros_like(rms), rms

    def at_positions(self, centre):
        rms = self.rms[np.clip(np.rint(centre[:, 0]), 0, len(self.rms) - 1).astype(int)]
        return np.zeros_like(rms), rms


def detected(n=30, seed=0, shape=(60, 50, 54)):
    """Detections away from the border, with random parameters and errors."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, n)
    low, high = [12, 12, 12], np.array(shape) - 13
    values = [
        random.uniform(1, 4, n), random.uniform(-0.5, 0.8, n), random.uniform(1, 2.8, n),
        np.cos(angle), np.sin(angle), random.uniform(0.2, 0.9, n),
    ]  # fmt: skip
    found = Detections(
        logit=random.normal(size=n),
        centre=random.uniform(low, high, (n, 3)),
        size=random.uniform(4, 8, (n, 3)),
        values=np.stack(values, axis=1),
        width=random.uniform(0.05, 0.2, (n, 9)),
        classes=np.zeros((n, 0)),
        rms=np.full(n, RMS),
    )
    return Calibrated(found, random.uniform(0.5, 1, n), random.uniform(0.01, 0.05, (n, 9)))


def model(**trained):
    layout = Layout(VALUES, (), (4, 4, 4), (2, 1.6, 1.6, 2.5, 0, 2.0, 0, 0, 0.5), (1.0,) * 9)
    detector = SimpleNamespace(network=SimpleNamespace(field=(21, 15, 15)), layout=layout)
    return SimpleNamespace(detector=detector, trained={"beam": [2.5, 2.8], **trained})


@pytest.fixture
def standin():
    """The parts from which a test builds its cube."""
    return SimpleNamespace(
        Cube=MemoryCube, Noise=ChannelNoise, detected=detected, model=model, rms=RMS, rest=REST,
        flat=lambda cube: ChannelNoise(np.full(cube.shape[0], RMS)),
    )  # fmt: skip


_PIXEL = 2.8 / 3600


class EmptyCube:
    """A cube of 320 channels of 30 kHz from 1.04 GHz on and 200 x 240 pixels of 2.8 arcsec."""

    shape = (320, 200, 240)
    rest_hz = 1.420405752e9
    beam = Beam(7 / 3600, 7 / 3600, 0.0)

    def __init__(self):
        self.wcs = WCS(naxis=2)
        self.wcs.wcs.ctype, self.wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], [180.0, -30.0]
        self.wcs.wcs.crpix, self.wcs.wcs.cdelt = [120.5, 100.5], [-_PIXEL, _PIXEL]
        self.channel_hz = np.full(self.shape[0], 30e3)

    def to_sky(self, z, y, x):
        return (*pixel_to_sky(self.wcs, x, y), 1.04e9 + 30e3 * np.asarray(z, float))

    def from_sky(self, ra, dec, frequency):
        x, y = sky_to_pixel(self.wcs, ra, dec)
        return (np.asarray(frequency) - 1.04e9) / 30e3, y, x


@dataclass
class LabelledCube:
    """A cube and what is in it."""

    cube: EmptyCube
    truth: pd.DataFrame
    objects: Objects

    def catalogue(self, chosen, name="probability"):
        """The catalogue that a perfect detector would write of the chosen galaxies."""
        true = measures(self.truth[chosen].reset_index(drop=True), self.cube)
        table = QTable({"id": np.arange(len(true))})
        for name, (unit, _) in MEASURES.items():
            table[name] = true[name].to_numpy() * unit
            table[f"{name}_error"] = np.full(len(true), 1e-3) * (u.arcsec if name in ("ra", "dec") else unit)
        table["snr"] = table["matched_snr"] = self.objects.snr[chosen]
        table["probability"] = np.clip(0.99 - 0.2 / self.objects.snr[chosen], 0, 1)
        return table


def _galaxies(n, seed):
    random, cube = np.random.default_rng(seed), EmptyCube()
    place = (random.uniform(0, side - 1, n) for side in cube.shape)
    ra, dec, frequency = cube.to_sky(*place)
    truth = pd.DataFrame(
        {
            "id": np.arange(n) + 100,
            "ra": ra,
            "dec": dec,
            "hi_size": random.lognormal(1.6, 0.4, n),
            "line_flux_integral": random.lognormal(1.7, 0.7, n),
            "central_freq": frequency,
            "pa": random.uniform(0, 360, n),
            "i": np.degrees(np.arccos(random.uniform(0, 1, n))),
            "w20": random.uniform(60, 350, n),
        }
    )
    return LabelledCube(cube, truth, _objects(truth, cube, random.lognormal(1.2, 0.7, n)))


def _objects(truth, cube, snr):
    corners = boxes(measures(truth, cube), cube)
    n = len(truth)
    return Objects(
        centre=corners.mean(1),
        size=corners[:, 1] - corners[:, 0],
        values=np.zeros((n, 6)),
        label=np.full(n, -1),
        snr=snr,
        row=np.arange(n),
    )


@pytest.fixture(scope="session")
def galaxies():
    """A function (number, seed) that makes a labelled cube."""
    return _galaxies


@pytest.fixture(scope="session")
def sky(galaxies):
    """150 galaxies of 2 to 20 times the noise."""
    return galaxies(150, 1)


HI_RUN = """\
run: results
tasks:
  hi:
    kind: hi
    simulate: {shape: [128, 64, 64], noise: 0.05, density: 120, flux_limit: 5}
    practice: {galaxies: 150, per_crop: 4, density: 2, shape: [128, 64, 72]}
    detector:
      network: C-24.4_s4_valid_linear C-24.1x3x3_linear C-24.5x1x1 R-24.1x3x3+5x1x1
      steps: 20
      held_out_steps: 2
      crop: [64, 24, 24]
      train: {epochs: 8, batch: 4, learning_rate: 1e-2, warmup: 0.5, ema: 0.9, clip: 2, patience: 0}
    look: {candidates: 20}
    products: true
"""
HI_TASK = "--config run.yaml --task hi --simulated results/hi/simulated"
HI_DETECT = (
    "detect {task} --model results/hi/model.safetensors --out {to}/catalogue.fits --out {to}/catalogue.ecsv"
    " --out {to}/submission.txt --regions {to}/catalogue.reg --candidates {to}/candidates.fits --chunks {to}/chunks"
)


@pytest.fixture(scope="session")
def hi_run(tmp_path_factory, workplace):
    """The folder of a run of a task on galaxies, whose sky is small, bright and quiet: all stages are done."""
    folder = tmp_path_factory.mktemp("galaxies")
    work = workplace(folder)
    work.write("run.yaml", HI_RUN)
    to, model = "results/hi", "results/hi/model.safetensors"
    with contextlib.chdir(folder):
        for command in (
            f"simulate --config run.yaml --task hi --out {to}/simulated",
            f"train {HI_TASK} --out {model}",
            HI_DETECT.format(task=HI_TASK, to=to) + f" --products {to}/galaxies --page {to}",
            f"evaluate {HI_TASK} --model {model} --catalogue {to}/catalogue.fits --candidates {to}/candidates.fits"
            f" --out {to}/metrics.json",
            f"figures {to}",
            "report --config run.yaml --out results/report.html",
        ):
            code, lines = work.run(f"{command} --log run.log")
            assert code == 0, "\n".join(lines) + work.path("run.log").read_text()
            assert not [line for line in lines if line.startswith("fleming: warning")], lines
    return folder


@pytest.fixture
def hi_detect():
    """A function (folder) that gives the command that searches the test cube, with all results in a folder."""
    return lambda to: HI_DETECT.format(task=HI_TASK, to=to)


@pytest.fixture
def hi_work(hi_run, workplace, tmp_path, monkeypatch):
    """A fresh folder as the current one, with the config, the model and the cubes of that run."""
    work = workplace(tmp_path / "work")
    for name in ("run.yaml", "results/hi/model.safetensors", "results/hi/simulated/validation/truth.csv"):
        shutil.copy(hi_run / name, work.path(name))
    shutil.copytree(hi_run / "results/hi/simulated/test", work.folder / "results/hi/simulated/test")
    monkeypatch.chdir(work.folder)
    return work
