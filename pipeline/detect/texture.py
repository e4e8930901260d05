"""The texture of an image's noise, and whether a model was trained on the like."""

import warnings
from collections.abc import Sequence

import numpy as np

from pipeline.detect.image import ContinuumImage
from pipeline.errors import FlemingWarning
from pipeline.simulate.noise import NoisePower, distance, measure

# The rms difference of autocorrelations above which a model is out of its depth: simulations of one texture differ by
# 0.001 to 0.011, white noise smoothed by the beam from the noise of the SDC1 image by 0.19.
TOLERANCE = 0.05
_BLOCK = 512
_BLOCKS = 4


class NoiseMismatchWarning(FlemingWarning):
    """The noise of the image has another texture than that the model was trained on."""


def texture(image: ContinuumImage) -> NoisePower:
    """The noise of an image, measured in at most 16 blocks spread over it."""
    spans = [_spread(side) for side in image.shape]
    blocks = [image.reader.read((rows, columns)) for rows in spans[0] for columns in spans[1]]
    return measure(_stacked(blocks), image.beam.mean)


def check_texture(image: ContinuumImage, trained: Sequence[dict], tolerance: float = TOLERANCE) -> float:
    """The distance of the image's noise from the nearest that a model was trained on; 0 where none is known.

    Warns
    -----
    NoiseMismatchWarning : it is above `tolerance`.
    """
    if not trained:
        return 0.0
    return compare(image.path, texture(image), [NoisePower.from_dict(stored) for stored in trained], tolerance)


def compare(where: object, found: NoisePower, known: Sequence[NoisePower], tolerance: float = TOLERANCE) -> float:
    """The distance of the noise that was found in `where` from the nearest of what is known.

    Warns
    -----
    NoiseMismatchWarning : it is above `tolerance`.
    """
    far = [distance(found, power) for power in known]
    nearest = int(np.argmin(far))
    if far[nearest] > tolerance:
        here, there = (
            power.correlation[power.lags, power.lags + 1 : power.lags + 3] for power in (found, known[nearest])
        )
        warnings.warn(
            f"{where}: its noise has another texture than any that the model was trained on (autocorrelation at 1 "
            f"and 2 pixels {here[0]:.2f}, {here[1]:.2f} against {there[0]:.2f}, {there[1]:.2f}; rms difference "
            f"{far[nearest]:.2f}, tolerance {tolerance:g}); run fleming adapt and detect with the adapted model.",
            NoiseMismatchWarning,
            stacklevel=3,
        )
    return far[nearest]


def _spread(side: int) -> list[slice]:
    if side <= _BLOCKS * _BLOCK:
        return [slice(start, min(start + _BLOCK, side)) for start in range(0, side, _BLOCK)]
    starts = np.linspace(0, side - _BLOCK, _BLOCKS).astype(int)
    return [slice(int(start), int(start) + _BLOCK) for start in starts]


def _stacked(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """The blocks below each other, each padded with NaN to the size of the largest."""
    height, width = (max(block.shape[axis] for block in blocks) for axis in (0, 1))
    whole = np.full((len(blocks) * height, width), np.nan, np.float32)
    for at, block in enumerate(blocks):
        whole[at * height : at * height + block.shape[0], : block.shape[1]] = block
    return whole
