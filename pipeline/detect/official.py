"""Detections of a continuum image as a table with the official columns of the SDC1, for scores."""

import numpy as np
import pandas as pd

from pipeline.detect.continuum import VALUES
from pipeline.detect.image import ContinuumImage
from pipeline.detect.predict import Detections
from pipeline.detect.symmetry import COSINE, SINE
from pipeline.sky.geometry import ellipse_to_sky, pixel_to_sky

_GAUSSIAN = 2


def official_table(detections: Detections, image: ContinuumImage) -> pd.DataFrame:
    """One row (n,) a detection: intrinsic sizes as Gaussian FWHM, flux corrected for the primary beam."""
    value = dict(zip(VALUES, detections.values.T, strict=True))
    x, y = detections.centre[:, 1], detections.centre[:, 0]
    ra, dec = pixel_to_sky(image.reader.wcs, x, y)
    axes = np.exp(np.stack([value["ln_major"], value["ln_minor"]])) * image.beam.mean
    theta = np.degrees(np.arctan2(value[SINE], value[COSINE])) / 2
    major, minor, pa = ellipse_to_sky(image.reader.wcs, x, y, axes.max(0), axes.min(0), theta)
    return pd.DataFrame(
        {
            "id": np.arange(1, len(detections) + 1),
            "ra_core": ra,
            "dec_core": dec,
            "ra_cent": ra,
            "dec_cent": dec,
            "flux": np.exp(value["ln_flux"]) * detections.rms / image.attenuation_at(ra, dec),
            "core_frac": np.clip(value["core_fraction"], 0, 1),
            "b_maj": major,
            "b_min": minor,
            "pa": (90.0 - pa) % 180.0,
            "size": _GAUSSIAN,
            "class": detections.classes.argmax(1) + 1 if detections.classes.size else 3,
        }
    )
