"""Reading large FITS images and cubes window by window, in Jy/beam, with what their header says."""

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.errors import FlemingWarning, UserError
from pipeline.sky.archive import open_source
from pipeline.sky.axes import KINDS, kept_axes, plan_axes
from pipeline.sky.fitsfile import as_float, choose_hdu, open_fits
from pipeline.sky.frame import FrameInfo, frame_info
from pipeline.sky.headers import (
    Beam,
    NoWCSWarning,
    beam_flaw,
    header_beam,
    header_frequency,
    header_unit,
    header_wcs,
    number,
)
from pipeline.sky.units import brightness_unit, convert

JY_BEAM = u.Jy / u.beam
_CONVERTIBLE = (JY_BEAM, u.K, u.Jy / u.sr)
_SQUARE = 0.01


class MissingUnitWarning(FlemingWarning):
    """The header has no BUNIT: the pixels are taken for Jy/beam."""


class FrameReader:
    """A FITS image or cube of any size, N = 2 or 3 axes, opened once and read by section.

    A plain file is mapped anew for every section, so that memory holds no more than one of them, and several threads
    may read at once. What is packed (.gz, .fz, a zip member) is read whole into memory, and `note` says so.

    Attributes
    ----------
    shape : pixels per kept axis, NumPy order; axes of length 1, such as STOKES and FREQ, are left out.
    wcs : of the kept axes, or None. wcs_flaw : why there is none, or "".
    beam : as given, else of the header. header : of all axes as stored.
    frequency : Hz, one value, one a channel of a cube, or None.
    unit : of what `read` gives. stored_unit : of the file, None when unknown.
    note : what a user should know about the reading, or "".
    """

    def __init__(
        self,
        source: str | os.PathLike,
        *,
        kind: str = "image",
        hdu: int | str | None = None,
        beam: Beam | None = None,
        unit: str | u.UnitBase | None = JY_BEAM,
    ):
        """Open `source`, a path that may go through a zip archive.

        Parameters
        ----------
        kind : "image" or "cube".
        hdu : number or name of the HDU; None takes the first with an image.
        beam : instead of the header's.
        unit : what `read` converts to; None leaves the pixels as they are and needs neither unit nor beam.

        Raises
        ------
        UserError : absent, truncated, not FITS, of another kind, without a beam, or of a unit that does not convert.

        Warns
        -----
        NoWCSWarning : no usable celestial coordinates. MissingUnitWarning : no BUNIT.
        """
        self._open(source, kind, hdu)
        self.wcs, self.wcs_flaw = self._celestial_wcs()
        self.beam = beam or header_beam(self.header)
        self.frequency = header_frequency(self.header, self._kept, self._stored_shape)
        self.unit, self._factor = self._conversion(unit)

    def _open(self, source: str | os.PathLike, kind: str, hdu: int | str | None) -> None:
        if kind not in ("image", "cube"):
            raise ValueError(f"kind is image or cube, not {kind!r}")
        self.path, self.note = str(source), ""
        _check_axes(frame_info(source, hdu=hdu), kind, source)
        content = open_source(source)
        with open_fits(content, source) as hdus:
            size = content.stat().st_size if isinstance(content, Path) else None
            chosen = choose_hdu(hdus, hdu, False, size, source)
            self.header, self._stored_shape = chosen.header.copy(), tuple(chosen.shape)
            _, removed = plan_axes(self.header, self._stored_shape, kind, None, source)
            self._kept = kept_axes(len(self._stored_shape), removed)
            self.shape = tuple(self._stored_shape[axis] for axis in self._kept)
            self._pixels, self._place = None, None
            if isinstance(content, bytes) or isinstance(chosen, fits.CompImageHDU):
                self._pixels = as_float(np.reshape(chosen.data, self.shape))
                self.note = f"is packed: its {self._pixels.nbytes / 2**20:.0f} MiB were read into memory"
            else:
                self._place = (content, chosen.fileinfo()["datLoc"])
        self.stored_unit = header_unit(self.header, source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and its pixels; reading on is an error."""
        self._pixels, self._place = None, None

    @property
    def ndim(self) -> int:
        """The number of kept axes N."""
        return len(self.shape)

    def read(self, section: Sequence[slice]) -> np.ndarray:
        """The pixels of a section, one slice (step 1) a kept axis, native float32, in `unit`; blanks are NaN.

        Raises
        ------
        UserError : the file can no longer be read, or has become shorter.
        """
        spans = self._spans(section)
        return self._converted(self._stored(spans), spans)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Pixels per kept axis in the order of the file."""
        return tuple(self._stored_shape[axis] for axis in self._kept)

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Pixels per axis of the file, those of length 1 among them."""
        return self._stored_shape

    def read_stored(self, spans: Sequence[slice]) -> np.ndarray:
        """The pixels of `spans`, slices of the kept axes in the order of the file, as they are stored, float32.

        Raises
        ------
        UserError : as `read`.
        """
        return self._stored(list(spans))

    def section_of(self, spans: Sequence[slice]) -> list[slice]:
        """The section, as `read` takes it, that covers `spans` of the file."""
        return list(spans)

    def to_stored(self, pixels: np.ndarray, section: Sequence[slice]) -> np.ndarray:
        """Pixels of a section in `unit` as the file would store them: undoes what `read` makes of units and axes.

        A sum of stored pixels and of these is the sum of what `read` gives of both.
        """
        factor = self._factor[section[0]] if np.ndim(self._factor) else self._factor
        return pixels / factor

    def _spans(self, section: Sequence[slice]) -> list[slice]:
        spans = [slice(*part.indices(size)) for part, size in zip(section, self.shape, strict=True)]
        if any(span.step != 1 for span in spans):
            raise ValueError("a section is read with step 1")
        return spans

    def _stored(self, spans: list[slice]) -> np.ndarray:
        """A new array of the stored pixels, the kept axes in the order of the file."""
        if self._pixels is not None:
            return self._pixels[tuple(spans)].copy()
        if self._place is None:
            raise ValueError(f"{self.path} is closed")
        return self._from_file(spans)

    def _converted(self, data: np.ndarray, spans: list[slice]) -> np.ndarray:
        factor = self._factor[spans[0]] if np.ndim(self._factor) else self._factor
        if np.any(factor != 1):
            data *= factor
        return data

    def _from_file(self, spans: list[slice]) -> np.ndarray:
        bits, (path, offset) = int(self.header["BITPIX"]), self._place
        kind = "f" if bits < 0 else "u" if bits == 8 else "i"
        where = [slice(None)] * len(self._stored_shape)
        for axis, span in zip(self._kept, spans, strict=True):
            where[axis] = span
        try:
            # A lasting map would keep every page that was ever touched in memory.
            stored = np.memmap(path, f">{kind}{abs(bits) // 8}", "r", offset, self._stored_shape)[tuple(where)]
        except (OSError, ValueError) as error:
            raise UserError(self.path, "can no longer be read whole", "leave the file alone during the run") from error
        stored = stored.reshape([span.stop - span.start for span in spans])
        scale, zero, blank = (number(self.header, key) for key in ("BSCALE", "BZERO", "BLANK"))
        if bits < 0 and scale in (None, 1.0) and not zero:
            return as_float(stored)
        values = stored * (1.0 if scale is None else scale) + (zero or 0.0)
        if bits > 0 and blank is not None:
            values[stored == blank] = np.nan
        return as_float(values)

    @cached_property
    def pixel_scale(self) -> float | None:
        """Degrees a pixel, the geometric mean of the two celestial axes at the reference point; None without a WCS.

        Raises
        ------
        UserError : the pixels are not square within 1 %.
        """
        if self.wcs is None:
            return None
        long, short = np.linalg.svd(self.wcs.celestial.pixel_scale_matrix, compute_uv=False)
        if long > (1 + _SQUARE) * short:
            what = f"has pixels of {3600 * long:.4g} x {3600 * short:.4g} arcsec, which are not square"
            raise UserError(self.path, what, "regrid it to square pixels")
        return float(np.sqrt(long * short))

    def _celestial_wcs(self) -> tuple[WCS | None, str]:
        wcs, reason = header_wcs(self.header, self._kept, len(self._stored_shape))
        if wcs is not None and not wcs.has_celestial:
            wcs, reason = None, "its axes are not celestial"
        if wcs is None:
            warnings.warn(
                f"{self.path}: no usable world coordinates ({reason}); positions are in pixels.", NoWCSWarning, 3
            )
        return wcs, reason

    def _conversion(self, unit: str | u.UnitBase | None) -> tuple[u.UnitBase | None, np.ndarray]:
        if unit is None:
            return self.stored_unit, np.float32(1)
        if self.beam is None:
            remedy = "give its beam, or add BMAJ, BMIN and BPA (degrees) to its header"
            raise UserError(self.path, f"has no beam ({beam_flaw(self.header)})", remedy)
        target = brightness_unit(unit, self.path) if isinstance(unit, str) else unit
        if self.stored_unit is None:
            warnings.warn(
                f"{self.path}: no BUNIT in its header; its pixels are taken for {target}.", MissingUnitWarning, 3
            )
            return target, np.float32(1)
        if not any(self.stored_unit.is_equivalent(known) for known in _CONVERTIBLE):
            what = f"has the unit {self.stored_unit}, which cannot be turned into {target}"
            raise UserError(self.path, what, "give an image in Jy/beam, mJy/beam, K or MJy/sr")
        # A frequency a channel makes a factor a channel, whether or not the conversion depends on it.
        ones = np.ones((*np.shape(self.frequency), *(1,) * (self.ndim - 1)) if np.ndim(self.frequency) else ())
        factor = convert(ones, self.stored_unit, target, self.beam, self.frequency, self.path)
        return target, np.asarray(factor, np.float32)


def _check_axes(info: FrameInfo, kind: str, source: object) -> None:
    real = [length for length in info.shape if length > 1]
    if len(real) > KINDS[kind]:
        size = " x ".join(str(length) for length in real)
        raise UserError(
            source, f"is a cube of {size} pixels, not an {kind}", "give one plane of it, or a model of cubes by --model"
        )
