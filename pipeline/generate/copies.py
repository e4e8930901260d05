"""Does a model repeat its training set: distances to the nearest training stamp, in every orientation."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.classify.predict import symmetry_views

_SCREEN = 1024  # numbers of a stamp from which on neighbours are first sought among coarser stamps
_COARSE = {1: 256, 2: 16, 3: 8}
_CANDIDATES = 8
_BLOCK = 256
_POOL = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


def nearest_distance(stamps: np.ndarray, training: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """Euclidean distance `(n,)` of each of `stamps` `(n, channel, *axes)` to its nearest of `training` `(m, ...)`.

    Over the 8 flips and turns of the last two axes (4 where they differ in length, none of a spectrum), as augmented
    training makes turned copies. Stamps of more than 1024 numbers are compared at a coarser scale first, and then in
    full with the best 8 candidates of each orientation: a copy is never missed, an ordinary distance may come out a
    little large. NaN count as 0. Give stamps in the units of the network: in physical units the brightest galaxies
    would decide.
    """
    seen, known = (torch.from_numpy(np.nan_to_num(np.asarray(x, np.float32))).to(device) for x in (stamps, training))
    best = torch.full((len(seen),), torch.inf, device=seen.device)
    small = _coarse(known).flatten(1)
    for start in range(0, len(seen), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for view in symmetry_views(seen[rows]):
            best[rows] = torch.minimum(best[rows], _nearest(view, known, small))
    return best.double().cpu().numpy()


def _nearest(view: Tensor, known: Tensor, small: Tensor) -> Tensor:
    query = _coarse(view).flatten(1)
    square = small.square().sum(1) - 2 * query @ small.T  # less the square of the query itself
    count = 1 if small.shape[1] == known[0].numel() else min(_CANDIDATES, len(known))
    chosen = square.topk(count, largest=False).indices  # (b, count)
    # The product above is inexact where it matters most, next to a copy.
    apart = [(view - known[column]).flatten(1).norm(dim=1) for column in chosen.T]
    return torch.stack(apart).amin(0)


def _coarse(x: Tensor) -> Tensor:
    ndim = x.ndim - 2
    if x[0].numel() <= _SCREEN:
        return x
    return _POOL[ndim](x, tuple(min(axis, _COARSE[ndim]) for axis in x.shape[2:]))


def copying(fake: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """What the distances to the training set say, of fakes `(n,)` and of held-out real stamps `(m,)`.

    ratio : median of fakes over median of held-out; about 1 for new objects, far below where a model repeats
    copies : share of fakes nearer than all but 1 per cent of the held-out; about 0.01 for new objects
    """
    median = float(np.median(held))
    return {
        "ratio": float(np.median(fake)) / median if median > 0 else float("nan"),
        "copies": float((fake < np.quantile(held, 0.01)).mean()),
        "fake_distance": float(np.median(fake)),
        "held_distance": median,
    }
