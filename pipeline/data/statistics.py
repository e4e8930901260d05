"""Mean, spread, extremes and percentiles of samples or of a streamed set, blind to NaN."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import UserError

# float32 cannot tell such values apart, so what is left of them is rounding
_CONSTANT = 1e-7
_MOST_VALUES = 1 << 22
_BLOCK_VALUES = 1 << 18
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Constants:
    """What a normalisation needs to know; arrays that broadcast with the samples, in the samples' unit.

    Attributes
    ----------
    mean, spread : mean and standard deviation (population), spread 0 where the values are constant.
    low, high : extremes, or the two percentiles when values are clipped.
    """

    mean: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def shaped(self, sample: tuple[int, ...]) -> "Constants":
        """The same constants for samples `(channel, *axes)`.

        Raises
        ------
        UserError : the samples have other channels or axes than the training set had.
        """
        shape = self.mean.shape
        if shape != sample[: len(shape)] or len(shape) not in (1, len(sample)):
            what = f"was fitted to samples of another shape ({shape} against {sample})"
            raise UserError("normalisation", what, "use samples like those that the model was trained on")
        wide = shape + (1,) * (len(sample) - len(shape))
        return Constants(*(value.reshape(wide) for value in (self.mean, self.spread, self.low, self.high)))

    def to_dict(self) -> dict[str, Any]:
        """Nested lists of floats."""
        return {name: getattr(self, name).tolist() for name in ("mean", "spread", "low", "high")}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Constants":
        """The inverse of `to_dict`."""
        return cls(*(np.asarray(value[name], dtype=np.float64) for name in ("mean", "spread", "low", "high")))


def sample_constants(values: np.ndarray, finite: np.ndarray, clip: tuple[float, float] | None) -> Constants:
    """Constants of every sample by itself, of shape `(n, 1, ...)`.

    Parameters
    ----------
    values, finite : `(n, channel, *axes)`; values are 0 where they are not finite.
    clip : percentiles to clip at, or None.
    """
    rows = values.reshape(len(values), -1)
    good = finite.reshape(rows.shape)
    count = np.maximum(good.sum(axis=1, keepdims=True), 1)
    if clip is None:
        low = np.min(rows, axis=1, keepdims=True, where=good, initial=np.inf)
        high = np.max(rows, axis=1, keepdims=True, where=good, initial=-np.inf)
    else:
        low, high = percentiles(rows, good, clip)
        rows = np.where(good, np.clip(rows, low, high), 0.0)
    mean = rows.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(good, rows - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    empty = ~good.any(axis=1, keepdims=True)
    low, high = np.where(empty, 0.0, low), np.where(empty, 0.0, high)
    wide = (len(values),) + (1,) * (values.ndim - 1)
    return Constants(*(value.reshape(wide) for value in (mean, _nonzero(spread, mean), low, high)))


def percentiles(rows: np.ndarray, good: np.ndarray, at: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Two percentiles of the good values of each row `(n, m)`, linear between neighbours; `(n, 1)` each, 0 if none."""
    ordered = np.sort(np.where(good, rows, np.inf), axis=1)
    last = np.maximum(good.sum(axis=1, keepdims=True) - 1, 0)
    found = []
    for percent in at:
        place = last * (percent / 100.0)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, last)
        left, right = np.take_along_axis(ordered, below, 1), np.take_along_axis(ordered, above, 1)
        usable = np.isfinite(left) & np.isfinite(right)
        left, right = np.where(usable, left, 0.0), np.where(usable, right, 0.0)
        found.append(left + (right - left) * (place - below))
    return found[0], found[1]


def _nonzero(spread: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.where(spread > _CONSTANT * np.abs(mean), spread, 0.0)


class SetStatistics:
    """Constants of a whole set, one batch after the other.

    Mean and variance of batches are merged by Chan, Golub and LeVeque (1983, The American Statistician 37, 242,
    equation 2.1); percentiles come from all values up to about four million, then from an even selection.

    Parameters
    ----------
    per : "set" for one constant a channel, "feature" for one a value of the sample.
    clip : percentiles to clip at, or None.
    """

    def __init__(self, per: str, clip: tuple[float, float] | None):
        self._per, self._clip = per, clip
        self._shape: tuple[int, ...] = ()
        self._count = self._mean = self._square = self._low = self._high = None
        self._kept: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []
        self._limit, self._seen, self._held = np.uint64(2**64 - 1), 0, 0

    def add(self, batch: np.ndarray) -> None:
        """Take in samples `(n, channel, *axes)`."""
        batch = np.asarray(batch)
        if not len(batch):
            return
        self._shape = batch.shape[1:2] if self._per == "set" else batch.shape[1:]
        # blocks that stay in the processor's cache
        step = max(1, _BLOCK_VALUES // max(1, batch[0].size))
        for start in range(0, len(batch), step):
            block = batch[start : start + step]
            rows = np.moveaxis(block, 1, 0) if self._per == "set" else np.moveaxis(block, 0, -1)
            rows = rows.reshape(int(np.prod(self._shape)), -1).astype(np.float64)  # (constant, value)
            if self._clip is None:
                self._merge(rows)
            else:
                self._keep(rows)

    def constants(self) -> Constants:
        """The constants of all that was added, each of shape `(channel,)` or `(channel, *axes)`.

        Raises
        ------
        UserError : no sample was added, or a channel has no finite value in any.
        """
        if not self._shape:
            raise UserError("normalise", "the training set is empty", "check the split fractions and the manifest")
        if self._clip is not None:
            rows = np.concatenate(self._kept, axis=1)
            low, high = percentiles(rows, np.isfinite(rows), self._clip)
            self._count = None
            self._merge(np.where(np.isfinite(rows), np.clip(rows, low, high), np.nan))
            self._low, self._high = low[:, 0], high[:, 0]
        if not self._count.any() or (self._per == "set" and not self._count.all()):
            what = "a channel of the training set has no finite value"
            raise UserError("normalise", what, "remove the channel or mend the input")
        empty = self._count == 0
        spread = np.sqrt(self._square / np.maximum(self._count, 1))
        low, high = np.where(empty, 0.0, self._low), np.where(empty, 0.0, self._high)
        values = (self._mean, _nonzero(spread, self._mean), low, high)
        return Constants(*(value.reshape(self._shape) for value in values))

    def _merge(self, rows: np.ndarray) -> None:
        good = np.isfinite(rows)
        whole = bool(good.all())
        count = good.sum(axis=1)
        low = (rows if whole else np.where(good, rows, np.inf)).min(axis=1)
        high = (rows if whole else np.where(good, rows, -np.inf)).max(axis=1)
        mean = (rows if whole else np.where(good, rows, 0.0)).sum(axis=1) / np.maximum(count, 1)
        left = rows - mean[:, None]
        square = np.square(left if whole else np.where(good, left, 0.0)).sum(axis=1)
        if self._count is None:
            self._count, self._mean, self._square, self._low, self._high = count, mean, square, low, high
            return
        total = np.maximum(self._count + count, 1)
        step = mean - self._mean
        self._square = self._square + square + step**2 * (self._count * count / total)
        self._mean = self._mean + step * (count / total)
        self._count = self._count + count
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)

    def _keep(self, rows: np.ndarray) -> None:
        # a Weyl sequence chooses the values: a regular step would meet the same columns of every image
        key = np.arange(self._seen, self._seen + rows.shape[1], dtype=np.uint64) * _GOLDEN
        self._seen += rows.shape[1]
        chosen = key <= self._limit
        self._kept.append(rows[:, chosen])
        self._keys.append(key[chosen])
        self._held += int(chosen.sum())
        while self._held > max(256, _MOST_VALUES // len(rows)):
            self._limit //= np.uint64(2)
            keys = np.concatenate(self._keys)
            chosen = keys <= self._limit
            self._kept, self._keys = [np.concatenate(self._kept, axis=1)[:, chosen]], [keys[chosen]]
            self._held = len(self._keys[0])
