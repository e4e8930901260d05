"""Galaxies larger than those that a network has learnt: where a scan saw parts of one, larger pixels are looked at.

A network takes a galaxy of many beams to pieces. In pixels averaged over 2, 4, ... the galaxy is one of its own again:
the cube is shown as one whose beam is as many times wider, and what is found there replaces the pieces. Nor has it
learnt galaxies a thousand times above the noise: the brightest pixel is shown as one that it knows. The calibrator
has seen no such galaxy and is not asked: the probability is the network's own, and what the galaxy is like is measured
(see `pipeline.hi.moments`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from astropy.wcs import WCS

from pipeline.data.cube_noise import CubeNoise, measure_cube_noise
from pipeline.data.tiles import Section
from pipeline.detect.calibrate import Calibrated, joined, take
from pipeline.detect.head import Layout
from pipeline.detect.model import Model
from pipeline.detect.predict import Search
from pipeline.errors import UserError
from pipeline.hi.candidates import look_again
from pipeline.hi.galaxies import VALUES
from pipeline.hi.lines import km_s_per_hz
from pipeline.hi.moments import measured
from pipeline.hi.stream import MEMORY, Cube, detect_cube
from pipeline.simulate.hi_settings import REST_HZ, HiSettings
from pipeline.sky.headers import Beam

# Sizes so many spreads above the mean of those that were learnt are too large to be learnt well.
_SPREADS = 3.0
# What is looked at around a part: so many fields of the network on the sky, and in frequency.
_AROUND, _ALONG = 4.0, 1.0
# How bright the brightest pixel is shown [rms], of which the network chooses, and the channels that it is looked for in
# at once. A galaxy that fills so many beams is so much above the noise in its matched filter, or it is none.
_BRIGHTEST, _AT_ONCE, _SURE = (10.0, 30.0, 100.0), 8, 20.0
# Cubes of at most so many voxels are looked at as a whole, which costs little; larger ones around the pieces.
_WHOLE = 1 << 27
# The planes of the coarsest cube are at least so wide, and a part of a galaxy is within so much of its size and line.
_SMALLEST, _PART = 8, 0.75
_SIZE, _WIDTH, _FLUX = (VALUES.index(name) for name in ("ln_size", "ln_w20", "ln_flux"))


class CoarseCube:
    """A part of a cube, averaged over `channels` x `step` x `step` voxels, as if its beam were as many times wider.

    Voxels at the far ends of `section` that fill no whole step are left out.
    """

    def __init__(self, reader: Cube, section: Sequence[slice], step: int, channels: int = 1):
        self.reader, self.step, self.steps = reader, step, np.array([channels, step, step])
        self.first = np.array([part.start for part in section])
        self.shape = tuple(int(side) for side in [part.stop - part.start for part in section] // self.steps)
        self.path, self.rest_hz = reader.path, reader.rest_hz
        used = slice(int(self.first[0]), int(self.first[0]) + channels * self.shape[0])
        self.frequency = np.asarray(reader.frequency)[used].reshape(-1, channels).mean(1)
        self.channel_hz = np.asarray(reader.channel_hz)[used].reshape(-1, channels).sum(1)
        self.beam = Beam(step * reader.beam.major, step * reader.beam.minor, reader.beam.pa)
        self.pixel_scale = step * reader.pixel_scale
        self.wcs = _coarser(reader.wcs, self.first[:0:-1], step)

    def read(self, section: Section) -> np.ndarray:
        """The means of the valid pixels; NaN where they are fewer than half."""
        ends = [part.indices(side)[:2] for part, side in zip(section, self.shape, strict=True)]
        lows, highs = (self.first + np.array(end) * self.steps for end in zip(*ends, strict=True))
        pixels = np.asarray(self.reader.read(tuple(map(slice, lows.tolist(), highs.tolist()))), np.float32)
        sides = np.stack([(highs - lows) // self.steps, self.steps], axis=1).ravel()
        blocks = pixels.reshape(sides)
        valid = np.isfinite(blocks)
        count = valid.sum((1, 3, 5))
        mean = np.where(valid, blocks, 0.0).sum((1, 3, 5)) / np.maximum(count, 1)
        return np.where(2 * count >= self.steps.prod(), mean, np.nan).astype(np.float32)

    def to_sky(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right ascension, declination (ICRS) [deg] and frequency [Hz] of pixels."""
        return self.reader.to_sky(*self.whole(np.stack([z, y, x], axis=-1)).T)

    def whole(self, centre: np.ndarray) -> np.ndarray:
        """Positions (n, 3) [pixel] in the whole cube."""
        return (centre + 0.5) * self.steps - 0.5 + self.first

    def back(self, calibrated: Calibrated, noise: CubeNoise) -> Calibrated:
        """Detections in this cube as those of the one that it is a part of, with that one's noise."""
        found, scale = calibrated.detections, self.steps.astype(float)
        centre = self.whole(found.centre)
        rms, values = noise.at_positions(centre)[1], found.values.copy()
        # The network thinks of a beam as wide as in the whole cube: a beam of these pixels has more of those.
        values[:, _FLUX] += np.log(found.rms / rms) + np.log(self.steps.prod())
        values[:, _WIDTH] += np.log(self.steps[0])
        values[:, _SIZE] += np.log(self.step)
        wider = np.concatenate([scale, np.ones(values.shape[1])])
        detections = replace(
            found, centre=centre, size=found.size * scale, values=values, width=found.width * wider, rms=rms
        )
        return Calibrated(detections, calibrated.probability, calibrated.errors * wider)


def too_large(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Which detections (n,), of values (n, P), are said to be larger than what was learnt."""
    return values[:, _SIZE] > _largest(layout)


def search_large(
    reader: Cube, noise: CubeNoise, model: Model, calibrated: Calibrated, symmetric: bool, *, memory: float = MEMORY
) -> tuple[Calibrated, np.ndarray] | None:
    """Large galaxies around those of `calibrated` that are too large, with their matched filters; None where none is.

    Of those that pixels of several sizes show in one place, the one that the network is surest of.
    """
    sections = [tuple(slice(0, side) for side in reader.shape)]
    if np.prod(reader.shape, dtype=float) > _WHOLE:
        pieces = (calibrated.probability >= model.threshold) & too_large(
            model.detector.layout, calibrated.detections.values
        )
        sections = _sections(calibrated.detections.centre[pieces], reader.shape, model.detector.network.field)
    found: list[tuple[Calibrated, np.ndarray]] = []
    for section in sections:
        for step in _steps(section):
            found += _searched(reader, section, step, noise, model, symmetric, memory)
    if not found:
        return None
    every = joined([part for part, _ in found])
    order, kept = np.argsort(-every.detections.logit, kind="stable"), np.zeros(len(every.probability), bool)
    for row in order:
        place = every.detections.centre[row : row + 1]
        kept[row] = not (kept.any() and parts_of(take(every, kept), place, reader)[0])
    return take(every, kept), np.concatenate([ratio for _, ratio in found])[kept]


def parts_of(
    galaxies: Calibrated, centre: np.ndarray, reader: Cube, whatever_line: np.ndarray | None = None
) -> np.ndarray:
    """Which places (n, 3) [pixel] lie in one of the galaxies (m), by their sizes and lines; where `whatever_line` (n,),
    by their sizes alone."""
    beam = np.sqrt(reader.beam.major * reader.beam.minor) / reader.pixel_scale
    inside, values = np.zeros(len(centre), bool), galaxies.detections.values
    sizes, widths = np.exp(values[:, _SIZE]) * beam, np.exp(values[:, _WIDTH])
    for middle, size, width in zip(galaxies.detections.centre, sizes, widths, strict=True):
        away = np.abs(centre - middle)
        line = away[:, 0] < _PART * width
        if whatever_line is not None:
            line |= whatever_line
        inside |= (np.hypot(away[:, 1], away[:, 2]) < _PART * size) & line
    return inside


def _coarser(wcs: WCS, first: np.ndarray, step: int) -> WCS:
    """The celestial axes in pixels `step` times as wide, the first of which begins at pixel `first` (x, y)."""
    coarse = wcs.deepcopy()
    coarse.wcs.crpix = (wcs.wcs.crpix - first - 0.5) / step + 0.5
    if wcs.wcs.has_cd():
        coarse.wcs.cd = step * wcs.wcs.cd
    else:
        coarse.wcs.cdelt = step * wcs.wcs.cdelt
    coarse.wcs.set()
    return coarse


def _largest(layout: Layout) -> float:
    """ln of the largest size that was learnt well [beam]."""
    at = layout.ndim + _SIZE
    return float(layout.mean[at] + _SPREADS * layout.spread[at])


def _searched(
    reader: Cube, section: Sequence[slice], step: int, noise: CubeNoise, model: Model, symmetric: bool, memory: float
) -> Iterator[tuple[Calibrated, np.ndarray]]:
    """What larger pixels show of galaxies that are too large for those of the cube."""
    coarse = CoarseCube(reader, section, step, _channels(reader, section, model))
    try:
        level = measure_cube_noise(coarse.read, coarse.shape, where=reader.path)
    except UserError:
        # Too few pixels are left, or all of them are in the galaxy.
        return
    peak, layout = _peak(coarse, level), model.detector.layout
    search = Search(least=0.0, radius=model.radius)
    for brightest in _BRIGHTEST:
        dimmed = max(1.0, peak / brightest)
        seen = replace(level, rms=level.rms * dimmed)
        scan = detect_cube(coarse, seen, model.detector, search, progress=lambda done: None, memory=memory)
        looked = look_again(
            scan, coarse, seen, model.detector, model.radius, symmetric, spectral=(1.0,), progress=lambda done: None
        )
        raw, ratio = looked.detections, dimmed * looked.matched_snr
        galaxies = coarse.back(Calibrated(raw, 1 / (1 + np.exp(-raw.logit)), raw.width), noise)
        right = (galaxies.probability >= model.threshold) & (ratio > _SURE)
        # Too large for the pixels of the cube, but not for these.
        right &= too_large(layout, galaxies.detections.values) & ~too_large(layout, raw.values)
        if right.any():
            corners = np.stack([raw.centre - raw.size / 2, raw.centre + raw.size / 2], axis=1)[right]
            yield measured(take(galaxies, right), corners, coarse, level), ratio[right]
        if dimmed == 1.0:
            return


def _channels(cube: Cube, section: Sequence[slice], model: Model) -> int:
    """How many channels of a cube are one of those that the model was trained on, in velocity."""
    middle = (section[0].start + section[0].stop) // 2
    here = km_s_per_hz(cube.frequency[middle], cube.rest_hz) * cube.channel_hz[middle]
    # Models say nothing of a simulated sky that has the settings by default.
    sky = HiSettings(**((model.trained.get("settings") or {}).get("simulate") or {}))
    there = km_s_per_hz(sky.lowest_hz + sky.shape[0] * sky.channel_hz / 2, REST_HZ) * sky.channel_hz
    return max(1, round(float(there / here)))


def _peak(cube: CoarseCube, noise: CubeNoise) -> float:
    """The greatest signal-to-noise ratio of a pixel."""
    peak, plane = 0.0, [slice(0, side) for side in cube.shape[1:]]
    for start in range(0, cube.shape[0], _AT_ONCE):
        section = (slice(start, min(start + _AT_ONCE, cube.shape[0])), *plane)
        median, rms = noise.at(section)
        with np.errstate(divide="ignore", invalid="ignore"):
            peak = max(peak, float(np.nanmax(np.nan_to_num((cube.read(section) - median) / rms, posinf=0.0))))
    return peak


def _steps(section: Sequence[slice]) -> Iterator[int]:
    step, side = 2, min(part.stop - part.start for part in section[1:])
    while side // step >= _SMALLEST:
        yield step
        step *= 2


def _sections(centre: np.ndarray, shape: Sequence[int], field: Sequence[int]) -> list[tuple[slice, ...]]:
    """Parts of the cube around places (n, 3), such that no two overlap."""
    reach = np.array([_ALONG, _AROUND, _AROUND]) * field
    boxes = [
        np.stack([np.maximum(place - reach, 0), np.minimum(place + reach + 1, shape)]).astype(int) for place in centre
    ]
    joined: list[np.ndarray] = []
    for box in boxes:
        while touching := [other for other in joined if (box[0] < other[1]).all() and (other[0] < box[1]).all()]:
            joined = [other for other in joined if not any(other is part for part in touching)]
            box = np.stack([np.min([box[0], *(part[0] for part in touching)], axis=0),
                            np.max([box[1], *(part[1] for part in touching)], axis=0)])  # fmt: skip
        joined.append(box)
    return [tuple(slice(int(low), int(high)) for low, high in zip(*box, strict=True)) for box in joined]
