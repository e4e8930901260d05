"""Residual sidelobes: what stays around bright sources when deconvolution ends."""

import numpy as np
from scipy import fft

from pipeline.sky.geometry import FWHM

_ANTENNAS, _TIMES, _HOURS = 24, 48, 8.0
_REACH = 512  # pixels beyond which sidelobes may enter at the opposite border, where they look alike


def sidelobes(
    points: np.ndarray, beam: tuple[float, float, float], declination: float, rng: np.random.Generator
) -> np.ndarray:
    """Image (y, x) float32 [Jy/beam] of `points` (y, x) [Jy] smoothed by a dirty beam less the restoring beam.

    The dirty beam has peak 1, so a source of flux S is surrounded by rings and spokes of some per cent of S. `beam` is
    FWHM major, minor [pixels] and theta [deg].
    """
    size = tuple(fft.next_fast_len(n + min(n, _REACH), real=True) for n in points.shape)
    response = _response(size, beam, declination, rng)
    image = fft.irfft2(fft.rfft2(points, s=size) * response, s=size)
    return image[: points.shape[0], : points.shape[1]].astype(np.float32)


def _response(size: tuple[int, int], beam, declination: float, rng: np.random.Generator) -> np.ndarray:
    """Transform ``(ny, nx // 2 + 1)`` of dirty beam less restoring beam: the tracks of an array at random places.

    Thompson, Moran & Swenson (2017), Interferometry and Synthesis in Radio Astronomy, eq. 4.1: the track of a
    baseline is part of an ellipse; here baselines lie in the plane of the equator and along the axis of the Earth.
    """
    # A Gaussian beam of width sigma is the transform of a Gaussian coverage of width 1 / (2 pi sigma).
    spread = FWHM / (2 * np.pi * np.sqrt(beam[0] * beam[1]))
    places = rng.standard_normal((_ANTENNAS, 3)) * spread / np.sqrt(2)
    first, second = np.triu_indices(_ANTENNAS, 1)
    x, y, z = (places[first] - places[second]).T[:, :, None]
    hour = np.radians(15.0) * np.linspace(-_HOURS / 2, _HOURS / 2, _TIMES)
    dec = np.radians(declination)
    u = x * np.sin(hour) + y * np.cos(hour)
    v = -x * np.sin(dec) * np.cos(hour) + y * np.sin(dec) * np.sin(hour) + z * np.cos(dec)
    seen = (np.abs(u) < 0.5) & (np.abs(v) < 0.5)
    u, v = u[seen], v[seen]
    coverage = np.zeros(size)
    # A real sky: every visibility has its conjugate.
    for sign in (1, -1):
        at = (np.rint(sign * v * size[0]).astype(int) % size[0], np.rint(sign * u * size[1]).astype(int) % size[1])
        np.add.at(coverage, at, 1.0)
    half = coverage[:, : size[1] // 2 + 1]
    major, minor, theta = beam
    fy, fx = np.meshgrid(fft.fftfreq(size[0]), fft.rfftfreq(size[1]), indexing="ij", sparse=True)
    c, s = np.cos(np.radians(theta)), np.sin(np.radians(theta))
    along, across = fx * c + fy * s, -fx * s + fy * c
    sigmas = major / FWHM, minor / FWHM
    clean = np.exp(-2 * np.pi**2 * ((along * sigmas[0]) ** 2 + (across * sigmas[1]) ** 2))
    # Peaks of 1 in the image: the mean of a transform over all frequencies.
    return half * (coverage.size / coverage.sum()) - 2 * np.pi * sigmas[0] * sigmas[1] * clean
