"""A frame as the HDUs of a FITS file: the removed axes put back, the header kept."""

import numpy as np
from astropy.io import fits

from pipeline.sky.axes import kept_axes
from pipeline.sky.spectra import header_wavelength
from pipeline.sky.units import unit_text


def frame_hdus(frame) -> fits.HDUList:
    """An image, or, for a spectrum whose wavelengths the header does not give, a table; with checksums.

    The same frame gives the same bytes: no card holds a date.
    """
    hdu = _image_hdu(frame) if _header_suffices(frame) else _table_hdu(frame)
    hdus = [hdu] if hdu.is_image else [fits.PrimaryHDU(), hdu]
    for part in hdus:
        part.add_checksum(when="of the file as written")
    return fits.HDUList(hdus)


def _header_suffices(frame) -> bool:
    if frame.wavelength is None:
        return True
    if frame.ivar is not None:
        return False
    total = len(frame.removed) + 1
    axis = total - kept_axes(total, frame.removed)[0]
    scale = header_wavelength(frame.header, len(frame.data), axis, frame.path)
    return scale is not None and len(scale) == len(frame.data) and np.allclose(scale, frame.wavelength, rtol=1e-9)


def _image_hdu(frame) -> fits.PrimaryHDU:
    header = _described(frame)
    if frame.wcs is not None and "CTYPE1" not in header and not frame.removed:
        header.extend(frame.wcs.to_header(relax=True), update=True)
    data = np.asarray(frame.data)
    return fits.PrimaryHDU(np.expand_dims(data, frame.removed) if frame.removed else data, header)


def _table_hdu(frame) -> fits.BinTableHDU:
    unit = unit_text(frame.unit) if frame.unit is not None else None
    columns = [
        fits.Column("wavelength", "D", unit="Angstrom", array=frame.wavelength),
        fits.Column("flux", "E", unit=unit, array=frame.data),
    ]
    if frame.ivar is not None:
        columns.append(fits.Column("ivar", "D", array=frame.ivar))
    header = _described(frame)
    header.remove("BUNIT", ignore_missing=True)
    return fits.BinTableHDU.from_columns(columns, header)


def _sound(header: fits.Header) -> fits.Header:
    # Readers forgive a card that is not FITS, astropy's writer does not.
    cards = []
    for card in header.cards:
        try:
            card.verify("silentfix+exception")
        except (fits.VerifyError, ValueError):
            continue
        cards.append(card)
    return fits.Header(cards)


def bare_header(header: fits.Header) -> fits.Header:
    """A copy of a header without what described the old storage of the pixels."""
    header = _sound(header).copy(strip=True)
    for key in ("BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM", "DATAMIN", "DATAMAX", "EXTNAME"):
        header.remove(key, ignore_missing=True)
    return header


def _described(frame) -> fits.Header:
    """The header to write: the frame's own, with the unit of its pixels and its beam."""
    header = bare_header(frame.header)
    header.remove("BUNIT", ignore_missing=True)
    if frame.unit is not None:
        header["BUNIT"] = unit_text(frame.unit)
    if frame.beam is not None:
        header["BMAJ"], header["BMIN"], header["BPA"] = frame.beam.major, frame.beam.minor, frame.beam.pa
    return header
