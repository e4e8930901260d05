"""Where sources are put, uniform over the valid pixels of a frame that is read by section, and how bright they are."""

import math

import numpy as np
from scipy.spatial import cKDTree

from pipeline.errors import UserError
from pipeline.sky.fitscopy import BLOCK
from pipeline.sky.window import FrameReader

_LEAST_TRIED = 64  # positions at a time
_BARREN = 20  # times that none of them was a place


def draw_places(
    reader: FrameReader, n: int, rng: np.random.Generator, *, clear: float, apart: float = 0.0
) -> np.ndarray:
    """`n` positions ``(n, N)`` in the order of the axes of `reader.read` [pixels], the same for the same `rng`.

    They are uniform over the frame, and none has an invalid pixel, or the border, within `clear` pixels in the plane
    of the last two axes. Channels of a cube are whole numbers.

    apart : least distance between two of them in that plane [pixels].

    Raises
    ------
    UserError : there is no such place, or there are not so many; or no pixel is valid.
    """
    shape = np.array(reader.shape)
    reach = int(np.ceil(clear))
    low, high = np.zeros(len(shape)), shape - 1.0
    low[-2:] += reach
    high[-2:] -= reach
    if (high < low).any():
        size = " x ".join(map(str, reader.shape))
        raise UserError(reader.path, f"has {size} pixels, too few to put a source in", "give a larger frame")
    kept, barren = np.zeros((0, len(shape))), 0
    while len(kept) < n:
        if barren == _BARREN and not len(kept) and not _any_valid(reader):
            raise UserError(reader.path, "has no valid pixel", "give a frame that is not all NaN")
        if barren == _BARREN:
            what = f"has room for {len(kept)} sources, not for {n}"
            raise UserError(reader.path, what, "ask for fewer, or for less distance between them")
        candidates = rng.uniform(low, high, (max(n, _LEAST_TRIED), len(shape)))
        candidates[:, :-2] = np.rint(candidates[:, :-2])
        # The distances are cheap, and spare reading.
        candidates = candidates[_far(kept, candidates, apart)]
        more = _joined(kept, candidates[_valid(reader, candidates, reach)], apart)
        barren = 0 if len(more) > len(kept) else barren + 1
        kept = more[:n]
    return kept


def draw_fluxes(flux_range: tuple[float, float], n: int, rng: np.random.Generator) -> np.ndarray:
    """Log-uniform fluxes ``(n,)`` of a range, in its unit."""
    return np.exp(rng.uniform(*np.log(flux_range), n))


def _valid(reader: FrameReader, places: np.ndarray, reach: int) -> np.ndarray:
    """Which positions have no invalid pixel around them; one small section is read for each."""
    result = np.zeros(len(places), bool)
    middle = np.rint(places).astype(int)
    around = np.zeros(places.shape[1], int)
    around[-2:] = reach
    # In the order of the file, neighbours in it are read together by the system.
    for at in np.lexsort(middle.T[::-1]):
        spans = zip(middle[at] - around, middle[at] + around + 1, strict=True)
        result[at] = np.isfinite(reader.read([slice(*ends) for ends in spans])).all()
    return result


def _any_valid(reader: FrameReader) -> bool:
    first, *rest = reader.shape
    step = max(1, BLOCK // math.prod(rest))
    spans = ([slice(start, min(start + step, first)), *map(slice, rest)] for start in range(0, first, step))
    return any(np.isfinite(reader.read(span)).any() for span in spans)


def _far(kept: np.ndarray, places: np.ndarray, apart: float) -> np.ndarray:
    """Which of `places` are far enough from all that are kept."""
    if not (apart and len(kept)):
        return np.ones(len(places), bool)
    return cKDTree(kept[:, -2:]).query(places[:, -2:])[0] >= apart


def _joined(kept: np.ndarray, more: np.ndarray, apart: float) -> np.ndarray:
    """Those kept and, one by one, each of `more` that is far enough from all before it."""
    if not apart:
        return np.concatenate([kept, more])
    chosen = np.empty((len(kept) + len(more), more.shape[1]))
    chosen[: len(kept)], count = kept, len(kept)
    for place in more:
        if (np.hypot(*(chosen[:count, -2:] - place[-2:]).T) >= apart).all():
            chosen[count], count = place, count + 1
    return chosen[:count]
