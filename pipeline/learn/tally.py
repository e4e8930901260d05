"""The running loss: added up on the device, looked at every few steps."""

import math

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.learn.parallel import Team

# Looking makes a GPU wait for the host; so many steps apart, that costs nothing, and a bad loss is found soon.
WINDOW = 20


class Tally:
    """Sums the parts of the loss over one epoch (numbered from 1) and stops at the first that is not finite."""

    def __init__(self, epoch: int):
        self._epoch = epoch
        self._names: list[str] = []
        self._recent: list[Tensor] = []
        self._counts: list[int] = []
        self._sums: list[float] = []
        self._batches = self._samples = 0

    def add(self, parts: dict[str, Tensor], count: int) -> None:
        """Take the parts of the loss of one batch, means over its `count` samples, without waiting for the device.

        Raises
        ------
        UserError : a part of this or of one of the batches before is not finite; names epoch, batch and all parts.
        """
        if not self._names:
            self._names, self._sums = list(parts), [0.0] * len(parts)
        self._recent.extend(part.detach() for part in parts.values())
        self._counts.append(count)
        if len(self._counts) == WINDOW:
            self._look()

    def _look(self) -> None:
        if not self._counts:
            return
        values = torch.stack(self._recent).double().view(-1, len(self._names)).tolist()
        for row, count in zip(values, self._counts, strict=True):
            self._batches += 1
            if not all(map(math.isfinite, row)):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(self._names, row, strict=True))
                raise UserError(
                    f"epoch {self._epoch}, batch {self._batches}",
                    f"the loss is not finite ({shown})",
                    "lower learning_rate, set clip, or check the input for extreme values",
                )
            self._samples += count
            self._sums = [total + value * count for total, value in zip(self._sums, row, strict=True)]
        self._recent, self._counts = [], []

    def close(self, team: Team) -> tuple[dict[str, float], int]:
        """The mean of each part over the samples of the epoch, of all processes, and the number of samples."""
        self._look()
        if not self._names:
            raise UserError("training set", "has no sample for one of the processes", "start fewer processes")
        *sums, samples = team.total([*self._sums, self._samples])
        means = {name: value / samples for name, value in zip(self._names, sums, strict=True)}
        return means, int(samples)
