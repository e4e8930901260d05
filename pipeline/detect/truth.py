"""Truth tables: read, checked, and laid over an image."""

import os

import numpy as np
import pandas as pd

from pipeline.detect.areas import Section
from pipeline.detect.image import ContinuumImage
from pipeline.detect.objects import Objects
from pipeline.errors import UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.score.validate import check_table
from pipeline.sky.geometry import sky_to_pixel

# Sources whose flux in the image is compared with their true flux: bright, and without a neighbour that disturbs it.
_BRIGHT = 15.0
_ALONE = 4.0
_COMPARED = 20
# No primary beam or response changes a flux by this factor; a wrong unit does.
_UNBELIEVABLE = 20.0


def read_truth(path: str | os.PathLike) -> pd.DataFrame:
    """The truth table of the file `path` with the official columns.

    Raises
    ------
    UserError, UserErrors : not a table, wrong columns, or rows that cannot be true.
    """
    definition = Sdc1(560)
    table = read_table(path, definition, truth=True)
    check_table(table, definition, path, truth=True)
    return table


def covered(image: ContinuumImage, truth: pd.DataFrame, where: object) -> Section:
    """The smallest section of the image that holds every source of the table that lies in the image.

    Raises
    ------
    UserError : none does.
    """
    x, y = sky_to_pixel(image.reader.wcs, truth["ra_cent"].to_numpy(float), truth["dec_cent"].to_numpy(float))
    rows, columns = image.shape
    inside = (y >= -0.5) & (y < rows - 0.5) & (x >= -0.5) & (x < columns - 0.5)
    if not inside.any():
        remedy = "give the truth of this part of the sky, in degrees"
        raise UserError(where, f"has no source inside {image.path}", remedy)
    spans = []
    for values, side in ((y[inside], rows), (x[inside], columns)):
        low, high = int(np.floor(values.min() + 0.5)), int(np.floor(values.max() + 0.5))
        spans.append(slice(max(low, 0), min(high + 1, side)))
    return spans[0], spans[1]


def response(image: ContinuumImage, truth: pd.DataFrame, where: object = "truth table") -> float:
    """What share of a true flux the image shows, beyond its primary beam; 1 where it cannot be told.

    Pixel response, bandwidth or a primary beam that nobody gave lower it. It is the median, over bright and lonely
    sources, of the brightness at their place over what their flux and size let expect; blanked ones do
    not count.

    Raises
    ------
    UserError : so little or so much of the flux that the table's unit or positions must be wrong.
    """
    objects = image.objects(truth)
    centre = np.rint(objects.centre)
    inside = ((centre >= 0) & (centre <= np.array(image.shape) - 1)).all(1)
    bright = np.flatnonzero(inside & (objects.snr > _BRIGHT) & (objects.size.max(1) < 3 * image.beam.major))
    ratios = []
    for at in bright:
        near = np.hypot(*(objects.centre - objects.centre[at]).T) < _ALONE * image.beam.mean
        if objects.snr[near].sum() < 1.1 * objects.snr[at]:
            ratios.append(_brightness(image, objects.centre[at]) / objects.snr[at])
    ratios = [ratio for ratio in ratios if np.isfinite(ratio)]
    if len(ratios) < _COMPARED:
        _check_faint(image, objects, np.flatnonzero(inside), where)
        return 1.0
    share = float(np.median(ratios))
    if not 1 / _UNBELIEVABLE < share < _UNBELIEVABLE:
        what = f"its fluxes are not those of {image.path}, which shows {share:.2g} times as much (median)"
        raise UserError(where, what, "give fluxes in Jy, and positions in degrees of the same sky")
    return share


def _check_faint(image: ContinuumImage, objects: Objects, inside: np.ndarray, where: object) -> None:
    """Refuse a truth whose brightest sources should be lost in the noise, and stand out of it."""
    brightest = inside[np.argsort(-objects.snr[inside])][:_COMPARED]
    seen = np.array([_brightness(image, centre) for centre in objects.centre[brightest]])
    seen = seen[np.isfinite(seen)]
    if len(seen) < _COMPARED:
        return
    seen, expected = np.median(seen), np.median(objects.snr[brightest])
    if seen > _BRIGHT and seen > _UNBELIEVABLE * expected:
        what = f"its fluxes are not those of {image.path}, which shows {seen / expected:.2g} times as much (median)"
        raise UserError(where, what, "give fluxes in Jy, and positions in degrees of the same sky")


def _brightness(image: ContinuumImage, centre: np.ndarray) -> float:
    """The highest pixel of the nine about a position, over the rms: a parabola through them finds the peak."""
    row, column = np.rint(centre).astype(int)
    span = [slice(max(at - 1, 0), min(at + 2, side)) for at, side in zip((row, column), image.shape, strict=True)]
    median, rms = image.background.at(span)
    pixels = (image.reader.read(span) - median) / rms
    if pixels.shape != (3, 3):
        return float(pixels.max())
    return float(pixels[1, 1] + _rise(pixels[:, 1]) + _rise(pixels[1, :]))


def _rise(three: np.ndarray) -> float:
    """How much higher than the middle one of three values their parabola rises."""
    curve = three[0] - 2 * three[1] + three[2]
    slope = three[2] - three[0]
    return float(np.clip(-(slope**2) / (8 * curve), 0, 0.2 * abs(three[1]))) if curve < 0 else 0.0
