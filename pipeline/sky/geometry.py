"""Positions, directions and ellipses between the pixels of an image and the sky (ICRS), for many sources at once.

Pixels are 0-based; x runs along the last axis, y along the last but one. A pixel angle `theta` runs from +x towards
+y, a position angle `pa` from north through east; both are of a major axis, in degrees modulo 180. Sizes are full
widths (FWHM). Arrays are float64 `(n,)`.
"""

import astropy.units as u
import numpy as np
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from pipeline.sky.headers import Beam

ARCSEC = 3600.0
FWHM = np.sqrt(8 * np.log(2))
"""Full width at half maximum of a Gaussian in units of its standard deviation."""
_RESOLVED = 1e-12  # below this fraction of the beam's variance, a difference is rounding


def pixel_to_sky(wcs: WCS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension in [0, 360) and declination (ICRS) [deg] of pixel positions, NaN where the projection ends.

    Of a cube's WCS the two celestial axes count. A WCS of galactic or older equatorial coordinates is turned to ICRS.
    """
    plane, frame = _plane(wcs)
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    world = plane.all_pix2world(np.stack([x.ravel(), y.ravel()], -1), 0)
    place = _sky(world[:, plane.wcs.lng], world[:, plane.wcs.lat], frame).icrs
    return (place.ra.deg % 360.0).reshape(x.shape), place.dec.deg.reshape(x.shape)


def sky_to_pixel(wcs: WCS, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel x, y of positions `ra`, `dec` (ICRS) [deg]; the inverse of `pixel_to_sky`, NaN where there is none."""
    plane, frame = _plane(wcs)
    ra, dec = np.broadcast_arrays(np.asarray(ra, np.float64), np.asarray(dec, np.float64))
    place = SkyCoord(ra.ravel() * u.deg, dec.ravel() * u.deg, frame="icrs").transform_to(frame)
    world = np.empty((ra.size, 2))
    world[:, plane.wcs.lng], world[:, plane.wcs.lat] = place.spherical.lon.deg, place.spherical.lat.deg
    pixel = plane.all_world2pix(world, 0, quiet=True)
    return pixel[:, 0].reshape(ra.shape), pixel[:, 1].reshape(ra.shape)


def _plane(wcs: WCS):
    if not wcs.has_celestial:
        raise ValueError("the WCS has no celestial axes")
    plane = wcs.celestial
    plane.wcs.set()
    if plane.wcs.lngtyp == "GLON":
        return plane, SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic").frame.replicate_without_data()
    try:
        return plane, wcs_to_celestial_frame(plane)
    except ValueError:
        return plane, ICRS()  # RADESYS names a frame of a simulation or of a telescope: taken as it stands


def _sky(longitude: np.ndarray, latitude: np.ndarray, frame) -> SkyCoord:
    return SkyCoord(longitude * u.deg, latitude * u.deg, frame=frame)


def jacobian(wcs: WCS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far east and north [arcsec] one pixel along x and along y leads, `(n, 2, 2)`: [:, 0] east, [:, :, 0] x.

    By central differences of one pixel between directions in space, so that neither the poles nor the meridian of
    right ascension 0 matter; rotation, flips, shear and the projection's stretch at that place are all in it.
    """
    x, y = (np.atleast_1d(np.asarray(value, np.float64)) for value in (x, y))
    ra, dec = np.deg2rad(pixel_to_sky(wcs, x, y))
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], -1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], -1)
    result = np.empty((len(ra), 2, 2))
    for axis, (along_x, along_y) in enumerate(((0.5, 0.0), (0.0, 0.5))):
        ahead, behind = (_direction(*pixel_to_sky(wcs, x + s * along_x, y + s * along_y)) for s in (1, -1))
        step = np.rad2deg(ahead - behind) * ARCSEC
        result[:, 0, axis], result[:, 1, axis] = np.sum(step * east, -1), np.sum(step * north, -1)
    return result


def _direction(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


def ellipse_to_sky(wcs: WCS, x, y, major, minor, theta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major, minor [arcsec] and position angle [deg] of ellipses of `major`, `minor` [pixel] and `theta` [deg]."""
    turn = jacobian(wcs, x, y)
    return _from_sky(turn @ squared_widths(major, minor, theta) @ np.swapaxes(turn, -1, -2))


def ellipse_to_pixel(wcs: WCS, x, y, major, minor, pa) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major, minor [pixel] and theta [deg] of ellipses on the sky; the inverse of `ellipse_to_sky`."""
    turn = np.linalg.inv(jacobian(wcs, x, y))
    major, minor, angle = _from_sky(turn @ _on_sky(major, minor, pa) @ np.swapaxes(turn, -1, -2))
    return major, minor, (90.0 - angle) % 180.0


def squared_widths(major, minor, angle) -> np.ndarray:
    """Second moments `(n, 2, 2)` of ellipses, in squares of full widths; those of Gaussians add under convolution.

    `angle` [deg] runs from the first axis towards the second: the moments of a theta are over (x, y), those of a
    position angle over (north, east).
    """
    major, minor, angle = np.broadcast_arrays(
        *(np.asarray(part, np.float64) for part in (major, minor, np.deg2rad(angle)))
    )
    cosine, sine = np.cos(angle), np.sin(angle)
    square = np.empty((*major.shape, 2, 2))
    square[..., 0, 0] = (major * cosine) ** 2 + (minor * sine) ** 2
    square[..., 1, 1] = (major * sine) ** 2 + (minor * cosine) ** 2
    square[..., 0, 1] = square[..., 1, 0] = (major**2 - minor**2) * cosine * sine
    return square


def ellipse_axes(square: np.ndarray, floor: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major, minor and angle [deg] of second moments `(n, 2, 2)`, the inverse of `squared_widths`; NaN stays NaN.

    A squared width that is not above `floor` is 0, and so is the angle of a circle.
    """
    mean = (square[..., 0, 0] + square[..., 1, 1]) / 2
    along, across = (square[..., 0, 0] - square[..., 1, 1]) / 2, square[..., 0, 1]
    spread = np.hypot(along, across)
    major, minor = (np.sqrt(np.where(part <= floor, 0.0, part)) for part in (mean + spread, mean - spread))
    angle = np.rad2deg(np.arctan2(across, along)) / 2 % 180.0
    # The remainder of a tiny negative angle rounds to 180.
    return major, minor, np.where((major <= minor) | (angle >= 180.0), 0.0, angle)


def _on_sky(major, minor, pa) -> np.ndarray:
    """Second moments over (east, north)."""
    return squared_widths(major, minor, pa)[..., ::-1, ::-1]


def _from_sky(square: np.ndarray, floor: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major, minor and pa of second moments over (east, north); what has no known size is a point."""
    return ellipse_axes(np.where(np.isnan(square), 0.0, square)[..., ::-1, ::-1], floor)


def convolve(major, minor, pa, beam: Beam) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Major, minor [arcsec] and pa [deg] of elliptical Gaussians of these values, as seen with `beam` [deg]."""
    return _from_sky(_on_sky(major, minor, pa) + _beam(beam))


def deconvolve(major, minor, pa, beam: Beam) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intrinsic major, minor [arcsec] and pa [deg] of elliptical Gaussians measured with `beam` [deg].

    Covariances of Gaussians add under convolution, so the beam's is subtracted; the axes are the eigenvalues of the
    difference, in closed form (Wild 1970, Aust. J. Phys. 23, 113). An axis that is no wider than the beam is 0; where
    both are, so is pa.
    """
    area = _beam(beam)
    return _from_sky(_on_sky(major, minor, pa) - area, _RESOLVED * float(np.trace(area)))


def _beam(beam: Beam) -> np.ndarray:
    return _on_sky(ARCSEC * beam.major, ARCSEC * beam.minor, beam.pa)


def half_widths(major, minor, theta) -> np.ndarray:
    """Half the sides (y, x) of the box around ellipses of full axes `major`, `minor` and `theta` [deg], `(n, 2)`."""
    square = squared_widths(major, minor, theta)
    return 0.5 * np.sqrt(np.stack([square[..., 1, 1], square[..., 0, 0]], -1))


def sky_offsets(ra0, dec0, ra, dec) -> tuple[np.ndarray, np.ndarray]:
    """East and north [arcsec] along the great circle from `ra0`, `dec0` to `ra`, `dec` [deg]."""
    first, second = (SkyCoord(*(np.asarray(part) * u.deg for part in pair)) for pair in ((ra0, dec0), (ra, dec)))
    far, angle = first.separation(second).arcsec, first.position_angle(second).rad
    return far * np.sin(angle), far * np.cos(angle)
