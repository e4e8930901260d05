"""What the catalogues of images and of cubes share: columns, angles, flags by position, formats and provenance."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable, vstack
from scipy.ndimage import maximum_filter

from pipeline.data.tiles import Reader
from pipeline.detect.image import by_tile
from pipeline.detect.model import Model
from pipeline.errors import UserError
from pipeline.provenance import provenance
from pipeline.sky.catalogue import catalogue_format

ONE_SIGMA = 0.6827


class Adder:
    """Adds columns with their UCD and description to a table."""

    def __init__(self, table: QTable):
        self.table = table

    def __call__(self, name: str, values: Any, ucd: str, description: str) -> None:
        self.table[name] = values
        self.table[name].info.description = description
        self.table[name].info.meta = {"ucd": ucd}


def join_catalogues(tables: Sequence[QTable]) -> QTable:
    """The catalogues of several frames as one; their meta is that of the first."""
    if len(tables) == 1:
        return tables[0]
    joined = vstack(list(tables), metadata_conflicts="silent")
    for name in tables[0].colnames:
        joined[name].info.description = tables[0][name].info.description
        joined[name].info.meta = dict(tables[0][name].info.meta)
    joined.meta = dict(tables[0].meta)
    return joined


def vector_angle(vector: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The angle of (cos, sin) and its error [deg], from both and their errors (2, n).

    The error of a small one grows in proportion, and nears that of an angle of which nothing is known: two directions
    chosen at random are within 123 degrees of each other in 68 cases of 100. In between it is within 0.1 of half the
    interval that holds 68 % of the directions of a vector with normal errors.
    """
    cosine, sine = vector
    length = np.maximum(cosine**2 + sine**2, 1e-12)
    error = np.rad2deg(np.hypot(sine * errors[0], cosine * errors[1]) / length)
    unknown = ONE_SIGMA * 180.0
    return np.rad2deg(np.arctan2(sine, cosine)), error * unknown / np.hypot(error, unknown)


def near_invalid(
    read: Reader, shape: Sequence[int], centre: np.ndarray, reach: Sequence[int], side: int | Sequence[int]
) -> np.ndarray:
    """Which positions (n, N) have an invalid pixel within `reach` along each axis; read in tiles of `side`."""
    reach, side, shape = np.array(reach), np.broadcast_to(side, len(shape)), np.array(shape)
    pixel = np.clip(np.rint(centre), 0, shape - 1).astype(int)
    result = np.zeros(len(centre), bool)
    for _, chosen in by_tile(pixel, side):
        # No more than is asked for: few positions need little of a large tile.
        low = np.maximum(pixel[chosen].min(0) - reach, 0)
        high = np.minimum(pixel[chosen].max(0) + reach + 1, shape)
        bad = ~np.isfinite(read(tuple(slice(*ends) for ends in zip(low, high, strict=True))))
        if bad.any():
            near = maximum_filter(bad, size=tuple(2 * reach + 1), mode="constant")
            result[chosen] = near[tuple((pixel[chosen] - low).T)]
    return result


def chosen_format(path: str | os.PathLike, fmt: str | None, challenge: str, other: dict[str, str]) -> str:
    """The format that `fmt` or the suffix of `path` names: fits, ecsv, votable, csv, regions or `challenge`.

    challenge : the submission that .txt stands for. other : submissions that do not fit, and why.

    Raises
    ------
    UserError : another one, or one of `other`.
    """
    own = {".txt": challenge, ".reg": "regions"}
    chosen = fmt or own.get(Path(path).suffix.lower())
    if chosen in other:
        raise UserError(path, other[chosen], f"choose fits, ecsv, votable, csv or {challenge}")
    if chosen in own.values():
        return chosen
    try:
        return catalogue_format(path, chosen)
    except UserError as error:
        remedy = f"end the name with .fits, .ecsv, .vot, .csv, .txt ({challenge.upper()}) or .reg, or name a format"
        raise UserError(path, error.what, remedy) from error


def catalogue_meta(model: Model) -> dict[str, Any]:
    """Where a catalogue comes from; without time or place, so that equal runs give equal files."""
    origin, trained = provenance(), model.trained.get("provenance", {})
    return {
        "ORIGIN": f"fleming {origin['fleming']}",
        "COMMIT": origin["commit"],
        "TORCH": origin["torch"],
        "TRAINED": json.dumps(trained, ensure_ascii=True, sort_keys=True) if trained else "unknown",
    }


def flags_text(flags: dict[int, str], equals: str = ": ") -> str:
    """What the bits of a column of flags mean."""
    return "; ".join(f"{bit}{equals}{text}" for bit, text in flags.items())
