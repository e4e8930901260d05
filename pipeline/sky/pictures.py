"""Labelled pictures that are not FITS: PNG and JPEG files, and the idx files of MNIST."""

import io
import os
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.errors import UserError
from pipeline.sky.archive import read_source

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "F"}


def is_picture(first: bytes) -> bool:
    """Whether the first bytes of a file are those of PNG or JPEG."""
    return first.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def is_idx(first: bytes) -> bool:
    """Whether the first four bytes of a file are those of an idx file."""
    return len(first) >= 4 and first[:2] == b"\0\0" and first[2] in _IDX_TYPES and 0 < first[3] < 6


def read_picture(source: str | os.PathLike, colour: str | None = None) -> np.ndarray:
    """Read a PNG or JPEG file as uint8 `(channel, y, x)`, first row at the top.

    Parameters
    ----------
    colour : "grey" for one channel, "rgb" for three, None for what the file holds. Transparency is dropped;
        16-bit grey keeps its upper 8 bits.

    Raises
    ------
    UserError : not PNG or JPEG, truncated, or so many pixels that it may be a decompression bomb.
    """
    content = read_source(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                image.load()
                grey = image.mode in _GREY_MODES if colour is None else colour == "grey"
                pixels = np.asarray(_eight_bit(image).convert("L" if grey else "RGB"))
        except UnidentifiedImageError as error:
            raise UserError(source, "is not a PNG or JPEG picture", "convert it to PNG or FITS") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UserError(
                source, f"has more than {Image.MAX_IMAGE_PIXELS} pixels", "cut it into smaller pictures"
            ) from error
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            raise UserError(source, f"is a damaged picture ({error})", "fetch it again") from error
    return np.array(pixels[None] if grey else np.moveaxis(pixels, -1, 0), order="C")


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "I;16", "I;16B"}:
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return image


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read an idx file (LeCun, MNIST), plain or gzip, as an array `(n, *axes)` in the file's type, native byte order.

    Raises
    ------
    UserError : not an idx file, or its length contradicts its header.
    """
    content = read_source(path)
    if not is_idx(content[:4]):
        raise UserError(path, "is not an idx file", "name a file such as train-images-idx3-ubyte.gz")
    dtype, start = np.dtype(_IDX_TYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise UserError(path, "is a truncated idx file", "fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", content[3], 4))
    expected = start + int(np.prod([dtype.itemsize, *shape], dtype=object))
    if len(content) != expected:
        raise UserError(path, f"has {len(content)} bytes where its header promises {expected}", "fetch it again")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
