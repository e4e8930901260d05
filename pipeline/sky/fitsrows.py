"""A table written to FITS piece by piece, so that writing takes little memory beside the table itself."""

import io
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable

# Rows made into bytes at a time; a multiple of 4, so that every piece ends with a whole word of the checksum.
_ROWS = 1 << 15
_BLOCK = 2880
_WHEN = "of the file as written"


def write_table(
    table: QTable, path: Path, cards: list[tuple[str, str, str]], meta: list[tuple[str, object, str]]
) -> None:
    """Write a table `(n rows)`, n >= 0, as the first extension of a FITS file, with checksums.

    Parameters
    ----------
    cards : of the columns: keyword, value, and the keyword that it follows, as TUCD3 follows TFORM3.
    meta : keyword, value and comment of what else the header says.
    """
    first = _hdu(table[:_ROWS])
    for keyword, value, place in cards:
        first.header.set(keyword, value, after=place)
    for keyword, value, comment in meta:
        first.header[keyword] = (value, comment)
    header = first.header.copy()
    header["NAXIS2"] = len(table)
    primary = fits.PrimaryHDU()
    primary.add_checksum(when=_WHEN)
    with open(path, "wb") as stream:
        stream.write(primary.header.tostring().encode("ascii"))
        place, total = stream.tell(), 0
        header["CHECKSUM"], header["DATASUM"] = ("0" * 16, f"HDU checksum {_WHEN}"), ("0", f"data checksum {_WHEN}")
        stream.write(header.tostring().encode("ascii"))
        start = stream.tell()
        for begin in range(0, len(table), _ROWS):
            rows = _bytes(table[begin : begin + _ROWS])
            total = _sum(rows, total)
            stream.write(rows)
        stream.write(b"\0" * (-(stream.tell() - start) % _BLOCK))
        header["DATASUM"] = str(total)
        header["CHECKSUM"] = _encoded(_sum(header.tostring().encode("ascii"), total))
        stream.seek(place)
        stream.write(header.tostring().encode("ascii"))


def _hdu(table: QTable) -> fits.BinTableHDU:
    bare = QTable(table, copy=False)
    bare.meta = {}
    return fits.table_to_hdu(bare, character_as_bytes=False)


def _bytes(table: QTable) -> bytes:
    """The rows as they are stored."""
    hdu = _hdu(table)
    written = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(written)
    size = hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
    whole = written.getvalue()
    start = len(whole) - (size + -size % _BLOCK)
    return whole[start : start + size]


def _sum(content: bytes, before: int = 0) -> int:
    """The ones' complement sum of 32-bit words (FITS standard 4.0, appendix J); a rest is filled with zeros."""
    words = np.frombuffer(content + b"\0" * (-len(content) % 4), ">u4")
    total = int(words.sum(dtype=np.uint64)) + before
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _encoded(total: int) -> str:
    """The complement of a sum as 16 letters and digits that make the sum over the unit zero (appendix J.2)."""
    letters = np.empty((4, 4), int)
    for place, byte in enumerate((~total & 0xFFFFFFFF).to_bytes(4, "big")):
        four = np.full(4, byte // 4 + 48)
        four[0] += byte % 4
        # Punctuation between digits and letters is avoided by moving pairs apart.
        while (bad := (((four > 57) & (four < 65)) | ((four > 90) & (four < 97)))).any():
            for pair in (0, 2):
                if bad[pair : pair + 2].any():
                    four[pair] += 1
                    four[pair + 1] -= 1
        letters[:, place] = four
    text = "".join(chr(letter) for letter in letters.ravel())
    return text[-1] + text[:-1]
