"""Galaxies of many beams measured by the voxels that they light up, as no network has learnt their like."""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from scipy import ndimage

from pipeline.data.cube_noise import CubeNoise
from pipeline.data.tiles import Section
from pipeline.detect.calibrate import Calibrated
from pipeline.hi.galaxies import ALONG_X, ALONG_Y, VALUES
from pipeline.hi.lines import width_km_s
from pipeline.simulate.hi_laws import THICKNESS

# A galaxy is what is connected above so many rms; how much it changes with the second limit is part of its errors.
_LIMITS = (2.0, 3.0)
# Of the peak of its line, where its width is taken.
_EDGE = 0.2
# Surface density [solar mass / pc2] of 1 Jy km/s in one square arcsec of the beam's axes at redshift 0: equation 48 of
# Meyer et al. (2017, PASA 34, 52) over the solid angle of a Gaussian beam, pi / (4 ln 2) times its axes.
_SURFACE = 8847.0


class Averaged(Protocol):
    """A cube of averaged voxels, as `pipeline.hi.large.CoarseCube`; `reader` is the cube that it is a part of."""

    reader: Any
    shape: tuple[int, ...]
    steps: np.ndarray
    frequency: np.ndarray
    channel_hz: np.ndarray
    rest_hz: float
    pixel_scale: float

    def read(self, section: Section) -> np.ndarray: ...

    def whole(self, centre: np.ndarray) -> np.ndarray: ...


def measured(found: Calibrated, places: np.ndarray, cube: Averaged, noise: CubeNoise) -> Calibrated:
    """Detections of the whole cube, with centre, box, values and errors by the moments of the galaxy at each.

    The galaxy is what is connected above 2 rms in the averaged voxels and touches the box of the detection. Its flux is
    the sum of those; its centre on the sky is their centroid, its line the outermost 20 % of the peak of their
    spectrum. Size and inclination are those of the ellipse with the second moments of the area above 1 solar mass /
    pc2, seen face-on, less the beam; the direction is that from the centroid of the approaching half of the line to
    that of the receding half. Nothing is taken off for the level of a channel, which the galaxy itself may have raised.
    Errors join what the noise makes and half of what the limit of 3 rms would change. Where nothing is above the limit
    a detection stays as it is.

    Parameters
    ----------
    found : n detections, in pixels and units of the whole cube. places : (n, 2, 3) [pixel of `cube`], the corners of
        their boxes. noise : of `cube`.
    """
    section = tuple(slice(0, side) for side in cube.shape)
    voxels = cube.read(section)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(voxels / noise.at(section)[1], posinf=0.0, neginf=0.0)
    voxels = np.nan_to_num(voxels)
    label = [ndimage.label(ratio > limit)[0] for limit in _LIMITS]
    centre, size, values, errors = (
        part.copy() for part in (found.detections.centre, found.detections.size, found.detections.values, found.errors)
    )
    for row, corners in enumerate(places):
        masks = [_touching(part, ratio, corners) for part in label]
        if masks[0] is None:
            continue
        both = [None if mask is None else _moments(voxels, mask, cube) for mask in masks]
        centre[row], values[row], size[row] = both[0]
        values[row, VALUES.index("ln_flux")] -= np.log(found.detections.rms[row])
        errors[row] = _noise_errors(both[0], ratio[masks[0]], cube)
        if both[1] is not None:
            change = np.concatenate([both[1][0] - both[0][0], both[1][1] - both[0][1]])
            errors[row] = np.hypot(errors[row], change / 2)
    return replace(found, detections=replace(found.detections, centre=centre, size=size, values=values), errors=errors)


def _touching(label: np.ndarray, ratio: np.ndarray, corners: np.ndarray) -> np.ndarray | None:
    """Where the connected voxels are that have the greatest signal within a box; None where it has none."""
    low = np.clip(np.floor(corners[0]).astype(int), 0, np.array(label.shape) - 1)
    high = np.maximum(np.ceil(corners[1]).astype(int) + 1, low + 1)
    box = tuple(map(slice, low, high))
    signal = np.bincount(label[box].ravel(), ratio[box].ravel())
    signal[0] = 0.0
    return label == signal.argmax() if signal.any() else None


def _moments(voxels: np.ndarray, mask: np.ndarray, cube: Averaged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (3,), values (P,) and sides (3,) in pixels of the whole cube, the flux in Jy/beam times its channel."""
    light = np.where(mask, voxels, 0.0)
    spectrum = light.sum((1, 2), dtype=float)
    low, high = _line(spectrum)
    middle, y, x = (low + high) / 2, *ndimage.center_of_mass(light.sum(0, dtype=float))
    channel = np.interp(middle, np.arange(len(spectrum)), cube.channel_hz / cube.steps[0])
    major, minor = _axes(light, cube)
    receding, approaching = _halves(light, middle, cube.frequency)
    along_y, along_x = receding - approaching
    length = np.hypot(along_x, along_y) or 1.0
    value = {
        "ln_flux": np.log((spectrum * cube.channel_hz).sum() * cube.steps[1:].prod() / (_beam_pixels(cube) * channel)),
        "ln_size": np.log(major / _wide(cube)),
        "ln_w20": np.log((high - low) * cube.steps[0]),
        ALONG_X: along_x / length,
        ALONG_Y: along_y / length,
        "cos_i": min(minor / major, 1.0),
    }
    sides = [high - low, *(np.ptp(part) + 1 for part in np.nonzero(mask)[1:])]
    place = cube.whole(np.array([middle, y, x]))
    return place, np.array([value[name] for name in VALUES]), np.array(sides) * cube.steps


def _line(spectrum: np.ndarray) -> tuple[float, float]:
    """Where a spectrum last is at a fifth of its peak on both sides [channel]; half a channel about one alone."""
    level = _EDGE * spectrum.max()
    above = np.flatnonzero(spectrum >= level)
    padded = np.concatenate([[0.0], spectrum, [0.0]])
    first, last = above[0] + 1, above[-1] + 1
    low = first - (padded[first] - level) / (padded[first] - padded[first - 1])
    high = last + (padded[last] - level) / (padded[last] - padded[last + 1])
    return low - 1, high - 1


def _halves(light: np.ndarray, middle: float, frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centroids (y, x) of the receding and the approaching half of a line; that of all where a half is empty."""
    approaching = (np.arange(len(light)) > middle) == (frequency[-1] > frequency[0])
    parts = (light[~approaching], light[approaching])
    first, second = (ndimage.center_of_mass((part if part.any() else light).sum(0, dtype=float)) for part in parts)
    return np.array(first), np.array(second)


def _axes(light: np.ndarray, cube: Averaged) -> tuple[float, float]:
    """Full axes of the galaxy at 1 solar mass / pc2, without the beam [pixel of `cube`]."""
    beam = cube.reader.beam
    channel = width_km_s(cube.channel_hz, cube.frequency, cube.rest_hz)
    stretched = (cube.rest_hz / cube.frequency) ** 3
    density = _SURFACE * np.tensordot(channel * stretched, light, 1) / (3600**2 * beam.major * beam.minor)
    wide, cosine = _wide(cube), 1.0
    for _ in range(3):
        # no disc is thinner, or a surface density seen edge-on would have no bound
        area = density * max(cosine, THICKNESS) >= 1.0
        area = ndimage.binary_fill_holes(area if area.any() else density > 0)
        y, x = np.nonzero(area)
        # a pixel is a square, of variance 1/12
        square = np.cov(np.stack([y, x])) if len(y) > 1 else np.zeros((2, 2))
        # an ellipse has a variance of a sixteenth of the square of its axis
        least, most = 16 * (np.linalg.eigvalsh(square) + 1 / 12)
        major, minor = (np.sqrt(max(axis - wide**2, (THICKNESS * wide) ** 2)) for axis in (most, least))
        cosine = minor / major
    return float(major), float(minor)


def _noise_errors(moments: tuple[np.ndarray, np.ndarray, np.ndarray], ratio: np.ndarray, cube: Averaged) -> np.ndarray:
    """What the noise makes of centre and values (3 + P,): to the share that the flux is uncertain by."""
    alike = max(1.0, _beam_pixels(cube) / cube.steps[1:].prod())  # voxels within a beam have one noise
    share = np.sqrt(alike * len(ratio)) / ratio.sum()
    return share * np.concatenate([moments[2], np.ones(len(moments[1]))])


def _beam_pixels(cube: Averaged) -> float:
    """The solid angle of the beam [pixel of the whole cube]."""
    beam = cube.reader.beam
    return float(np.pi / (4 * np.log(2)) * beam.major * beam.minor / cube.reader.pixel_scale**2)


def _wide(cube: Averaged) -> float:
    """The beam [pixel of `cube`], the geometric mean of its axes."""
    return float(np.sqrt(cube.reader.beam.major * cube.reader.beam.minor) / cube.pixel_scale)
