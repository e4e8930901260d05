"""What a FITS header says about its pixels: beam, world coordinates, unit, frequency."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, WcsError

from pipeline.errors import FlemingWarning, UserError
from pipeline.sky.units import brightness_unit

_CELESTIAL = ("RA", "DEC", "GLON", "GLAT", "ELON", "ELAT", "SLON", "SLAT", "HPLN", "HPLT")
# wcslib reports a lookup table that it cannot find as memory that it cannot get.
_WCS_FLAWS = (
    WcsError, ValueError, TypeError, KeyError, AssertionError, AttributeError, OSError, MemoryError, fits.VerifyError,
)  # fmt: skip
LOG_COEFFICIENTS = (("COEFF0", "COEFF1"), ("LOGLAM0", "DLOGLAM"))
COLOURS = "CHANNEL"  # CTYPE of an axis of colours, which is no spectrum
_VELOCITIES = ("VRAD", "VELO", "VOPT", "FELO")
_AIPS_BEAM = re.compile(r"CLEAN BMAJ=\s*(\S+)\s+BMIN=\s*(\S+)\s+BPA=\s*(\S+)")


class NoWCSWarning(FlemingWarning):
    """The header holds no world coordinates that can be used: positions are in pixels only."""


class BlankFrameWarning(FlemingWarning):
    """Every pixel of the frame is zero."""


@dataclass(frozen=True)
class Beam:
    """A restoring beam: `major` and `minor` FWHM [deg], `pa` its position angle, east of north [deg]."""

    major: float
    minor: float
    pa: float = 0.0


def value(header: fits.Header, key: str, default: object = None) -> object:
    """The value of a card, or `default` when it is absent, empty or malformed."""
    try:
        found = header.get(key, default)
    except (fits.VerifyError, ValueError):
        return default
    return default if found is None or isinstance(found, fits.card.Undefined) else found


def number(header: fits.Header, key: str, default: float | None = None) -> float | None:
    """The finite number in a card, or `default`; numbers written as text count."""
    found = value(header, key)
    try:
        result = float(found)
    except (TypeError, ValueError):
        return default
    return result if np.isfinite(result) else default


def told_number(header: fits.Header, key: str, where: object, *, positive: bool = False) -> float | None:
    """The number of 0 or more in a card, None where the card is absent or empty.

    Raises
    ------
    UserError : the card holds anything else than a finite number of 0 or more, or with `positive` above 0.
    """
    found = number(header, key)
    if found is None and not _is_told(header, key):
        return None
    if found is None or found < 0 or (positive and found == 0):
        card = value(header, key)
        told = f"has {key} = {card}" if card is not None else f"has a card {key} that cannot be read"
        what = f"{told} in its header, where a number {'above 0' if positive else 'of 0 or more'} must be"
        raise UserError(where, what, "correct the card or remove it")
    return found


def _is_told(header: fits.Header, key: str) -> bool:
    """Whether a card is there and not empty, readable or not."""
    try:
        found = header.get(key)
    except (fits.VerifyError, ValueError):
        return True
    return not (found is None or isinstance(found, fits.card.Undefined))


def header_beam(header: fits.Header) -> Beam | None:
    """The beam in BMAJ, BMIN, BPA [deg], else in the last CLEAN line of an AIPS history, else None."""
    major, minor, pa = (number(header, key) for key in ("BMAJ", "BMIN", "BPA"))
    if major is None:
        found = _AIPS_BEAM.findall("\n".join(str(line) for line in value(header, "HISTORY", [])))
        try:
            major, minor, pa = (float(item) for item in found[-1]) if found else (None, None, None)
        except ValueError:
            return None
    minor = major if minor is None else minor
    if major is None or not major >= minor > 0:
        return None
    return Beam(major, minor, (pa or 0.0) % 180.0)


def beam_flaw(header: fits.Header) -> str:
    """Why `header_beam` finds none."""
    cards = {key: value(header, key) for key in ("BMAJ", "BMIN")}
    told = [f"{key} is {card!r}" for key, card in cards.items() if card is not None]
    return " and ".join(told) + " in its header" if cards["BMAJ"] is not None else "no BMAJ in its header"


def header_unit(header: fits.Header, where: object) -> u.UnitBase | None:
    """The unit in BUNIT, None when there is none; UserError when it means nothing."""
    text = str(value(header, "BUNIT", "")).strip()
    return brightness_unit(text, where) if text else None


def axis_type(header: fits.Header, axis: int) -> str:
    """CTYPE of FITS axis `axis` (from 1), in capitals."""
    return str(value(header, f"CTYPE{axis}", "")).strip().upper()


def is_celestial(header: fits.Header, axis: int) -> bool:
    """Whether FITS axis `axis` is a longitude or latitude."""
    return axis_type(header, axis).split("-")[0] in _CELESTIAL


def is_spectral(header: fits.Header, axis: int) -> bool:
    """Whether FITS axis `axis` is a frequency or a velocity."""
    return axis_type(header, axis).startswith(("FREQ", *_VELOCITIES))


def header_wcs(header: fits.Header, kept: Sequence[int], total: int) -> tuple[WCS | None, str]:
    """The WCS of the kept numpy axes of `total`, and, when there is none, the reason why.

    The header may describe more axes than the data have, as cut-outs of cubes do.
    """
    axes = sorted(total - axis for axis in kept)
    if not any(axis_type(header, axis) for axis in axes):
        return None, "no CTYPE in the header"
    for key in (f"{name}{axis}" for axis in axes if is_celestial(header, axis) for name in ("CRVAL", "CDELT")):
        # wcslib passes over text and takes its default, which is another place in the sky.
        if isinstance(card := value(header, key), str):
            return None, f"{key} is {card!r}, which is no number"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(header)
            # Not the default of 0 that WCS takes for all, so that the whole and a section agree.
            wcs.wcs.crpix = [reference_pixel(header, axis) for axis in range(1, wcs.naxis + 1)]
            wcs = wcs.sub(axes)
            wcs.wcs.set()
            invertible = np.all(np.isfinite(wcs.wcs.crval)) and _is_invertible(wcs.pixel_scale_matrix)
    except _WCS_FLAWS as error:
        return None, _last_line(error)
    return (wcs, "") if invertible else (None, "its scale is singular or not finite")


def _is_invertible(matrix: np.ndarray) -> bool:
    # Rows are in degrees, hertz, ...: only their directions can be compared. wcslib accepts a singular CD.
    largest = np.max(np.abs(matrix), axis=1, keepdims=True)
    if not np.all(np.isfinite(matrix)) or not np.all(largest > 0):
        return False
    return bool(abs(np.linalg.det(matrix / largest)) > 1e-10)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # wcslib says where in its own source first and what is wrong last.
    return lines[-1].rstrip(".") if lines else type(error).__name__


def header_frequency(header: fits.Header, kept: Sequence[int], shape: Sequence[int]) -> np.ndarray | float | None:
    """Frequency [Hz] of the data: one a channel when a kept leading axis is spectral, else one value, else None.

    Spectral are frequencies, and velocities with a rest frequency; without one, or in an unknown unit, there is none.
    """
    total = len(shape)
    for axis in range(1, max(total, 4) + 1):
        if not is_spectral(header, axis):
            continue
        kind = axis_type(header, axis)
        index = total - axis
        length = shape[index] if 0 <= index < total else 1
        scale = linear_scale(header, axis, length)
        if scale is None:
            continue
        if kind.startswith("FREQ"):
            unit = u.Unit(str(value(header, f"CUNIT{axis}", "") or "Hz").replace("HZ", "Hz"), parse_strict="silent")
            hertz = scale * (unit.to(u.Hz) if unit.is_equivalent(u.Hz) else 1.0)
        else:
            try:
                hertz = velocity_frequency(header, axis, scale)
            except ValueError:
                return None
            if hertz is None or not np.all(np.isfinite(hertz) & (hertz > 0)):
                return None
        return hertz if index in kept and index == min(kept) and length > 1 else float(hertz.mean())
    return rest_frequency(header)


def rest_frequency(header: fits.Header) -> float | None:
    """The rest frequency [Hz] of the line, None when it is not told."""
    return number(header, "RESTFRQ", number(header, "RESTFREQ")) or None


def velocity_frequency(header: fits.Header, axis: int, velocity: np.ndarray) -> np.ndarray | None:
    """Frequency [Hz] at each `velocity` of FITS axis `axis`, same shape; None without a rest frequency.

    Radio, optical and relativistic velocities by their definitions (Greisen et al. 2006, A&A 446, 747, table 1).
    An axis of velocities that is regular in frequency, FELO, -F2W or -F2V, has its CDELT at the reference pixel
    (section 8.2 there).

    Raises
    ------
    ValueError : CUNIT is not a unit of velocity.
    """
    rest, kind = rest_frequency(header), axis_type(header, axis)
    if rest is None:
        return None
    unit = u.Unit(str(value(header, f"CUNIT{axis}", "")).strip().lower() or "m/s")
    if not unit.is_equivalent(u.m / u.s):
        raise ValueError(f"{unit} is not a unit of velocity")
    light = 299792458.0 * (u.m / u.s).to(unit)
    ratio = velocity / light
    if kind.startswith("FELO") or kind[4:8] == "-F2W":
        reference = number(header, f"CRVAL{axis}") / light
        return rest / (1 + reference) * (1 - (ratio - reference) / (1 + reference))
    if kind[4:8] == "-F2V":
        reference = number(header, f"CRVAL{axis}") / light
        return rest * np.sqrt((1 - reference) / (1 + reference)) * (1 - (ratio - reference) / (1 - reference**2))
    # AIPS tells by VELREF which of the two that radio astronomers use VELO is: optical below 256, radio above.
    reference = number(header, "VELREF", 0.0) if kind.startswith("VELO") else 0.0
    if kind.startswith("VRAD") or reference > 256:
        return rest * (1 - ratio)
    if kind.startswith(("VOPT", "FELO")) or reference > 0:
        return rest / (1 + ratio)
    with np.errstate(invalid="ignore", divide="ignore"):
        return rest * np.sqrt((1 - ratio) / (1 + ratio))


def linear_scale(header: fits.Header, axis: int, length: int) -> np.ndarray | None:
    """CRVAL + PC CDELT (pixel - CRPIX) along FITS axis `axis`, `(length,)`; None without CRVAL and a step."""
    start = number(header, f"CRVAL{axis}")
    step = number(header, f"CD{axis}_{axis}")
    if step is None:
        step = number(header, f"CDELT{axis}", 0.0) * number(header, f"PC{axis}_{axis}", 1.0)
    if start is None or not step:
        return None
    return start + step * (np.arange(1, length + 1) - reference_pixel(header, axis))


def reference_pixel(header: fits.Header, axis: int) -> float:
    """CRPIX of FITS axis `axis`; where it is missing 0 on the sky, as the standard says, and 1 on other axes.

    The programs that leave it out of spectra intend 1.
    """
    return number(header, f"CRPIX{axis}", 0.0 if is_celestial(header, axis) else 1.0)


def shift_reference(header: fits.Header, starts: Sequence[int]) -> None:
    """Move the reference pixels of `header` in place, for data that begin at numpy index `starts`."""
    total = len(starts)
    for index, start in enumerate(starts):
        axis = total - index
        if not start:
            continue
        if any(value(header, f"{key}{axis}") is not None for key in ("CTYPE", "CRVAL", "CRPIX")):
            header[f"CRPIX{axis}"] = reference_pixel(header, axis) - start
        for first, step in LOG_COEFFICIENTS if axis == 1 else ():
            if None not in (number(header, first), number(header, step)):
                header[first] = number(header, first) + start * number(header, step)


def reverse_axis(header: fits.Header, axis: int, length: int) -> None:
    """Make `header` describe, in place, data whose FITS axis `axis` of `length` pixels was turned round."""
    if number(header, f"CRVAL{axis}") is not None:
        header[f"CRPIX{axis}"] = length + 1 - reference_pixel(header, axis)
    for key in (f"CDELT{axis}", f"CD{axis}_{axis}"):
        if number(header, key) is not None:
            header[key] = -number(header, key)
    for first, step in LOG_COEFFICIENTS if axis == 1 else ():
        if None not in (number(header, first), number(header, step)):
            header[first] = number(header, first) + (length - 1) * number(header, step)
            header[step] = -number(header, step)
