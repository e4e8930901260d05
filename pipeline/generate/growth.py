"""Where the light of a stamp is centred and how it grows outwards, for a whole batch at once and N axes.

Everything here takes background-subtracted stamps `(n, *axes)` without NaN; lengths are pixels.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

STEP = 0.25  # pixel: between the radii of a curve of growth; points of a pixel closer than that leave no stairs
PETROSIAN = 0.2  # Lotz et al. 2004, AJ 128, 163, section 2.1
EXTENT = 1.5  # Petrosian radii that hold "all" light: Lotz et al. 2004, section 2.2
_RING = _INNER, _OUTER = 0.8, 1.25
# Points that stand for a pixel along each axis, so that small apertures cut pixels where a circle does.
_FINE = {1: 15, 2: 5, 3: 3}


@dataclass(frozen=True)
class Growth:
    """Curves of growth.

    Attributes
    ----------
    centre : `(n, N)` the centre of each stamp [pixels from the first pixel's centre].
    flux : `(n, radii)` what lies within the radius STEP * column.
    petrosian : `(n,)` Petrosian radius [pixels]; NaN where no light is found.
    total : `(n,)` flux within EXTENT Petrosian radii; NaN where it is not positive.
    """

    centre: np.ndarray
    flux: np.ndarray
    petrosian: np.ndarray
    total: np.ndarray

    def within(self, radius: np.ndarray) -> np.ndarray:
        """The flux `(n,)` within `radius` `(n,)` of each stamp's centre; NaN within NaN."""
        place = np.clip(radius / STEP, 0, self.flux.shape[1] - 1)
        return _between(self.flux, place, self.centre.shape[1])

    def radius(self, share: float) -> np.ndarray:
        """The smallest radius `(n,)` that holds `share` of the total flux [pixels]."""
        return STEP * _crossing(self.flux, share * self.total, self.centre.shape[1])

    def brightness(self) -> np.ndarray:
        """Mean brightness `(n,)` of the annulus (shell) about the Petrosian radius [unit of the stamp]."""
        ndim = self.centre.shape[1]
        light = self.within(_OUTER * self.petrosian) - self.within(_INNER * self.petrosian)
        return light / (_BALL[ndim] * (_OUTER**ndim - _INNER**ndim) * self.petrosian**ndim)


_BALL = {1: 2.0, 2: np.pi, 3: 4 * np.pi / 3}  # volume of the unit ball


class Spectra:
    """The Fourier transforms of stamps that are padded with zeros to twice their size, so that nothing wraps round.

    The padded lengths are odd: there is no highest frequency whose shift by a part of a pixel has two answers.
    """

    def __init__(self, stamps: np.ndarray):
        self.axes = stamps.shape[1:]
        self._padded = tuple(_odd_length(2 * axis - 1) for axis in self.axes)
        self._dims = tuple(range(1, stamps.ndim))
        self.values = fft.rfftn(stamps, self._padded, self._dims)

    def symmetric_centre(self) -> np.ndarray:
        """The point `(n, N)` about which each stamp resembles its own reflection most [pixels].

        sum_p (I(p) - I(2c - p))**2 is least where the convolution of I with itself is largest, at the lag 2c: the
        centre that Conselice et al. (2000, ApJ 529, 886) search step by step, by one transform. Between whole lags the
        peak is that of a Gaussian. Of a double source it is the middle, or the brighter one where that has more than
        twice the light of the other.
        """
        size = tuple(2 * axis - 1 for axis in self.axes)
        inside = (slice(None), *(slice(0, length) for length in size))
        match = fft.irfftn(self.values**2, self._padded, self._dims)[inside]
        flat = match.reshape(len(match), -1)
        peak = flat.argmax(axis=1)
        lags = np.stack(np.unravel_index(peak, size), axis=1)  # (n, N)
        return (lags + _summit(match, lags)) / 2

    def reflected(self, centre: np.ndarray) -> np.ndarray:
        """I(2c - p): the stamps reflected through `centre` `(n, N)`; in the plane that is turned by 180 degrees.

        Shifts by parts of a pixel keep the noise as it is, which interpolation would smooth.
        """
        values = self.values.conj()
        for axis, waves in enumerate(self._waves()):
            phase = np.exp(-2j * np.pi * waves * 2 * centre[:, axis, None])
            values = values * phase.reshape(self._wide(axis, len(waves)))
        return self._back(values)

    def smoothed(self, sigma: np.ndarray) -> np.ndarray:
        """The stamps convolved with round Gaussians of standard deviation `sigma` `(n,)` [pixels]."""
        values = self.values
        for axis, waves in enumerate(self._waves()):
            gain = np.exp(-2 * (np.pi * sigma[:, None] * waves) ** 2)
            values = values * gain.reshape(self._wide(axis, len(waves)))
        return self._back(values)

    def _waves(self) -> list[np.ndarray]:
        *full, last = self._padded
        return [fft.fftfreq(length) for length in full] + [fft.rfftfreq(last)]

    def _wide(self, axis: int, length: int) -> tuple[int, ...]:
        return (-1, *(length if place == axis else 1 for place in range(len(self.axes))))

    def _back(self, values: np.ndarray) -> np.ndarray:
        whole = fft.irfftn(values, self._padded, self._dims)
        return whole[(slice(None), *(slice(0, axis) for axis in self.axes))]


def _odd_length(least: int) -> int:
    """The first odd length from `least` on that is quick to transform."""
    length = least | 1
    while True:
        rest = length
        for factor in (3, 5, 7, 11):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2


def _summit(match: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """How far `(n, N)` the summit of each `match` `(n, *lags)` is from its highest place, by Newton's step on the log.

    With the mixed derivatives, as a long galaxy that lies askew has a long askew peak; 0 where there is no summit.
    """
    n, ndim = lags.shape
    last = np.array(match.shape[1:]) - 1
    free = ((lags > 0) & (lags < last)).all(axis=1)
    lags = np.clip(lags, 1, last - 1)
    unit = np.eye(ndim, dtype=int)

    def height(*steps: np.ndarray) -> np.ndarray:
        place = lags + sum(steps)
        return np.log(np.maximum(match[(np.arange(n), *place.T)], tiny))

    top = match[(np.arange(n), *lags.T)]
    tiny = np.where(top > 0, 1e-6 * top, 1.0)
    slope = np.stack([(height(axis) - height(-axis)) / 2 for axis in unit], axis=1)
    bend = np.zeros((n, ndim, ndim))
    for i, j in np.ndindex(ndim, ndim):
        if i == j:
            bend[:, i, i] = height(unit[i]) - 2 * height(0 * unit[i]) + height(-unit[i])
        else:
            ends = height(unit[i], unit[j]) + height(-unit[i], -unit[j])
            bend[:, i, j] = (ends - height(unit[i], -unit[j]) - height(-unit[i], unit[j])) / 4
    summit = free & (np.linalg.eigvalsh(bend)[:, -1] < -1e-9)
    bend[~summit] = -np.eye(ndim)
    step = -np.linalg.solve(bend, slope[..., None])[..., 0]
    return np.where(summit[:, None], np.clip(step, -1, 1), 0)


def curve_of_growth(stamps: np.ndarray, centre: np.ndarray) -> Growth:
    """The flux of `stamps` `(n, *axes)` within growing radii about `centre` `(n, N)`.

    The Petrosian radius is where the mean brightness between 0.8 r and 1.25 r falls to a fifth of that within r
    (Petrosian 1976, ApJ 209, L1, with the annulus of Strauss et al. 2002, AJ 124, 1810, which is wide against noise).
    Light that leaves the stamp lets the curve end, so that the radius cannot exceed the stamp by much.
    """
    n, ndim = len(stamps), stamps.ndim - 1
    fine = _FINE[ndim]
    length = int(np.ceil(np.linalg.norm(stamps.shape[1:]) / STEP)) + 1
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    squares = [  # per axis (fine, n, axis), of the distance to the centre
        (offsets[:, None, None] + np.arange(axis) - centre[None, :, place, None]) ** 2
        for place, axis in enumerate(stamps.shape[1:])
    ]
    start = (np.arange(n) * length).reshape(-1, *(1,) * ndim)
    light = stamps.ravel() / fine**ndim
    profile = np.zeros(n * length)
    for parts in np.ndindex(*(fine,) * ndim):
        square = 0.0
        for place, part in enumerate(parts):
            wide = (n, *(axis if number == place else 1 for number, axis in enumerate(stamps.shape[1:])))
            square = square + squares[place][part].reshape(wide)
        ring = np.minimum((np.sqrt(square) / STEP).astype(np.int64), length - 1) + start
        profile += np.bincount(ring.ravel(), light, n * length)
    flux = np.concatenate([np.zeros((n, 1)), np.cumsum(profile.reshape(n, length), axis=1)], axis=1)
    petrosian = _petrosian(flux, ndim)
    grown = Growth(centre, flux, petrosian, np.zeros(n))
    total = grown.within(EXTENT * petrosian)
    return Growth(centre, flux, petrosian, np.where(total > 0, total, np.nan))


def _petrosian(flux: np.ndarray, ndim: int) -> np.ndarray:
    """The first radius `(n,)` [pixels] from one pixel on whose Petrosian ratio is below PETROSIAN."""
    radii = np.arange(round(1 / STEP), int((flux.shape[1] - 2) / _OUTER))
    inner, outer = (_between(flux, np.broadcast_to(factor * radii, (len(flux), len(radii))), ndim) for factor in _RING)
    inside = flux[:, radii]
    light = (outer - inner) / (_OUTER**ndim - _INNER**ndim)
    # The ratio falls; its negative rises to a level, as a curve of growth does.
    ratio = np.where(inside > 0, light / np.where(inside > 0, inside, 1), 1.0)
    return STEP * (radii[0] + _crossing(-ratio, np.full(len(flux), -PETROSIAN)))


def _between(curve: np.ndarray, place: np.ndarray, power: int) -> np.ndarray:
    """`curve` `(n, k)` at the columns `place` `(n,)` or `(n, m)`, not whole; NaN at NaN.

    A curve of growth is interpolated in the volume, column**power, in which its steep beginning is straight.
    """
    rows = np.arange(len(curve)).reshape(-1, *(1,) * (place.ndim - 1))
    below = np.minimum(np.nan_to_num(place).astype(int), curve.shape[1] - 2)
    part = (place**power - below**power) / ((below + 1) ** power - below**power)
    return curve[rows, below] + part * (curve[rows, below + 1] - curve[rows, below])


def _crossing(curve: np.ndarray, level: np.ndarray, power: int = 1) -> np.ndarray:
    """The first place `(n,)`, in columns of `curve` `(n, k)`, where it reaches `level`; NaN where it never does."""
    reached = curve >= level[:, None]
    found = reached.argmax(axis=1)
    rows, before = np.arange(len(curve)), np.maximum(found - 1, 0)
    low, high = curve[rows, before], curve[rows, found]
    part = np.where(high > low, (level - low) / np.where(high > low, high - low, 1), 1.0)
    volume = before**power + part * (found**power - before**power)
    return np.where(reached.any(axis=1), volume ** (1 / power), np.nan)
