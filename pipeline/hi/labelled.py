"""Cubes whose galaxies are known: the cube, its noise, and the truth that lies in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.continuum_mask import MaskedReader
from pipeline.data.cube_noise import CubeNoise, measure_cube_noise
from pipeline.errors import UserError
from pipeline.hi.apply import open_cube
from pipeline.hi.galaxies import Cube
from pipeline.hi.task_settings import LabelledCube
from pipeline.score.sdc2 import Sdc2
from pipeline.score.tables import read_table
from pipeline.score.validate import check_table
from pipeline.sky.cube import CubeReader


@dataclass
class KnownCube:
    """A cube with the galaxies that are in it.

    truth : as `read_truth` gives it. density : how many times as many galaxies it has as the sky that is to be
    searched. outside : how many galaxies of the truth table lie elsewhere.
    """

    reader: CubeReader | MaskedReader
    noise: CubeNoise
    truth: pd.DataFrame
    density: float = 1.0
    outside: int = 0


def open_labelled(frame: LabelledCube, limit: float, density: float = 1.0) -> KnownCube:
    """A labelled cube without its bright continuum, with its noise, and the galaxies that are in it.

    limit : of the continuum, from which on pixels are left out [Jy/beam]. density : as in `KnownCube`.

    Raises
    ------
    UserError : the cube, its continuum or its truth cannot be used.
    """
    reader, _ = open_cube(frame.cube, None, frame.continuum, limit)
    noise = measure_cube_noise(reader.read, reader.shape, where=frame.cube)
    truth, outside = read_truth(frame.truth, reader, frame.cube)
    return KnownCube(reader, noise, truth, density, outside)


def read_truth(
    path: str | Path, cube: Cube, name: str, section: Sequence[tuple[int, int]] | None = None
) -> tuple[pd.DataFrame, int]:
    """The galaxies of a truth table whose centres lie in a section of a cube, and how many lie elsewhere.

    They have the official columns and, from a CSV that gives it as simulations do, "snr", the signal-to-noise ratio in
    the best filter.

    Parameters
    ----------
    name : how messages name the cube. section : (start, stop) of z, y and x; None takes the whole cube.

    Raises
    ------
    UserError, UserErrors : not a truth table of the SDC2, or no galaxy of it lies in the section.
    """
    table = read_table(path, Sdc2(), truth=True)
    check_table(table, Sdc2(), path, truth=True)
    stated = _stated_snr(path)
    if stated is not None:
        table = table.assign(snr=table["id"].map(stated))
    place = cube.from_sky(*(table[name].to_numpy(float) for name in ("ra", "dec", "central_freq")))
    inside = within(np.stack(place, axis=1), section or whole(cube))
    if not inside.any():
        what = f"holds no galaxy in the part of {name} that is judged"
        raise UserError(path, what, "check its positions [deg] and frequencies [Hz], and the region")
    return table[inside].reset_index(drop=True), int(np.count_nonzero(~inside))


def whole(cube: Cube) -> tuple[tuple[int, int], ...]:
    """The section that is all of a cube."""
    return tuple((0, int(side)) for side in cube.shape)


def within(place: np.ndarray, section: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which places (n, 3) [pixel] lie in a section."""
    low, high = np.asarray(section, float).T - 0.5
    return ((place >= low) & (place < high)).all(1)


def _stated_snr(path: str | Path) -> pd.Series | None:
    """The column "snr" of a CSV file by id; None where it has none, or not one number for each id."""
    if Path(path).suffix.lower() != ".csv" or not {"id", "snr"} <= set(pd.read_csv(path, nrows=0).columns):
        return None
    stated = pd.read_csv(path, usecols=["id", "snr"]).set_index("id")["snr"]
    usable = stated.index.is_unique and pd.api.types.is_numeric_dtype(stated) and np.isfinite(stated).all()
    return stated if usable else None
