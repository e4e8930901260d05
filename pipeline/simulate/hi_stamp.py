"""The picture of one galaxy in a cube, without noise, and how well it can be seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import fft

from pipeline.simulate.hi_disc import Cloud, atlas, disc
from pipeline.simulate.hi_laws import channel_width_km_s
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import NoisePower, covariance, white_beam

_SIGMAS = 4.0  # of beam and dispersion, beyond the gas
_TENT = 1 / 6  # mean variance of the linear sharing of a point among pixels [pixels^2]
_CHANNEL = 1 / 12  # variance of the width of a channel [channels^2]
_LEAST_POWER = 0.1  # of the strongest mode of the noise: in weaker ones a real image holds little but noise


@dataclass(frozen=True)
class Stamp:
    """A galaxy in pixels.

    pixels : ``(frequency, y, x)`` float32 [Jy/beam], smoothed by the beam.
    centre : of the galaxy in `pixels`, (z, y, x), 0-based; its line is centred there, its gas about it.
    row : what it was drawn from, with the truth columns of SDC2.
    """

    pixels: np.ndarray
    centre: np.ndarray
    row: dict


def stamp(row: Mapping, settings: HiSettings, rng: np.random.Generator, *, offset: np.ndarray | None = None) -> Stamp:
    """Draw the galaxy of a truth row: hi_size, line_flux_integral, central_freq, pa, i, w20 count.

    offset : of the centre from the middle of a pixel ``(3,)``, -0.5 to 0.5; None draws one. The sum of the pixels times
    the width of a channel over the area of the beam is the line flux.
    """
    step = float(channel_width_km_s(row["central_freq"], settings.channel_hz))
    cloud = _cloud(row, settings, step, rng)
    offset = rng.uniform(-0.5, 0.5, 3) if offset is None else np.asarray(offset, dtype=float)
    turn = np.radians(row["pa"] + 90.0)
    along, across = cloud.place.T / settings.pixel_arcsec
    # A receding line is at lower frequencies.
    point = np.stack(
        [
            -cloud.velocity / step,
            along * np.sin(turn) + across * np.cos(turn),
            along * np.cos(turn) - across * np.sin(turn),
        ]
    )
    beam = covariance(*settings.beam_pixels)
    spread = np.sqrt([(cloud.dispersion / step) ** 2 + _CHANNEL, beam[0, 0], beam[1, 1]])
    half = np.ceil(np.abs(point).max(axis=1) + 0.5 + _SIGMAS * spread).astype(int)
    shape = tuple(fft.next_fast_len(int(n), real=True) for n in 2 * half + 1)
    centre = half + offset
    sky = _share(point + centre[:, None], cloud.weight, shape)
    pixels = _smooth(sky, (cloud.dispersion / step) ** 2 + _CHANNEL, beam)
    pixels *= np.float32(row["line_flux_integral"] / settings.channel_hz)
    return Stamp(pixels, centre, dict(row))


def matched_snr(
    pixels: np.ndarray, power: NoisePower, rms: np.ndarray | float, *, least_power: float = _LEAST_POWER
) -> float:
    """Signal-to-noise ratio of the best linear filter for a noiseless signal ``(frequency, y, x)`` [Jy/beam].

    In noise of the texture `power` and of `rms` [Jy/beam], one or one a channel: the root of the sum over modes of
    |signal|^2 over the power of the noise (Turin 1960, IRE Trans. IT-6, 311). Modes in which the noise has less than
    `least_power` of its greatest power are left out: what is finer than the beam can be told in noise that is exactly
    a smoothed white one, and in no real image. A point has 0.76 times the quadratic sum of its
    peaks over the rms, where a filter of the beam's shape has 0.71.
    """
    if len(power.spectral) == 1:
        return float(np.sqrt(np.sum(_squared_snr(pixels, power, least_power) / np.square(rms))))
    return float(np.sqrt(np.sum(_squared_snr(_modes(pixels, power, rms, least_power), power, least_power))))


def _modes(pixels: np.ndarray, power: NoisePower, rms: np.ndarray | float, least_power: float) -> np.ndarray:
    """Modes along frequency (m, y, x) of a signal, each in units of the root of its noise."""
    lags = np.arange(1, len(power.spectral))
    length = len(pixels) + len(lags)
    both = np.zeros(length)
    both[0] = 1.0
    np.add.at(both, np.concatenate([lags, -lags]) % length, np.tile(power.spectral[1:], 2))
    spectrum = fft.fft(both).real
    kept = spectrum > least_power * spectrum.max()
    snr = pixels / np.broadcast_to(np.asarray(rms, float), len(pixels))[:, None, None]
    return fft.fft(snr, length, axis=0)[kept] / np.sqrt(length * spectrum[kept])[:, None, None]


def _squared_snr(pixels: np.ndarray, power: NoisePower, least_power: float) -> np.ndarray:
    """Squared SNR of each channel, or of each mode along frequency, ``(f,)`` for an rms of 1."""
    ny, nx = pixels.shape[1:]
    lags = np.arange(-power.lags, power.lags + 1)
    patch = np.zeros((ny, nx))
    np.add.at(patch, (lags[:, None] % ny, lags[None, :] % nx), power.correlation)
    spectrum = fft.fft2(patch).real
    kept = spectrum > least_power * spectrum.max()
    square = np.abs(fft.fft2(pixels.astype(np.result_type(pixels, np.float64)))) ** 2
    return (square[:, kept] / spectrum[kept]).sum(axis=1) / (ny * nx)


def white_power(settings: HiSettings) -> NoisePower:
    """Noise of rms 1 that the beam has smoothed, of the settings' beam."""
    return white_beam(settings.beam_pixels)


def _cloud(row: Mapping, settings: HiSettings, step: float, rng: np.random.Generator) -> Cloud:
    size, width, inclination = (float(row[name]) for name in ("hi_size", "w20", "i"))
    if settings.galaxies is not None and rng.random() < settings.galaxies_share:
        return atlas(settings.galaxies).cloud(size, width, inclination, step, rng)
    detail = 16 * (1 + (size / settings.pixel_arcsec) ** 2) * (1 + width / step)
    return disc(size, width, inclination, settings.lopsidedness, rng, detail=detail)


def _share(point: np.ndarray, weight: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Points ``(3, n)``, each shared linearly among eight pixels of `shape`."""
    base = np.floor(point).astype(np.int64)
    part = (point - base).astype(np.float32)
    weight = weight.astype(np.float32)
    first = (base[0] * shape[1] + base[1]) * shape[2] + base[2]
    index, light = [], []
    for dz in (0, 1):
        in_z = weight * (part[0] if dz else 1 - part[0])
        for dy in (0, 1):
            in_y = in_z * (part[1] if dy else 1 - part[1])
            for dx in (0, 1):
                index.append(first + ((dz * shape[1] + dy) * shape[2] + dx))
                light.append(in_y * (part[2] if dx else 1 - part[2]))
    size = shape[0] * shape[1] * shape[2]
    total = np.bincount(np.concatenate(index), np.concatenate(light), minlength=size)
    return total.reshape(shape).astype(np.float32)


def _smooth(sky: np.ndarray, along: float, beam: np.ndarray) -> np.ndarray:
    """Jy a pixel to Jy/beam: `along` is the variance in channels^2, `beam` the covariance in (y, x) [pixels^2].

    Sharing points among pixels has smoothed them already, on average, by a variance that is taken off.
    """
    nz, ny, nx = sky.shape
    fz, fy, fx = np.ix_(fft.fftfreq(nz), fft.fftfreq(ny), fft.rfftfreq(nx))
    form = (beam[0, 0] - _TENT) * fy**2 + 2 * beam[0, 1] * fy * fx + (beam[1, 1] - _TENT) * fx**2
    line = np.exp(-2 * np.pi**2 * max(along - _TENT, 0.0) * fz**2)
    plane = 2 * np.pi * np.sqrt(np.linalg.det(beam)) * np.exp(-2 * np.pi**2 * form)
    spectrum = fft.rfftn(sky)
    spectrum *= line.astype(np.float32)
    spectrum *= plane.astype(np.float32)
    return fft.irfftn(spectrum, s=sky.shape)
