"""Cutouts of one size around many positions of a frame, in batches, read ahead in the frame's own order."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from pipeline.data.tiles import Reader, Tile, read_ahead


def cutouts(
    read: Reader, shape: Sequence[int], lower: np.ndarray, size: Sequence[int], batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of up to `batch` cutouts: which positions they are (b,), and their pixels (b, *size), 0 off the frame.

    read : sections inside the frame, which has `shape`, to pixels. lower : (n, N) int, the first pixel of each cutout;
    every cutout must share a pixel with the frame. They come by rising first pixel, as a file stores them.
    """
    order = np.lexsort(np.asarray(lower).T[::-1])
    windows = (
        tuple(slice(int(low), int(low) + side) for low, side in zip(lower[at], size, strict=True)) for at in order
    )
    found = read_ahead(read, (Tile(tuple(shape), window, window) for window in windows), fill=0.0)
    for start in range(0, len(order), batch):
        yield order[start : start + batch], np.stack([pixels for _, pixels in islice(found, batch)])
