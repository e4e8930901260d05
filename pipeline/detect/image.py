"""A continuum image opened for detection: its pixels by section, noise, beam and primary beam."""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from pipeline.data.background import Background, measure_background
from pipeline.detect import continuum
from pipeline.detect.continuum import PixelBeam
from pipeline.detect.crops import LabelledField
from pipeline.detect.objects import Objects
from pipeline.detect.predict import standardised
from pipeline.errors import UserError
from pipeline.sky.geometry import ellipse_to_pixel, pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam, NoWCSWarning
from pipeline.sky.window import FrameReader

# Side of the sections that are read where there are positions [pixel].
TILE = 512
# Along each axis, where a primary beam is looked at before its use; and what a normalised one may reach there.
_PLACES = 9
_LEAST, _GREATEST = 1e-3, 1.2


class MemoryReader:
    """Pixels in memory (y, x) in the place of a `FrameReader`."""

    def __init__(self, data: np.ndarray, wcs: WCS, beam: Beam | None, path: str):
        self.data, self.wcs, self.beam, self.path, self.note = data, wcs, beam, path, ""
        self.shape = data.shape

    def read(self, section: Sequence[slice]) -> np.ndarray:
        """The pixels of a section."""
        return self.data[tuple(section)]


def by_tile(pixel: np.ndarray, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first pixel (N,) of each tile that holds some of the pixels (n, N) int, and the indices of those."""
    tiles, member = np.unique(pixel // side, axis=0, return_inverse=True)
    order = np.argsort(member.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(member.ravel(), minlength=len(tiles)))
    for tile, end, count in zip(tiles, ends, np.diff(ends, prepend=0), strict=True):
        yield tile * side, order[end - count : end]


@dataclass
class ContinuumImage:
    """An image in Jy/beam with what the detector needs to know of it.

    reader : gives sections (y, x). background : its local median and rms [Jy/beam].
    attenuation : the primary beam's image, or None. response : the share of a true flux that it shows otherwise.
    """

    reader: FrameReader | MemoryReader
    background: Background
    attenuation: FrameReader | MemoryReader | None = None
    response: float = 1.0

    @classmethod
    def open(cls, source: str | os.PathLike, primary_beam: str | os.PathLike | None = None) -> "ContinuumImage":
        """Open the FITS image `source` and measure its noise.

        Raises
        ------
        UserError : not an image in a unit of brightness, no beam, no coordinates, no valid pixel, no noise.
        """
        with warnings.catch_warnings():
            # It is an error here, and told as one.
            warnings.simplefilter("ignore", NoWCSWarning)
            reader = FrameReader(source)
            beam = None if primary_beam is None else FrameReader(primary_beam, unit=None)
        for part in (reader, beam):
            if part is not None and part.wcs is None:
                what = f"has no celestial coordinates ({part.wcs_flaw})"
                raise UserError(part.path, what, "correct the WCS cards of its header")
        background = measure_background(reader.read, reader.shape, where=source)
        if not background.summary()["median_rms"] > 0:
            raise UserError(source, "has no noise (its median absolute deviation is 0)", "give an image with noise")
        image = cls(reader, background, beam)
        if beam is not None:
            image._check_primary_beam()
        return image

    @property
    def path(self) -> str:
        return self.reader.path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.reader.shape

    @cached_property
    def beam(self) -> PixelBeam:
        """The restoring beam in the pixels of the middle of the image."""
        beam, (y, x) = self.reader.beam, ([(side - 1) / 2] for side in self.shape)
        major, minor, theta = ellipse_to_pixel(
            self.reader.wcs, x, y, *([3600 * axis] for axis in (beam.major, beam.minor)), [beam.pa]
        )
        return PixelBeam(float(major[0]), float(minor[0]), float(theta[0]))

    @property
    def beam_arcsec(self) -> float:
        """FWHM of the beam, the geometric mean of its axes [arcsec]."""
        return 3600 * float(np.sqrt(self.reader.beam.major * self.reader.beam.minor))

    def attenuation_at(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """The primary beam at positions (n,) [deg], by linear interpolation; 1 where no image of it was given.

        NaN beyond that image; it is read where there are positions.
        """
        if self.attenuation is None:
            return np.ones(len(ra))
        x, y = sky_to_pixel(self.attenuation.wcs, ra, dec)
        centre, last = np.stack([y, x], axis=1), np.array(self.attenuation.shape) - 1
        result = np.full(len(ra), np.nan)
        inside = np.flatnonzero(((centre >= -0.5) & (centre < last + 0.5)).all(1))
        centre = np.clip(centre[inside], 0, last)
        for low, members in by_tile(centre.astype(int), TILE):
            section = [slice(*ends) for ends in zip(low, np.minimum(low + TILE, last) + 1, strict=True)]
            pixels = self.attenuation.read(section)
            result[inside[members]] = map_coordinates(pixels, (centre[members] - low).T, order=1, mode="nearest")
        return result

    def _check_primary_beam(self) -> None:
        """Refuse what would make every flux wrong or unknown, seen on a grid of places in the image."""
        grid = np.meshgrid(*(np.linspace(0, side - 1, _PLACES) for side in self.shape), indexing="ij")
        y, x = (part.ravel() for part in grid)
        attenuation = self.attenuation_at(*pixel_to_sky(self.reader.wcs, x, y))
        known = attenuation[np.isfinite(attenuation)]
        where = self.attenuation.path
        if not len(known):
            what = f"has no valid pixel where {self.path} is"
            raise UserError(where, what, "give the primary beam of this part of the sky")
        if not _LEAST < known.max() <= _GREATEST:
            what = f"holds values up to {known.max():.3g}, which are not those of a primary beam"
            raise UserError(where, what, "give one that is 1 at its centre and falls towards 0")

    def rms_at(self, centre: np.ndarray) -> np.ndarray:
        """The local noise at pixel positions (n, 2) [Jy/beam]."""
        return self.background.at_positions(centre)[1]

    def objects(self, truth: pd.DataFrame) -> Objects:
        """What the image shows of a truth table with the official columns; positions may lie outside."""
        x, y = sky_to_pixel(self.reader.wcs, truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))
        attenuation = self.attenuation_at(truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))
        rms = self.rms_at(np.stack([y, x], axis=1))
        objects = continuum.to_objects(truth, self.reader.wcs, self.beam, rms, attenuation)
        # The detector learns to give true fluxes; what can be learnt depends on what is seen.
        objects.snr = objects.snr * self.response
        return objects

    def labelled(self, truth: pd.DataFrame, section: Sequence[slice], least_snr: float) -> LabelledField:
        """The section of the image to learn from, with the objects in it that are bright enough."""
        objects = self.objects(truth)
        low = np.array([part.start for part in section])
        high = np.array([part.stop for part in section])
        inside = ((objects.centre >= low - 0.5) & (objects.centre < high - 0.5)).all(1)
        objects = objects.take(np.flatnonzero(inside & (objects.snr > least_snr)))
        objects.centre = objects.centre - low
        return LabelledField(standardised(self.reader.read, self.background, section), objects, self.beam.conditions)
