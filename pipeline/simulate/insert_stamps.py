"""Stamps of noise-free sources, brought to the pixels and the beam of a frame."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.fft import fft2, fftfreq, ifft2
from scipy.ndimage import label, map_coordinates

from pipeline.errors import FlemingWarning, UserError
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_settings import InsertSettings
from pipeline.simulate.noise import covariance
from pipeline.sky.archive import open_source
from pipeline.sky.fitsfile import as_float, open_fits
from pipeline.sky.headers import (
    COLOURS,
    axis_type,
    beam_flaw,
    header_beam,
    header_unit,
    header_wcs,
    is_spectral,
    number,
    told_number,
    value,
)
from pipeline.sky.window import JY_BEAM

_SIGMAS = 4.5  # of the kernel, beyond the stamp
_UPSAMPLED = 2  # before the splines: a beam of 2.5 pixels is then exact to 1e-3 of its peak
_BROADER = 1e-3  # of the beam's variance by which a PSF may be broader, as FWHM are rounded
_MOST = 1 << 20  # pixels of a plane of a stamp
_FINEST = 256  # of its pixels in the beam: with what the kernel reaches around it a plane takes a quarter of a GB
_WIDEST = 648e3  # FWHM of a PSF, from pole to pole [arcsec]


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
        """Read the first image with one axis more than the frame, or with as many, one stamp. One stamp of a cube says
        in its header that its first axis is spectral: else it cannot be told from n stamps of images.

        The header tells the unit (BUNIT: Jy/pixel, or Jy/beam with a PSF; else fluxes are unknown), the pixel (the WCS,
        or PIXSCALE [arcsec]), the PSF (BMAJ, BMIN, BPA [deg],
        PSFFWHM [arcsec], or PSFPIX [pixels]) and the noise (RMS, in BUNIT).
        `settings` overrule it.

        Raises
        ------
        UserError : no such image, one that is too large for stamps, invalid pixels, a stamp without light, or a card
        of the header that cannot be read.
        """
        with open_fits(open_source(path), path) as hdus:
            chosen = next((hdu for hdu in hdus if hdu.is_image and len(hdu.shape) in (ndim, ndim + 1)), None)
            if chosen is None:
                shapes = [hdu.shape for hdu in hdus if hdu.is_image and hdu.shape]
                what = f"holds no stamps of {ndim} axes (its images: {', '.join(map(str, shapes)) or 'none'})"
                raise UserError(path, what, f"give an array of {ndim + 1} axes, number of the stamp first")
            _check_axes(chosen.header, chosen.shape, ndim, path)
            pixels, header = as_float(chosen.data), chosen.header.copy()
        pixels = pixels[None] if pixels.ndim == ndim else pixels
        _check(pixels, path)
        scale = settings.stamp_pixel or _scale(header, path)
        beam = header_beam(header)
        if settings.stamp_psf is None and beam is None and value(header, "BMAJ") is not None:
            raise UserError(path, f"has a beam that makes no sense ({beam_flaw(header)})", "correct it or remove it")
        if settings.stamp_psf is not None or beam is None:
            width = _psf(header, scale, path) if settings.stamp_psf is None else settings.stamp_psf
            if width > _WIDEST:
                raise UserError(path, f"has a PSF of {width:.3g} arcsec", "correct PSFFWHM or PSFPIX, or --stamp-psf")
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
        noise = told_number(header, "RMS", path) or 0.0
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


def _check_axes(header: fits.Header, shape: tuple[int, ...], ndim: int, path: str) -> None:
    """Refuse, before they are read, arrays that are no stamps for frames of `ndim` axes."""
    rows, columns = shape[-2:]
    if rows * columns > _MOST:
        side = int(_MOST**0.5)
        what = f"has {columns} x {rows} pixels in a plane, where a stamp has at most as many as {side} x {side}"
        raise UserError(path, what, "give cut-outs of single sources")
    if ndim == 3 and axis_type(header, 3) == COLOURS:
        what = f"has stamps of images of several colours (its CTYPE3 is {COLOURS}), and the frame is a cube"
        raise UserError(path, what, "give stamps of a cube")
    if len(shape) != 3:
        return
    # Three axes are n stamps of images, or one of a cube: only the header tells.
    spectral = is_spectral(header, 3)
    if ndim == 3 and not spectral:
        what = "has stamps of images (3 axes, none of which is spectral by its CTYPE), and the frame is a cube"
        raise UserError(path, what, "give an array of 4 axes, number of the stamp first")
    if ndim == 2 and spectral and shape[0] > 1:
        what = "has a stamp of a cube (its CTYPE3 is spectral), and the frame is an image"
        raise UserError(path, what, "give an array of 3 axes, number of the stamp first")


def _check(pixels: np.ndarray, path: str) -> None:
    for number_, stamp in enumerate(pixels):
        if not np.isfinite(stamp).all():
            raise UserError(path, f"has invalid pixels (NaN) in stamp {number_}", "leave it out or fill them with 0")
        if not stamp.sum(dtype=float) > 0:
            raise UserError(path, f"has no light in stamp {number_} (its sum is not above 0)", "leave it out")


def _scale(header: fits.Header, path: str) -> float | None:
    """Side of a pixel [arcsec]."""
    told = told_number(header, "PIXSCALE", path, positive=True)
    if told is not None or not axis_type(header, 1).startswith("RA"):
        return told
    axes = header["NAXIS"]
    wcs, flaw = header_wcs(header, (axes - 2, axes - 1), axes)
    if wcs is None:
        raise UserError(path, f"has coordinates that cannot be read ({flaw})", "correct them or give --stamp-pixel")
    return 3600 * float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs))))


def _psf(header: fits.Header, scale: float | None, path: str) -> float:
    """FWHM [arcsec] of a round PSF, 0 where none is told."""
    told = told_number(header, "PSFFWHM", path)
    if told is not None:
        return told
    pixels = told_number(header, "PSFPIX", path)
    if not pixels:
        return 0.0
    if scale is None:
        what = "tells the width of its PSF in pixels (PSFPIX), and not how large those are"
        raise UserError(path, what, "give --stamp-pixel or --stamp-psf, in arcsec")
    return pixels * scale


class StampPlacer:
    """Draws stamps at any place of a frame, as its beam shows them.

    A pixel of a stamp is a point of light. With the kernel that makes the stamp's PSF the frame's beam, a Gaussian of
    the difference of their covariances, the image is a smooth function, which is taken at the frame's pixels; flux is
    kept. North is up and east is left in a stamp, as in the frame by its coordinates.

    turn : ``(2, 2)`` from (y, x) of a stamp to (y, x) of the frame. psf : covariance of the stamps' PSF ``(2, 2)`` in
    (y, x) of the frame [pixels^2]. covered : sides of a stamp ``(2,)`` in (y, x) of the frame [pixels].

    Raises
    ------
    UserError : the stamps are broader than the beam, or their pixels are, or are far finer.
    """

    def __init__(self, stamps: Stamps, plane: Plane):
        scale = stamps.scale or plane.pixel_arcsec
        beam = plane.width * plane.pixel_arcsec
        if scale > beam:
            # A pixel is a point of light: the beam would show them apart.
            what = f"has pixels of {scale:.3g} arcsec, broader than the beam of the frame, {beam:.3g} arcsec"
            raise UserError(stamps.path, what, "give stamps of finer pixels, or their true size by --stamp-pixel")
        if scale * _FINEST < beam:
            what = (
                f"has pixels of {scale:.3g} arcsec, more than {_FINEST} times finer than the beam of {beam:.3g} arcsec"
            )
            raise UserError(stamps.path, what, "give stamps of larger pixels, or their true size by --stamp-pixel")
        # East is left: x of a stamp runs to the west. From (y, x) of the stamp to (y, x) of the frame.
        sky = np.array([[0.0, -scale], [scale, 0.0]])  # (east, north) of (y, x)
        self.turn = np.linalg.solve(plane.turn, sky)[::-1]
        self._back = np.linalg.inv(self.turn)
        self.psf = self._on_frame(stamps.psf, scale)
        kernel = plane.beam - self.psf
        share = np.linalg.eigvals(np.linalg.solve(plane.beam, kernel)).real.min()
        if share < -_BROADER:
            width = np.sqrt(8 * np.log(2) * np.sqrt(np.linalg.det(stamps.psf)))
            what = f"its stamps have a PSF of {width:.3g} arcsec, which the beam of {beam:.3g} arcsec does not contain"
            raise UserError(stamps.path, what, "give sharper stamps or a smoother frame")
        self.kernel = self._back @ kernel @ self._back.T  # in pixels of the stamp
        self.per_beam = plane.beam_area * abs(np.linalg.det(self._back))
        spread = np.sqrt(np.maximum(np.diag(self.kernel), 0.0))
        self._pad = np.ceil(_SIGMAS * spread).astype(int) + 2
        half = (np.array(stamps.pixels.shape[-2:]) - 1) / 2 + self._pad
        self._middle = half
        self._half = np.ceil(np.abs(self.turn) @ half).astype(int)
        self.covered = np.rint(np.abs(self.turn) @ stamps.pixels.shape[-2:]).astype(int)

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
        along = [np.arange(-half, half + 1) for half in self._half]
        offset = np.stack(np.meshgrid(*along, indexing="ij")).reshape(2, -1)
        at = self._back @ (offset + (np.rint(place) - place)[:, None]) + self._middle[:, None]
        shape = tuple(2 * self._half + 1)
        planes = [
            map_coordinates(self._smooth(part), _UPSAMPLED * at, order=3, mode="constant").reshape(shape)
            for part in stamp.reshape(-1, *stamp.shape[-2:])
        ]
        return (self.per_beam * np.stack(planes)).reshape(*stamp.shape[:-2], *shape).astype(np.float32)

    def _smooth(self, plane: np.ndarray) -> np.ndarray:
        """A padded plane ``(y, x)`` of a stamp, smoothed by the kernel, at twice as many points along each axis."""
        # An odd number of points: the highest frequency is then no case of its own.
        pad = [(width, width + 1 - size % 2) for width, size in zip(self._pad, plane.shape, strict=True)]
        wide = np.pad(plane.astype(float), pad)
        sizes = wide.shape
        frequency = np.stack(np.meshgrid(*(fftfreq(size) for size in sizes), indexing="ij"), axis=-1)
        response = np.exp(-2 * np.pi**2 * np.einsum("yxi,ij,yxj->yx", frequency, self.kernel, frequency))
        spectrum = fft2(wide) * response
        fine = np.zeros([_UPSAMPLED * size for size in sizes], complex)
        rows, columns = (np.r_[0 : size // 2 + 1, -(size // 2) : 0] for size in sizes)
        fine[rows[:, None], columns[None, :]] = spectrum
        return ifft2(fine).real * _UPSAMPLED**2


def stamp_moments(pixels: np.ndarray, flux: float) -> tuple[np.ndarray, np.ndarray]:
    """Centroid ``(2,)`` and covariance ``(2, 2)`` in (y, x) [pixels] of light ``(y, x)`` that sums to `flux`."""
    y, x = np.indices(pixels.shape, float)
    centre = np.array([(pixels * y).sum(), (pixels * x).sum()]) / flux
    dy, dx = y - centre[0], x - centre[1]
    cross = (pixels * dy * dx).sum()
    return centre, np.array([[(pixels * dy**2).sum(), cross], [cross, (pixels * dx**2).sum()]]) / flux
