"""The texture of a cube's noise: what a simulation has to be like to have it, and whether a model was trained on it."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.data.cube_noise import CubeNoise
from pipeline.detect.texture import TOLERANCE, compare
from pipeline.errors import UserError
from pipeline.simulate.hi_noise import sdc2_rms
from pipeline.simulate.hi_settings import HIGHEST_HZ, HiSettings
from pipeline.simulate.noise import NoisePower, measure, white_beam
from pipeline.sky.cube import CubeReader
from pipeline.sky.geometry import ARCSEC, ellipse_to_pixel

log = logging.getLogger("fleming")

# Channels that the texture is averaged over, and the most pixels of each that are looked at on a side.
_CHANNELS, _SIDE = 24, 1024
# Above the line's rest frequency by more than this no galaxy approaches us.
_NEAREST = 1.005


def cube_texture(reader: CubeReader, noise: CubeNoise) -> NoisePower:
    """The autocorrelation on the sky of a cube's noise, of rms 1: the mean over channels from all of its band.

    Raises
    ------
    UserError : no channel has enough valid pixels without sources.
    """
    good = np.flatnonzero(~noise.blank)
    chosen = np.unique(good[np.linspace(0, len(good) - 1, min(_CHANNELS, len(good))).astype(int)])
    section = [_middle(side) for side in reader.shape[1:]]
    beam = float(np.sqrt(reader.beam.major * reader.beam.minor) / reader.pixel_scale)
    found = []
    for channel in chosen:
        part = (slice(channel, channel + 1), *section)
        median, rms = noise.at(part)
        try:
            found.append(measure(((reader.read(part) - median) / rms)[0], beam))
        except UserError:
            # A channel that is full of galaxy, or nearly blank, says nothing of the noise.
            continue
    if not found:
        raise UserError(reader.path, "has no channel with enough empty sky to measure its noise in", "give more of it")
    mean = np.mean([one.correlation for one in found], axis=0)
    return replace(found[0], correlation=mean / mean.max(), rms=1.0, mad=1.0)


def check_texture(reader: CubeReader, noise: CubeNoise, trained: Mapping[str, Any]) -> float:
    """The distance of a cube's noise from that which a model says it was trained on; 0 where one of them is unknown.

    Warns
    -----
    NoiseMismatchWarning : it is above the model's tolerance.
    """
    try:
        found = cube_texture(reader, noise)
    except UserError as error:
        log.info("%s; whether the model was trained on noise like it stays unknown", str(error).removesuffix("."))
        return 0.0
    return compare(reader.path, found, [trained_texture(trained)], trained.get("noise_tolerance", TOLERANCE))


def trained_texture(trained: Mapping[str, Any]) -> NoisePower:
    """The noise that a model was trained on: as it was measured, else white noise smoothed by the beam."""
    stored = trained.get("noise")
    if stored is not None:
        return NoisePower.from_dict(stored)
    width = float(np.sqrt(np.prod(trained["beam"])))
    return white_beam(tuple(trained.get("beam_pixels", (width, width, 0.0))))


def beam_pixels(reader: CubeReader) -> tuple[float, float, float]:
    """The beam in the middle of a cube: FWHM major, minor [pixel] and the angle of the major axis from +x [deg]."""
    y, x = ([(side - 1) / 2] for side in reader.shape[1:])
    axes = ([ARCSEC * axis] for axis in (reader.beam.major, reader.beam.minor))
    return tuple(float(part[0]) for part in ellipse_to_pixel(reader.wcs, x, y, *axes, [reader.beam.pa]))


def sky_like(settings: HiSettings, reader: CubeReader, noise: CubeNoise) -> HiSettings:
    """The settings whose simulated galaxies have the pixels, channels, band, beam and noise of a cube.

    The faintest galaxies rise with the noise. Where the cube reaches frequencies at which galaxies need not recede,
    the band lies just below them.

    Raises
    ------
    UserError : the cube does not show the 21 cm line, or is too small.
    """
    beam, level = reader.beam, float(np.nanmedian(noise.rms))
    channel, lowest = float(np.median(reader.channel_hz)), float(reader.frequency[0])
    if lowest > _NEAREST * reader.rest_hz:
        what = f"begins at {lowest / 1e6:.5g} MHz, above the frequency of the 21 cm line"
        raise UserError(reader.path, what, "give a cube of that line, and check its spectral axis")
    if min(reader.shape) < 8:
        what = f"has {' x '.join(map(str, reader.shape))} voxels (frequency, y, x), fewer than 8 along an axis"
        raise UserError(reader.path, what, "give more of it")
    usual = float(np.median(sdc2_rms(reader.frequency, channel)))
    told = {
        "shape": reader.shape,
        "pixel_arcsec": ARCSEC * reader.pixel_scale,
        "channel_hz": channel,
        "lowest_hz": min(lowest, HIGHEST_HZ - reader.shape[0] * channel),
        "beam_arcsec": (ARCSEC * beam.major, ARCSEC * beam.minor, beam.pa),
        "noise": level / usual,
        "flux_limit": settings.flux_limit * level / usual / settings.noise,
    }
    return HiSettings(**(settings.model_dump() | told))


def _middle(side: int) -> slice:
    start = max((side - _SIDE) // 2, 0)
    return slice(start, min(start + _SIDE, side))
