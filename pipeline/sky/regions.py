"""Sources as ellipses in a region file, which DS9, CARTA and Aladin draw over an image."""

import os
from collections.abc import Sequence

import numpy as np

from pipeline.errors import UserError
from pipeline.files import write_text

_HEAD = "# Region file format: DS9 version 4.1\nglobal color=green width=1\nicrs\n"
_BRACES = str.maketrans("{}", "()")


def write_regions(
    path: str | os.PathLike,
    ra: np.ndarray,
    dec: np.ndarray,
    major_arcsec: np.ndarray,
    minor_arcsec: np.ndarray,
    pa_deg: np.ndarray,
    label: Sequence[object] | None = None,
) -> None:
    """Write one ellipse a source, whole or not at all.

    Parameters
    ----------
    ra, dec : ICRS [deg], `(n,)`, n >= 0; a source whose position is not finite is left out.
    major_arcsec, minor_arcsec : full axes; a source without finite positive ones is drawn as a point.
    pa_deg : of the major axis, from north through east.
    label : the text beside each, or none.

    Raises
    ------
    UserError : no source has a position on the sky, or the file cannot be written.
    """
    columns = np.broadcast_arrays(
        *np.atleast_1d(*(np.asarray(v, np.float64) for v in (ra, dec, major_arcsec, minor_arcsec, pa_deg)))
    )
    placed = np.isfinite(columns[0]) & np.isfinite(columns[1])
    if len(placed) and not placed.any():
        raise UserError(path, "cannot be drawn, for no source has a position on the sky", "give an image with a WCS")
    labels = [""] * len(placed) if label is None else label
    lines = [
        _shape(*values) + _text(name)
        for *values, name, kept in zip(*(part.tolist() for part in columns), labels, placed, strict=True)
        if kept
    ]
    write_text(path, _HEAD + "".join(f"{line}\n" for line in lines))


def _shape(ra: float, dec: float, major: float, minor: float, pa: float) -> str:
    if not (np.isfinite([major, minor, pa]).all() and major > 0 and minor > 0):
        return f"point({ra:.8f},{dec:.8f})"
    # The first radius of an ellipse lies along right ascension when its angle is 0: a position angle of 90 degrees.
    return f'ellipse({ra:.8f},{dec:.8f},{major / 2:.5g}",{minor / 2:.5g}",{(pa + 90.0) % 180.0:.3f})'


def _text(label: object) -> str:
    plain = " ".join(str(label).split()).translate(_BRACES)
    return f" # text={{{plain}}}" if plain else ""
