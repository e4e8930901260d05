"""One object to one array, in the one way that training and prediction share."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from pipeline.data.geometry import block_average, centre_offsets, shifted_wcs, window
from pipeline.data.settings import AXES, InputSettings, grid_points
from pipeline.data.sheet import Sheet, read_sheet
from pipeline.data.tables import feature_matrix
from pipeline.errors import UserError
from pipeline.sky.archive import first_bytes, open_source, read_source
from pipeline.sky.frame import Frame, frame_info, read_frame
from pipeline.sky.pictures import is_picture, read_idx, read_picture
from pipeline.sky.positions import centre, header_position
from pipeline.sky.spectra import resample

_LARGE = 1 << 25  # bytes above which only the part that is kept is read


@dataclass
class Sample:
    """One object, ready for the store or the network.

    Attributes
    ----------
    data : ``(channel, *axes)``, uint8 for pictures, else float32 with NaN where invalid.
    unit : unit of `data` as text, "" when dimensionless or unknown.
    header : FITS header text of the WCS of the axes, "" where there is none.
    ra, dec : centre, or the position in a spectrum's header, ICRS [deg], NaN where unknown.
    """

    data: np.ndarray
    unit: str = ""
    header: str = ""
    ra: float = np.nan
    dec: float = np.nan


def read_sample(
    source: str | os.PathLike,
    row: int | None,
    settings: InputSettings,
    position: tuple[float, float] = (np.nan, np.nan),
) -> Sample:
    """Read one object and bring it to the form that `settings` describe.

    Spectra are resampled to the grid; images and cubes are cut or padded to the shape about their centre (NaN, or 0
    in 8-bit pictures), averaged over blocks, and converted to the unit; a table's row gives its features.

    Parameters
    ----------
    source : a file, or a member of a zip archive as ``archive.zip/member``.
    row : which object of a file that holds several, or None.
    position : right ascension and declination [deg] where known; without it they come from the WCS, or, for spectra,
        from the cards of the header.

    Raises
    ------
    UserError : the file cannot be read or is not of the kind that `settings` say.
    """
    if settings.kind == "spectrum":
        sample = _spectrum(source, row, settings)
    elif settings.kind == "table":
        sample = _table_row(source, row, settings)
    elif settings.kind == "idx":
        sample = _plane(_idx_image(source, row), source, settings)
    elif settings.kind == "image" and _is_picture(source):
        if row not in (None, 0):
            raise UserError(source, f"is one picture, so it has no row {row}", "leave the row empty")
        sample = _plane(read_picture(source, settings.colour), source, settings)
    else:
        sample = _frame(source, row, settings)
    if all(np.isfinite(position)):
        sample.ra, sample.dec = float(position[0]), float(position[1])
        if not sample.header and settings.pixel_scale is not None and sample.data.ndim == 3:
            sample.header = _picture_header(sample, settings)
    return sample


def _spectrum(source: str | os.PathLike, row: int | None, settings: InputSettings) -> Sample:
    frame = read_frame(source, kind="spectrum", row=row, unit=settings.unit)
    flux = resample(frame.wavelength, frame.data, grid_points(settings.grid), where=source)
    sample = Sample(flux[None].astype(np.float32, copy=False), _unit(frame))
    if row is None:  # a file of many spectra has the position of the field, not of the object
        sample.ra, sample.dec = header_position(frame.header)
    return sample


def _frame(source: str | os.PathLike, row: int | None, settings: InputSettings) -> Sample:
    if settings.colour == "rgb":
        raise UserError(source, "is not a colour picture", "use PNG or JPEG pictures, or colour: grey")
    ndim = AXES[settings.kind]
    section = _kept_section(source, row, settings)
    frame = read_frame(source, kind=settings.kind, row=row, section=section, unit=settings.unit)
    if frame.data.ndim != ndim:
        what = f"has {frame.data.ndim} axes where kind {settings.kind} has {ndim}"
        raise UserError(source, what, "correct kind, or name one object of the file by row")
    shape, bins = _target(frame.data.shape, settings), settings.bins(ndim)
    offsets = centre_offsets(frame.data.shape, shape)
    data = block_average(window(frame.data.astype(np.float32, copy=False), offsets, shape, np.nan), bins)
    if not np.isfinite(data).any():
        what = f"has no valid pixel in its central {_times(shape)} pixels"
        raise UserError(source, what, "remove it, or enlarge shape")
    sample = Sample(data[None], _unit(frame))
    if frame.wcs is not None and any(frame.wcs.world_axis_physical_types):
        wcs = shifted_wcs(frame.wcs, offsets, bins)
        sample.header = wcs.to_header(relax=True).tostring()
        sample.ra, sample.dec = centre(wcs, data.shape)
    return sample


def _unit(frame: Frame) -> str:
    return "" if frame.unit is None else frame.unit.to_string()


def _target(shape: tuple[int, ...], settings: InputSettings) -> tuple[int, ...]:
    if settings.shape is not None:
        return settings.shape
    target = tuple(size - size % step for size, step in zip(shape, settings.bins(len(shape)), strict=True))
    return tuple(max(size, step) for size, step in zip(target, settings.bins(len(shape)), strict=True))


def _kept_section(source: str | os.PathLike, row: int | None, settings: InputSettings) -> tuple[slice, ...] | None:
    """The slices of a large plain file that the crop keeps, so that the rest is never read."""
    path = Path(source)
    if settings.shape is None or row is not None or not path.is_file() or path.stat().st_size < _LARGE:
        return None
    shape = frame_info(source, kind=settings.kind).shape
    if len(shape) != len(settings.shape):
        return None
    begins = centre_offsets(shape, settings.shape)
    return tuple(
        slice(max(begin, 0), min(max(begin, 0) + want, have))
        for begin, want, have in zip(begins, settings.shape, shape, strict=True)
    )


def _is_picture(source: str | os.PathLike) -> bool:
    opened = open_source(source)
    return is_picture(opened[:8] if isinstance(opened, bytes) else first_bytes(opened, 8))


def _plane(data: np.ndarray, source: str | os.PathLike, settings: InputSettings) -> Sample:
    """A picture ``(channel, y, x)`` cut and averaged."""
    if data.dtype != np.uint8:
        data = data.astype(np.float32)
    shape = _target(data.shape[1:], settings)
    cut = window(data, centre_offsets(data.shape[1:], shape), shape, 0 if data.dtype == np.uint8 else np.nan)
    return Sample(block_average(cut, settings.bins(2)))


def _picture_header(sample: Sample, settings: InputSettings) -> str:
    """A tangent projection about the centre, north up and east left; the first row of a picture is its top."""
    wcs = WCS(naxis=2)
    height, width = sample.data.shape[1:]
    steps = [settings.pixel_scale / 3600.0 * step for step in settings.bins(2)]
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [sample.ra, sample.dec]
    wcs.wcs.crpix = [(width + 1) / 2, (height + 1) / 2]
    wcs.wcs.cdelt = [-steps[1], -steps[0]]
    return wcs.to_header().tostring()


def _idx_image(source: str | os.PathLike, row: int | None) -> np.ndarray:
    images = idx_array(source)
    if images.ndim != 3:
        raise UserError(source, f"holds an array of {images.ndim} axes", "name an idx file of images (n, y, x)")
    if row is None and len(images) > 1:
        raise UserError(source, f"holds {len(images)} images", "name one by row")
    if row is not None and row >= len(images):
        raise UserError(source, f"has no row {row}, only {len(images)} images", "correct the row")
    return images[row or 0][None]


def idx_array(source: str | os.PathLike) -> np.ndarray:
    """An idx file as an array, kept until another one is asked for; treat it as read-only."""
    return _idx_cached(str(source), _stamp(source))


@lru_cache(maxsize=1)
def _idx_cached(source: str, stamp: tuple) -> np.ndarray:
    return read_idx(source)


def _stamp(source: str | os.PathLike) -> tuple:
    try:
        status = os.stat(source)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size


def _table_row(source: str | os.PathLike, row: int | None, settings: InputSettings) -> Sample:
    if settings.features is None:
        raise UserError(source, "cannot be read without knowing the features", "name the columns in features")
    features = _features_cached(str(source), _stamp(source), tuple(settings.features), tuple(settings.columns or ()))
    if row is None and len(features) > 1:
        raise UserError(source, f"holds {len(features)} objects", "name one by row")
    if row is not None and row >= len(features):
        raise UserError(source, f"has no row {row}, only {len(features)}", "correct the row")
    return Sample(features[row or 0][None].copy())


@lru_cache(maxsize=1)
def _features_cached(source: str, stamp: tuple, names: tuple[str, ...], columns: tuple[str, ...]) -> np.ndarray:
    return feature_matrix(table_sheet(source, columns), list(names))


def table_sheet(source: str, columns: tuple[str, ...]) -> Sheet:
    """The cells of a table of objects, whose CSV has the header `columns` when they are given."""
    return read_sheet(source, read_source(source), list(columns) or None)


def sample_rows(source: str | os.PathLike, settings: InputSettings) -> list[int | None]:
    """The rows of the objects in a table or idx file; ``[None]`` for the other kinds, one object a file.

    Raises
    ------
    UserError : the file cannot be read.
    """
    if settings.kind == "table":
        return list(range(len(table_sheet(str(source), tuple(settings.columns or ())).lines)))
    if settings.kind == "idx":
        return list(range(len(idx_array(source))))
    return [None]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
