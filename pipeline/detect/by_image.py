"""The rows of a catalogue of several images or cubes, frame by frame."""

import os
from collections.abc import Sequence

import numpy as np
from astropy.table import QTable

from pipeline.errors import UserError


def rows_by_image(table: QTable, images: Sequence[str], where: object, column: str = "image") -> list[QTable]:
    """The rows of each judged frame, by its path or the last part of it in `column`.

    Raises
    ------
    UserError : the column is absent though there are several, two frames are named alike, or none is listed; `where`
        is how the message names the catalogue.
    """
    if not images:
        return []
    if column not in table.colnames:
        if len(images) > 1:
            what = f"has no column {column}, but {len(images)} {column}s are judged"
            raise UserError(where, what, "detect in all of them")
        return [table]
    if len(set(images)) < len(images):
        raise UserError(where, f"names two judged {column}s alike", f"name each {column} once")
    listed, names = np.asarray(table[column]).astype(str), [os.path.basename(image) for image in images]
    # A catalogue of images of one name lists all of them by their paths.
    if len(set(names)) < len(names) or np.isin(images, listed).any():
        names = list(images)
    if len(table) and not np.isin(names, listed).any():
        raise UserError(where, f"lists no source of {', '.join(names)}", f"detect in the {column}s that are judged")
    return [table[listed == name] for name in names]
