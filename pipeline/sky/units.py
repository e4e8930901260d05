"""Brightness units: the spellings found in headers, and the conversions that have a physical meaning."""

import re
import warnings

import astropy.units as u
import numpy as np

from pipeline.errors import UserError

# Spellings that no unit grammar accepts, tried in this order on the text of BUNIT.
_SPELLINGS = [
    (r"^\[([^\]]*)\]$", r"\1"),
    (r"(?i)^K\s*\(.*\)$", "K"),  # brightness, antenna and main-beam temperature are all kelvin
    (r"(?i)\bE([+-]?\d+)", r"e\1"),
    (r"(?i)\b(?:1(?:\.0*)?e|10\s*(?:\^|\*\*))\s*\(?([+-]?\d+)\)?\s*\*?\s*", r"10**\1 "),
    (r"(?i)\bJY\b", "Jy"),
    (r"\bMJY(?=/SR\b)", "MJy"),
    (r"(?i)(?<=[/ *.])(?:beam|bm)\b", "beam"),
    (r"(?i)^(?:beam|bm)(?=\^?\(?-1)", "beam"),
    (r"(?i)(?<=[a-z0-9)])\s*/\s*beam\b", " beam**-1 "),
    (r"(?i)(?<![a-z])km\b", "km"),
    (r"(?<=/)S\b", "s"),
    (r"(?i)(^|[ .*]+)(km|m)/s\s*$", r"\1 \2 s**-1"),
    (r"\bM(?= s\*\*-1$)", "m"),
    (r"[.*]+(?= k?m s\*\*-1$)", ""),
    (r"(?<=/)SR\b", "sr"),
    (r"(?i)\bangstroms?\b|\bang\b|\u00c5|\u212b", "Angstrom"),
    (r"(?i)\bergs?\b", "erg"),
    (r"(?i)\b(?:seconds?|sec)\b", "s"),
    (r"(?i)\bcounts?\b|\bcts\b", "ct"),
    (r"(?i)\badus?\b", "adu"),
    (r"(?i)\be-(?=/|$|\s)|\belectrons?\b", "electron"),
    (r"(?i)\bnanomagg(?:y|ies)\b", "nmgy"),
    (r"(?i)\bdn\b", "DN"),
    (r"(?i)\bkelvins?\b", "K"),
]
_PLAIN = {"none", "unitless", "dimensionless", "relative", "normalized", "normalised", "rectified"}


def brightness_unit(text: str, where: object = "BUNIT") -> u.UnitBase:
    """The unit that a BUNIT card means, in any of the spellings that surveys and programs write.

    Understood are, for instance, `JY/BEAM`, `Jy beam-1`, `beam-1 Jy`, `mJy/bm`, `K (Tmb)`, `Jy/beam km/s`,
    `10^-17 erg/s/cm2/A`, `MJy/sr`, `ADU`, `counts/s`, `nanomaggies`.

    Raises
    ------
    UserError : the text means no unit, or `MJY/BEAM` in capitals, which may be mega or milli.
    """
    written = str(text).strip()
    if written.lower() in _PLAIN:
        return u.dimensionless_unscaled
    if re.fullmatch(r"[\d.eE+-]+", written):
        return _no_unit(written, where)
    if re.match(r"MJY\b(?!/SR)", written):
        raise UserError(where, f'the unit "{written}" may be milli- or megajansky', 'write "mJy/beam" or "MJy/beam"')
    plain = written
    for pattern, replacement in _SPELLINGS:
        plain = re.sub(pattern, replacement, plain)
    if "erg" in plain:
        plain = re.sub(r"\bA(?=\b|\^|\*|-)", "Angstrom", plain)  # a lone A is the ampere everywhere else
    for spelling in (plain.strip(), written):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)
            try:
                return u.Unit(spelling, parse_strict="raise") if spelling else _no_unit(written, where)
            except (ValueError, TypeError):
                continue
    return _no_unit(written, where)


def _no_unit(written: str, where: object) -> u.UnitBase:
    raise UserError(
        where, f'"{written[:40]}" is not a unit', 'correct BUNIT, for example to "Jy/beam", "mJy/beam" or "K"'
    )


def unit_text(unit: u.UnitBase) -> str:
    """The unit as BUNIT holds it: in FITS spelling, or, for what FITS cannot name (nmgy, DN), in astropy's."""
    try:
        return unit.to_string("fits")
    except ValueError:
        return unit.to_string()


def convert(
    data: np.ndarray,
    unit: u.UnitBase | str | None,
    target: u.UnitBase | str,
    beam: object | None = None,
    frequency: float | np.ndarray | None = None,
    where: object = "frame",
) -> np.ndarray:
    """Convert brightness `data` from `unit` to `target`, in the data's own dtype and shape.

    Parameters
    ----------
    data : any shape; with a frequency per channel its first axis is the channel axis.
    beam : has `major` and `minor`, FWHM in degrees; needed between Jy/beam and K or Jy/sr.
    frequency : Hz, one value or one a channel; needed between Jy/beam and K.

    K and Jy/beam are tied by the Rayleigh-Jeans law, T = c^2 S / (2 k nu^2 Omega) (Wilson, Rohlfs &
    Huettemeister, Tools of Radio Astronomy, eq. 8.19), Omega = pi major minor / (4 ln 2).

    Raises
    ------
    UserError : `unit` is not known, a beam or frequency is missing, or the two units do not measure the same thing.
    """
    target = brightness_unit(target, where) if isinstance(target, str) else target
    unit = brightness_unit(unit, where) if isinstance(unit, str) else unit
    if unit is None:
        raise UserError(where, f"has no unit, but {target} is asked for", "add BUNIT to its header or ask for no unit")
    if unit == target:
        return data
    factor = _factor(unit, target, beam, frequency, where)
    shape = (-1,) + (1,) * (np.ndim(data) - 1) if np.ndim(factor) else ()
    return (data * np.reshape(factor, shape)).astype(np.asarray(data).dtype, copy=False)


def _factor(unit: u.UnitBase, target: u.UnitBase, beam, frequency, where: object) -> float | np.ndarray:
    # The scale alone decides between mJy/beam and Jy/beam, whatever the beam is.
    if unit.is_equivalent(target):
        return unit.to(target)
    # Whether any beam and frequency could do it comes first: asking for a beam would mislead when none helps.
    area, hertz = 1 * u.sr, 1 * u.GHz
    ways = u.beam_angular_area(area) + u.brightness_temperature(hertz) + u.brightness_temperature(hertz, area)
    if not unit.is_equivalent(target, ways):
        raise UserError(where, f"{unit} and {target} do not measure the same thing", "ask for a unit of the same kind")
    per_beam = u.beam in unit.decompose().bases or u.beam in target.decompose().bases
    kelvin = unit.is_equivalent(u.K) or target.is_equivalent(u.K)
    if per_beam and beam is None:
        raise UserError(where, f"cannot be converted from {unit} to {target} without a beam", "add BMAJ and BMIN")
    if kelvin and frequency is None:
        remedy = "add RESTFRQ, and CUNIT to an axis of velocities"
        raise UserError(where, f"cannot be converted from {unit} to {target} without a frequency", remedy)
    equivalencies = []
    if beam is not None:
        area = np.pi * beam.major * beam.minor / (4 * np.log(2)) * u.deg**2
        equivalencies += u.beam_angular_area(area)
    if frequency is not None:
        equivalencies += u.brightness_temperature(np.asarray(frequency) * u.Hz)
        if beam is not None:
            equivalencies += u.brightness_temperature(np.asarray(frequency) * u.Hz, area)
    return unit.to(target, np.ones(np.shape(frequency)) if kelvin else 1.0, equivalencies)
