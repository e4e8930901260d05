"""Radio continuum sources: from a truth table to what the detector learns of an image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from astropy.wcs import WCS

from pipeline.detect.directions import COSINE, SINE
from pipeline.detect.objects import Objects
from pipeline.detect.train import Names
from pipeline.score.sdc1 import FWHM
from pipeline.sky.geometry import ellipse_to_pixel, sky_to_pixel, squared_widths

CLASSES = ("steep_spectrum", "flat_spectrum", "star_forming")
VALUES = ("ln_flux", "ln_peak", "ln_major", "ln_minor", COSINE, SINE, "core_fraction")
NAMES = Names(values=VALUES, classes=CLASSES, conditions=("beam_size", COSINE, SINE))
# No image tells sizes below this share of the beam from each other.
LEAST_SIZE = 0.02
# The beam that the first condition is 0 for: that of the SDC1 images [pixel].
TYPICAL_BEAM = 2.5


@dataclass(frozen=True)
class PixelBeam:
    """A restoring beam in pixels: FWHM major and minor, and the angle of its major axis from +x to +y [deg]."""

    major: float
    minor: float
    theta: float

    @property
    def mean(self) -> float:
        """Geometric mean of the axes [pixel]."""
        return (self.major * self.minor) ** 0.5

    @property
    def conditions(self) -> list[float]:
        """What the network is told: ln of the mean width over that of SDC1, and the ellipticity vector."""
        ellipticity = (self.major - self.minor) / (self.major + self.minor)
        angle = 2 * np.radians(self.theta)
        return [
            float(np.log(self.mean / TYPICAL_BEAM)),
            float(ellipticity * np.cos(angle)),
            float(ellipticity * np.sin(angle)),
        ]


def gaussian_ellipse(truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major, minor [arcsec] and position angle east of north [deg] of each source as the FWHM of a Gaussian.

    From the official columns, whose position angle runs clockwise from west.
    """
    factor = truth["size"].map(dict(enumerate(FWHM))).to_numpy(float)
    axes = truth[["b_maj", "b_min"]].to_numpy(float) * factor[:, None]
    return axes.max(1), axes.min(1), (90.0 - truth["pa"].to_numpy(float)) % 180.0


def to_objects(
    truth: pd.DataFrame,
    wcs: WCS,
    beam: PixelBeam,
    rms: np.ndarray | float,
    attenuation: np.ndarray | float = 1.0,
) -> Objects:
    """What an image shows of the sources of a truth table with the official SDC1 columns.

    Parameters
    ----------
    rms : local noise at each source (n,) [Jy/beam].
    attenuation : primary beam at each source (n,); the table's flux is corrected for it.

    The signal-to-noise ratio is effective: the peak of the attenuated, beam-smeared source over the local rms. Fluxes
    are learnt in units of the rms, sizes in units of the beam, position angles as vectors as long as the source looks
    elongated; the box is that of the beam-smeared ellipse whose axes are twice its FWHM.
    """
    x, y = sky_to_pixel(wcs, truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))
    major, minor, theta = ellipse_to_pixel(wcs, x, y, *gaussian_ellipse(truth))
    major, minor = np.maximum(major, LEAST_SIZE * beam.mean), np.maximum(minor, LEAST_SIZE * beam.mean)
    smeared = smear(major, minor, theta, beam)
    flux = truth["flux"].to_numpy(float) * attenuation / rms
    snr = flux * dilution(smeared, beam)
    # The angle of a source that looks round is nothing to learn: as unit vectors all the sources that show none would
    # teach the network to say none.
    elongation = (major**2 - minor**2) / (major**2 + minor**2 + 2 * beam.mean**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [
            np.log(flux),
            np.log(snr),
            np.log(major / beam.mean),
            np.log(minor / beam.mean),
            elongation * np.cos(2 * np.radians(theta)),
            elongation * np.sin(2 * np.radians(theta)),
            np.clip(truth["core_frac"].to_numpy(float), 0, 1),
        ]
    return Objects(
        centre=np.stack([y, x], axis=1),
        size=2 * np.sqrt(smeared[:, [1, 0], [1, 0]]),
        values=np.stack(values, axis=1),
        label=truth["class"].to_numpy(int) - 1,
        snr=snr,
        row=np.arange(len(truth)),
    )


def pixel_ellipse(values: np.ndarray, beam: PixelBeam) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intrinsic major, minor [pixel] and theta [deg] that values (n, P), in the order of `VALUES`, stand for.

    They are what a network said, whose major axis need not be the longer one.
    """
    value = dict(zip(VALUES, np.moveaxis(values, -1, 0), strict=True))
    theta = np.rad2deg(np.arctan2(value[SINE], value[COSINE])) / 2
    return np.exp(value["ln_major"]) * beam.mean, np.exp(value["ln_minor"]) * beam.mean, theta


def smear(major: np.ndarray, minor: np.ndarray, theta: np.ndarray, beam: PixelBeam) -> np.ndarray:
    """Squared full widths (n, 2, 2) in (x, y) [pixel^2] of Gaussians seen with the beam; theta [deg]."""
    return squared_widths(major, minor, theta) + squared_widths(beam.major, beam.minor, beam.theta)


def dilution(smeared: np.ndarray, beam: PixelBeam) -> np.ndarray:
    """Peak brightness over integrated flux [1/beam] of sources of these squared widths: the ratio of the two areas."""
    return beam.major * beam.minor / np.sqrt(np.linalg.det(smeared))
