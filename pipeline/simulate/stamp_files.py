"""Simulated stamps as files: one FITS array of all, and their manifest with the truth and its units."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from pipeline.files import atomic

Progress = Callable[[int], None]
Truth = dict[str, np.ndarray]


def write_stamps(
    out_folder: str | Path,
    n: int,
    shape: tuple[int, ...],
    blocks: Iterable[tuple[np.ndarray, Truth]],
    cards: Mapping[str, tuple[object, str]],
    units: Mapping[str, str],
    *,
    name: str = "galaxy",
    progress: Progress | None = None,
) -> None:
    """Write ``samples.fits``, an array ``(n, *axes)`` float32, and its ``manifest.csv``.

    The manifest has the columns path, row, id, label, group and those of the truth. It is a CSV whose comment lines are
    the header of an ECSV table, so that the units of the columns travel with them.

    Parameters
    ----------
    shape : of a stamp, one to three axes.
    blocks : the stamps in order, ``(some, *axes)``, with their truth: arrays ``(some,)`` by name, label among them.
    cards : FITS keyword -> value and comment; BUNIT among them.
    units : of the columns of the truth that have one, as astropy writes them.
    name : what the ids begin with.
    progress : is called with the number of stamps written.
    """
    folder, tables, count = Path(out_folder), [], 0
    with atomic(folder / "samples.fits") as beside, open(beside, "ab+") as file:
        stream = fits.StreamingHDU(file, _header(n, shape, cards))
        for stamps, truth in blocks:
            stream.write(stamps.astype(">f4"))
            tables.append(truth)
            count += len(stamps)
            if progress is not None:
                progress(count)
        stream.close()
    truth = {column: np.concatenate([table[column] for table in tables]) for column in tables[0]}
    with atomic(folder / "manifest.csv") as beside:
        _manifest(n, truth, units, name).write(beside, format="ascii.ecsv", delimiter=",")


def _header(n: int, shape: tuple[int, ...], cards: Mapping[str, tuple[object, str]]) -> fits.Header:
    header = fits.Header()
    header["SIMPLE"], header["BITPIX"], header["NAXIS"] = True, -32, 1 + len(shape)
    for axis, size in enumerate((*shape[::-1], n), start=1):
        header[f"NAXIS{axis}"] = size
    for axis in range(1, 2 + len(shape)):
        # The reader of spectra needs a wavelength; that of a line profile is the number of its channel.
        spectrum = axis == 1 and len(shape) == 1
        header[f"CTYPE{axis}"] = "WAVE" if spectrum else "LINEAR"
        if spectrum:
            header["CUNIT1"] = "Angstrom"
        header[f"CRPIX{axis}"] = header[f"CRVAL{axis}"] = header[f"CDELT{axis}"] = 1.0
    header.update(cards)
    return header


def _manifest(n: int, truth: Truth, units: Mapping[str, str], name: str) -> Table:
    digits = max(5, len(str(n)))
    ids = [f"{name}-{k:0{digits}d}" for k in range(n)]
    table = Table({"path": ["samples.fits"] * n, "row": np.arange(n), "id": ids, "label": truth["label"], "group": ids})
    for column, values in truth.items():
        if column != "label":
            table[column] = [float(f"{value:.6g}") for value in values]
            table[column].unit = units.get(column)
    return table
