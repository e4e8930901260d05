"""The texture of a cube's noise: what a simulation has to be like to have it, and whether a model was trained on it."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.data.cube_noise import CubeNoise
from pipeline.detect.texture import TOLERANCE, NoiseMismatchWarning, compare
from pipeline.errors import UserError
from pipeline.simulate.hi_noise import sdc2_rms
from pipeline.simulate.hi_settings import HIGHEST_HZ, HiSettings
from pipeline.simulate.noise import NoisePower, measure, white_beam
from pipeline.sky.cube import CubeReader
from pipeline.sky.geometry import ARCSEC, ellipse_to_pixel

log = logging.getLogger("fleming")

# Channels that the texture is averaged over, and the most pixels of each that are looked at on a side.
_CHANNELS, _SIDE = 24, 1024
# Runs of channels that the correlation along frequency is averaged over, their length, and the side of what is read
# of them; what is brighter is left out [rms], and correlations below the least are taken for none.
_RUNS, _LENGTH, _PART, _BRIGHTEST, _LEAST = 8, 8, 512, 4.0, 0.03
# How much of it may differ, as the rms of the lags 1 to 4.
_ALONG, _LAGS = 0.1, 4
# Above the line's rest frequency by more than this no galaxy approaches us.
_NEAREST = 1.005


def cube_texture(reader: CubeReader, noise: CubeNoise) -> NoisePower:
    """The autocorrelation of a cube's noise, of rms 1, on the sky and along frequency: means over all of its band.

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
    along = spectral_correlation(reader, noise)
    return replace(found[0], correlation=mean / mean.max(), rms=1.0, mad=1.0, spectral=along)


def spectral_correlation(reader: CubeReader, noise: CubeNoise) -> tuple[float, ...]:
    """The autocorrelation of a cube's noise along frequency at the lags 0, 1, ..., as far as it is not zero.

    Smoothing, and channels that are narrower than the correlator's, make it so. What does not fall off within the runs
    of channels that are looked at is continuum or a galaxy, and is taken off.
    """
    length = min(_LENGTH, reader.shape[0])
    starts = np.unique(np.linspace(0, reader.shape[0] - length, _RUNS).astype(int))
    section = [_middle(side, _PART) for side in reader.shape[1:]]
    product, count = np.zeros(length), np.zeros(length)
    for start in starts:
        part = (slice(int(start), int(start) + length), *section)
        median, rms = noise.at(part)
        with np.errstate(divide="ignore", invalid="ignore"):
            snr = (reader.read(part) - median) / rms
            kept = np.abs(snr) < _BRIGHTEST
        snr = np.where(kept, snr, 0.0).astype(float)
        for lag in range(length):
            product[lag] += np.sum(snr[lag:] * snr[: length - lag])
            count[lag] += np.count_nonzero(kept[lag:] & kept[: length - lag])
    if length < 3 or not count.all() or not product[0] > 0:
        return (1.0,)
    mean = product / count
    found = (mean - mean[-1]) / max(mean[0] - mean[-1], 1e-9)
    few = np.flatnonzero(found < _LEAST)
    return (1.0, *(float(value) for value in found[1 : few[0] if len(few) else length]))


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
    known = trained_texture(trained)
    here, there = (np.pad(part.spectral, (0, _LAGS))[1 : _LAGS + 1] for part in (found, known))
    if (far := float(np.sqrt(np.mean((here - there) ** 2)))) > _ALONG:
        warnings.warn(
            f"{reader.path}: its noise is correlated along frequency otherwise than that of the model's training "
            f"(autocorrelation at 1 and 2 channels {here[0]:.2f}, {here[1]:.2f} against {there[0]:.2f}, "
            f"{there[1]:.2f}; rms difference {far:.2f}, tolerance {_ALONG:g}); run fleming adapt and detect with the "
            "adapted model.",
            NoiseMismatchWarning,
            stacklevel=2,
        )
    return compare(reader.path, found, [known], trained.get("noise_tolerance", TOLERANCE))


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


def _middle(side: int, most: int = _SIDE) -> slice:
    start = max((side - most) // 2, 0)
    return slice(start, min(start + most, side))
