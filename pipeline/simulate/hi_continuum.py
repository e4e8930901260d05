"""What an imperfect subtraction of continuum sources leaves in a cube."""

import numpy as np

from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import covariance

_COUNT, _FAINTEST, _SLOPE, _BRIGHTEST = 90.0, 1e-3, 0.9, 1.0  # per deg2 above 1 mJy; N(>S) ~ S^-0.9 up to 1 Jy
_PERIODS = (3e6, 60e6)  # Hz: standing waves and the curvature that a polynomial does not follow
_WAVES = 4
_SIGMAS = 4.0


class ContinuumResidual:
    """Point sources whose spectra wave about zero, drawn for the whole cube, added block by block.

    The number of sources above 1 mJy is that of 1 GHz, 90 a square degree (Condon 1984, ApJ 287, 461, fig. 5), their
    cumulative count a power law of slope -0.9. Each spectrum is a sum of four sinusoids of periods of 3 to 60 MHz;
    its rms over frequency is the settings' part of the flux.
    """

    def __init__(self, settings: HiSettings, rng: np.random.Generator):
        self._channel = settings.channel_hz
        _, ny, nx = settings.shape
        area = ny * nx * (settings.pixel_arcsec / 3600) ** 2
        n = rng.poisson(_COUNT * area) if settings.continuum_residual > 0 else 0
        least = (_FAINTEST / _BRIGHTEST) ** _SLOPE
        flux = _FAINTEST * (1 - rng.random(n) * (1 - least)) ** (-1 / _SLOPE)
        self._centre = rng.uniform(-0.5, np.array([ny, nx]) - 0.5, (n, 2))
        self._frequency = 1 / np.exp(rng.uniform(*np.log(_PERIODS), (n, _WAVES)))
        self._phase = rng.uniform(0, 2 * np.pi, (n, _WAVES))
        self._flux = flux * settings.continuum_residual * np.sqrt(2 / _WAVES)
        self._inverse = np.linalg.inv(covariance(*settings.beam_pixels))
        self._half = int(np.ceil(_SIGMAS * settings.beam_pixels[0] / 2.355))

    def add(self, data: np.ndarray, first: int) -> None:
        """Add to `data` ``(f, y, x)`` [Jy/beam], whose first channel is `first` of the cube, in place."""
        hertz = self._channel * (first + np.arange(len(data)))
        for centre, wave, phase, flux in zip(self._centre, self._frequency, self._phase, self._flux, strict=True):
            spectrum = flux * np.sin(2 * np.pi * hertz[:, None] * wave + phase).sum(axis=1)
            middle = np.rint(centre).astype(int)
            low = np.maximum(middle - self._half, 0)
            high = np.minimum(middle + self._half + 1, data.shape[1:])
            dy, dx = np.ix_(np.arange(low[0], high[0]) - centre[0], np.arange(low[1], high[1]) - centre[1])
            (yy, yx), (_, xx) = self._inverse
            point = np.exp(-0.5 * (yy * dy**2 + 2 * yx * dy * dx + xx * dx**2))
            data[:, low[0] : high[0], low[1] : high[1]] += (spectrum[:, None, None] * point).astype(np.float32)
