"""A FITS image or cube of any size written again with changed pixels, block by block."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from pipeline.files import atomic
from pipeline.sky.archive import open_source
from pipeline.sky.fitsfile import open_fits
from pipeline.sky.fitsout import bare_header
from pipeline.sky.window import FrameReader

BLOCK = 1 << 22  # pixels at a time

_REPEATED = ("HISTORY", "COMMENT", "")

Card = tuple[str, object, str]


def copy_frame(
    reader: FrameReader,
    out: str | os.PathLike,
    added: Callable[[Sequence[slice]], np.ndarray | None],
    cards: Sequence[Card] = (),
    *,
    block: int = BLOCK,
) -> None:
    """Write the frame of `reader` to `out`, with what is added to it, as float32, whole or not at all.

    The header stays, WCS, unit and beam among it, and so do tables beside the pixels, such as the beams of channels.
    Memory holds about `block` pixels, at least one row or plane, whatever the size of the frame.

    Parameters
    ----------
    added : gives what is added in a section (as `reader.read` takes it), in `reader.unit`, or None for nothing. The
        sections follow each other in the order of the file and cover the frame once.
    cards : keyword, value and comment of what is told in the header too.

    Raises
    ------
    UserError : the frame can no longer be read, or `out` cannot be written.
    """
    header = _header(reader, cards)
    first, *rest = reader.stored_shape
    step = max(1, block // int(np.prod(rest)))
    with atomic(out) as beside:
        with open(beside, "ab+") as file:
            stream = fits.StreamingHDU(file, header)
            for start in range(0, first, step):
                spans = [slice(start, min(start + step, first)), *(slice(0, size) for size in rest)]
                pixels, section = reader.read_stored(spans), reader.section_of(spans)
                light = added(section)
                if light is not None:
                    pixels += reader.to_stored(light, section).astype(np.float32)
                stream.write(pixels.astype(">f4"))
            stream.close()
        _add_tables(reader, beside)


def _header(reader: FrameReader, cards: Sequence[Card]) -> fits.Header:
    known = bare_header(reader.header)
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", len(reader.full_shape))])
    for axis, size in enumerate(reader.full_shape[::-1], start=1):
        header[f"NAXIS{axis}"] = size
    header["EXTEND"] = True
    for card in known.cards:
        if card.keyword in _REPEATED or card.keyword not in header:
            header.append(card, end=True)
    for keyword, value, comment in cards:
        header[keyword] = (value, comment)
    return header


def _add_tables(reader: FrameReader, path: Path) -> None:
    with open_fits(open_source(reader.path), reader.path) as hdus:
        tables = [hdu.copy() for hdu in hdus if type(hdu) is fits.BinTableHDU]
    if tables:
        with fits.open(path, mode="append") as written:
            written.extend(tables)
