"""A look at a latent space: its plane by class, decoded grids of it, and the way from one sample to another."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from astropy.io import fits
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.files import atomic, write_json

_BATCH = 256
_EDGE = 0.02  # share of the samples that a grid leaves out at each side
_STRAIGHT = 1e-4  # sine of the angle below which a turn is a line


@dataclass(frozen=True)
class Plane:
    """A plane in a latent space: `origin` (latent,), orthonormal `axes` (2, latent), `explained` shares of variance."""

    origin: np.ndarray
    axes: np.ndarray
    explained: tuple[float, float]

    @classmethod
    def fit(cls, codes: np.ndarray) -> "Plane":
        """The plane of the two leading principal axes of codes ``(n, latent)``; two latent coordinates as they are.

        Raises
        ------
        UserError : fewer than two latent coordinates, or fewer than two codes.
        """
        n, latent = codes.shape
        if latent < 2 or n < 2:
            what = f"of {n} samples with {latent} coordinates has no plane"
            raise UserError("latent space", what, "give it at least two samples, and a model with two coordinates")
        centre = codes.mean(0)
        _, size, axes = np.linalg.svd(codes - centre, full_matrices=False)
        if latent == 2:
            share = codes.var(0)
            return cls(np.zeros(2), np.eye(2), _shares(share, share.sum()))
        return cls(centre, axes[:2], _shares(size[:2] ** 2, (size**2).sum()))

    def project(self, codes: np.ndarray) -> np.ndarray:
        """Coordinates in the plane ``(n, 2)`` of codes ``(n, latent)``."""
        return (codes - self.origin) @ self.axes.T

    def lift(self, points: np.ndarray) -> np.ndarray:
        """Codes ``(..., latent)`` of coordinates in the plane ``(..., 2)``."""
        return self.origin + points @ self.axes


def regular_grid(points: np.ndarray, count: int) -> np.ndarray:
    """Evenly spaced positions ``(count, count, 2)`` over all but the outermost 2 % of points ``(n, 2)`` on each side.

    The first index is along the second coordinate, as rows of a picture are.
    """
    first, second = np.linspace(*np.quantile(points, [_EDGE, 1 - _EDGE], axis=0), count).T
    return np.stack(np.meshgrid(first, second), -1)


def polar_grid(points: np.ndarray, rings: int, spokes: int) -> np.ndarray:
    """Positions ``(rings, spokes, 2)`` on ellipses around the mean of points ``(n, 2)``, the outermost around 96 %.

    Ring i has i + 1 shares of the largest radius; spokes go round from the first coordinate to the second.
    """
    centre, spread = points.mean(0), points.std(0)
    distance = np.linalg.norm((points - centre) / np.where(spread > 0, spread, 1.0), axis=1)
    radius = np.quantile(distance, 1 - 2 * _EDGE) * np.arange(1, rings + 1) / rings
    angle = 2 * np.pi * np.arange(spokes) / spokes
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)  # (spokes, 2)
    return centre + spread * radius[:, None, None] * circle


def interpolate(
    start: np.ndarray,
    end: np.ndarray,
    count: int,
    kind: Literal["spherical", "linear"] = "spherical",
    centre: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Codes ``(count, latent)`` from `start` to `end` ``(latent,)``, both included, in even steps.

    Spherical: at a constant angular speed around `centre`, Shoemake (1985, SIGGRAPH 19, 245), section 3.3, which keeps
    the distance to the centre, where the codes of a normal prior are; straight where the two are in line with it.
    """
    a, b = start - centre, end - centre
    share = np.linspace(0, 1, count)[:, None]
    length = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / length, -1, 1)) if length > 0 else 0.0
    if kind == "linear" or np.sin(angle) < _STRAIGHT:
        return centre + (1 - share) * a + share * b
    return centre + (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


@dataclass(frozen=True)
class LatentMap:
    """What the report draws of a latent space.

    Attributes
    ----------
    points : ``(n, 2)`` coordinates of samples in `plane`; `labels` are their classes, () without.
    regular, polar : positions ``(rows, columns, 2)`` in the plane; `path` ``(steps, 2)`` is that from one of the two
        samples `ends` to the other, projected.
    stamps : what "regular", "polar" and "path" decode to, ``(rows, columns, channel, *axes)`` and
        ``(steps, channel, *axes)``.
    """

    plane: Plane
    points: np.ndarray
    labels: tuple[str, ...]
    regular: np.ndarray
    polar: np.ndarray
    path: np.ndarray
    ends: tuple[int, int]
    stamps: dict[str, np.ndarray]


@torch.no_grad()
def explore(
    method: Any,
    module: nn.Module,
    x: Tensor,
    labels: Sequence[str] = (),
    *,
    inverse: Callable[[np.ndarray], np.ndarray] = np.asarray,
    count: int = 9,
    rings: int = 4,
    spokes: int = 8,
    steps: int = 9,
    kind: Literal["spherical", "linear"] = "spherical",
    ends: tuple[int, int] | None = None,
) -> LatentMap:
    """Encode samples ``(n, channel, *axes)`` in network units and decode grids of their latent plane; nothing is told.

    Parameters
    ----------
    method : one with `encode(module, x)` and `decode(module, z)`.
    labels : the classes of the n samples.
    inverse : from network units to those of the stamps, `Scale.inverse`.
    ends : the samples to go from and to; left out, the most central ones of the first and the last class, without
        classes those at the sides of the first coordinate.

    Raises
    ------
    UserError : there is no plane, see `Plane.fit`.
    """
    module.eval()
    codes = _in_batches(lambda part: method.encode(module, part), x)
    plane = Plane.fit(codes)
    points = plane.project(codes)
    ends = ends or _ends(codes, points, labels)
    way = interpolate(codes[ends[0]], codes[ends[1]], steps, kind, codes.mean(0))
    grids = {"regular": regular_grid(points, count), "polar": polar_grid(points, rings, spokes)}

    def decoded(z: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(z.reshape(-1, z.shape[-1])).to(x)
        stamps = inverse(_in_batches(lambda part: method.decode(module, part), flat))
        return np.asarray(stamps, dtype=np.float32).reshape(*z.shape[:-1], *x.shape[1:])

    stamps = {name: decoded(plane.lift(grid)) for name, grid in grids.items()} | {"path": decoded(way)}
    return LatentMap(plane, points, tuple(map(str, labels)), **grids, path=plane.project(way), ends=ends, stamps=stamps)


def write_latent(
    found: LatentMap, table: str | os.PathLike, stamps: str | os.PathLike, unit: str = "", facts: dict | None = None
) -> None:
    """Write the numbers of a map as JSON to `table`, and its decoded stamps as FITS to `stamps`.

    The FITS file has the images REGULAR, POLAR and PATH: axes of the stamp first, then channels, columns and rows (or
    steps), in FITS order. `facts` are further entries of the JSON, such as the name of the model.

    Raises
    ------
    UserError : a file cannot be written.
    """
    write_json(
        table,
        (facts or {})
        | {
            "explained": found.plane.explained,
            "points": found.points,
            "labels": found.labels,
            "regular": found.regular,
            "polar": found.polar,
            "path": found.path,
            "ends": found.ends,
        },
    )
    hdus = [fits.PrimaryHDU()]
    for name, data in found.stamps.items():
        header = fits.Header({"EXTNAME": name.upper()} | ({"BUNIT": unit} if unit else {}))
        hdus.append(fits.ImageHDU(data, header))
    with atomic(stamps) as beside:
        fits.HDUList(hdus).writeto(beside)


def _in_batches(function: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    parts = [function(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
    return torch.cat(parts).double().cpu().numpy()


def _ends(codes: np.ndarray, points: np.ndarray, labels: Sequence[str]) -> tuple[int, int]:
    names = sorted(set(labels))
    if len(names) < 2:
        order = points[:, 0].argsort()
        edge = int(_EDGE * len(order))
        return int(order[edge]), int(order[-1 - edge])

    def central(name: str) -> int:
        members = np.flatnonzero(np.asarray(labels) == name)
        return int(members[np.linalg.norm(codes[members] - codes[members].mean(0), axis=1).argmin()])

    return central(names[0]), central(names[-1])


def _shares(variance: np.ndarray, total: float) -> tuple[float, float]:
    first, second = variance / total if total > 0 else (0.0, 0.0)
    return float(first), float(second)
