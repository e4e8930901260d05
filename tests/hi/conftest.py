"""A cube in memory in the place of a reader, its noise, and detections in it."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.detect.calibrate import Calibrated
from pipeline.detect.head import Layout
from pipeline.detect.predict import Detections
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
