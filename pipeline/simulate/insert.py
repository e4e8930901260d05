"""Sources put into a FITS image or cube of any size, with their truth in the detector's own format."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.files import atomic, check_distinct, check_output
from pipeline.score.tables import row_name
from pipeline.simulate.insert_galaxies import cube_settings, drawn_galaxies, galaxy_pictures, read_galaxies
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_pictures import Pictures
from pipeline.simulate.insert_places import draw_fluxes, draw_places
from pipeline.simulate.insert_settings import InsertSettings
from pipeline.simulate.insert_sources import point_sources, read_sources, source_pictures
from pipeline.simulate.insert_stamped import stamp_pictures
from pipeline.simulate.insert_stamps import Stamps
from pipeline.sky.cube import CubeReader
from pipeline.sky.fitscopy import BLOCK, copy_frame
from pipeline.sky.frame import frame_info
from pipeline.sky.geometry import sky_to_pixel
from pipeline.sky.window import FrameReader

_LARGEST = 2048  # side of a source [pixels]: its picture takes a third of a GB


@dataclass(frozen=True)
class Inserted:
    """What is put into a frame: the pictures of n sources, and their truth, one row each in the same order.

    truth : of an image the columns of `simulate.populations`, x, y and attenuation (1: fluxes are as the image shows
        them), of a cube those of SDC2, x, y and z; and "source", the row of the table or the stamp that it was drawn
        from.
    """

    pictures: Pictures
    truth: pd.DataFrame


def open_frame(source: str | os.PathLike) -> FrameReader:
    """Open an image, or a cube, for what is put into it.

    Raises
    ------
    UserError : as `FrameReader` and `CubeReader`.
    """
    axes = sum(side > 1 for side in frame_info(source).shape)
    return CubeReader(source) if axes == 3 else FrameReader(source)


def plan(reader: FrameReader, settings: InsertSettings, seed: int) -> Inserted:
    """Choose sources and places; the same frame, settings and seed give the same.

    Raises
    ------
    UserError : the frame has no coordinates or no room, or stamps or a table cannot be used for it.
    """
    plane = Plane.of(reader)
    # Streams of their own: places do not change when the sources do.
    where, which, shape = (np.random.default_rng((seed, part)) for part in range(3))
    if settings.stamps is not None:
        stamps = Stamps.read(settings.stamps, len(reader.shape), settings)
        if settings.clip is not None:
            stamps = replace(stamps, pixels=stamps.clipped(settings.clip))
        places = _places(reader, plane, settings, where)
        return Inserted(*stamp_pictures(stamps, settings, reader, plane, places, which))
    cube = isinstance(reader, CubeReader)
    table, places = _rows(reader, plane, settings, where, which)
    flux = "line_flux_integral" if cube else "flux_jy"
    if settings.flux_range is not None:
        table[flux] = draw_fluxes(settings.flux_range, len(table), which)
    if cube:
        pictures, truth = galaxy_pictures(table, reader, plane, places, seed)
    else:
        pictures, truth = source_pictures(table, plane, places, shape)
    truth["source"] = table["source"].to_numpy()
    truth["id"] = np.arange(len(truth))
    return Inserted(pictures, truth)


def insert(
    frame: str | os.PathLike,
    out: str | os.PathLike,
    truth_out: str | os.PathLike,
    settings: InsertSettings,
    seed: int,
    *,
    block: int = BLOCK,
    log: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Write `frame` with sources in it to `out` (FITS, float32, in its own unit), and their truth to `truth_out` (CSV).

    The frame is read and written in blocks of about `block` pixels, on which the result does not depend. Returns the
    truth: of the sources whose centroid is inside the frame.

    Raises
    ------
    UserError : as `plan`, or a file cannot be written.
    """
    read = [path for path in (frame, settings.stamps, settings.sources) if path is not None]
    check_distinct([out, truth_out], read)
    for path in (out, truth_out):
        check_output(path)
    with open_frame(frame) as reader:
        made = plan(reader, settings, seed)
        truth = made.truth[_inside(made.truth, reader.shape)].reset_index(drop=True)
        if not len(truth):
            raise UserError(settings.sources or frame, f"has no source inside {frame}", "give positions of this sky")
        cards = [
            ("INJSEED", seed, "seed of the sources that were put in"),
            ("INJNUM", len(truth), "number of sources that were put in"),
        ]
        copy_frame(reader, out, made.pictures.section, cards, block=block)
    with atomic(truth_out) as beside:
        truth.to_csv(beside, index=False)
    if log is not None:
        size = " x ".join(map(str, reader.shape[::-1]))
        log(f"{len(truth)} sources put into {size} pixels of {frame}")
    return truth


def _places(reader: FrameReader, plane: Plane, settings: InsertSettings, rng: np.random.Generator) -> np.ndarray:
    return draw_places(reader, settings.n, rng, clear=plane.width, apart=settings.apart * plane.width)


def _rows(reader, plane, settings: InsertSettings, where, which) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows that are drawn, "source" their number in the table they come from, and their places ``(n, N)``."""
    cube = isinstance(reader, CubeReader)
    if settings.in_place:
        table = _read(reader, plane, settings)
        return table.assign(source=np.arange(len(table))), _own_places(reader, plane, table)
    places = _places(reader, plane, settings, where)
    if settings.sources is not None:
        table = _read(reader, plane, settings)
        # Every row as often as the others, give or take one.
        rounds = -(-settings.n // len(table))
        chosen = np.concatenate([which.permutation(len(table)) for _ in range(rounds)])[: settings.n]
        return table.iloc[chosen].assign(source=chosen), places
    if cube:
        table = drawn_galaxies(cube_settings(reader, plane), settings.n, which)
    elif settings.flux_range is None:
        what = "has neither stamps, nor a table of sources, nor a range of fluxes for point sources"
        raise UserError("fleming inject", what, "give --stamps, --sources or --flux-range")
    else:
        table = point_sources(settings.n)
    return table.assign(source=np.arange(len(table))), places


def _read(reader: FrameReader, plane: Plane, settings: InsertSettings) -> pd.DataFrame:
    cube = isinstance(reader, CubeReader)
    table = (read_galaxies if cube else read_sources)(settings.sources)
    size = table["hi_size" if cube else "b_maj_arcsec"].to_numpy(float)
    if (size > _LARGEST * plane.pixel_arcsec).any():
        row = int(np.argmax(size))
        what = f"is {size[row]:.3g} arcsec large, where at most {_LARGEST} pixels, {_LARGEST * plane.pixel_arcsec:.3g} "
        raise UserError(row_name(settings.sources, table, row), what + "arcsec, can be drawn", "leave the row out")
    return table


def _own_places(reader: FrameReader, plane: Plane, table: pd.DataFrame) -> np.ndarray:
    if isinstance(reader, CubeReader):
        return np.stack(reader.from_sky(*(table[name].to_numpy(float) for name in ("ra", "dec", "central_freq"))), 1)
    x, y = sky_to_pixel(plane.wcs, *(table[f"{name}_core"].to_numpy(float) for name in ("ra", "dec")))
    return np.stack([y, x], axis=1)


def _inside(truth: pd.DataFrame, shape: tuple[int, ...]) -> np.ndarray:
    place = truth[["z", "y", "x"][-len(shape) :]].to_numpy(float)
    return ((place >= -0.5) & (place < np.array(shape) - 0.5)).all(axis=1)
