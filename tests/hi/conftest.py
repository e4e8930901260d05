"""Cubes that have a geometry and no voxels, galaxies in them, and catalogues made from those."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable
from astropy.wcs import WCS

from pipeline.detect.objects import Objects
from pipeline.hi.comparison import MEASURES, boxes, measures
from pipeline.sky.geometry import pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam

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
