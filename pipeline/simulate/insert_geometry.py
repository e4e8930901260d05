"""The beam and the pixels of a frame at its middle, for what is drawn into it."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from pipeline.errors import UserError
from pipeline.simulate.noise import covariance
from pipeline.sky.geometry import FWHM, ellipse_axes, ellipse_to_pixel, ellipse_to_sky, jacobian
from pipeline.sky.window import FrameReader


@dataclass(frozen=True)
class Plane:
    """The last two axes of a frame.

    wcs : celestial. turn : ``(2, 2)`` arcsec east and north a pixel along x and y at the middle.
    beam : covariance ``(2, 2)`` in (y, x) [pixels^2]. widths : of the beam, FWHM major, minor [pixels] and theta [deg].
    """

    wcs: WCS
    turn: np.ndarray
    beam: np.ndarray
    widths: tuple[float, float, float]

    @classmethod
    def of(cls, reader: FrameReader) -> "Plane":
        """The plane of an opened frame.

        Raises
        ------
        UserError : no celestial coordinates.
        """
        if reader.wcs is None:
            what = f"has no celestial coordinates ({reader.wcs_flaw})"
            raise UserError(reader.path, what, "correct the WCS cards of its header")
        wcs = reader.wcs.celestial
        y, x = (np.array([(side - 1) / 2]) for side in reader.shape[-2:])
        beam = reader.beam
        axes = ([3600 * axis] for axis in (beam.major, beam.minor))
        widths = tuple(float(part[0]) for part in ellipse_to_pixel(wcs, x, y, *axes, [beam.pa]))
        return cls(wcs, jacobian(wcs, x, y)[0], covariance(*widths), widths)

    @property
    def width(self) -> float:
        """FWHM of the beam, the geometric mean of its axes [pixels]."""
        return float(np.sqrt(self.widths[0] * self.widths[1]))

    @property
    def pixel_arcsec(self) -> float:
        """Side of a pixel, the geometric mean [arcsec]."""
        return float(np.sqrt(abs(np.linalg.det(self.turn))))

    @property
    def beam_area(self) -> float:
        """Area of the beam [pixels]: the pixels of a source in Jy/beam sum up to its flux times this."""
        return float(2 * np.pi * np.sqrt(np.linalg.det(self.beam)))

    def theta(self, pa: np.ndarray) -> np.ndarray:
        """Angles from +x towards +y, 0 to 360, of directions of position angle `pa` east of north ``(n,)`` [deg]."""
        east, north = np.sin(np.radians(pa)), np.cos(np.radians(pa))
        x, y = np.linalg.solve(self.turn, np.stack([east, north]))
        return np.degrees(np.arctan2(y, x)) % 360.0

    def sky_widths(
        self, x: np.ndarray, y: np.ndarray, moments: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """FWHM major, minor [arcsec] and position angle [deg] of covariances ``(n, 2, 2)`` in (y, x) [pixels^2]."""
        axes = ellipse_axes(moments[:, ::-1, ::-1] * FWHM**2)
        return ellipse_to_sky(self.wcs, x, y, *axes)
