"""Random numbers that belong to a sample, whatever it is drawn together with."""

import numpy as np
import torch
from torch import Tensor


class SampleNoise:
    """Standard normal numbers for each of `n` samples, from a stream of its own.

    A stream is seeded by a draw from `generator` (on the CPU), one a sample in their order: n samples at once, or the
    same in parts one after the other, are given the same noise, however much each of them uses.
    """

    def __init__(self, n: int, generator: torch.Generator):
        # Streams of NumPy: those of PyTorch keep 32 bits of a seed, of which 100,000 samples would share some.
        seeds = torch.randint(2**62, (n,), generator=generator).tolist()
        self._streams = [np.random.default_rng(seed) for seed in seeds]

    def normal(self, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
        """The next numbers of every stream, (n, *shape) float32 on `device`."""
        drawn = np.empty((len(self._streams), *shape), dtype=np.float32)
        for stream, row in zip(self._streams, drawn, strict=True):
            stream.standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(drawn).to(device)


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the shape, type and device of x, for training; the global state when None."""
    where = x.device if generator is None else generator.device
    return torch.randn(x.shape, generator=generator, device=where, dtype=x.dtype).to(x.device)


def normal_rows(n: int, width: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal numbers (n, width) float32 on `device`, a row of every sample's own, see `SampleNoise`."""
    return SampleNoise(n, generator).normal((width,), device)
