"""Sources as a table with the official columns of the SDC1, for scores and submissions."""

import numpy as np
import pandas as pd

from pipeline.detect.continuum import VALUES, pixel_ellipse
from pipeline.detect.image import ContinuumImage
from pipeline.detect.predict import Detections
from pipeline.score.sdc1 import GAUSSIAN
from pipeline.sky.geometry import ellipse_to_sky, pixel_to_sky


def official_table(
    ra: np.ndarray,
    dec: np.ndarray,
    flux: np.ndarray,
    core_fraction: np.ndarray,
    intrinsic: tuple[np.ndarray, np.ndarray, np.ndarray],
    label: np.ndarray,
    number: np.ndarray | None = None,
    signed: bool = True,
) -> pd.DataFrame:
    """One row (n,) a source, its size that of a Gaussian (code 2).

    Parameters
    ----------
    ra, dec : [deg], of the core as of the centroid. flux : integrated, corrected for the primary beam [Jy].
    intrinsic : major and minor FWHM [arcsec] and position angle east of north [deg] without the beam; what is NaN is
        0, as of an unresolved source. label : index of the class. number : ids, from 1 where they are left out.
    signed : position angles of -90 to 90 deg, as the official tables have for star-forming galaxies, nearly all of
        their sources, and not of 0 to 180. The official score takes the two angles of one axis for different ones.
    """
    major, minor, pa = (np.nan_to_num(np.asarray(part, float)) for part in intrinsic)
    # The official position angle runs clockwise from west.
    angle = (90.0 - pa) % 180.0
    return pd.DataFrame(
        {
            "id": np.arange(1, len(ra) + 1) if number is None else number,
            "ra_core": ra,
            "dec_core": dec,
            "ra_cent": ra,
            "dec_cent": dec,
            "flux": flux,
            "core_frac": np.clip(core_fraction, 0, 1),
            "b_maj": major,
            "b_min": minor,
            "pa": np.where(angle > 90.0, angle - 180.0, angle) if signed else angle,
            "size": np.full(len(ra), GAUSSIAN),
            "class": label + 1,
        }
    )


def has_signed_angles(truth: pd.DataFrame) -> bool:
    """Whether a table with the official columns counts position angles from -90 to 90 deg."""
    return bool((truth["pa"] < 0).any())


def official_detections(detections: Detections, image: ContinuumImage) -> pd.DataFrame:
    """The official rows (n,) of what is detected in an image, before it is calibrated."""
    value = dict(zip(VALUES, detections.values.T, strict=True))
    x, y = detections.centre[:, 1], detections.centre[:, 0]
    ra, dec = pixel_to_sky(image.reader.wcs, x, y)
    one, other, theta = pixel_ellipse(detections.values, image.beam)
    intrinsic = ellipse_to_sky(image.reader.wcs, x, y, np.maximum(one, other), np.minimum(one, other), theta)
    flux = np.exp(value["ln_flux"]) * detections.rms / image.attenuation_at(ra, dec)
    return official_table(ra, dec, flux, value["core_fraction"], intrinsic, detections.classes.argmax(1))
