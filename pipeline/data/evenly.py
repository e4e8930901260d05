"""Which of many stand for all, where all would be too many: files are sorted, so the first would be of one kind."""

import numpy as np


def evenly(total: int, most: int) -> np.ndarray:
    """At most `most` of the numbers 0 to `total` - 1, `(min(most, total),)`, rising, first and last included.

    A single one of several is the first.
    """
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)
