"""A second look at the candidates of a scan: the network's outputs averaged over all symmetries, around them alone."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from pipeline.data.tiles import Reader
from pipeline.detect import predict
from pipeline.detect.boxes import suppress_by_distance
from pipeline.detect.cutouts import cutouts
from pipeline.detect.head import Layout
from pipeline.detect.predict import Detections
from pipeline.nn.network import Network

CROP = (96, 32, 32)
RADIUS = 2.75


def second_look(
    network: Network,
    layout: Layout,
    read_snr: Reader,
    shape: Sequence[int],
    detections: Detections,
    names: Sequence[str] = (),
    *,
    conditions: Sequence[float] = (),
    crop: Sequence[int] = CROP,
    radius: float | Sequence[float] = RADIUS,
    batch: int = 8,
) -> Detections:
    """The detections in the same order and number, from outputs averaged over the 2, 8 or 16 symmetries.

    Each becomes the best box that the averaged outputs put within `radius` of it, or the one of the cell that it is
    in where they put none there. Two detections may become the same: `apart` tells which to keep. The local noise of a
    detection stays that of the scan.

    With a crop of the network's receptive field, two of its reductions and the radius, the outputs are those of the
    whole frame. A smaller crop, as the one that it was trained on, ends the sky around a candidate earlier.

    Parameters
    ----------
    read_snr : sections inside the frame, which has `shape`, to signal-to-noise ratios, 0 where there is no pixel. A
        crop ends at most half its side and half a reduction from its candidate.
    names, conditions : what the network is told of the frame, as in `pipeline.detect.predict.detect`.
    crop : sides of what is looked at [pixel]; rounded up to whole reductions of the network.
    radius : one number, or one an axis [pixel].

    Raises
    ------
    UserError : a layout whose outputs cannot be averaged.
    """
    if not len(detections):
        return detections
    deepest = np.array(predict.deepest(network))
    size = -(-np.array(crop) // deepest) * deepest
    # The outermost candidates may lie a little outside, where a crop could miss the frame.
    middle = np.clip(detections.centre, -0.5, np.array(shape) - 0.5)
    lower = (np.rint((middle + 0.5 - size / 2) / deepest) * deepest).astype(int)
    device = next(network.parameters()).device
    found = {name: np.array(getattr(detections, name)) for name in ("logit", "centre", "size", "values", "width")}
    found["classes"] = np.array(detections.classes)
    for rows, snr in cutouts(read_snr, shape, lower, size.tolist(), batch):
        told = torch.tensor([list(conditions)] * len(rows), dtype=torch.float32, device=device)
        pixels = torch.from_numpy(snr).to(device)
        with torch.inference_mode(), predict.precision(device):
            raw = predict.average(network, layout, pixels, told, names)
        best = _best(layout, raw, torch.from_numpy(detections.centre[rows] - lower[rows]), radius)
        best["centre"] += lower[rows]
        for name, values in best.items():
            found[name][rows] = values
    return replace(detections, **found)


def apart(detections: Detections, radius: float | Sequence[float] = RADIUS) -> np.ndarray:
    """Which detections have no better one within `radius` [pixel; one number or one an axis], (n,) bool."""
    unit = np.broadcast_to(np.asarray(radius, float), detections.centre.shape[1:])
    kept = np.zeros(len(detections), bool)
    if (unit <= 0).any():
        return ~kept
    centre = torch.from_numpy(detections.centre / unit)
    kept[suppress_by_distance(centre, torch.from_numpy(detections.logit), 1.0).numpy()] = True
    return kept


def _best(layout: Layout, raw: Tensor, near: Tensor, radius: float | Sequence[float]) -> dict[str, np.ndarray]:
    """The box of each crop that answers for a position `near` (b, N), in the pixels of the crop."""
    device = raw.device
    near = near.to(device)
    step = near.new_tensor(layout.reduction)
    unit = torch.as_tensor(radius, dtype=near.dtype, device=device).expand(layout.ndim)
    own = torch.floor((near + 0.5) / step).long()
    # A cell answers for what lies up to a cell beside it.
    reach = [math.ceil(float(far) / size) + 1 for far, size in zip(unit, layout.reduction, strict=True)]
    around = torch.tensor(list(product(*(range(-far, far + 1) for far in reach))), device=device)
    last = torch.tensor(raw.shape[2:], device=device) - 1
    cells = torch.minimum((own[:, None] + around).clamp(min=0), last)
    row = torch.arange(len(near), device=device)[:, None].expand(cells.shape[:2])
    decoded = layout.decode(raw[(slice(None), row, *cells.unbind(-1))].movedim(0, -1), cells)
    away = (((decoded.centre - near[:, None]) / unit.clamp(min=1e-9)) ** 2).sum(-1)
    logit = torch.where(away < 1, decoded.logit, -torch.inf)
    choice = logit.argmax(1)
    none = ~torch.isfinite(logit.amax(1))
    choice[none] = len(around) // 2
    pick = (torch.arange(len(near), device=device), choice)
    names = ("logit", "centre", "size", "values", "width", "classes")
    return {name: getattr(decoded, name)[pick].cpu().numpy() for name in names}
