"""Reading spectral-line cubes of any size by section: frequency rising, then y, then x, in Jy/beam."""

import os
import warnings
from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.wcs import WCS

from pipeline.errors import FlemingWarning, UserError
from pipeline.sky.beams import channel_beams, median_beam
from pipeline.sky.geometry import pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam, NoWCSWarning, axis_type, beam_flaw, header_beam, header_wcs, is_celestial
from pipeline.sky.spectral_axis import LIGHT_KMS, spectral_axis
from pipeline.sky.window import JY_BEAM, FrameReader

_LONGITUDES = ("RA", "GLON", "ELON", "SLON", "HPLN")


class ManyBeamsWarning(FlemingWarning):
    """Every channel has a beam of its own: the pixels are rescaled to one."""


class CubeReader(FrameReader):
    """A FITS cube of any size, opened once and read by section in the order (frequency rising, y, x).

    The stored axes may be in any order, with further ones of length 1 such as STOKES; x is the axis of longitude and
    y that of latitude. The spectral axis is one of frequency (FREQ) or velocity (VRAD, VOPT, VELO, FELO). Memory and
    threads as `FrameReader`.

    Attributes
    ----------
    shape : (f, y, x) pixels.
    wcs : celestial, two axes (x, y), or None. wcs_flaw : why there is none, or "".
    frequency : (f,) Hz of the channels' middles, rising. channel_hz : (f,) Hz, their widths.
    axis : SpectralAxis as stored. rest_hz : rest frequency of the line [Hz].
    convention : in one sentence the frame, the stored axis and the definition of velocities, for a catalogue.
    beam : as given, else of the header, else the one of median area of the channels'.
    beams : (f, 3) major, minor, position angle [deg] of every channel, NaN where it has none; None without a table.
    header : of all axes as stored. unit : of what `read` gives. stored_unit : of the file, None when unknown.
    note : what a user should know about the reading, or "".
    """

    def __init__(
        self,
        source: str | os.PathLike,
        *,
        hdu: int | str | None = None,
        beam: Beam | None = None,
        unit: str | u.UnitBase | None = JY_BEAM,
    ):
        """Open `source`, a path that may go through a zip archive.

        Of channels with beams of their own, pixels in Jy per beam are multiplied by the ratio of the areas of `beam`
        and the channel's, so that sums over pixels are the same flux; a beam that is given holds for all channels.

        Parameters
        ----------
        hdu : number or name of the HDU; None takes the first with an image.
        beam : instead of the header's.
        unit : what `read` converts to; None leaves the pixels as they are and needs neither unit nor beam.

        Raises
        ------
        UserError : absent, truncated, not FITS, no cube, without a linear spectral axis, without a beam, or of a unit
            that does not convert.

        Warns
        -----
        NoWCSWarning : no usable celestial coordinates. MissingUnitWarning : no BUNIT.
        RestFrequencyWarning : no rest frequency for velocities, or that of another line.
        ManyBeamsWarning : the channels have beams of their own.
        """
        self._open(source, "cube", hdu)
        total = len(self._stored_shape)
        self.axis = spectral_axis(self.header, self._stored_shape, self._kept, source)
        step = -1 if self.axis.descending else 1
        self.frequency, self.channel_hz = self.axis.centre[::step].copy(), np.abs(np.diff(self.axis.edges))[::step]
        self.rest_hz = self.axis.rest_hz
        plane = [axis for axis in self._kept if axis != self.axis.index]
        if axis_type(self.header, total - plane[0]).split("-")[0] in _LONGITUDES:
            plane.reverse()
        # Where each axis of what is read lies among the kept ones of the file.
        self._order = [self._kept.index(axis) for axis in (self.axis.index, *plane)]
        self.shape = tuple(self._stored_shape[axis] for axis in (self.axis.index, *plane))
        self.wcs, self.wcs_flaw = self._plane_wcs(plane)
        self.beams = None if beam else channel_beams(source, self.header, self.shape[0])
        if self.beams is not None:
            self.beams = self.beams[::step].copy()
        self.beam = beam or (header_beam(self.header) if self.beams is None else median_beam(self.beams))
        self.unit, self._factor = self._conversion(unit)

    @property
    def convention(self) -> str:
        """The frame of the frequencies, the stored axis, and the definition of the velocities that are given."""
        return f"{self.axis.describe()}; optical velocity is c (rest frequency / frequency - 1)"

    def read(self, section: Sequence[slice]) -> np.ndarray:
        """The pixels of a section (f, y, x), slices of step 1, native float32, in `unit`; blanks are NaN.

        Raises
        ------
        UserError : the file can no longer be read, or has become shorter.
        """
        spans = self._spans(section)
        stored = [self._turned(spans[0]), *spans[1:]]
        data = self._stored([stored[self._order.index(axis)] for axis in range(3)]).transpose(self._order)
        if self.axis.descending:
            data = data[::-1]
        return self._converted(np.ascontiguousarray(data), spans)

    def section_of(self, spans: Sequence[slice]) -> list[slice]:
        """The section (f, y, x), as `read` takes it, that covers `spans` of the file."""
        section = [spans[place] for place in self._order]
        return [self._turned(section[0]), *section[1:]]

    def to_stored(self, pixels: np.ndarray, section: Sequence[slice]) -> np.ndarray:
        """Pixels (f, y, x) of a section in `unit` as the file would store them, its axes in the order of the file."""
        pixels = super().to_stored(pixels, section)
        if self.axis.descending:
            pixels = pixels[::-1]
        return pixels.transpose(np.argsort(self._order))

    def _turned(self, span: slice) -> slice:
        """A span of channels counted from the other end, where the file has falling frequencies."""
        if not self.axis.descending:
            return span
        return slice(self.shape[0] - span.stop, self.shape[0] - span.start)

    def stored_channel(self, z: np.ndarray) -> np.ndarray:
        """The 0-based position along the spectral axis of the file of `z`, any shape."""
        return self.shape[0] - 1 - np.asarray(z) if self.axis.descending else np.asarray(z)

    def velocity(self, frequency: np.ndarray, definition: str = "optical") -> np.ndarray:
        """Velocity [km/s] of the line at `frequency` [Hz], any shape: "optical", c z, or "radio"."""
        if definition not in ("optical", "radio"):
            raise ValueError(f"a velocity is optical or radio, not {definition!r}")
        ratio = self.rest_hz / np.asarray(frequency, np.float64)
        return LIGHT_KMS * (ratio - 1 if definition == "optical" else 1 - 1 / ratio)

    def to_sky(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right ascension, declination (ICRS) [deg] and frequency [Hz] of pixel positions (n,).

        Frequency is linear between the middles of channels and beyond the outermost. Without coordinates the first
        two are NaN.
        """
        z = np.asarray(z, np.float64)
        below = np.clip(np.floor(z).astype(int), 0, max(self.shape[0] - 2, 0))
        frequency = self.frequency[below] + (z - below) * self._steps()[below]
        if self.wcs is None:
            nothing = np.full(np.broadcast(x, y).shape, np.nan)
            return nothing, nothing.copy(), frequency
        return *pixel_to_sky(self.wcs, x, y), frequency

    def from_sky(
        self, ra: np.ndarray, dec: np.ndarray, frequency: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixel positions z, y, x of `ra`, `dec` [deg] and `frequency` [Hz] (n,); the inverse of `to_sky`."""
        frequency = np.asarray(frequency, np.float64)
        below = np.clip(np.searchsorted(self.frequency, frequency, "right") - 1, 0, max(self.shape[0] - 2, 0))
        z = below + (frequency - self.frequency[below]) / self._steps()[below]
        if self.wcs is None:
            nothing = np.full(np.broadcast(ra, dec).shape, np.nan)
            return z, nothing, nothing.copy()
        x, y = sky_to_pixel(self.wcs, ra, dec)
        return z, y, x

    def _steps(self) -> np.ndarray:
        return np.diff(self.frequency) if self.shape[0] > 1 else self.channel_hz

    def _plane_wcs(self, plane: Sequence[int]) -> tuple[WCS | None, str]:
        total = len(self._stored_shape)
        wcs, reason = header_wcs(self.header, plane, total)
        if wcs is not None and not (wcs.has_celestial and all(is_celestial(self.header, total - at) for at in plane)):
            wcs, reason = None, "its axes are not celestial"
        if wcs is None:
            warnings.warn(
                f"{self.path}: no usable world coordinates ({reason}); positions are in pixels.", NoWCSWarning, 3
            )
        elif plane[0] > plane[1]:
            wcs = wcs.sub([2, 1])
        return wcs, reason

    def _conversion(self, unit: str | u.UnitBase | None) -> tuple[u.UnitBase | None, np.ndarray]:
        if unit is not None and self.beam is None:
            remedy = "give its beam with --beam, or add BMAJ, BMIN and BPA (degrees) to its header"
            raise UserError(self.path, f"has no beam ({beam_flaw(self.header)})", remedy)
        target, factor = super()._conversion(unit)
        if unit is None or self.beams is None:
            return target, factor
        areas = self.beams[:, 0] * self.beams[:, 1]
        ratio = np.where(np.isfinite(areas), self.beam.major * self.beam.minor / areas, 1.0)
        spread = 100 * (ratio.max() / ratio.min() - 1)
        warnings.warn(
            f"{self.path}: a beam for every channel, whose areas differ by {spread:.3g} %; the one of median area is "
            "taken for all, and the flux of extended sources is kept.",
            ManyBeamsWarning,
            3,
        )
        stored = self.stored_unit or target
        if u.beam not in stored.decompose().bases:
            return target, factor
        return target, (factor * ratio[:, None, None]).astype(np.float32)
