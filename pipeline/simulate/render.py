"""Drawing very many small Gaussians into an image, in batches of stamps of one size."""

from dataclasses import dataclass

import numpy as np

_BATCH = 1 << 20  # pixels of the stamps that are computed at once
_LARGEST_STAMP = 64  # half width [pixels] above which a source is drawn alone


@dataclass(frozen=True)
class Gaussians:
    """Gaussian components before the beam: `centre` ``(n, 2)`` in (y, x) [pixels], `flux` ``(n,)`` [Jy],
    `covariance` ``(n, 2, 2)`` in (y, x) [pixels^2]."""

    centre: np.ndarray
    flux: np.ndarray
    covariance: np.ndarray


def render(
    sources: Gaussians, shape: tuple[int, int], beam: np.ndarray, *, tolerance: float, exact: bool = False
) -> np.ndarray:
    """Image `shape` (y, x) float32 [Jy/beam] of `sources` smoothed by a Gaussian beam of covariance ``(2, 2)``.

    A Gaussian of flux S, covariance C becomes one of C + B and of peak S sqrt(det B / det(C + B)). Each is drawn out
    to where it falls below `tolerance` [Jy/beam]. With `exact`, every source is drawn over the whole image, one by
    one, which is slow: the check of the rest.
    """
    total = sources.covariance + beam
    determinant = total[:, 0, 0] * total[:, 1, 1] - total[:, 0, 1] ** 2
    peak = sources.flux * np.sqrt(np.linalg.det(beam) / determinant)
    # Half the inverse: the exponent is -(a dy^2 + b dy dx + c dx^2).
    form = np.stack([total[:, 1, 1] / 2, -total[:, 0, 1], total[:, 0, 0] / 2], axis=1) / determinant[:, None]
    width = np.sqrt(np.maximum(total[:, 0, 0], total[:, 1, 1]))
    reach = np.sqrt(2 * np.log(np.maximum(np.abs(peak) / tolerance, np.e)))
    half = np.ceil(width * reach).astype(int)
    image = np.zeros(shape, dtype=np.float32)
    if exact:
        half = np.full_like(half, sum(shape) + int(np.abs(sources.centre).max(initial=0)))
    near = np.all(
        (sources.centre > -half[:, None] - 1) & (sources.centre < np.array(shape) + half[:, None]), axis=1
    ) & (peak != 0)
    inside = np.all((sources.centre > -_LARGEST_STAMP) & (sources.centre < np.array(shape) + _LARGEST_STAMP), axis=1)
    small = near & inside & (half <= _LARGEST_STAMP)
    _draw_small(image, sources.centre[small], peak[small], form[small], half[small])
    for index in np.flatnonzero(near & ~small):
        _draw_one(image, sources.centre[index], peak[index], form[index], half[index])
    return image


def _draw_one(image: np.ndarray, centre: np.ndarray, peak: float, form: np.ndarray, half: int) -> None:
    middle = np.rint(centre).astype(int)
    low = np.maximum(middle - half, 0)
    high = np.minimum(middle + half + 1, image.shape)
    if np.any(low >= high):
        return
    dy = np.arange(low[0], high[0])[:, None] - centre[0]
    dx = np.arange(low[1], high[1])[None, :] - centre[1]
    image[low[0] : high[0], low[1] : high[1]] += peak * np.exp(-(form[0] * dy**2 + form[1] * dy * dx + form[2] * dx**2))


def _draw_small(image: np.ndarray, centre: np.ndarray, peak: np.ndarray, form: np.ndarray, half: np.ndarray) -> None:
    # A border as wide as the largest stamp spares a test of every pixel.
    pad = 2 * _LARGEST_STAMP + 1
    canvas = np.zeros((image.shape[0] + 2 * pad, image.shape[1] + 2 * pad), dtype=np.float32)
    sizes = np.unique(np.rint(1.12 ** np.arange(0, 40)).astype(int))
    stamp = np.maximum(sizes[np.searchsorted(sizes, half)], 2)
    for size in np.unique(stamp):
        members = np.flatnonzero(stamp == size)
        # In order of rows, a batch touches a narrow band, and memory does not grow with the image.
        members = members[np.argsort(centre[members, 0])]
        step = max(1, _BATCH // (2 * size + 1) ** 2)
        for start in range(0, len(members), step):
            batch = members[start : start + step]
            _add_stamps(canvas, centre[batch], peak[batch], form[batch], int(size), pad)
    image += canvas[pad:-pad, pad:-pad]


def _add_stamps(
    canvas: np.ndarray, centre: np.ndarray, peak: np.ndarray, form: np.ndarray, half: int, pad: int
) -> None:
    middle = np.rint(centre).astype(np.int64)
    along = np.arange(-half, half + 1)
    offset = (along[None, None, :] - (centre - middle)[:, :, None]).astype(np.float32)  # (n, 2, stamp)
    dy, dx = offset[:, 0, :, None], offset[:, 1, None, :]
    a, b, c = (form[:, index, None, None].astype(np.float32) for index in range(3))
    exponent = dy * dx
    exponent *= -b
    exponent -= a * dy**2
    exponent -= c * dx**2
    values = np.exp(exponent, out=exponent)
    values *= peak[:, None, None].astype(np.float32)
    width = canvas.shape[1]
    first = int(middle[:, 0].min()) + pad - half
    rows = int(middle[:, 0].max()) + pad + half + 1 - first
    corner = (middle[:, 0] + pad - half - first) * width + middle[:, 1] + pad - half
    index = corner[:, None, None] + (np.arange(2 * half + 1) * width)[None, :, None] + np.arange(2 * half + 1)
    band = np.bincount(index.ravel(), weights=values.ravel(), minlength=rows * width)
    canvas[first : first + rows] += band.reshape(rows, width)
