"""Batches for training and prediction: read, normalised, augmented, and on their device."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data.augment import Augmenter
from pipeline.data.augment_settings import AugmentSettings
from pipeline.data.normalise import Normaliser
from pipeline.data.order import draw, local_shuffle
from pipeline.data.store import Store

DEFAULT_MEMORY = 2 << 30
_WINDOW_BYTES = 128 << 20
_BLOCK_BYTES = 32 << 20


class Batches:
    """Batches of samples and truths, the same ones for the same seed and epoch, from memory or from a store.

    When the normalised samples fit into `memory` they are normalised once; otherwise they are read and normalised
    batch by batch, with the same result bit for bit. A store is visited in the order of its chunks, shuffled
    within windows of about 128 MB; an array is shuffled as a whole.

    Parameters
    ----------
    x : `(n, channel, *axes)` array, or an open `Store`.
    y : truths of the n samples, or None: `(n,)` integers become int64, everything else float32.
    batch : samples in a batch, over all processes; the last batch may be shorter.
    seed : seed of order and augmentation.
    indices : with a store, its samples to take (n of them); None for all.
    normaliser : fitted normalisation; None replaces NaN by 0 and does nothing else.
    augment : what to change at random; None for nothing.
    rebalance : `(n,)` weights of the samples in training, see `pipeline.data.order.balance_weights`.
    shuffle : False visits the samples in order, for validation and prediction.
    device : where the batches are put.
    memory : budget for normalised samples [bytes].

    Raises
    ------
    UserError : an augmentation that the samples do not allow, a damaged store.
    ValueError : no sample, or different numbers of samples, truths and weights.
    """

    def __init__(
        self,
        x: np.ndarray | Store,
        y: np.ndarray | None,
        batch: int,
        seed: int,
        *,
        indices: np.ndarray | None = None,
        normaliser: Normaliser | None = None,
        augment: AugmentSettings | None = None,
        rebalance: np.ndarray | None = None,
        shuffle: bool = True,
        device: torch.device | str = "cpu",
        memory: int = DEFAULT_MEMORY,
    ):
        self._store = x if isinstance(x, Store) else None
        self._raw = None if self._store is not None else np.asarray(x)
        shape = self._store.shape if self._store is not None else self._raw.shape[1:]
        rows = np.arange(self._store.n if self._store is not None else len(self._raw))
        self._rows = rows if indices is None else np.asarray(indices, dtype=np.int64)
        self.n, self._batch, self._seed, self._shuffle = len(self._rows), int(batch), int(seed), shuffle
        for name, column in (("truths", y), ("weights", rebalance)):
            if column is not None and len(column) != self.n:
                raise ValueError(f"{len(column)} {name} for {self.n} samples")
        if not self.n or self._batch < 1:
            raise ValueError("batches need at least one sample and one sample a batch")
        self._normaliser = normaliser or Normaliser.fit("none")
        self._weights = None if rebalance is None else np.asarray(rebalance, dtype=np.float64)
        self._y = None if y is None else _truths(y)
        self.device = torch.device(device)
        self._augmenter = None
        if augment is not None and augment != AugmentSettings():
            self._augmenter = Augmenter(augment, len(shape) - 1, self._normaliser.mask_channels(shape[0]))
        self.shape = (self._normaliser.channels(shape[0]), *shape[1:])
        self._sample_bytes = 4 * int(np.prod(self.shape))
        self._ready = self._normalise_all() if self.n * self._sample_bytes <= memory else None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.n // self._batch)

    def epoch(self, index: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, ...]]:
        """The batches of one epoch: `(x, y)`, or `(x,)` without truths; x is float32 `(n, channel, *axes)`.

        With several processes (`world` > 1) every one gets its rows of the same global batch, `rank::world`, in a
        short batch maybe none.
        """
        order = self._order(index)
        spans = [(start, min(start + self._batch, self.n)) for start in range(0, self.n, self._batch)]
        parts = [order[start:stop][rank::world] for start, stop in spans]
        for number, (part, x, (start, stop)) in enumerate(zip(parts, self._samples(parts), spans, strict=True)):
            x = self._to_device(x)
            if self._augmenter is not None:
                generator = torch.Generator().manual_seed(_seed(self._seed, index, number))
                x = self._augmenter(x, generator, slice(rank, None, world), stop - start)
            yield (x,) if self._y is None else (x, self._to_device(self._taken(self._y, part)))

    def _order(self, index: int) -> np.ndarray:
        if not self._shuffle:
            return np.arange(self.n)
        rng = np.random.default_rng([self._seed, index])
        chosen = np.arange(self.n) if self._weights is None else draw(self._weights, rng)
        if self._store is None:
            return rng.permutation(chosen)
        return local_shuffle(chosen, self._rows[chosen] // self._store.chunk, self._window(), rng)

    def _window(self) -> int:
        raw = int(np.prod(self._store.shape)) * self._store.dtype.itemsize
        return max(self._batch, _WINDOW_BYTES // raw // self._batch * self._batch)

    def _samples(self, parts: list[np.ndarray]) -> Iterator[Tensor]:
        if self._ready is not None:
            yield from (self._taken(self._ready, part) for part in parts)
        elif self._store is None:
            for part in parts:
                yield self._normalised(self._raw[self._rows[part]])
        else:
            yield from self._streamed(parts)

    def _streamed(self, parts: list[np.ndarray]) -> Iterator[Tensor]:
        step = self._window() // self._batch
        spans = [parts[start : start + step] for start in range(0, len(parts), step)]
        with ThreadPoolExecutor(1) as reader:
            # one window ahead, so that the disk works while the network does
            coming = reader.submit(self._window_rows, spans[0])
            for number, span in enumerate(spans):
                places, rows = coming.result()
                if number + 1 < len(spans):
                    coming = reader.submit(self._window_rows, spans[number + 1])
                for part in span:
                    yield self._normalised(rows[np.searchsorted(places, part)])

    def _window_rows(self, span: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        places = np.unique(np.concatenate(span))
        return places, self._store.read(self._rows[places])

    @staticmethod
    def _taken(values: Tensor, part: np.ndarray) -> Tensor:
        if values.device.type == "cpu":
            # numpy copies rows in this thread: waking torch's threads costs more than the copy
            return torch.from_numpy(values.numpy()[part])
        return values[torch.from_numpy(part).to(values.device)]

    def _normalised(self, raw: np.ndarray) -> Tensor:
        return torch.from_numpy(self._normaliser.apply(raw))

    def _normalise_all(self) -> Tensor:
        ready = torch.empty((self.n, *self.shape), dtype=torch.float32)
        step = max(1, _BLOCK_BYTES // self._sample_bytes)
        for start in range(0, self.n, step):
            rows = self._rows[start : start + step]
            raw = self._store.read(rows) if self._store is not None else self._raw[rows]
            ready[start : start + step] = self._normalised(raw)
        # a quarter of what is free leaves the network its room
        fits = self.device.type == "cuda" and ready.nbytes < torch.cuda.mem_get_info(self.device)[0] // 4
        return ready.to(self.device) if fits else ready

    def _to_device(self, values: Tensor) -> Tensor:
        if self.device.type == "cuda" and values.device.type == "cpu":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)


def _truths(y: Any) -> Tensor:
    y = np.asarray(y)
    whole = y.ndim == 1 and y.dtype.kind in "iub"
    return torch.from_numpy(np.ascontiguousarray(y, dtype=np.int64 if whole else np.float32))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
