"""The axis of frequency or velocity of a cube: which it is, what is along it, and in which frame of rest."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits

from pipeline.errors import FlemingWarning, UserError
from pipeline.sky.headers import axis_type, linear_scale, number, rest_frequency, value, velocity_frequency

HI_HZ = 1.420405752e9
"""Rest frequency of the 21 cm line of neutral hydrogen."""
LIGHT_KMS = 299792.458
_NEAR = 0.01
_TYPES = ("FREQ", "VRAD", "VOPT", "VELO", "FELO")
# What may follow the type: nothing, a frame or definition of AIPS or GIPSY, or steps of frequency.
_FRAMES = {"LSR": "LSRK", "HEL": "HELIOCEN", "OBS": "TOPOCENT", "BAR": "BARYCENT", "GEO": "GEOCENTR", "TOP": "TOPOCENT"}
_ENDINGS = {
    "FREQ": {"", "UENCY", "OHEL", "RHEL", "OLSR", "RLSR", *_FRAMES},
    "VRAD": {"", *_FRAMES},
    "VOPT": {"", "F2W", *_FRAMES},
    "VELO": {"", "CITY", "F2V", *_FRAMES},
    "FELO": {"", *_FRAMES},
}
_NAMES = {"FREQ": "frequency", "VRAD": "radio velocity", "VOPT": "optical velocity", "FELO": "optical velocity"}
_VELREF = {1: "LSRK", 2: "HELIOCEN", 3: "TOPOCENT"}
_HERTZ = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9}


class RestFrequencyWarning(FlemingWarning):
    """The rest frequency is not told, or is not that of the 21 cm line of hydrogen."""


@dataclass(frozen=True)
class SpectralAxis:
    """The spectral axis of stored data, in the order of the file.

    Attributes
    ----------
    index : NumPy axis of the stored array.
    kind : its CTYPE, for instance "VELO-HEL".
    definition : in words.
    unit : of the header, for instance "m/s".
    frame : SPECSYS, or what AIPS writes in its place, or "".
    rest_hz : rest frequency of the line [Hz]. rest_told : whether the header has it.
    edges : (f + 1,) Hz, the borders of the channels; of axes regular in velocity the exact frequencies.
    centre : (f,) Hz, of the middles of the channels in the unit of the axis.
    """

    index: int
    kind: str
    definition: str
    unit: str
    frame: str
    rest_hz: float
    rest_told: bool
    edges: np.ndarray
    centre: np.ndarray

    @property
    def descending(self) -> bool:
        """Whether frequency falls along the axis as it is stored."""
        return bool(self.edges[-1] < self.edges[0])

    def describe(self) -> str:
        """Frame, stored axis and rest frequency in one sentence, for the reader of a catalogue."""
        frame = f"in the frame {self.frame}" if self.frame else "in a frame of rest that the header does not tell"
        order = "falling" if self.descending else "rising"
        source = "" if self.rest_told else ", which the header does not tell"
        return (
            f"frequencies are {frame}, of a stored axis {self.kind} ({self.definition}, {self.unit}) of {order} "
            f"frequency; rest frequency {self.rest_hz:.0f} Hz{source}"
        )


def spectral_axis(header: fits.Header, shape: Sequence[int], kept: Sequence[int], where: object) -> SpectralAxis:
    """The one spectral axis among the `kept` NumPy axes of stored data of `shape`.

    Frequency and radio velocity go linearly with each other; optical and relativistic velocities and FELO by their
    definitions (`velocity_frequency`), at the borders and the middles of the channels. Without a rest frequency
    (RESTFRQ, RESTFREQ, or FREQ0 of GIPSY) that of the 21 cm line is taken.

    Raises
    ------
    UserError : none or several spectral axes, one that is not linear or not told, or a unit of something else.

    Warns
    -----
    RestFrequencyWarning : velocities without a rest frequency, or one that is not within 1 % of 1420.4 MHz.
    """
    total = len(shape)
    types = {total - index: axis_type(header, total - index) for index in kept}
    found = [axis for axis, kind in types.items() if kind.startswith(_TYPES)]
    if len(found) != 1:
        told = ", ".join(f"CTYPE{axis} is {kind!r}" for axis, kind in sorted(types.items()))
        what = f"has {'several axes' if found else 'no axis'} of frequency or velocity ({told})"
        raise UserError(where, what, "write FREQ, VRAD, VOPT or VELO into the CTYPE of its spectral axis")
    axis, length = found[0], shape[total - found[0]]
    kind, ending = types[axis][:4], types[axis][4:].strip("- ")
    if ending not in _ENDINGS[kind]:
        what = f"has a spectral axis that is not linear or not known (CTYPE{axis} is {types[axis]!r})"
        raise UserError(where, what, "regrid it to equal steps of frequency or velocity")
    scale = linear_scale(header, axis, length)
    if scale is None:
        raise UserError(where, f"has no CRVAL{axis} or no step CDELT{axis} along its spectral axis", "add them")
    rest = rest_frequency(header) or number(header, "FREQ0") or None
    told = rest is not None
    _check_rest(rest, kind, where)
    known = header.copy()
    known["RESTFRQ"] = rest or HI_HZ
    first, step = scale[0], (scale[-1] - scale[0]) / (length - 1) if length > 1 else _step(header, axis)
    edges, centre = (
        _hertz(known, axis, kind, first + step * places, where)
        for places in (np.arange(length + 1) - 0.5, np.arange(length))
    )
    if not np.all(np.isfinite(edges) & (edges > 0)):
        what = f"has channels without a positive frequency (CRVAL{axis} is {value(header, f'CRVAL{axis}')})"
        raise UserError(where, what, f"correct CRVAL{axis}, CDELT{axis} and CUNIT{axis}")
    unit = str(value(header, f"CUNIT{axis}", "")).strip() or ("Hz" if kind == "FREQ" else "m/s")
    definition = _NAMES.get(kind) or _velocity_name(header, ending)
    if kind == "FELO" or ending in ("F2W", "F2V"):
        definition += " in steps of frequency"
    frame = str(value(header, "SPECSYS", "")).strip() or _FRAMES.get(ending[-3:], "")
    frame = frame or _VELREF.get(int(number(header, "VELREF", 0.0)) % 256, "")
    return SpectralAxis(total - axis, types[axis], definition, unit, frame, rest or HI_HZ, told, edges, centre)


def _check_rest(rest: float | None, kind: str, where: object) -> None:
    if rest is None:
        if kind != "FREQ":
            warnings.warn(
                f"{where}: no rest frequency (RESTFRQ) for its velocities; that of the 21 cm line is taken.",
                RestFrequencyWarning,
                4,
            )
    elif abs(rest / HI_HZ - 1) > _NEAR:
        warnings.warn(
            f"{where}: its rest frequency of {rest / 1e6:.6g} MHz is not that of the 21 cm line of hydrogen; redshifts "
            "and velocities are those of that line.",
            RestFrequencyWarning,
            4,
        )


def _step(header: fits.Header, axis: int) -> float:
    return float(np.diff(linear_scale(header, axis, 2))[0])


def _hertz(header: fits.Header, axis: int, kind: str, scale: np.ndarray, where: object) -> np.ndarray:
    unit = str(value(header, f"CUNIT{axis}", "")).strip()
    if kind == "FREQ":
        factor = _HERTZ.get((unit or "Hz").lower())
        if factor is None:
            parsed = u.Unit(unit, parse_strict="silent")
            factor = parsed.to(u.Hz) if parsed.is_equivalent(u.Hz) else None
        if factor is not None:
            return factor * scale
    else:
        try:
            return velocity_frequency(header, axis, scale)
        except ValueError:
            pass
    needed = "frequency" if kind == "FREQ" else "velocity"
    raise UserError(where, f"has CUNIT{axis} {unit!r}, which is no unit of {needed}", f"correct CUNIT{axis}")


def _velocity_name(header: fits.Header, ending: str) -> str:
    reference = 0.0 if ending == "F2V" else number(header, "VELREF", 0.0)
    return "radio velocity" if reference > 256 else "optical velocity" if reference > 0 else "relativistic velocity"
