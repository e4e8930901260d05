"""What a detector of galaxies in cubes practises on: galaxies without noise, dropped into noise made on the way.

No cube is ever stored: every crop has fresh noise, and galaxies in one of the sixteen symmetries anywhere in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.detect.crops import Batch
from pipeline.detect.objects import Objects
from pipeline.detect.symmetry import symmetries
from pipeline.hi.galaxies import VALUES, to_objects
from pipeline.simulate.hi import cube_wcs, library
from pipeline.simulate.hi_laws import channel_frequency
from pipeline.simulate.hi_noise import noise_cube, sdc2_rms
from pipeline.simulate.hi_settings import REST_HZ, HiSettings
from pipeline.simulate.hi_stamp import white_power
from pipeline.simulate.noise import NoisePower
from pipeline.sky.geometry import pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam

# Noise that crops are cut from, in any of its symmetries, and the epochs that it serves for.
_POOL = (384, 256, 256)
_EPOCHS = 4


class SkyGeometry:
    """Where the voxels of a simulated cube are; see `galaxies.Cube`."""

    def __init__(self, settings: HiSettings):
        self.wcs, self.rest_hz = cube_wcs(settings).celestial, REST_HZ
        self.shape = settings.shape
        self.frequency = channel_frequency(settings)
        self.channel_hz = np.full(settings.shape[0], settings.channel_hz)
        major, minor, angle = settings.beam_arcsec
        self.beam = Beam(major / 3600, minor / 3600, angle)

    def to_sky(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return *pixel_to_sky(self.wcs, x, y), self.frequency[0] + np.asarray(z, float) * self.channel_hz[0]

    def from_sky(
        self, ra: np.ndarray, dec: np.ndarray, frequency: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y = sky_to_pixel(self.wcs, ra, dec)
        return (np.asarray(frequency, float) - self.frequency[0]) / self.channel_hz[0], y, x


@dataclass
class Gallery:
    """n galaxies without noise, in units of the rms: stamps (f, y, x) float16, and `objects` in their pixels."""

    stamps: list[Tensor]
    objects: Objects

    def __len__(self) -> int:
        return len(self.stamps)

    def split(self, count: int) -> tuple["Gallery", "Gallery"]:
        """The first `count` galaxies, and the others."""
        parts = (slice(0, count), slice(count, None))
        return tuple(Gallery(self.stamps[part], self.objects.take(part)) for part in parts)


def make_gallery(
    settings: HiSettings, count: int, seed: int, least_snr: float, noise: NoisePower | None = None
) -> Gallery:
    """`count` galaxies drawn by the laws of `settings`, none fainter than `least_snr` in noise of this texture.

    Raises
    ------
    UserError : no galaxy is as bright as that.
    """
    drawn = library(settings, count, seed, least_snr, noise=noise)
    rows = pd.DataFrame([one.row for one in drawn])
    rms = settings.noise * sdc2_rms(rows["central_freq"].to_numpy(), settings.channel_hz)
    objects = to_objects(rows, SkyGeometry(settings), lambda centre: rms)
    objects.centre = np.stack([one.centre for one in drawn])
    stamps = [torch.from_numpy((one.pixels / level).astype(np.float16)) for one, level in zip(drawn, rms, strict=True)]
    return Gallery(stamps, objects)


class StampBatches:
    """`steps` batches an epoch, as `pipeline.detect.crops.Crops`; the same for the same seed and epoch.

    A crop has a Poisson number of galaxies, `per_crop` on average, whole where the crop is large enough for them. What
    is fainter than `least_snr` is there too, and is no object.
    """

    def __init__(
        self,
        gallery: Gallery,
        settings: HiSettings,
        crop: Sequence[int],
        batch: int,
        steps: int,
        seed: int,
        per_crop: float,
        least_snr: float,
        noise: NoisePower | None = None,
    ):
        self.gallery, self.crop, self.batch, self.steps = gallery, np.array(crop), batch, steps
        self.seed, self.per_crop = seed, per_crop
        self.learnable = gallery.objects.snr >= least_snr
        self.noise = white_power(settings) if noise is None else noise
        self.symmetries = symmetries(3)
        self._pool: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return self.steps

    def epoch(self, index: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of epoch `index`; process `rank` of `world` makes its share of each."""
        rng = np.random.default_rng([self.seed, index, rank])
        pool = self._noise(index // _EPOCHS)
        for step in range(self.steps):
            seen = torch.tensor((index * self.steps + step) * self.batch)
            yield (*self._batch(rng, pool, self.batch // world + (rank < self.batch % world)), seen)

    def _noise(self, number: int) -> Tensor:
        if self._pool is None or self._pool[0] != number:
            shape = tuple(np.maximum(_POOL, self.crop).tolist())
            made = noise_cube(self.noise, shape, np.random.default_rng([self.seed, 1, number]), 1.0)
            self._pool = number, torch.from_numpy(made)
        return self._pool[1]

    def _batch(self, rng: np.random.Generator, pool: Tensor, count: int) -> Batch:
        snr = torch.empty(count, *self.crop)
        places: list[tuple[int, int, np.ndarray, int]] = []
        for number in range(count):
            corner = [int(rng.integers(side - part + 1)) for side, part in zip(pool.shape, self.crop, strict=True)]
            piece = pool[tuple(slice(low, low + part) for low, part in zip(corner, self.crop, strict=True))]
            snr[number] = self.symmetries[rng.integers(len(self.symmetries))].image(piece)
            for _ in range(rng.poisson(self.per_crop)):
                which, turn = int(rng.integers(len(self.gallery))), int(rng.integers(len(self.symmetries)))
                corner = self._add(rng, snr[number], which, turn)
                if self.learnable[which]:
                    places.append((number, which, corner, turn))
        return (snr, torch.zeros(count, 0), *self._objects(places))

    def _add(self, rng: np.random.Generator, crop: Tensor, which: int, turn: int) -> np.ndarray:
        """Add a galaxy to a crop, in place, and give its corner."""
        stamp = self.symmetries[turn].image(self.gallery.stamps[which])
        centre = self._centre(which, turn)
        corner = np.empty(3, int)
        for axis, (side, width) in enumerate(zip(self.crop, stamp.shape, strict=True)):
            # A galaxy larger than the crop is somewhere with its centre in it.
            whole = width <= side
            corner[axis] = rng.integers(side - width + 1) if whole else rng.integers(side) - round(centre[axis])
        low, high = np.maximum(corner, 0), np.minimum(corner + stamp.shape, self.crop)
        into, part = (
            tuple(slice(a, b) for a, b in zip(low - shift, high - shift, strict=True)) for shift in (0, corner)
        )
        crop[into] += stamp[part]
        return corner

    def _centre(self, which: int, turn: int) -> np.ndarray:
        centre = torch.from_numpy(self.gallery.objects.centre[which])
        return self.symmetries[turn].positions(centre, self.gallery.stamps[which].shape).numpy()

    def _objects(self, places: list[tuple[int, int, np.ndarray, int]]) -> tuple[Tensor, ...]:
        """image (t,), centre (t, 3), size (t, 3), values (t, P), label (t,), snr (t,)."""
        objects = self.gallery.objects
        size, values = (torch.from_numpy(part).float() for part in (objects.size, objects.values))
        which = [place[1] for place in places]
        centres = [corner + self._centre(one, turn) for _, one, corner, turn in places]
        turned = [
            (self.symmetries[turn].sizes(size[one]), self.symmetries[turn].values(values[one], VALUES))
            for _, one, _, turn in places
        ]
        return (
            torch.tensor([place[0] for place in places], dtype=torch.long),
            torch.tensor(np.array(centres).reshape(-1, 3), dtype=torch.float32),
            torch.stack([part for part, _ in turned]) if turned else torch.zeros(0, 3),
            torch.stack([part for _, part in turned]) if turned else torch.zeros(0, len(VALUES)),
            torch.full((len(places),), -1),
            torch.from_numpy(objects.snr[which]).float(),
        )
