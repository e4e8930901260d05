"""A simulated cube as files: the pixels and the truth table."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits

from pipeline.files import atomic, check_output
from pipeline.simulate.field_names import CUBE, TRUTH
from pipeline.simulate.hi import HiCube, HiSky
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.noise import NoisePower
from pipeline.sky.frame import write_frame


def save_cube(cube: HiCube, folder: str | os.PathLike) -> None:
    """Write `cube.fits` (Jy/beam) and `truth.csv` (one row a galaxy) into `folder`; numbers of the truth come back
    exactly.

    Raises
    ------
    UserError : a file cannot be written.
    """
    write_frame(Path(folder) / CUBE, cube.frame)
    _write_truth(cube.truth, Path(folder) / TRUTH)


def write_cube(
    settings: HiSettings,
    seed: int,
    folder: str | os.PathLike,
    log: Callable[[str], None] | None = None,
    *,
    noise: NoisePower | None = None,
    rms: np.ndarray | None = None,
) -> pd.DataFrame:
    """Simulate into `folder` what `save_cube` would write of `simulate_hi`, in blocks of channels; return the truth.

    Memory holds one block, whatever the size of the cube. `log` is told what was made.

    Raises
    ------
    UserError : the real galaxies cannot be used, or a file cannot be written.
    """
    folder = Path(folder)
    for name in (CUBE, TRUTH):
        check_output(folder / name)
    sky = HiSky(settings, seed, noise, rms)
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3)])
    for axis, length in enumerate(settings.shape[::-1], start=1):
        header[f"NAXIS{axis}"] = length
    header.extend(sky.header)
    header["BUNIT"] = "Jy beam-1"
    header["BMAJ"], header["BMIN"], header["BPA"] = sky.beam.major, sky.beam.minor, sky.beam.pa
    with atomic(folder / CUBE) as beside, open(beside, "ab+") as file:
        stream = fits.StreamingHDU(file, header)
        for _, block in sky.blocks():
            stream.write(block.astype(">f4"))
        stream.close()
    truth = sky.truth()
    _write_truth(truth, folder / TRUTH)
    if log is not None:
        log(summary(settings, truth))
    return truth


def summary(settings: HiSettings, truth: pd.DataFrame) -> str:
    """A sentence's worth: size, and how many galaxies there are and can be seen."""
    channels, rows, columns = settings.shape
    bright = int((truth["snr"] > 5).sum())
    return f"{columns}x{rows} pixels, {channels} channels, {len(truth)} galaxies, {bright} of them above an SNR of 5"


def _write_truth(truth: pd.DataFrame, path: Path) -> None:
    with atomic(path) as beside:
        truth.to_csv(beside, index=False)
