"""Detection in a frame of any size: tile by tile, in memory that does not grow with it."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

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
    ndim = layout.ndim
    deepest = [
        math.lcm(*(step.reduction[axis].numerator for step in network.steps if step.reduction)) for axis in range(ndim)
    ]
    halo = [-(-int(seen) // 2) + far for seen, far in zip(network.field, _chain(search.radius, ndim), strict=True)]
    side = search.side or _SIDE[ndim]
    plan = tiles(background.shape, core=side, halo=halo, multiple=deepest)
    if section is not None:
        plan = [tile for tile in plan if _touches(tile, section)]
    device = next(network.parameters()).device
    told = torch.tensor([list(conditions)], dtype=torch.float32, device=device)
    found = []
    for tile, pixels in read_ahead(lambda section: standardised(read, background, section), plan, fill=0.0):
        snr = torch.from_numpy(pixels)[None].to(device)
        with torch.inference_mode(), _precision(device):
            raw = _forward(network, layout, snr, told, names, search.symmetric)
        found.append(_collect(raw, layout, tile, background, search))
    detections = join(found)
    if section is None:
        return detections
    low, high = (np.array([getattr(part, end) for part in section]) - 0.5 for end in ("start", "stop"))
    return detections.take(((detections.centre >= low) & (detections.centre < high)).all(1))


def _chain(radius: float | Sequence[float], ndim: int) -> list[int]:
    """How far beyond a tile's core what lies there may matter, an axis [pixel]."""
    return [max(_CHAIN[ndim], math.ceil(_LINKS[ndim] * far)) for far in per_axis(radius, ndim, "radius")]


def _touches(tile: Tile, section: Sequence[slice]) -> bool:
    return all(core.start < part.stop and part.start < core.stop for core, part in zip(tile.core, section, strict=True))


def join(parts: Sequence[Detections]) -> Detections:
    """One after the other."""
    return Detections(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Detections)))


def _precision(device: torch.device) -> contextlib.AbstractContextManager:
    if device.type == "cpu":
        # Half precision is slower than full where the processor only emulates it.
        able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast("cpu", torch.bfloat16, enabled=able)
    return torch.autocast(device.type, torch.bfloat16, enabled=torch.cuda.is_bf16_supported())


def standardised(read: Reader, background: Background, section: Sequence[slice]) -> np.ndarray:
    """The signal-to-noise ratio in a section of a frame, float32 (*section), 0 where there is no valid pixel."""
    pixels = read(section)
    median, rms = background.at(section)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        snr = (pixels - median) / rms
    return np.nan_to_num(snr, copy=False, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)


def _forward(network, layout: AnyLayout, snr: Tensor, told: Tensor, names: Sequence[str], symmetric: bool) -> Tensor:
    """Raw outputs (channels, *cells), averaged over the symmetries where asked."""
    if not symmetric:
        return network(network_input(snr, told))[0]
    total = None
    every = symmetries(layout.ndim)
    for turn in every:
        raw = network(network_input(turn.image(snr), turn.values(told, names)))[0].float()
        back = layout.turn(raw, turn.inverse)
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
