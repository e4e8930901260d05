"""Noise of a cube: correlated on the sky, and along frequency where that was measured, of an rms that changes."""

import numpy as np
from scipy import fft

from pipeline.simulate.hi_laws import channel_frequency
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import NoisePower, white_beam

_SHEET = 512  # pixels: planes smaller than half of it are cut from one sheet of noise
_REACH = 0.01  # autocorrelation below which pixels are taken for independent
_AT_ONCE = 1 << 21  # pixels transformed together
_RUN = (4, 40)  # channels in a row that interference spoils
_LONG = 64  # channels in which the autocorrelation along frequency is turned into a filter


def sdc2_rms(frequency: np.ndarray, channel_hz: float) -> np.ndarray:
    """rms [Jy/beam] at `frequency` [Hz] in a channel: 13.6 to 15.4 uJy/beam in 115 kHz from 0.95 to 1.15 GHz (the
    simulation of Hartley et al. 2023); it falls with the root of the width of the channel."""
    per_115_khz = 13.6 + 3.5 * (np.asarray(frequency) / 1e9 - 0.95) / 0.4
    return 1e-6 * per_115_khz * np.sqrt(115e3 / channel_hz)


def channel_rms(settings: HiSettings, rng: np.random.Generator) -> np.ndarray:
    """rms of the noise of each channel ``(f,)`` float32 [Jy/beam], with runs of channels that interference spoils."""
    rms = settings.noise * sdc2_rms(channel_frequency(settings), settings.channel_hz)
    excess = np.ones(len(rms))
    wanted = round(settings.rfi * len(rms))
    while wanted and (excess > 1).sum() < wanted:
        first = rng.integers(len(rms))
        last = first + min(int(rng.integers(*_RUN)), wanted - int((excess > 1).sum()))
        # The logarithm is uniform: weak interference is more common than strong.
        excess[first:last] = np.maximum(excess[first:last], settings.rfi_factor ** rng.uniform(0.1, 1.0))
        if settings.rfi_factor == 1:
            break
    return (rms * excess).astype(np.float32)


def noise_cube(
    noise: NoisePower | HiSettings,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    rms: np.ndarray | float | None = None,
) -> np.ndarray:
    """Gaussian noise of `shape` (frequency, y, x) float32, with the texture of `noise`.

    Random modes with the root of the spectrum, the transform of the autocorrelation (Wiener-Khinchin), are turned
    into pixels. That is noise without borders, which a margin as wide as its correlation takes from the borders of
    the cube; small planes, as those of training samples, are cut side by side from one sheet.

    noise : measured texture, or settings whose beam smoothed white noise.
    rms : of each channel ``(f,)`` or of all [Jy/beam]; None takes the noise's own, 1 where `noise` is settings.
    """
    power = white_beam(noise.beam_pixels) if isinstance(noise, HiSettings) else noise
    result = NoiseStream(power, shape[1:]).take(shape[0], rng)
    scale = power.rms if rms is None else np.asarray(rms, dtype=np.float32)
    result *= np.float32(scale) if np.ndim(scale) == 0 else scale[:, None, None]
    return result


class NoiseStream:
    """Noise of rms 1 with the texture of `power`, one run of channels (y, x) after the other, as if made at once."""

    def __init__(self, power: NoisePower, plane: tuple[int, int]):
        self.power, self.plane = power, tuple(plane)
        self._filter = _along_frequency(power.spectral)
        self._before = np.zeros((0, *plane), np.float32)

    def take(self, channels: int, rng: np.random.Generator) -> np.ndarray:
        """The next ``(channels, y, x)`` float32."""
        if len(self._filter) == 1:
            return _planes(self.power, (channels, *self.plane), rng)
        reach = len(self._filter) - 1
        missing = channels + reach - len(self._before)
        known = np.concatenate([self._before, _planes(self.power, (missing, *self.plane), rng)])
        self._before = known[channels:]
        result = np.zeros((channels, *self.plane), np.float32)
        for lag, weight in enumerate(self._filter):
            result += weight * known[lag : lag + channels]
        return result


def _along_frequency(spectral: tuple[float, ...]) -> np.ndarray:
    """Weights (odd,) float32 that give independent channels this autocorrelation, at the lags 0, 1, ..."""
    if len(spectral) == 1:
        return np.ones(1, np.float32)
    both = np.zeros(_LONG)
    lags = np.arange(len(spectral))
    both[lags], both[-lags[1:]] = spectral, spectral[1:]
    # A correlation that was cut off may have a spectrum below zero: that part becomes zero.
    response = fft.fftshift(fft.ifft(np.sqrt(np.clip(fft.fft(both).real, 0.0, None))).real)
    middle, reach = _LONG // 2, 2 * len(spectral)
    weights = response[middle - reach : middle + reach + 1]
    return (weights / np.sqrt(np.sum(weights**2))).astype(np.float32)


def _planes(power: NoisePower, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Independent planes of rms 1."""
    channels, *plane = shape
    gap = _reach(power)
    tiles = [max(1, _SHEET // (n + gap)) if 2 * (n + gap) <= _SHEET else 1 for n in plane]
    if channels < tiles[0] * tiles[1]:
        tiles = [min(tiles[0], -(-channels // min(tiles[1], channels))), min(tiles[1], channels)]
    size = tuple(fft.next_fast_len(count * (n + gap), real=True) for count, n in zip(tiles, plane, strict=True))
    root = _root(power, size)
    result = np.empty(shape, dtype=np.float32)
    corners = [(i * (plane[0] + gap), j * (plane[1] + gap)) for i in range(tiles[0]) for j in range(tiles[1])]
    sheets = -(-channels // len(corners))
    step = max(1, _AT_ONCE // (size[0] * size[1]))
    made = 0
    for start in range(0, sheets, step):
        for sheet in _sheets(root, size, min(step, sheets - start), rng):
            for y, x in corners[: channels - made]:
                result[made] = sheet[y : y + plane[0], x : x + plane[1]]
                made += 1
    return result


def _reach(power: NoisePower) -> int:
    """Pixels from which on the texture is uncorrelated."""
    y, x = np.nonzero(np.abs(power.correlation) > _REACH)
    return int(min(power.lags, np.max(np.maximum(np.abs(y - power.lags), np.abs(x - power.lags))) + 1))


def _root(power: NoisePower, size: tuple[int, int]) -> np.ndarray:
    """Scale ``(ny, nx // 2 + 1)`` float32 of complex random modes whose two parts have variance 1, for an rms of 1."""
    lags = np.arange(-power.lags, power.lags + 1)
    patch = np.zeros(size)
    np.add.at(patch, (lags[:, None] % size[0], lags[None, :] % size[1]), power.correlation)
    spectrum = np.clip(fft.rfft2(patch).real, 0.0, None)
    # The mean over all frequencies is the variance; a clipped spectrum is brought back to 1.
    spectrum /= fft.irfft2(spectrum, s=size)[0, 0]
    root = np.sqrt(spectrum * (size[0] * size[1] / 2))
    # In the columns that have no conjugate the transform keeps only the part that makes real pixels: half the power.
    root[:, 0] *= np.sqrt(2)
    if size[1] % 2 == 0:
        root[:, -1] *= np.sqrt(2)
    return root.astype(np.float32)


def _sheets(root: np.ndarray, size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    modes = rng.standard_normal((count, *root.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    modes *= root
    return fft.irfft2(modes, s=size, overwrite_x=True)
