"""Augmentation of whole batches on their own device: every sample gets its own random change."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.data.augment_settings import AugmentSettings
from pipeline.errors import UserError


class Augmenter:
    """Applies `AugmentSettings` to normalised batches `(n, channel, *axes)`.

    Parameters
    ----------
    settings : what to change, and by how much.
    ndim : number of axes N of a sample.
    masks : channels that say where pixels are valid: they move with the others, but keep 0 and 1 in
        brightness and noise.

    Raises
    ------
    UserError : a change that N axes do not allow.
    """

    def __init__(self, settings: AugmentSettings, ndim: int, masks: list[int] | None = None):
        problem = settings.problem(ndim)
        if problem:
            raise UserError("augment", problem, "remove it from the augmentation")
        self.settings, self.ndim, self.masks = settings, ndim, masks or []
        flip = settings.flip
        self._flips = [axis for axis in range(ndim) if (flip if isinstance(flip, bool) else axis in flip)]

    def __call__(self, x: Tensor, generator: torch.Generator, rows: slice | None = None, total: int = 0) -> Tensor:
        """A changed copy of `x` `(n, channel, *axes)`, floating point; x itself when nothing is asked.

        `generator` is on the CPU, so that the geometry is the same on every device. To get the same as for a larger
        batch of `total` samples of which x is the part `rows`, give both.
        """
        total = total or len(x)
        settings, ndim = self.settings, self.ndim
        # columns: flips, turn, angle, zoom, shifts, brightness, two ends
        uniform = torch.rand((total, 2 * ndim + 6), generator=generator)
        noise_seed = int(torch.randint(2**62, (), generator=generator))
        uniform = uniform[rows if rows is not None else slice(None)].to(x.device, non_blocking=True)
        flips, rest = uniform[:, :ndim], uniform[:, ndim:]
        for axis in self._flips:
            x = flip_where(x, flips[:, axis] < 0.5, 2 + axis)
        if settings.rotate == "90":
            x = turn(x, self._quarters(x, rest[:, 0]))
        if settings.rotate == "any" or settings.tilt or settings.zoom:
            widest = math.pi if settings.rotate == "any" else math.radians(settings.tilt)
            angle = widest * (2 * rest[:, 1] - 1)
            x = warp(x, angle, torch.exp(settings.zoom * (2 * rest[:, 2] - 1)))
        if settings.shift:
            span = 2 * settings.shift + 1
            x = shift(x, (rest[:, 3 : 3 + ndim] * span).long().clamp(max=span - 1) - settings.shift)
        bright = self._brightness(x, rest[:, 3 + ndim], noise_seed, rows, total)
        if settings.crop_ends:
            bright = blank_ends(bright, settings.crop_ends * rest[:, 4 + ndim : 6 + ndim])
        return bright

    def _quarters(self, x: Tensor, uniform: Tensor) -> Tensor:
        if x.shape[-1] == x.shape[-2]:
            return (4 * uniform).long().clamp(max=3)
        # a plane that is not square keeps its shape by half turns only
        return 2 * (uniform < 0.5).long()

    def _brightness(self, x: Tensor, uniform: Tensor, noise_seed: int, rows: slice | None, total: int) -> Tensor:
        settings, changed = self.settings, x
        if settings.scale:
            changed = changed * _wide(torch.exp(settings.scale * (2 * uniform - 1)), x)
        if settings.noise:
            generator = torch.Generator(x.device).manual_seed(noise_seed)
            noise = torch.randn((total, *x.shape[1:]), generator=generator, device=x.device)
            changed = changed + settings.noise * noise[rows if rows is not None else slice(None)]
        if self.masks and changed is not x:
            changed[:, self.masks] = x[:, self.masks]
        return changed


def flip_where(x: Tensor, chosen: Tensor, axis: int) -> Tensor:
    """Mirror the chosen `(n,)` samples along one axis of the batch, exactly."""
    return torch.where(_wide(chosen, x), x.flip(axis), x)


def turn(x: Tensor, quarters: Tensor) -> Tensor:
    """Turn the last two axes of each sample by `quarters` `(n,)` of 0 ... 3 times 90 degrees, exactly.

    The same as `torch.rot90(sample, quarters, (-2, -1))`; 1 and 3 need a square plane.
    """
    if x.shape[-1] == x.shape[-2]:
        x = torch.where(_wide(quarters % 2 == 1, x), x.transpose(-2, -1), x)
    x = flip_where(x, (quarters == 1) | (quarters == 2), -2)
    return flip_where(x, quarters >= 2, -1)


def warp(x: Tensor, angle: Tensor, zoom: Tensor) -> Tensor:
    """Turn and stretch the last two axes (the last one for N = 1) about their centre, bilinearly, 0 outside.

    Parameters
    ----------
    x : `(n, channel, *axes)`.
    angle : `(n,)` radians; a quarter turn is what `turn` does with 1. Ignored for N = 1.
    zoom : `(n,)` factor; above 1 things grow.
    """
    plane = x.reshape(len(x), -1, *(x.shape[-2:] if x.dim() > 3 else (1, x.shape[-1])))
    height, width = plane.shape[-2:]
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    zero = torch.zeros_like(cosine)
    if x.dim() > 3:
        # grid_sample counts from -1 to 1 along either axis: the ratio keeps circles round
        first = torch.stack([cosine, -sine * (height / width), zero], dim=-1)
        second = torch.stack([sine * (width / height), cosine, zero], dim=-1)
    else:
        first = torch.stack([1 / zoom, zero, zero], dim=-1)
        second = torch.stack([zero, torch.ones_like(zoom), zero], dim=-1)
    theta = torch.stack([first, second], dim=1).to(plane.dtype)
    grid = functional.affine_grid(theta, list(plane.shape), align_corners=False)
    return functional.grid_sample(plane, grid, padding_mode="zeros", align_corners=False).reshape(x.shape)


def shift(x: Tensor, pixels: Tensor) -> Tensor:
    """Move each sample by whole pixels `(n, N)` along its axes; what comes in from outside is 0."""
    for axis in range(x.dim() - 2):
        length = x.shape[2 + axis]
        source = torch.arange(length, device=x.device) - pixels[:, axis, None]  # (n, length)
        wide = (len(x), *(length if place == axis + 1 else 1 for place in range(x.dim() - 1)))
        inside = ((source >= 0) & (source < length)).reshape(wide)
        index = source.clamp(0, length - 1).reshape(wide).expand(x.shape)
        x = torch.where(inside, x.gather(2 + axis, index), torch.zeros((), dtype=x.dtype, device=x.device))
    return x


def blank_ends(x: Tensor, shares: Tensor) -> Tensor:
    """Put 0 in the shares `(n, 2)` of the last axis at its beginning and its end."""
    place = (torch.arange(x.shape[-1], device=x.device) + 0.5) / x.shape[-1]
    inside = (place >= shares[:, :1]) & (place <= 1 - shares[:, 1:])  # (n, length)
    return x * inside.reshape(len(x), *(1 for _ in range(x.dim() - 2)), -1)


def _wide(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *(1 for _ in range(x.dim() - 1)))
