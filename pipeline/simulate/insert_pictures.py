"""Pictures that are drawn one by one and added to the sections of a frame that they reach into."""

from collections.abc import Callable, Sequence

import numpy as np


class Pictures:
    """n pictures in the pixels of a frame, each drawn when a section first needs it and forgotten after the last.

    low, high : ``(n, N)`` the first pixel of each, and the one after its last. draw : gives the pixels of picture i,
    ``high[i] - low[i]``.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, draw: Callable[[int], np.ndarray]):
        self.low, self.high, self._draw = np.asarray(low, int), np.asarray(high, int), draw
        self._kept: dict[int, np.ndarray] = {}

    def section(self, section: Sequence[slice]) -> np.ndarray | None:
        """What all pictures add to a section: float32 of its shape, None where none reaches in."""
        first = np.array([part.start for part in section])
        after = np.array([part.stop for part in section])
        near = np.flatnonzero(((self.low < after) & (self.high > first)).all(axis=1))
        # The sections follow each other: what this one does not reach is over, or has not begun.
        self._kept = {number: self._kept[number] for number in near if number in self._kept}
        if not len(near):
            return None
        light = np.zeros(after - first, np.float32)
        for number in near:
            if number not in self._kept:
                self._kept[number] = self._draw(number)
            low, high = np.maximum(self.low[number], first), np.minimum(self.high[number], after)
            part = (slice(*ends) for ends in zip(low - self.low[number], high - self.low[number], strict=True))
            into = (slice(*ends) for ends in zip(low - first, high - first, strict=True))
            light[tuple(into)] += self._kept[number][tuple(part)]
        return light
