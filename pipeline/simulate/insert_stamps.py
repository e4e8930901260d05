"""Stamps of noise-free sources, brought to the pixels and the beam of a frame."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.fft import fft2, fftfreq, ifft2
from scipy.ndimage import label, map_coordinates

from pipeline.errors import FlemingWarning, UserError
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_settings import InsertSettings
from pipeline.simulate.noise import covariance
from pipeline.sky.archive import open_source
from pipeline.sky.fitsfile import as_float, open_fits
from pipeline.sky.headers import axis_type, header_beam, header_unit, number
from pipeline.sky.window import JY_BEAM

_SIGMAS = 4.5  # of the kernel, beyond the stamp
_UPSAMPLED = 2  # before the splines: a beam of 2.5 pixels is then exact to 1e-3 of its peak
_BROADER = 1e-3  # of the beam's variance by which a PSF may be broader, as FWHM are rounded
_BROADENED = 0.02  # of the width of a channel


class NoisyStampsWarning(FlemingWarning):
    """Stamps hold noise, which is put into the frame with them."""


@dataclass(frozen=True)
class Stamps:
    """n stamps of one file.

    pixels : ``(n, y, x)`` or ``(n, frequency, y, x)`` float32 [Jy a pixel], or of unknown scale where not `calibrated`.
    scale : side of a pixel [arcsec], None where unknown. psf : covariance of the PSF ``(2, 2)`` over (north, east)
    [arcsec^2]. noise : rms of the noise as `pixels`, 0 for none. channel_hz : width of a channel, None where unknown.
    """

    path: str
    pixels: np.ndarray
    scale: float | None
    psf: np.ndarray
    noise: float
    channel_hz: float | None
    calibrated: bool

    @classmethod
    def read(cls, path: str, ndim: int, settings: InsertSettings) -> "Stamps":
        """Read the first image with one axis more than the frame, or with as many, one stamp.

        The header tells the unit (BUNIT: Jy/pixel, or Jy/beam with a PSF; else fluxes are unknown), the pixel (the WCS,
        or PIXSCALE [arcsec]), the PSF (BMAJ, BMIN, BPA [deg],
        PSFFWHM [arcsec], or PSFPIX [pixels]) and the noise (RMS, in BUNIT).
        `settings` overrule it.

        Raises
        ------
        UserError : no such image, invalid pixels, or a stamp without light.
        """
        with open_fits(open_source(path), path) as hdus:
            chosen = next((hdu for hdu in hdus if hdu.is_image and len(hdu.shape) in (ndim, ndim + 1)), None)
            if chosen is None:
                shapes = [hdu.shape for hdu in hdus if hdu.is_image and hdu.shape]
                what = f"holds no stamps of {ndim} axes (its images: {', '.join(map(str, shapes)) or 'none'})"
                raise UserError(path, what, f"give an array of {ndim + 1} axes, number of the stamp first")
            pixels, header = as_float(chosen.data), chosen.header.copy()
        pixels = pixels[None] if pixels.ndim == ndim else pixels
        _check(pixels, path)
        scale = settings.stamp_pixel or _scale(header)
        beam = header_beam(header)
        if settings.stamp_psf is not None or beam is None:
            width = _psf(header, scale) if settings.stamp_psf is None else settings.stamp_psf
            psf = covariance(width, width, 0.0)
        else:
            # Over (north, east) an angle from north to east is one from the first axis to the second.
            psf = covariance(3600 * beam.major, 3600 * beam.minor, beam.pa)[::-1, ::-1]
        unit, factor = header_unit(header, path), 1.0
        calibrated = unit is not None and (unit.is_equivalent(u.Jy) or unit.is_equivalent(u.Jy / u.pix))
        area = 2 * np.pi * np.sqrt(np.linalg.det(psf))  # [arcsec^2]
        if unit is not None and unit.is_equivalent(JY_BEAM) and area > 0 and scale is not None:
            factor, calibrated = unit.to(JY_BEAM) * scale**2 / area, True
        elif calibrated:
            factor = unit.to(u.Jy if unit.is_equivalent(u.Jy) else u.Jy / u.pix)
        noise = abs(number(header, "RMS", 0.0))
        channel = number(header, "CDELT3") if ndim == 3 and axis_type(header, 3).startswith("FREQ") else None
        width = None if channel is None else abs(channel)
        return cls(path, pixels * np.float32(factor), scale, psf, noise * factor, width, calibrated)

    def clipped(self, times: float) -> np.ndarray:
        """The pixels with 0 in place of what is fainter than `times` the noise, or apart from the brightest pixel."""
        result = np.zeros_like(self.pixels)
        for kept, pixels in zip(result, self.pixels, strict=True):
            bright, _ = label(pixels > times * self.noise)
            own = bright == bright[np.unravel_index(np.argmax(pixels), pixels.shape)]
            # Where nothing is bright the island of the brightest pixel is all the rest.
            own &= bright > 0
            kept[own] = pixels[own]
        return result


def _check(pixels: np.ndarray, path: str) -> None:
    for number_, stamp in enumerate(pixels):
        if not np.isfinite(stamp).all():
            raise UserError(path, f"has invalid pixels (NaN) in stamp {number_}", "leave it out or fill them with 0")
        if not stamp.sum(dtype=float) > 0:
            raise UserError(path, f"has no light in stamp {number_} (its sum is not above 0)", "leave it out")


def _scale(header: fits.Header) -> float | None:
    told = number(header, "PIXSCALE")
    if told is None and axis_type(header, 1).startswith("RA"):
        told = 3600 * float(np.sqrt(np.prod(proj_plane_pixel_scales(WCS(header).celestial))))
    return told if told is None or told > 0 else None


def _psf(header: fits.Header, scale: float | None) -> float:
    """FWHM [arcsec] of a round PSF, 0 where none is told."""
    in_pixels = number(header, "PSFPIX", 0.0) * (scale or 0.0)
    return number(header, "PSFFWHM", in_pixels)


class StampPlacer:
    """Draws stamps at any place of a frame, as its beam shows them.

    A pixel of a stamp is a point of light. With the kernel that makes the stamp's PSF the frame's beam, a Gaussian of
    the difference of their covariances, the image is a smooth function, which is taken at the frame's pixels; flux is
    kept. North is up and east is left in a stamp, as in the frame by its coordinates.

    turn : ``(2, 2)`` from (y, x) of a stamp to (y, x) of the frame. psf : covariance of the stamps' PSF ``(2, 2)`` in
    (y, x) of the frame [pixels^2].

    Raises
    ------
    UserError : the stamps are broader than the beam.
    """

    def __init__(self, stamps: Stamps, plane: Plane):
        scale = stamps.scale or plane.pixel_arcsec
        # East is left: x of a stamp runs to the west. From (y, x) of the stamp to (y, x) of the frame.
        sky = np.array([[0.0, -scale], [scale, 0.0]])  # (east, north) of (y, x)
        self.turn = np.linalg.solve(plane.turn, sky)[::-1]
        self._back = np.linalg.inv(self.turn)
        self.psf = self._on_frame(stamps.psf, scale)
        kernel = plane.beam - self.psf
        share = np.linalg.eigvals(np.linalg.solve(plane.beam, kernel)).real.min()
        if share < -_BROADER:
            width, beam = (np.sqrt(8 * np.log(2) * np.sqrt(np.linalg.det(part))) for part in (stamps.psf, plane.beam))
            what = f"its stamps have a PSF of {width:.3g} arcsec, which the beam of {beam * plane.pixel_arcsec:.3g} "
            raise UserError(stamps.path, what + "arcsec does not contain", "give sharper stamps or a smoother frame")
        self.kernel = self._back @ kernel @ self._back.T  # in pixels of the stamp
        self.per_beam = plane.beam_area * abs(np.linalg.det(self._back))
        spread = np.sqrt(np.maximum(np.diag(self.kernel), 0.0))
        self._pad = np.ceil(_SIGMAS * spread).astype(int) + 2
        half = (np.array(stamps.pixels.shape[-2:]) - 1) / 2 + self._pad
        self._middle = half
        self._half = np.ceil(np.abs(self.turn) @ half).astype(int)

    def _on_frame(self, psf: np.ndarray, scale: float) -> np.ndarray:
        """A covariance over (north, east) [arcsec^2] in (y, x) of the frame [pixels^2]."""
        # North is +y and east is -x of the stamp.
        turn = self.turn @ np.diag([1.0, -1.0]) / scale
        return turn @ psf @ turn.T

    def extent(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First pixel, and the one after the last, of stamps whose middles are at ``(n, 2)`` in (y, x)."""
        middle = np.rint(places).astype(int)
        return middle - self._half, middle + self._half + 1

    def draw(self, stamp: np.ndarray, place: np.ndarray) -> np.ndarray:
        """A stamp ``(..., y, x)`` with its middle at `place` (y, x), as the frame shows it [its unit per beam]."""
        fine = self._smooth(stamp)
        along = [np.arange(-half, half + 1) for half in self._half]
        offset = np.stack(np.meshgrid(*along, indexing="ij")).reshape(2, -1)
        at = self._back @ (offset + (np.rint(place) - place)[:, None]) + self._middle[:, None]
        shape = tuple(2 * self._half + 1)
        planes = [
            map_coordinates(part, _UPSAMPLED * at, order=3, mode="constant").reshape(shape)
            for part in fine.reshape(-1, *fine.shape[-2:])
        ]
        return (self.per_beam * np.stack(planes)).reshape(*stamp.shape[:-2], *shape).astype(np.float32)

    def _smooth(self, stamp: np.ndarray) -> np.ndarray:
        """The padded stamp, smoothed by the kernel, at twice as many points along each axis."""
        pad = [(0, 0)] * (stamp.ndim - 2) + [(width, width) for width in self._pad]
        wide = np.pad(stamp.astype(float), pad)
        # An odd number of points: the highest frequency is then no case of its own.
        odd = [(0, 0)] * (stamp.ndim - 2) + [(0, 1 - size % 2) for size in wide.shape[-2:]]
        wide = np.pad(wide, odd)
        sizes = wide.shape[-2:]
        frequency = np.stack(np.meshgrid(*(fftfreq(size) for size in sizes), indexing="ij"), axis=-1)
        response = np.exp(-2 * np.pi**2 * np.einsum("yxi,ij,yxj->yx", frequency, self.kernel, frequency))
        spectrum = fft2(wide) * response
        fine = np.zeros((*wide.shape[:-2], *(_UPSAMPLED * size for size in sizes)), complex)
        rows, columns = (np.r_[0 : size // 2 + 1, -(size // 2) : 0] for size in sizes)
        fine[..., rows[:, None], columns[None, :]] = spectrum
        return ifft2(fine).real * _UPSAMPLED**2


def stamp_moments(pixels: np.ndarray, flux: float) -> tuple[np.ndarray, np.ndarray]:
    """Centroid ``(2,)`` and covariance ``(2, 2)`` in (y, x) [pixels] of light ``(y, x)`` that sums to `flux`."""
    y, x = np.indices(pixels.shape, float)
    centre = np.array([(pixels * y).sum(), (pixels * x).sum()]) / flux
    dy, dx = y - centre[0], x - centre[1]
    cross = (pixels * dy * dx).sum()
    return centre, np.array([[(pixels * dy**2).sum(), cross], [cross, (pixels * dx**2).sum()]]) / flux
