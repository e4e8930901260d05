"""Noise for a simulation whose image, sources and all, is to have the texture that was measured in a real image."""

import numpy as np
import pandas as pd

from pipeline.simulate.continuum import simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.noise import NoisePower, measure

_LEAST = 0.05  # of the variance that was measured: what the sources must leave to the noise


def match_noise(
    settings: ContinuumSettings,
    target: NoisePower,
    *,
    seed: int = 0,
    catalogue: pd.DataFrame | None = None,
    rounds: int = 3,
) -> NoisePower:
    """The noise with which `measure` finds `target` in a simulated field, as it did in the real image.

    What was measured holds the sources that are too faint to be left out; to simulate noise with it and sources on
    top would count them twice. In each round a field is simulated and measured, and the covariance of the noise is
    moved by what is missing in the measurement. The fields have the shape in `settings`, at least 512 pixels is good.
    """
    beam = settings.beam_pixels[0]
    aim = target.correlation * target.rms**2
    noise = target
    measured = settings.model_copy(update={"noise": "measured"})
    for turn in range(rounds):
        field = simulate(measured, seed + turn, noise=noise, catalogue=catalogue)
        found = measure(field.frame.data, beam, lags=target.lags)
        covariance = noise.correlation * noise.rms**2 + aim - found.correlation * found.rms**2
        variance = max(float(covariance[target.lags, target.lags]), _LEAST * target.rms**2)
        correlation = np.clip(covariance / variance, -1.0, 1.0)
        correlation[target.lags, target.lags] = 1.0
        noise = NoisePower(correlation, float(np.sqrt(variance)), float(np.sqrt(variance)))
    return noise
