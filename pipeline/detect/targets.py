"""Which cell answers for which object: every cell near an object's centre, the brighter object first."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def assign(
    centre: Tensor,
    image: Tensor,
    brightness: Tensor,
    images: int,
    cells: Sequence[int],
    reduction: Sequence[int],
    margin: float | Sequence[float] | Tensor,
) -> Tensor:
    """The object of every cell, (images, *cells) long, -1 for none.

    A cell belongs to an object when its centre is within half a cell and `margin` pixels of the object's, along
    every axis; of several objects the brightest has it. The work grows with the largest margin of all.

    Parameters
    ----------
    centre : (t, N) [pixel]. image : (t,) index of each object's image. brightness : (t,).
    margin : one for all, one an axis (N,), or those of each object (t, N) [pixel].
    """
    device = centre.device
    step = torch.tensor(reduction, device=device, dtype=centre.dtype)
    shape = torch.tensor(cells, device=device)
    # A rank instead of a brightness makes the winner of a cell one number, and ties are broken by the order given.
    order = torch.argsort(brightness, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=device)
    winner = torch.full((images, *cells), -1, dtype=torch.long, device=device)
    if not len(centre):
        return winner
    own = torch.floor((centre + 0.5) / step)
    margin = torch.as_tensor(margin, device=device, dtype=centre.dtype).expand(centre.shape)
    reach = [1 + int(far // size) for far, size in zip(margin.amax(0).tolist(), reduction, strict=True)]
    flat = winner.view(-1)
    strides = torch.tensor([winner.stride(axis + 1) for axis in range(len(cells))], device=device)
    for shift in itertools.product(*(range(-far, far + 1) for far in reach)):
        cell = own + torch.tensor(shift, device=device, dtype=centre.dtype)
        away = ((cell + 0.5) * step - 0.5 - centre).abs()
        cell = cell.long()
        near = (away <= step / 2 + margin).all(1) & (cell >= 0).all(1) & (cell < shape).all(1)
        place = image[near] * winner.stride(0) + (cell[near] * strides).sum(1)
        flat.scatter_reduce_(0, place, rank[near], "amax")
    taken = flat >= 0
    flat[taken] = order[flat[taken]]
    return winner
