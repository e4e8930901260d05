"""A frame: the pixels of a spectrum, image or cube with everything the header says about them."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.sky import spectra
from pipeline.sky.archive import check_file, first_bytes, open_source, split_source
from pipeline.sky.axes import KINDS, is_lamost, kept_axes, plan_axes
from pipeline.sky.fitsfile import as_float, as_weight, choose_hdu, open_fits
from pipeline.sky.fitsout import frame_hdus
from pipeline.sky.headers import (
    Beam,
    BlankFrameWarning,
    NoWCSWarning,
    header_beam,
    header_frequency,
    header_unit,
    header_wcs,
    reverse_axis,
    shift_reference,
    value,
)
from pipeline.sky.pictures import is_idx, is_picture, read_picture
from pipeline.sky.positions import inherit_position
from pipeline.sky.spectrum_files import read_table, read_text
from pipeline.sky.units import brightness_unit, convert

__all__ = ["Beam", "BlankFrameWarning", "Frame", "FrameInfo", "NoWCSWarning", "frame_info", "read_frame", "write_frame"]

_FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fz")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass
class FrameInfo:
    """What the header alone says: as `Frame`, with `shape` of the kept axes in place of pixels."""

    shape: tuple[int, ...]
    kind: str
    unit: u.UnitBase | None
    wcs: WCS | None
    beam: Beam | None
    header: fits.Header
    removed: tuple[int, ...]
    path: str


@dataclass
class Frame:
    """N-dimensional sky data, N = 1, 2 or 3, in numpy axis order.

    data : float32 `(*axes)`, invalid pixels NaN; a picture is uint8 `(channel, y, x)`.
    unit : of `data`, None when unknown.
    wcs : of the kept axes, None when unknown.
    header : of all axes as stored, its reference pixels moved to the section or row that was read,
        its spectral axis turned round with a spectrum of falling wavelengths.
    removed : the numpy axes of length 1 that `write_frame` puts back.
    wavelength : angstrom, strictly increasing `(pixel,)`, for spectra.
    ivar : inverse variance float64 `(pixel,)` in `unit`**-2, 0 where unknown, for spectra that have it.
    """

    data: np.ndarray
    unit: u.UnitBase | None = None
    wcs: WCS | None = None
    beam: Beam | None = None
    header: fits.Header = field(default_factory=fits.Header)
    removed: tuple[int, ...] = ()
    wavelength: np.ndarray | None = None
    ivar: np.ndarray | None = None
    picture: bool = False
    path: str = ""

    @property
    def ndim(self) -> int:
        """The number of axes N, not counting the channels of a picture."""
        return 2 if self.picture else self.data.ndim


def read_frame(
    source: str | os.PathLike,
    *,
    kind: str | None = None,
    row: int | None = None,
    hdu: int | str | None = None,
    section: Sequence[slice] | None = None,
    unit: str | u.UnitBase | None = None,
) -> Frame:
    """Read a spectrum, image or cube from FITS (plain, .gz, .fz), a picture, or text.

    Parameters
    ----------
    source : a path, which may go through a zip archive: `spectra.zip/folder/star.txt`.
    kind : "spectrum", "image" or "cube"; None takes what the dimensions say.
    row : which object of a stack along the first axis longer than 1, or of a table with one spectrum a row.
    hdu : number or name of the HDU; None takes the first with data.
    section : one slice (step 1) for each kept axis; only those pixels are read from an unpacked file.
    unit : convert the brightness to this unit.

    Raises
    ------
    UserError : the file is absent, damaged, of another kind or all NaN, or its unit is wrong or not convertible.

    Warns
    -----
    NoWCSWarning : no usable world coordinates, or no wavelength scale. BlankFrameWarning : all pixels are zero.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
    content = open_source(source)
    form = _form(content, source)
    if form == "picture":
        if kind not in (None, "image"):
            raise UserError(source, f"is a picture, not a {kind}", "ask for an image")
        pixels = read_picture(source)
        return Frame(_cut(pixels, (slice(None), *section) if section else None), picture=True, path=str(source))
    if form == "text":
        if kind not in (None, "spectrum"):
            raise UserError(source, f"is text, not an {kind}".replace("an cube", "a cube"), "give a FITS file")
        raw = content if isinstance(content, bytes) else content.read_bytes()
        if row not in (None, 0):
            raise UserError(source, f"holds one spectrum, so row {row} does not exist", "leave the row out")
        frame = _spectrum(read_text(raw, source), fits.Header(), section, source)
    else:
        with open_fits(content, source) as hdus:
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            chosen = choose_hdu(hdus, hdu, kind in (None, "spectrum"), size, source)
            if chosen.is_image:
                frame = _read_image(chosen, kind, row, section, source)
            else:
                header = chosen.header.copy()
                table = read_table(chosen, row, source)
                table["unit"] = table["unit"] or str(value(header, "BUNIT", value(hdus[0].header, "BUNIT", "")))
                frame = _spectrum(table, header, section, source)
            if frame.ndim == 1:
                inherit_position(frame.header, hdus[0].header)
    return _checked(frame, unit, whole=section is None)


def frame_info(source: str | os.PathLike, *, kind: str | None = None, hdu: int | str | None = None) -> FrameInfo:
    """Shape, unit, WCS and beam of a FITS image or cube from its header, without reading a pixel.

    Raises
    ------
    UserError : as `read_frame`, also for a file that is not FITS or holds no image.
    """
    path, member = split_source(source)
    content: Path | bytes
    if member is None:
        check_file(path)
        content = path
    else:
        content = open_source(source)
    packed = isinstance(content, bytes) or first_bytes(content, 2) == b"\x1f\x8b"
    if not packed and _form(content, source) != "fits":
        raise UserError(source, "is not a FITS file", "give a FITS file")
    with open_fits(content, source) as hdus:
        chosen = choose_hdu(hdus, hdu, False, None if packed else content.stat().st_size, source)
        if not chosen.is_image:
            raise UserError(source, f"holds a table in HDU {hdu!r}", "choose an HDU with an image")
        header, shape = chosen.header.copy(), tuple(chosen.shape)
    kind, removed = plan_axes(header, shape, kind, None, source)
    kept = kept_axes(len(shape), removed)
    wcs, _ = header_wcs(header, kept, len(shape))
    sizes = tuple(shape[axis] for axis in kept)
    return FrameInfo(sizes, kind, header_unit(header, source), wcs, header_beam(header), header, removed, str(source))


def _form(content: Path | bytes, source: object) -> str:
    first = content[:64] if isinstance(content, bytes) else first_bytes(content)
    name = str(source).lower().removesuffix(".gz")
    if first.startswith(b"SIMPLE  ="):
        return "fits"
    if name.endswith(_FITS_SUFFIXES):
        begin = first[:16].decode("ascii", errors="replace").replace("\n", " ")
        begin = "".join(letter if letter.isprintable() else "?" for letter in begin)
        raise UserError(source, f'is not a FITS file (it begins with "{begin}")', "fetch or write it again")
    if is_picture(first) or name.endswith(_PICTURE_SUFFIXES):
        return "picture"
    if is_idx(first):
        raise UserError(source, "is an idx file of many objects", "use input kind idx")
    if first.startswith(b"PK\x03\x04"):
        raise UserError(source, "is a zip archive", f"name a member of it, for example {Path(source).name}/NAME")
    return "text"


def _read_image(hdu, kind: str | None, row: int | None, section, source: object) -> Frame:
    header, shape = hdu.header.copy(), tuple(hdu.shape)
    kind, removed = plan_axes(header, shape, kind, row, source)
    kept = kept_axes(len(shape), removed)
    slices = [slice(0, size) for size in shape]
    stack = next((axis for axis in removed if shape[axis] > 1), None)
    if row and stack is None:
        raise UserError(source, f"holds one {kind}, so row {row} does not exist", "leave the row out")
    for axis in removed:
        chosen = (row or 0) if axis == stack else 0
        if not 0 <= chosen < shape[axis]:
            raise UserError(source, f"holds {shape[axis]} object(s), so row {row} does not exist", "correct the row")
        slices[axis] = slice(chosen, chosen + 1)
    for axis, part in zip(kept, section or (), strict=bool(section)):
        slices[axis] = slice(*_span(part, shape[axis], source))
    whole = all((part.start, part.stop) == (0, size) for part, size in zip(slices, shape, strict=True))
    stored = hdu.data if whole else hdu.section[tuple(slices)]
    data = as_float(np.asarray(stored).reshape([slices[axis].stop - slices[axis].start for axis in kept]))
    ivar = None
    if kind == "spectrum" and is_lamost(header) and removed == (0,) and not row and shape[0] > 1:
        weights = hdu.section[(slice(1, 2), slices[1])]
        ivar = as_weight(np.asarray(weights).ravel())
    shift_reference(header, [part.start for part in slices])
    frame = Frame(
        data, header_unit(header, source), None, header_beam(header), header, removed, None, ivar, False, str(source)
    )
    if kind == "spectrum":
        _add_wavelength(frame, len(shape) - kept[0], source)
    frame.wcs, reason = header_wcs(header, kept, len(shape))
    if kind != "spectrum" and frame.wcs is None:
        warnings.warn(f"{source}: no usable world coordinates ({reason}); positions are in pixels.", NoWCSWarning, 3)
    return frame


def _add_wavelength(frame: Frame, axis: int, source: object) -> None:
    wavelength = spectra.header_wavelength(frame.header, len(frame.data), axis, source)
    if wavelength is None:
        warnings.warn(f"{source}: no wavelength scale in its header; positions are in pixels.", NoWCSWarning, 4)
        return
    if wavelength[0] > wavelength[-1]:
        reverse_axis(frame.header, axis, len(wavelength))
    frame.wavelength, frame.data, frame.ivar = spectra.order(wavelength, frame.data, frame.ivar, source)
    _blank_unweighted(frame)


def _spectrum(parts: dict, header: fits.Header, section, source: object) -> Frame:
    flux, wavelength, ivar = parts["flux"], parts["wavelength"], parts["ivar"]
    unit = brightness_unit(parts["unit"], source) if parts["unit"].strip() else None
    if wavelength is None:
        warnings.warn(f"{source}: no wavelength column; positions are in pixels.", NoWCSWarning, 3)
    else:
        wavelength, flux, ivar = spectra.order(wavelength, flux, ivar, source)
        if wavelength[0] <= 0:
            raise UserError(source, "has wavelengths that are not positive", "correct its wavelengths")
    cut = [None if array is None else _cut(array, section) for array in (wavelength, flux, ivar)]
    weights = None if ivar is None else as_weight(cut[2])
    frame = Frame(as_float(cut[1]), unit, None, header_beam(header), header, (), cut[0], weights, False, str(source))
    _blank_unweighted(frame)
    return frame


def _blank_unweighted(frame: Frame) -> None:
    # A pixel of zero weight holds no measurement, unless the writer left all weights at zero.
    if frame.ivar is not None and np.any(frame.ivar > 0):
        frame.data[~(frame.ivar > 0)] = np.nan


def _span(part: slice, size: int, source: object) -> tuple[int, int]:
    start, stop, step = part.indices(size)
    if step != 1:
        raise ValueError("a section is read with step 1")
    if stop <= start:
        raise UserError(
            source, f"has no pixels from {part.start} to {part.stop} on an axis of {size}", "move the section"
        )
    return start, stop


def _cut(array: np.ndarray, section) -> np.ndarray:
    return array if section is None else array[tuple(section)]


def _checked(frame: Frame, unit, whole: bool) -> Frame:
    finite = np.isfinite(frame.data)
    if whole and not finite.any():
        raise UserError(frame.path, "holds no valid pixel (all are NaN)", "leave it out or fetch it again")
    if whole and not np.any(frame.data[finite]):
        warnings.warn(f"{frame.path}: every pixel is zero; leave it out unless that is meant.", BlankFrameWarning, 3)
    if unit is None:
        return frame
    target = brightness_unit(unit, frame.path) if isinstance(unit, str) else unit
    frequency = _frequency(frame)
    data = convert(frame.data, frame.unit, target, frame.beam, frequency, frame.path)
    if frame.ivar is not None:
        factor = convert(np.ones(len(data)), frame.unit, target, frame.beam, frequency, frame.path)
        frame.ivar = frame.ivar / factor**2
    frame.data, frame.unit = data, target
    return frame


def _frequency(frame: Frame) -> np.ndarray | float | None:
    if frame.wavelength is not None:
        return (frame.wavelength * u.AA).to_value(u.Hz, u.spectral())
    shape = np.expand_dims(frame.data, frame.removed).shape
    return header_frequency(frame.header, kept_axes(len(shape), frame.removed), shape)


def write_frame(path: str | os.PathLike, frame: Frame) -> None:
    """Write a frame as FITS with its header, WCS, unit, beam and checksum, the removed axes put back.

    A spectrum whose wavelengths its header does not give is written as a table: wavelength, flux, ivar.

    Raises
    ------
    UserError : the file cannot be written.
    """
    with atomic(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        frame_hdus(frame).writeto(beside, output_verify="silentfix")
