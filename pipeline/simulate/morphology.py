"""What the rows of a truth table look like: Gaussian components, or the picture of a real radio galaxy."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.simulate.noise import covariance
from pipeline.simulate.populations import EXPONENTIAL, LARGEST
from pipeline.simulate.render import Gaussians
from pipeline.sky.geometry import FWHM

# An exponential disc of scale length 1 as Gaussians (Hogg & Lang 2013, PASP 125, 719): fitted here to profiles
# smoothed by beams of 0.25 to 2 scale lengths, with the flux and second moment kept; 0.7 per cent of the peak at worst.
_DISC_WEIGHTS = np.array([0.07976, 0.52827, 0.39197])
_DISC_VARIANCES = np.array([0.19622, 1.40929, 5.7143])
_LOBE_AT, _LOBE_LENGTH, _LOBE_WIDTH = 0.36, 0.28, 0.6  # of the largest angular size, of the minor axis
_EMPTY = 1e-3  # of the peak: what a picture of a radio galaxy shows of it


def components(
    table: pd.DataFrame, centre: np.ndarray, pixel: float, disc_scale: float, rng: np.random.Generator
) -> tuple[Gaussians, np.ndarray, np.ndarray]:
    """Gaussian components of all rows of `table` (truth columns) with cores at `centre` ``(n, 2)`` in (y, x) [pixels].

    Returns `Gaussians`, the row of each component ``(m,)`` and the centroid of each row ``(n, 2)``. A disc has the
    exponential scale length `disc_scale` times its major axis; a Gaussian holds all flux, with the core, that it does
    not resolve; a source of a largest angular size has a core with the fraction core_frac of the flux, and two lobes
    along the major axis that share the rest unevenly. `pixel` [arcsec].
    """
    flux, core = table["flux_jy"].to_numpy(float), table["core_frac"].to_numpy(float)
    major, minor = (table[name].to_numpy(float) / pixel for name in ("b_maj_arcsec", "b_min_arcsec"))
    theta, code = -table["pa_deg"].to_numpy(float), table["size_class"].to_numpy(int)
    disc, lobes = np.flatnonzero(code == EXPONENTIAL), np.flatnonzero(code == LARGEST)
    plain = np.flatnonzero((code != EXPONENTIAL) & (code != LARGEST))
    rows = [plain, lobes]
    parts = [
        (centre[plain], flux[plain], covariance(major[plain], minor[plain], theta[plain])),
        (centre[lobes], (flux * core)[lobes], np.zeros((len(lobes), 2, 2))),
    ]
    rest = flux * (1 - core)
    shape = covariance(major[disc] * disc_scale * FWHM, minor[disc] * disc_scale * FWHM, theta[disc])
    for weight, variance in zip(_DISC_WEIGHTS, _DISC_VARIANCES, strict=True):
        rows.append(disc)
        parts.append((centre[disc], flux[disc] * weight, shape * variance))
    share = np.clip(0.5 + 0.09 * rng.standard_normal(len(lobes)), 0.2, 0.8)
    along = np.stack([np.sin(np.radians(theta[lobes])), np.cos(np.radians(theta[lobes]))], axis=1)
    step = along * (_LOBE_AT * major[lobes])[:, None]
    shape = covariance(_LOBE_LENGTH * major[lobes], _LOBE_WIDTH * minor[lobes], theta[lobes])
    for sign, part in ((1, share), (-1, 1 - share)):
        rows.append(lobes)
        parts.append((centre[lobes] + sign * step, rest[lobes] * part, shape))
    centroid = centre.astype(float).copy()
    centroid[lobes] += step * ((2 * share - 1) * (1 - core[lobes]))[:, None]
    position, fluxes, shapes = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Gaussians(position, fluxes, shapes), np.concatenate(rows), centroid


class Pictures:
    """Images of real radio galaxies, background zero, the source along x, as points of light.

    Raises
    ------
    UserError : the folder holds no FITS file, or one without light.
    """

    def __init__(self, folder: str):
        files = sorted(path for path in Path(folder).glob("*.fits*") if path.is_file())
        if not files:
            raise UserError(folder, "holds no FITS files", "give a folder of images of radio galaxies")
        self._stamps = [_points(path) for path in files]

    def __len__(self) -> int:
        return len(self._stamps)

    def place(self, number: int, length: float, theta: float, flip: bool) -> tuple[np.ndarray, np.ndarray, float]:
        """Points ``(m, 2)`` in (y, x) [pixels] about the core, their shares of the flux ``(m,)``, minor over major.

        `length` is the largest extent [pixels], `theta` the angle of the major axis from +x towards +y [deg].
        """
        points, light, ratio = self._stamps[number]
        points = points * length * np.array([-1.0 if flip else 1.0, 1.0])
        c, s = np.cos(np.radians(theta)), np.sin(np.radians(theta))
        return points @ np.array([[c, -s], [s, c]]), light, ratio


@lru_cache(maxsize=2)
def pictures(folder: str) -> Pictures:
    """The `Pictures` of a folder, read once for all the fields of a run."""
    return Pictures(folder)


def _points(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    try:
        image = np.nan_to_num(np.asarray(fits.getdata(path), dtype=float))
    except (OSError, TypeError, ValueError):
        raise UserError(path, "cannot be read as a FITS image", "fetch it again or remove it") from None
    if image.ndim != 2 or not (image > 0).any():
        raise UserError(path, "is no image with light in it", "remove it")
    y, x = np.nonzero(image > _EMPTY * image.max())
    light = image[y, x]
    span = np.array([np.ptp(y) + 1, np.ptp(x) + 1], dtype=float)
    middle = (np.array(image.shape) - 1) / 2
    points = np.stack([y, x], axis=1) - middle
    # The core of a picture is its middle; a source that lies to one side of it is centred on its extent.
    extent = (points.max(axis=0) + points.min(axis=0)) / 2
    if np.any(np.abs(extent) > span / 2):
        points = points - extent
    return points / span[1], light / light.sum(), float(min(1.0, span[0] / span[1]))


def splat(canvas: np.ndarray, points: np.ndarray, flux: np.ndarray) -> None:
    """Add point sources ``(m, 2)`` of `flux` ``(m,)`` to `canvas` (y, x), shared linearly among four pixels each."""
    base = np.floor(points).astype(int)
    part = points - base
    for dy in (0, 1):
        for dx in (0, 1):
            at = base + (dy, dx)
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            good = np.all((at >= 0) & (at < canvas.shape), axis=1)
            np.add.at(canvas, (at[good, 0], at[good, 1]), (flux * weight)[good])
