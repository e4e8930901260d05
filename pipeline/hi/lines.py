"""Frequencies, velocities and widths of the 21 cm line, in the optical convention v = c z."""

import numpy as np

from pipeline.score.sdc2 import LIGHT_KM_S


def velocity_km_s(frequency: np.ndarray, rest: float) -> np.ndarray:
    """c z [km/s] of frequencies [Hz], whatever their shape."""
    return LIGHT_KM_S * (rest / np.asarray(frequency, float) - 1.0)


def km_s_per_hz(frequency: np.ndarray, rest: float) -> np.ndarray:
    """By how much c z [km/s] falls from one hertz to the next: c rest / frequency^2 (Meyer et al. 2017, table 1)."""
    return LIGHT_KM_S * rest / np.asarray(frequency, float) ** 2


def width_km_s(width_hz: np.ndarray, frequency: np.ndarray, rest: float) -> np.ndarray:
    """The width [km/s] of a line at `frequency` that is `width_hz` wide, as SDC2 counts it."""
    return width_hz * km_s_per_hz(frequency, rest)


def width_hz(width: np.ndarray, frequency: np.ndarray, rest: float) -> np.ndarray:
    """The inverse of `width_km_s`."""
    return width / km_s_per_hz(frequency, rest)
