"""What a simulation has to be like for its noise to look like that of a cube."""

from dataclasses import replace

import numpy as np

from pipeline.data.cube_noise import CubeNoise
from pipeline.errors import UserError
from pipeline.simulate.hi_noise import sdc2_rms
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import NoisePower, measure
from pipeline.sky.cube import CubeReader
from pipeline.sky.geometry import ARCSEC

# Channels that the texture is averaged over, and the most pixels of each that are looked at on a side.
_CHANNELS, _SIDE = 24, 1024


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


def sky_like(settings: HiSettings, reader: CubeReader, noise: CubeNoise) -> HiSettings:
    """The settings whose simulated galaxies have the pixels, channels, band, beam and noise of a cube."""
    beam, level = reader.beam, float(np.nanmedian(noise.rms))
    channel = float(np.median(reader.channel_hz))
    usual = float(np.median(sdc2_rms(reader.frequency, channel)))
    told = {
        "shape": reader.shape,
        "pixel_arcsec": ARCSEC * reader.pixel_scale,
        "channel_hz": channel,
        "lowest_hz": float(reader.frequency[0]),
        "beam_arcsec": (ARCSEC * beam.major, ARCSEC * beam.minor, beam.pa),
        "noise": level / usual,
    }
    return HiSettings(**(settings.model_dump() | told))


def _middle(side: int) -> slice:
    start = max((side - _SIDE) // 2, 0)
    return slice(start, min(start + _SIDE, side))
