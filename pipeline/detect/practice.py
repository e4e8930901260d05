"""Simulated images to practise on, in memory: as an image to adapt to, or as varied as radio surveys are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.data.background import measure_background
from pipeline.detect.image import ContinuumImage, MemoryReader
from pipeline.detect.labelled import LabelledArea
from pipeline.simulate.continuum import Field, simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.noise import NoisePower, white_beam

# From the columns of a simulated truth to those of the SDC1.
OFFICIAL = {
    "flux_jy": "flux",
    "b_maj_arcsec": "b_maj",
    "b_min_arcsec": "b_min",
    "pa_deg": "pa",
    "size_class": "size",
    "source_class": "class",
}
_SHARE_OF_DEEP = 0.6


@dataclass(frozen=True)
class Practice:
    """What one simulated image is drawn from: settings, and the texture of its noise where it is not the settings'."""

    settings: ContinuumSettings
    noise: NoisePower | None = None


def practise(practice: Practice, seed: int, catalogue: pd.DataFrame | None = None) -> LabelledArea:
    """Simulate one image; the whole of it is labelled."""
    field = simulate(practice.settings, seed, noise=practice.noise, catalogue=catalogue)
    return LabelledArea(image_of(field, practice.settings), field.truth.rename(columns=OFFICIAL), _whole(field))


def image_of(field: Field, settings: ContinuumSettings) -> ContinuumImage:
    """A simulated field as the detector sees an image."""
    frame, beam = field.frame, None
    reader = MemoryReader(frame.data, frame.wcs, frame.beam, frame.path)
    if settings.primary_beam is not None:
        beam = MemoryReader(field.primary_beam, frame.wcs, None, frame.path)
    return ContinuumImage(
        reader, measure_background(reader.read, reader.shape), beam, settings.attenuation / settings.broadening
    )


def _whole(field: Field) -> tuple[slice, slice]:
    rows, columns = field.frame.data.shape
    return slice(0, rows), slice(0, columns)


def varied(seed: int, side: int) -> Practice:
    """An image of some survey: depth, beam, density and sizes of sources, noise and primary beam are drawn.

    Six in ten are deep SKA fields, as in the first challenge; the others have beams of 2 to 6 pixels, round or not.
    """
    draw = np.random.default_rng([seed, 7])
    if draw.random() < _SHARE_OF_DEEP:
        changes = {
            "size_form": "exponential" if draw.random() < 0.75 else "gaussian",
            "density": draw.uniform(0.9, 1.1),
            "size_factor": draw.uniform(0.9, 1.1),
        }
        return Practice(ContinuumSettings(shape=(side, side), **changes))
    pixels = np.exp(draw.uniform(np.log(2.0), np.log(6.0)))
    ratio = draw.uniform(0.5, 1.0) if draw.random() < 0.5 else 1.0
    beam = 1.5 * np.exp(draw.uniform(0.0, np.log(10.0)))
    rms = 2.55e-7 * (beam / 1.5) ** draw.uniform(0.6, 1.4)
    settings = ContinuumSettings(
        shape=(side, side),
        pixel_arcsec=beam / pixels,
        beam_arcsec=(beam / ratio**0.5, beam * ratio**0.5, draw.uniform(0, 180)),
        rms=rms,
        density=np.exp(draw.uniform(np.log(0.5), np.log(2.0))),
        size_factor=np.exp(draw.uniform(np.log(0.5), np.log(2.0))),
        size_form="gaussian" if draw.random() < 0.5 else "exponential",
        flux_max=max(0.01, 1e4 * rms),
        rms_gradient=draw.uniform(1.0, 2.0),
        sidelobes=draw.uniform(0, 0.02) if draw.random() < 0.3 else 0.0,
        primary_beam=draw.uniform(1.0, 3.0) * side * beam / pixels / 3600 if draw.random() < 0.3 else None,
    )
    major, minor, theta = settings.beam_pixels
    # Weighting and deconvolution leave noise that is a little finer or coarser than the restoring beam.
    finer = draw.uniform(0.8, 1.15)
    return Practice(settings, white_beam((major * finer, minor * finer, theta), rms))


def truth_table(truth: pd.DataFrame, image: ContinuumImage, section: tuple[slice, slice]) -> pd.DataFrame:
    """The rows of a truth table (official columns) in a section of an image, as a simulation draws them again."""
    objects = image.objects(truth)
    low, high = (np.array([getattr(part, end) for part in section]) - 0.5 for end in ("start", "stop"))
    inside = ((objects.centre >= low) & (objects.centre < high)).all(1)
    return truth[inside].rename(columns={new: old for old, new in OFFICIAL.items()}).reset_index(drop=True)
