"""Detection in a frame of any size: tile by tile, in memory that does not grow with it."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.data.background import Background
from pipeline.data.tiles import Reader, Tile, read_ahead, tiles
from pipeline.detect.boxes import suppress_by_distance
from pipeline.detect.inputs import network_input
from pipeline.detect.method import AnyLayout
from pipeline.detect.settings import per_axis
from pipeline.detect.symmetry import symmetries
from pipeline.nn.network import Network

# Suppression runs through chains of neighbours, and a cell may speak of a centre outside it; neither goes further than
# so many pixels or radii. Cubes are emptier, and the third axis of a halo is the dearest.
_CHAIN = {1: 16, 2: 16, 3: 8}
_LINKS = {1: 5.5, 2: 5.5, 3: 2.5}
# The most voxels that are made ready for the network at once.
_PIECE = 1 << 20
_SIDE = {1: (1 << 20,), 2: (1024, 1024), 3: (512, 256, 256)}


@dataclass
class Detections:
    """n detections of a frame, in numpy arrays as `pipeline.detect.head.Decoded`.

    rms : (n,) local noise in the unit of the frame.
    """

    logit: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    values: np.ndarray
    width: np.ndarray
    classes: np.ndarray
    rms: np.ndarray

    def __len__(self) -> int:
        return len(self.logit)

    def take(self, chosen: np.ndarray) -> "Detections":
        """The detections of a mask or of indices."""
        return Detections(*(getattr(self, part.name)[chosen] for part in fields(self)))


@dataclass(frozen=True)
class Search:
    """How to search a frame.

    least : lowest logit that is kept. radius : detections nearer to a better one are dropped, one for all axes or the
    half-axes of an ellipsoid [pixel].
    symmetric : average the network's outputs over the symmetries of the sky, at their cost.
    side : of a tile's core, one for all axes or one each [pixel]; None suits the number of axes.
    """

    least: float = -2.0
    radius: float | tuple[float, ...] = 2.75
    symmetric: bool = False
    side: int | tuple[int, ...] | None = None


def detect(
    network: Network,
    layout: AnyLayout,
    read: Reader,
    background: Background,
    conditions: Sequence[float],
    names: Sequence[str],
    search: Search,
    section: Sequence[slice] | None = None,
) -> Detections:
    """Every detection of the frame that `read` gives by sections, in the order of the tiles.

    section : only those centred there; what is around it is seen.

    conditions, names : (K,) numbers of the frame that the network is told, and what they are.
    The result does not depend on the tiles: a window holds the network's field around its core, and a detection is
    kept by the tile whose core holds its centre.
    """
    plan = plan_tiles(network, background.shape, search)
    if section is not None:
        plan = [tile for tile in plan if _touches(tile, section)]

    def read_snr(section: Sequence[slice]) -> np.ndarray:
        return standardised(read, background, section)

    found = each_tile(network, layout, read_snr, plan, background, conditions, names, search)
    detections = join([part for _, part in found])
    if section is None:
        return detections
    low, high = (np.array([getattr(part, end) for part in section]) - 0.5 for end in ("start", "stop"))
    return detections.take(((detections.centre >= low) & (detections.centre < high)).all(1))


def plan_tiles(network: Network, shape: Sequence[int], search: Search) -> list[Tile]:
    """The tiles that `detect` searches a frame of `shape` in, in order; those of a cube end at its border.

    What a network makes of the zeros beyond it would be half as much to compute as the cube itself, and the crops that
    it was trained on have none of it.
    """
    ndim = len(shape)
    plan = tiles(shape, core=search.side or _SIDE[ndim], halo=halo(network, search), multiple=deepest(network))
    return plan if ndim < 3 else [replace(tile, window=tile.inside) for tile in plan]


def deepest(network: Network) -> list[int]:
    """What a window begins at multiples of, an axis [pixel], for all the layers' cells to lie at the same places."""
    axes = range(len(network.field))
    return [math.lcm(*(step.reduction[axis].numerator for step in network.steps if step.reduction)) for axis in axes]


def halo(network: Network, search: Search) -> tuple[int, ...]:
    """What a tile has to see around its core, an axis [pixel]."""
    far = _chain(search.radius, len(network.field))
    return tuple(-(-int(seen) // 2) + more for seen, more in zip(network.field, far, strict=True))


def each_tile(
    network: Network,
    layout: AnyLayout,
    read_snr: Reader,
    plan: Sequence[Tile],
    background: Background,
    conditions: Sequence[float],
    names: Sequence[str],
    search: Search,
) -> Iterator[tuple[Tile, Detections]]:
    """The detections of each tile of `plan`, any part of what `plan_tiles` gives; the next is read meanwhile.

    read_snr : gives the signal-to-noise ratio by sections, 0 where there is no valid pixel. Where a tile shows
    nothing but that, nothing is computed.
    """
    device = next(network.parameters()).device
    told = torch.tensor([list(conditions)], dtype=torch.float32, device=device)
    for tile, pixels in read_ahead(read_snr, plan, fill=0.0):
        if not pixels.any():
            yield tile, nothing(layout)
            continue
        size = [-(-side // step) * step for side, step in zip(tile.size, deepest(network), strict=True)]
        with torch.inference_mode(), precision(device):
            if search.symmetric:
                snr = torch.zeros(1, *size, device=device)
                snr[(0, *map(slice, pixels.shape))] = torch.from_numpy(pixels)
                raw = average(network, layout, snr, told, names)[:, 0]
                del pixels, snr
            else:
                seen = _seen(pixels, size, told)
                # They would be memory for nothing while the network works and the next tile is waited for.
                del pixels
                raw = network(seen)[0]
                del seen
        yield tile, _collect(raw, layout, tile, background, search)


def nothing(layout: AnyLayout) -> Detections:
    """No detections."""
    none = layout.candidates(torch.zeros(layout.channels, *[1] * layout.ndim), math.inf)
    parts = {name: getattr(none, name).numpy() for name in ("logit", "size", "values", "width", "classes")}
    return Detections(centre=none.centre.numpy().astype(float), rms=np.zeros(0), **parts)


def _chain(radius: float | Sequence[float], ndim: int) -> list[int]:
    """How far beyond a tile's core what lies there may matter, an axis [pixel]."""
    return [max(_CHAIN[ndim], math.ceil(_LINKS[ndim] * far)) for far in per_axis(radius, ndim, "radius")]


def _touches(tile: Tile, section: Sequence[slice]) -> bool:
    return all(core.start < part.stop and part.start < core.stop for core, part in zip(tile.core, section, strict=True))


def join(parts: Sequence[Detections]) -> Detections:
    """One after the other."""
    return Detections(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Detections)))


def precision(device: torch.device) -> contextlib.AbstractContextManager:
    if device.type == "cpu":
        # Half precision is slower than full where the processor only emulates it.
        able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast("cpu", torch.bfloat16, enabled=able)
    return torch.autocast(device.type, torch.bfloat16, enabled=torch.cuda.is_bf16_supported())


def in_half(device: torch.device) -> bool:
    """Whether networks compute in half precision there."""
    with precision(device):
        return torch.is_autocast_enabled(device.type)


def standardised(read: Reader, background: Background, section: Sequence[slice]) -> np.ndarray:
    """The signal-to-noise ratio in a section of a frame, float32 (*section), 0 where there is no valid pixel.

    Where no noise is known nothing is read.
    """
    median, rms = background.at(section)
    if not np.any(rms > 0):
        return np.zeros([len(range(size)[part]) for part, size in zip(section, background.shape, strict=True)], "f4")
    pixels = read(section)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        snr = (pixels - median) / rms
    return np.nan_to_num(snr, copy=False, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)


def _seen(pixels: np.ndarray, size: Sequence[int], told: Tensor) -> Tensor:
    """What the network sees of a window (*axes), followed by zeros up to `size`."""
    snr, device = torch.from_numpy(pixels)[None], told.device
    if pixels.ndim < 3:
        return network_input(snr.to(device), told)
    # Cubes are large: what they become on the way exists in pieces only, and the result in the network's precision.
    kind = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
    step = max(_PIECE // pixels[0].size, 1)
    channels = network_input(torch.zeros(1, *[1] * pixels.ndim, device=device), told).shape[1]
    seen = torch.empty((1, channels, *size), dtype=kind, device=device, memory_format=torch.channels_last_3d)
    for start in range(0, size[0], step):
        part = torch.zeros(1, min(step, size[0] - start), *size[1:], device=device)
        known = snr[:, start : start + step]
        part[tuple(map(slice, known.shape))] = known.to(device)
        seen[:, :, start : start + step] = network_input(part, told)
    return seen


def average(network, layout: AnyLayout, snr: Tensor, told: Tensor, names: Sequence[str]) -> Tensor:
    """Raw outputs (channels, b, *cells) of frames (b, *axes), the mean over the symmetries."""
    total, every = None, symmetries(layout.ndim)
    for turn in every:
        raw = network(network_input(turn.image(snr), turn.values(told, names))).float()
        back = layout.turn(raw.transpose(0, 1), turn.inverse)
        total = back if total is None else total + back
    return total / len(every)


def _collect(raw: Tensor, layout: AnyLayout, tile: Tile, background: Background, search: Search) -> Detections:
    """The detections that the tile owns."""
    decoded = layout.candidates(raw, search.least)
    centre = decoded.centre.cpu().numpy().astype(float) + tile.origin
    logit = decoded.logit.cpu().numpy()
    chain = np.array(_chain(search.radius, layout.ndim))
    lower = np.array([part.start for part in tile.core]) - 0.5 - chain
    upper = np.array([part.stop for part in tile.core]) - 0.5 + chain
    near = np.flatnonzero(((centre >= lower) & (centre < upper)).all(1))
    radius, axes = (1.0, search.radius) if isinstance(search.radius, Sequence) else (search.radius, None)
    best = suppress_by_distance(torch.from_numpy(centre[near]), torch.from_numpy(logit[near]), radius, axes)
    kept = near[best.numpy()]
    kept = kept[tile.owns(centre[kept])]
    pick = {name: getattr(decoded, name).cpu().numpy()[kept] for name in ("size", "values", "width", "classes")}
    return Detections(logit=logit[kept], centre=centre[kept], rms=background.at_positions(centre[kept])[1], **pick)
