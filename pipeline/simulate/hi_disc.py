"""A galaxy as a cloud of points: a disc that turns, drawn from the laws, or the cube of a real galaxy."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.special import ndtri

from pipeline.errors import UserError
from pipeline.simulate.hi_laws import (
    DISPERSION,
    THICKNESS,
    radii,
    rms_radius,
    rotation_ratio,
    spectrum_width,
    turnover,
)

_POINTS, _MOST_POINTS = 4096, 1 << 16
_GOLDEN = np.array([0.8191725134, 0.6710436067, 0.5497004779])  # Roberts' R3 sequence: fills a cube evenly
_LIKE = 5  # real galaxies, nearest in axis ratio, of which one is drawn
_FEWEST_CHANNELS = 5.0  # of a real galaxy's w20
_REST_OF_LIGHT = 0.003  # of a real galaxy's flux, in its faintest pixels, that is left out


@dataclass(frozen=True)
class Cloud:
    """Gas as points, flux 1 in all.

    place : ``(n, 2)`` along the major axis towards the receding side, and along the minor axis [arcsec].
    velocity : along the line of sight, positive receding ``(n,)`` [km/s].
    weight : share of the flux ``(n,)``.
    dispersion : of each point's own line [km/s].
    """

    place: np.ndarray
    velocity: np.ndarray
    weight: np.ndarray
    dispersion: float


def disc(
    size: float, width: float, inclination: float, lopsidedness: float, rng: np.random.Generator, *, detail: float = 0.0
) -> Cloud:
    """A lopsided disc of HI diameter `size` [arcsec] at `inclination` [deg] with w20 = `width` [km/s].

    The amplitude of cos(azimuth) of the gas has the scatter `lopsidedness` about 0, at a random azimuth (Rix & Zaritsky
    1995, ApJ 447, 82); the velocities stay symmetric about the centre. `detail` : pixels that the disc covers, which
    raise the number of points.
    """
    rise = float(turnover(1, rng)[0])
    width = max(width, 1e-3)
    narrowest = 2 * np.sqrt(2 * np.log(5)) * DISPERSION
    # A line narrower than turbulence makes it is that of calmer gas.
    dispersion = DISPERSION * min(1.0, width / narrowest)
    rotation = dispersion * rotation_ratio(width / dispersion, rise)
    n = int(np.clip(detail, _POINTS, _MOST_POINTS))
    share = (np.arange(1, n + 1)[:, None] * _GOLDEN + rng.random(3)) % 1.0
    radius, azimuth = radii(share[:, 0]), 2 * np.pi * share[:, 1]
    height = ndtri(np.clip(share[:, 2], 1e-4, 1 - 1e-4)) * THICKNESS * rms_radius()
    cosine, sine = np.cos(np.radians(inclination)), np.sin(np.radians(inclination))
    along = radius * np.cos(azimuth)
    # The height adds to the minor axis, so that axis ratios follow cos^2 i (1 - q^2) + q^2.
    flat = np.sqrt(1 - THICKNESS**2) * radius * np.sin(azimuth) * cosine
    across = flat + height * np.sqrt(sine**2 + cosine**2)
    amplitude, phase = lopsidedness * rng.standard_normal(), rng.uniform(0, 2 * np.pi)
    weight = 1 + np.clip(amplitude, -0.5, 0.5) * np.cos(azimuth - phase)
    speed = rotation * (1 - np.exp(-radius / rise)) * np.cos(azimuth)
    return Cloud(np.stack([along, across], 1) * size / 2, speed, weight / weight.sum(), dispersion)


class Atlas:
    """Cubes of real galaxies, free of noise, as clouds that are stretched to other galaxies' sizes and widths.

    Each cube is turned to its axis of rotation, its spectrum measured, its axes compared with those of a disc.

    Raises
    ------
    UserError : the folder holds no FITS cubes, or none with enough channels; or a file that is no such cube.
    """

    def __init__(self, folder: str):
        files = sorted(path for path in Path(folder).glob("*.fits*") if path.is_file())
        self._galaxies = [galaxy for path in files if (galaxy := _real(path)) is not None]
        if not self._galaxies:
            remedy = f"give a folder of cubes (channel, y, x) with lines wider than {_FEWEST_CHANNELS:.0f} channels"
            raise UserError(folder, "holds no usable HI cubes", remedy)

    def __len__(self) -> int:
        return len(self._galaxies)

    def cloud(self, size: float, width: float, inclination: float, step: float, rng: np.random.Generator) -> Cloud:
        """One of the galaxies nearest in inclination, stretched to HI diameter `size` [arcsec], w20 `width` [km/s].

        Lengths scale by the extent of the gas along the major axis, which is made that of a disc of that diameter;
        the minor axis so that the axis ratio is that of `inclination` [deg], as SDC2 does it. The points of a channel
        are spread over it, finer than `step` [km/s].
        """
        ratio = np.sqrt(np.cos(np.radians(inclination)) ** 2 * (1 - THICKNESS**2) + THICKNESS**2)
        order = np.argsort([abs(galaxy.ratio - ratio) for galaxy in self._galaxies])
        galaxy = self._galaxies[order[rng.integers(min(_LIKE, len(order)))]]
        scale = size / 2 * rms_radius()
        place = galaxy.place * [scale, scale * ratio * (-1.0 if rng.random() < 0.5 else 1.0)]
        speed = width / galaxy.width
        parts = int(np.ceil(speed / step)) + 1
        # Two channels wide and triangular: linear interpolation between the channels of the cube.
        share = (np.arange(2 * parts) + 0.5) / parts - 1
        tent = (1 - np.abs(share)) / parts
        velocity = ((galaxy.velocity[:, None] + share) * speed).ravel()
        return Cloud(np.repeat(place, 2 * parts, 0), velocity, np.outer(galaxy.weight, tent).ravel(), 0.0)


@lru_cache(maxsize=2)
def atlas(folder: str) -> Atlas:
    """The `Atlas` of a folder, read once for all cubes of a run."""
    return Atlas(folder)


@dataclass(frozen=True)
class _Real:
    """place ``(n, 2)`` in units of its own rms along either axis; velocity ``(n,)`` and w20 in channels."""

    place: np.ndarray
    velocity: np.ndarray
    weight: np.ndarray
    width: float
    ratio: float


def _real(path: Path) -> _Real | None:
    try:
        data, header = fits.getdata(path, header=True)
        data = np.clip(np.nan_to_num(np.asarray(data, dtype=float)), 0, None)
    except (OSError, TypeError, ValueError):
        raise UserError(path, "cannot be read as a FITS cube", "fetch it again or remove it") from None
    if data.ndim != 3 or not (data > 0).any():
        raise UserError(path, "is no cube (channel, y, x) with light in it", "remove it")
    recedes = float(header.get("CDELT3", 1.0)) > 0
    if str(header.get("CTYPE3", "")).upper().startswith("FREQ"):
        recedes = not recedes
    spectrum = data.sum(axis=(1, 2))
    if len(spectrum) < _FEWEST_CHANNELS:
        return None
    width, middle = spectrum_width(np.arange(len(spectrum), dtype=float), spectrum)
    if width < _FEWEST_CHANNELS:
        return None
    ordered = np.sort(data[data > 0])
    faint = ordered[np.searchsorted(np.cumsum(ordered), _REST_OF_LIGHT * ordered.sum())]
    z, y, x = np.nonzero(data >= faint)
    velocity = (z - middle) * (1.0 if recedes else -1.0)
    # Gas of a neighbour or of the Milky Way, which the line of the galaxy does not reach.
    own = np.abs(velocity) <= width - 1
    z, y, x, velocity = z[own], y[own], x[own], velocity[own]
    weight = data[z, y, x] / data[z, y, x].sum()
    place = np.stack([x - weight @ x, y - weight @ y], 1)
    # The covariance of place and velocity points to the receding side.
    axis = weight @ (place * (velocity - weight @ velocity)[:, None])
    axis /= np.hypot(*axis)
    place = np.stack([place @ axis, place @ np.array([-axis[1], axis[0]])], 1)
    spread = np.sqrt(weight @ place**2)
    # Within a pixel gas is where it may be: no pattern of the cube's own grid shows when it is enlarged.
    place = place + np.random.default_rng(len(weight)).uniform(-0.5, 0.5, place.shape)
    return _Real(place / spread, velocity, weight, width, float(min(spread[1] / spread[0], 1.0)))
