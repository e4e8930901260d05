"""Galaxies of the 21 cm line from a table or from the laws, to be put into a cube."""

from functools import lru_cache

import numpy as np
import pandas as pd
from pydantic import ValidationError

from pipeline.errors import UserError
from pipeline.score.sdc2 import Sdc2
from pipeline.score.tables import read_table
from pipeline.score.validate import check_table
from pipeline.simulate.hi import galaxies
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.hi_stamp import Stamp, stamp
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_pictures import Pictures
from pipeline.sky.cube import CubeReader

_KEPT = 256  # galaxies drawn and kept in memory
COLUMNS = ("id", "ra", "dec", "hi_size", "line_flux_integral", "central_freq", "pa", "i", "w20")


def read_galaxies(path: str) -> pd.DataFrame:
    """The rows of a truth table of cubes, with the columns of SDC2.

    Raises
    ------
    UserError, UserErrors : not a table, columns missing, rows that cannot be true, or no row.
    """
    definition = Sdc2()
    table = read_table(path, definition, truth=True)
    check_table(table, definition, path, truth=True)
    return table


def cube_settings(reader: CubeReader, plane: Plane) -> HiSettings:
    """The settings of a simulated cube with the pixels, channels and beam of this one.

    Angles are as if north were up and east left in the pixels.

    Raises
    ------
    UserError : the simulation has no such cubes.
    """
    channel, pixel = float(np.median(reader.channel_hz)), plane.pixel_arcsec
    if np.ptp(reader.channel_hz) > 0.01 * channel:
        what = "has channels of different widths in frequency, which simulated galaxies cannot be drawn for"
        raise UserError(reader.path, what, "regrid it to channels of one width")
    major, minor, theta = plane.widths
    try:
        return HiSettings(
            shape=reader.shape,
            pixel_arcsec=pixel,
            channel_hz=channel,
            lowest_hz=float(reader.frequency[0]),
            beam_arcsec=(major * pixel, minor * pixel, theta - 90.0),
        )
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(reader.path, f"cannot hold simulated galaxies ({reason})", "give a cube of HI") from error


def drawn_galaxies(settings: HiSettings, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """`n` rows with the columns of SDC2, by the laws of simulated cubes."""
    return galaxies(settings, rng, n)[list(COLUMNS)]


def galaxy_pictures(
    table: pd.DataFrame, reader: CubeReader, plane: Plane, places: np.ndarray, seed: int
) -> tuple[Pictures, pd.DataFrame]:
    """What galaxies look like in a cube, centred at `places` ``(n, 3)`` in (z, y, x) [pixels], smoothed by the beam.

    The second result is the truth: the columns of SDC2, and x, y, z. Sizes and widths are those of the rows, and the
    frequency is the place's.
    """
    settings = cube_settings(reader, plane)
    ra, dec, frequency = reader.to_sky(*places.T)
    truth = table.reset_index(drop=True).assign(ra=ra, dec=dec, central_freq=frequency)
    # The picture is drawn as if north were up: its angle counts from +y.
    turned = truth.assign(pa=plane.theta(truth["pa"].to_numpy(float)) - 90.0).to_dict("records")
    middle = np.rint(places).astype(int)

    # Their sizes are known only once they are drawn.
    @lru_cache(maxsize=_KEPT)
    def drawn(number: int) -> Stamp:
        rng = np.random.default_rng((seed, 3, number))
        return stamp(turned[number], settings, rng, offset=places[number] - middle[number])

    low, high = np.empty_like(middle), np.empty_like(middle)
    for number in range(len(turned)):
        picture = drawn(number)
        low[number] = middle[number] - np.rint(picture.centre).astype(int)
        high[number] = low[number] + picture.pixels.shape
    z, y, x = places.T
    pictures = Pictures(low, high, lambda number: drawn(number).pixels)
    return pictures, truth[list(COLUMNS)].assign(x=x, y=y, z=z)
