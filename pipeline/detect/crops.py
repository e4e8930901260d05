"""Training batches: random crops of labelled frames, in any of the sky's symmetries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.detect.objects import Objects
from pipeline.detect.settings import per_axis
from pipeline.detect.symmetry import symmetries

Batch = tuple[Tensor, ...]


@dataclass
class LabelledField:
    """A frame to learn from.

    snr : (*axes) float32, background subtracted, over the local rms, 0 where unknown.
    objects : what is learnable there, in the pixels of `snr`. conditions : (K,) numbers of the frame, as its beam.
    """

    snr: np.ndarray
    objects: Objects
    conditions: Sequence[float]


class Crops:
    """`steps` batches an epoch of random crops; the same for the same seed and epoch.

    A batch is snr (b, *crop), conditions (b, K), image (t,), centre (t, N), size (t, N), values (t, P), label (t,),
    snr of the objects (t,), and () the crops of all batches before, over all epochs. Fields are drawn by their number
    of pixels; crops lie anywhere, at any phase of the grid.
    """

    def __init__(
        self,
        fields: Sequence[LabelledField],
        crop: int | Sequence[int],
        batch: int,
        steps: int,
        seed: int,
        values: Sequence[str],
        conditions: Sequence[str] = (),
        augment: bool = True,
    ):
        self.fields, self.batch, self.steps, self.seed = list(fields), batch, steps, seed
        self.values, self.conditions = tuple(values), tuple(conditions)
        ndim = self.fields[0].snr.ndim
        self.crop = per_axis(crop, ndim, "crop")
        self.symmetries = symmetries(ndim) if augment else symmetries(ndim)[:1]
        # Sorted along the first axis, the objects of a crop are a slice of the table.
        self.orders = [np.argsort(field.objects.centre[:, 0], kind="stable") for field in self.fields]
        self.sorted = [field.objects.centre[order, 0] for field, order in zip(self.fields, self.orders, strict=True)]
        pixels = np.array([field.snr.size for field in self.fields], float)
        self.share = pixels / pixels.sum()

    def __len__(self) -> int:
        return self.steps

    def epoch(self, index: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of epoch `index`; process `rank` of `world` makes its share of each."""
        generator = np.random.default_rng([self.seed, index, rank])
        for step in range(self.steps):
            seen = torch.tensor((index * self.steps + step) * self.batch)
            yield (*self._batch(generator, self.batch // world + (rank < self.batch % world)), seen)

    def _batch(self, generator: np.random.Generator, count: int) -> Batch:
        images, conditions, parts = [], [], []
        for number in range(count):
            image, condition, objects = self._crop(generator)
            images.append(image)
            conditions.append(condition)
            parts.append((torch.full((len(objects[0]),), number), *objects))
        if not images:
            empty = torch.zeros(0, *self.crop)
            return (empty, torch.zeros(0, len(self.conditions)))
        joined = [torch.cat(part) for part in zip(*parts, strict=True)]
        return (torch.stack(images), torch.stack(conditions), *joined)

    def _crop(self, generator: np.random.Generator):
        which = generator.choice(len(self.fields), p=self.share)
        field = self.fields[which]
        shape = field.snr.shape
        lower = np.array(
            [generator.integers(max(side - crop, 0) + 1) for side, crop in zip(shape, self.crop, strict=True)]
        )
        window = tuple(slice(low, low + crop) for low, crop in zip(lower, self.crop, strict=True))
        pixels = field.snr[window]
        first, last = np.searchsorted(self.sorted[which], [lower[0] - 0.5, lower[0] + self.crop[0] - 0.5])
        rows = self.orders[which][first:last]
        centre = field.objects.centre[rows] - lower
        rows = rows[((centre >= -0.5) & (centre < np.array(self.crop) - 0.5)).all(1)]
        objects = field.objects.take(rows)
        if pixels.shape != self.crop:
            pixels = np.pad(pixels, [(0, crop - side) for crop, side in zip(self.crop, pixels.shape, strict=True)])
        turn = self.symmetries[generator.integers(len(self.symmetries))]
        centre = torch.from_numpy(objects.centre - lower).float()
        image = turn.image(torch.from_numpy(pixels)).contiguous()
        condition = turn.values(torch.tensor(field.conditions, dtype=torch.float32), self.conditions)
        return (
            image,
            condition,
            (
                turn.positions(centre, pixels.shape),
                turn.sizes(torch.from_numpy(objects.size).float()),
                turn.values(torch.from_numpy(objects.values).float(), self.values),
                torch.from_numpy(objects.label).long(),
                torch.from_numpy(objects.snr).float(),
            ),
        )
