"""Opening a FITS file so that whatever is wrong with it becomes one sentence, and finding the part with the data."""

import gzip
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException
from astropy.utils.exceptions import AstropyWarning

from pipeline.errors import UserError
from pipeline.sky.spectrum_files import is_spectrum_table

# CfitsioException derives from Exception alone, and astropy has no public name for it.
_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError,
    RuntimeError, AssertionError, zlib.error, fits.VerifyError, CfitsioException,
)  # fmt: skip


@contextmanager
def open_fits(content: Path | bytes, where: object) -> Iterator[fits.HDUList]:
    """The HDUs of a path or of bytes, without the warnings that astropy gives about harmless header flaws.

    Raises
    ------
    UserError : not FITS, truncated, damaged, or damaged when its pixels are read inside the block.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            stream = content if isinstance(content, Path) else io.BytesIO(content)
            # astropy's own unsigned integers have no place for BLANK and would pass it on as a value.
            with fits.open(stream, mode="readonly", uint=False) as hdus:
                yield hdus
        except UserError:
            raise
        except _DAMAGE as error:
            raise damaged(where, error) from error


def damaged(where: object, error: BaseException) -> UserError:
    """The sentence for an error that astropy met in the file."""
    if isinstance(error, MemoryError):
        return UserError(where, "does not fit in memory", "read it by section or check its NAXIS cards")
    if isinstance(error, (EOFError, gzip.BadGzipFile)):
        return UserError(where, "is a truncated or damaged gzip file", "fetch it again")
    reason = " ".join(str(error).split())[:100].rstrip(".") or type(error).__name__
    return UserError(where, f"is a truncated or damaged FITS file ({reason})", "fetch or write it again")


def choose_hdu(hdus: fits.HDUList, wanted: int | str | None, tables: bool, size: int | None, where: object):
    """The HDU called `wanted`, else the first that holds pixels, or, where `tables` is true, a spectrum.

    Parameters
    ----------
    size : bytes in the file, to tell a truncated one, or None when it is packed.

    Raises
    ------
    UserError : no such HDU, none with data, or the file ends before the HDU does.
    """
    if wanted is not None:
        try:
            chosen = hdus[wanted]
        except (KeyError, IndexError) as error:
            raise UserError(where, f"has no HDU {wanted!r}", f"choose one of 0 to {len(hdus) - 1}") from error
        if not _has_data(chosen, tables=True):
            raise UserError(where, f"holds no data in HDU {wanted!r}", "choose another HDU")
    else:
        chosen = next((hdu for hdu in hdus if _has_data(hdu, tables)), None)
    if chosen is None:
        raise UserError(where, _nothing(hdus, tables), "give a file with an image, cube or spectrum")
    place = chosen.fileinfo()
    if size is not None and place:
        # Files without the last padding are common and whole; a compressed image does not tell its unpadded size.
        length = place["datSpan"] - 2879 if isinstance(chosen, fits.CompImageHDU) else chosen.size
        if place["datLoc"] + length > size:
            raise UserError(where, f"is truncated ({size} of {place['datLoc'] + length} bytes)", "fetch it again")
    return chosen


def _has_data(hdu, tables: bool) -> bool:
    if hdu.is_image:
        shape = hdu.shape
        return len(shape) > 0 and 0 not in shape
    if not tables or not isinstance(hdu, fits.BinTableHDU):
        return False
    return hdu.header.get("NAXIS2", 0) > 0 and is_spectrum_table(hdu.columns)


def _nothing(hdus: fits.HDUList, tables: bool) -> str:
    columns = [name for hdu in hdus if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) for name in hdu.columns.names]
    if not columns:
        return "holds no image"
    what = "no image, and no filled table with columns of wavelength and flux" if tables else "no image"
    return f"holds {what} (its columns: {', '.join(columns[:8])})"


def as_float(data: np.ndarray) -> np.ndarray:
    """Pixels as native float32 in a new array of the same shape; infinities, like blanks, become NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.array(data, dtype=np.float32, order="C")
    result[~np.isfinite(result)] = np.nan
    return result


def as_weight(ivar: np.ndarray) -> np.ndarray:
    """Inverse variances as native float64 in a new array of the same shape; what is not finite becomes 0.

    Fluxes in erg/s/cm2/angstrom have inverse variances beyond the range of float32. An infinite one comes of an
    error of zero, which writers use for an error that they do not know.
    """
    result = np.array(ivar, dtype=np.float64, order="C")
    result[~np.isfinite(result)] = 0.0
    return result
