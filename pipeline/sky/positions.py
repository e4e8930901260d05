"""Where an object lies on the sky, in ICRS, whatever frame its header is written in."""

import re
from collections.abc import Sequence

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from pipeline.sky.headers import number, value

NOWHERE = (float("nan"), float("nan"))
_CARDS = (("RA", "DEC"), ("RA_OBJ", "DEC_OBJ"), ("PLUG_RA", "PLUG_DEC"))
_FRAME_CARDS = ("RADESYS", "RADECSYS", "EQUINOX", "EPOCH")


def centre(wcs: WCS, shape: Sequence[int]) -> tuple[float, float]:
    """Right ascension and declination (ICRS) [deg] of the middle of an array of `shape`, NaN where there is none."""
    if not wcs.has_celestial:
        return NOWHERE
    values = wcs.wcs_pix2world([[(size - 1) / 2 for size in shape[::-1]]], 0)[0]
    return _icrs(values[wcs.wcs.lng], values[wcs.wcs.lat], wcs)


def header_position(header: fits.Header) -> tuple[float, float]:
    """Right ascension and declination (ICRS) [deg] of the object of a header, NaN where it does not say.

    Read are numbers of degrees in RA and DEC, RA_OBJ and DEC_OBJ, or PLUG_RA and PLUG_DEC, in the frame of RADESYS
    and EQUINOX. Hours, sexagesimal or by their comment, are left alone.
    """
    for keys in _CARDS:
        ra, dec = (number(header, key) for key in keys)
        if ra is None or dec is None or not (-180 <= ra <= 360 and -90 <= dec <= 90):
            continue
        if re.search(r"hour|\[h", header.comments[keys[0]], re.IGNORECASE):
            continue
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.radesys = str(value(header, "RADESYS", value(header, "RADECSYS", ""))).strip().upper()
        text = str(value(header, "EQUINOX", value(header, "EPOCH", ""))).strip().lstrip("JBjb")
        wcs.wcs.equinox = float(text) if re.fullmatch(r"\d{4}(\.\d*)?", text) else np.nan
        return _icrs(ra, dec, wcs)
    return NOWHERE


def inherit_position(header: fits.Header, primary: fits.Header) -> None:
    """Give `header` in place the position of the primary header of its file, where it has none itself."""
    if not np.isfinite(header_position(header)[0]) and np.isfinite(header_position(primary)[0]):
        for key in (*sum(_CARDS, ()), *_FRAME_CARDS):
            if value(primary, key) is not None:
                header[key] = (value(primary, key), primary.comments[key])


def _icrs(longitude: float, latitude: float, wcs: WCS) -> tuple[float, float]:
    wcs.wcs.set()  # settles the defaults of RADESYS and EQUINOX
    # astropy lets a RADESYS left in a galactic header win over its axes.
    names = {"RA": None, "GLON": "galactic"}
    if wcs.wcs.lngtyp not in names or not (np.isfinite(longitude) and np.isfinite(latitude)):
        return NOWHERE
    try:
        frame = names[wcs.wcs.lngtyp] or wcs_to_celestial_frame(wcs)
    except ValueError:
        return NOWHERE  # RADESYS names a frame, such as GAPPT, that does not give a place among the stars
    place = SkyCoord(longitude * u.deg, latitude * u.deg, frame=frame).icrs
    return float(place.ra.deg % 360.0), float(place.dec.deg)
