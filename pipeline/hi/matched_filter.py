"""The signal-to-noise ratio of candidates in matched filters: templates of a galaxy's line, weighted for the noise.

A template is a round Gaussian seen through the beam times a line profile. The data d are in units of the local rms,
their noise is correlated on the sky, C, and along frequency, R. The weights w = (C + e)^-1 t, and the same along
frequency, are those of the best linear filter (Turin 1960, eq. 20, in pixels instead of frequencies); its answer
w.d / (w.C w)^(1/2) has unit variance in noise for any w. Where the beam lets nothing pass, C has no power and neither
the measured noise nor a template is true: e, as if white noise were added, keeps those scales out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft

from pipeline.data.tiles import Reader
from pipeline.detect.cutouts import cutouts
from pipeline.simulate.noise import NoisePower, covariance, white_beam
from pipeline.sky.geometry import FWHM

# Three sizes and six widths span SDC2's galaxies: half of them are below 0.73 beams and 222 km/s.
SIZES = (0.35, 0.75, 1.5)
WIDTHS = (50.0, 90.0, 150.0, 230.0, 330.0, 460.0)
REACH = (4, 1, 1)
# Variance of the white noise that a filter expects beside the measured one: a tenth of its rms.
_FLOOR = 0.01
_EXTENT = 1.5  # half the side of a template on the sky in units of its FWHM
_WIDEST = 24  # half the side of the widest template that is not cut off [pixel]
_SMOOTH, _HORNS = 0.1, 0.6  # of a profile: its flanks over its width, and the height of its horns over its middle
_EDGE = 0.8416  # standard deviations from where a smoothed edge is at a half to where it is at a fifth
_LEAST = 0.05  # of a filter's variance that must come from valid pixels
_LIGHT_KMS = 299792.458


class Matched(NamedTuple):
    """Of n candidates: signal-to-noise ratio (n,) in the best template (n,), and where that is, (n, 3) from the centre.

    The ratio is 0 and the template -1 where there are no valid pixels.
    """

    snr: np.ndarray
    template: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Bank:
    """Templates of S sizes by W widths; number s W + w is the w-th width of the s-th size.

    sizes : (S,) FWHM before the beam [beam]. widths : (W,) full widths at a fifth of the peak [channel].
    planes, profiles : (S, y, x) of unit flux, per beam, and (W, f) of unit sum. sky, line : their weights.
    reach : how far from a candidate its centre is looked for, (f, y, x) [pixel].
    correlation, spectral : of the noise on the sky (y, x) and along frequency (f,), lag 0 in the middle.
    """

    sizes: np.ndarray
    widths: np.ndarray
    planes: np.ndarray
    profiles: np.ndarray
    sky: np.ndarray
    line: np.ndarray
    reach: tuple[int, int, int]
    correlation: np.ndarray
    spectral: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes) * len(self.widths)

    @property
    def halo(self) -> tuple[int, int, int]:
        """Pixels (f, y, x) around a candidate's own that are read."""
        sides = (self.profiles.shape[1], *self.planes.shape[1:])
        return tuple(side // 2 + far for side, far in zip(sides, self.reach, strict=True))

    @property
    def gain(self) -> np.ndarray:
        """The signal-to-noise ratio (S W,) of a line flux of one local rms times one channel."""
        parts = []
        for weights, shapes, noise in (
            (self.sky, self.planes, self.correlation),
            (self.line, self.profiles, self.spectral),
        ):
            flat = weights.reshape(len(weights), -1)
            signal = (flat * shapes.reshape(flat.shape)).sum(1)
            parts.append(signal / np.sqrt(_variance(flat, _covariance(noise, weights.shape[1:]))))
        return np.outer(*parts).ravel()

    def template(self, number: int) -> np.ndarray:
        """Template `number` (f, y, x), in units of the rms, with a signal-to-noise ratio of 1."""
        size, width = divmod(number, len(self.widths))
        return self.profiles[width][:, None, None] * self.planes[size] / self.gain[number]

    def features(self, matched: Matched) -> np.ndarray:
        """What a calibrator is told (n, 4): ln of ratio, flux [rms x channel] and width, and the size.

        Each is the same in a frame that is turned.
        """
        ratio = np.log(np.maximum(matched.snr, 0.1))
        size, width = np.divmod(np.maximum(matched.template, 0), len(self.widths))
        flux = ratio - np.log(self.gain)[np.maximum(matched.template, 0)]
        return np.stack([ratio, flux, np.log(self.widths)[width], self.sizes[size]], axis=1)


def line_widths(channel_hz: float, frequency: float, rest: float, widths: Sequence[float] = WIDTHS) -> np.ndarray:
    """Widths [km/s] in channels of `channel_hz` at an observed `frequency` [Hz], at least 2 channels.

    dnu = dv nu^2 / (c nu0), as in the scorer of SDC2.
    """
    return np.maximum(np.asarray(widths) * frequency**2 / (_LIGHT_KMS * rest) / abs(channel_hz), 2.0)


def make_bank(
    beam: tuple[float, float, float],
    widths: Sequence[float],
    sizes: Sequence[float] = SIZES,
    *,
    noise: NoisePower | None = None,
    spectral: Sequence[float] = (1.0,),
    reach: tuple[int, int, int] = REACH,
) -> Bank:
    """The templates of a cube.

    Parameters
    ----------
    beam : FWHM major and minor [pixel], and the angle of the major axis from +x towards +y [deg].
    widths : of the lines, at a fifth of the peak [channel]; see `line_widths`.
    sizes : FWHM of the galaxies [beam, geometric mean].
    noise : what the noise on the sky is like; None is white noise seen through the beam.
    spectral : autocorrelation of the noise along frequency at the lags 0, 1, ..., of which the first is 1.
    reach : how far from a candidate its centre is looked for, (f, y, x) [pixel].
    """
    sizes, widths = np.array(sizes, float), np.array(widths, float)
    shape = np.array([covariance(*beam)] * len(sizes))
    area = 2 * np.pi * np.sqrt(np.linalg.det(shape[0]))
    shape += (sizes**2 * beam[0] * beam[1] / FWHM**2)[:, None, None] * np.eye(2)
    half = int(min(np.ceil(_EXTENT * FWHM * np.sqrt(np.linalg.eigvalsh(shape).max())), _WIDEST))
    along = np.arange(-half, half + 1)
    offset = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1)
    square = np.einsum("yxi,sij,yxj->syx", offset, np.linalg.inv(shape), offset)
    planes = np.exp(-square / 2) * (area / (2 * np.pi * np.sqrt(np.linalg.det(shape))))[:, None, None]
    profiles = _profiles(widths)
    far = half + max(reach[1:])
    texture = noise or white_beam(beam, lags=2 * far)
    spectral = np.concatenate([spectral[:0:-1], spectral])
    return Bank(
        sizes,
        widths,
        planes,
        profiles,
        _weights(planes, texture.correlation),
        _weights(profiles, spectral),
        reach,
        texture.correlation,
        spectral,
    )


def matched_snr(read_snr: Reader, shape: Sequence[int], centres: np.ndarray, bank: Bank, batch: int = 32) -> Matched:
    """The best signal-to-noise ratio of each candidate over the templates and over `bank.reach` around its centre.

    For one template at one place it has unit variance in noise; the best of many is above 0 even there.

    Parameters
    ----------
    read_snr : sections inside the cube, which has `shape` (f, y, x), to data in units of the local rms, 0 where there
        are none: blank channels and what lies beyond an edge count neither as signal nor as noise.
    centres : (n, 3) [pixel].
    """
    n = len(centres)
    result = Matched(np.zeros(n), np.full(n, -1), np.zeros((n, 3)))
    halo = np.array(bank.halo)
    middle = np.clip(np.rint(centres), 0, np.array(shape) - 1).astype(int)
    filters = _Filters(bank)
    for rows, snr in cutouts(read_snr, shape, middle - halo, (2 * halo + 1).tolist(), batch):
        ratio, template, place = filters.best(snr)
        result.snr[rows], result.template[rows] = ratio, template
        result.offset[rows] = np.where(template[:, None] >= 0, middle[rows] + place - centres[rows], 0.0)
    return result


class _Filters:
    """The weights of a bank at every place within its reach, as matrices: on the sky (S K, y x), along frequency."""

    def __init__(self, bank: Bank):
        self.bank = bank
        self.sky, self.shifts = _shifted(bank.sky, bank.reach[1:])
        self.line, self.steps = _shifted(bank.line, bank.reach[:1])
        sides = [2 * half + 1 for half in bank.halo]
        self.noise = [_covariance(bank.correlation, sides[1:]), _covariance(bank.spectral, sides[:1])]
        self.full = [_variance(self.sky, self.noise[0]), _variance(self.line, self.noise[1])]
        self.fast = self.sky.T.astype(np.float32), self.line.astype(np.float32)

    def best(self, snr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ratio, template and place (b, 3) of crops (b, f, y, x)."""
        b, depth = snr.shape[:2]
        answer = self.fast[1] @ (snr.reshape(b, depth, -1) @ self.fast[0])
        valid = snr != 0
        pixels, channels = valid.any(1).reshape(b, -1), valid.any((2, 3))
        # Of one size, the weights of all places have one variance as long as nothing is blank.
        spread = np.sqrt(np.stack([np.outer(self.full[1], self.full[0])] * b))
        for row in np.flatnonzero(~(pixels.all(1) & channels.all(1))):
            spread[row] = np.sqrt(np.outer(self._seen(1, channels[row]), self._seen(0, pixels[row])))
        ratio = np.divide(answer, spread, out=np.full(answer.shape, -np.inf), where=spread > 0)
        choice = ratio.reshape(b, -1).argmax(1)
        line, sky = np.divmod(choice, ratio.shape[2])
        ratio = ratio.reshape(b, -1)[np.arange(b), choice]
        width, step = np.divmod(line, len(self.steps))
        size, shift = np.divmod(sky, len(self.shifts))
        known = np.isfinite(ratio)
        template = np.where(known, size * len(self.bank.widths) + width, -1)
        return np.where(known, ratio, 0.0), template, np.concatenate([self.steps[step], self.shifts[shift]], axis=1)

    def _seen(self, which: int, valid: np.ndarray) -> np.ndarray:
        """The variance that valid pixels leave of each filter, 0 where they are too few to tell anything."""
        weights = (self.sky, self.line)[which]
        variance = _variance(weights * valid, self.noise[which])
        return np.where(variance > _LEAST * self.full[which], variance, 0.0)


def _profiles(widths: np.ndarray) -> np.ndarray:
    """Line profiles (W, f) of unit sum: a box, higher at its edges, smoothed; `widths` at a fifth of the peak."""
    smooth = np.maximum(_SMOOTH * widths, np.minimum(1.0, widths / (2 * np.sqrt(2 * np.log(5)))))
    half = np.maximum(widths / 2 - _EDGE * smooth, 0.0)
    # Horns and flanks move the height of a fifth: all lengths follow.
    fine = np.linspace(0, widths.max(), 4096)
    profile = _profile(fine, half, smooth)
    factor = widths / 2 / np.array([fine[line > 0.2 * line.max()][-1] for line in profile])
    half, smooth = factor * half, factor * smooth
    far = int(np.ceil((half + 3 * smooth).max()))
    profile = _profile(np.arange(-far, far + 1), half, smooth)
    return profile / profile.sum(1, keepdims=True)


def _profile(channel: np.ndarray, half: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """Boxes of half widths (W,), a parabola on top, smoothed by Gaussians of these deviations (W,), at (f,): (W, f)."""
    inside = (np.arange(100) + 0.5) / 50 - 1
    gap = (channel[:, None] - half[:, None, None] * inside) / smooth[:, None, None]
    return (np.exp(-(gap**2) / 2) * (1 + _HORNS * inside**2)).sum(-1)


def _weights(shapes: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """The filters (k, *axes) of templates (k, *axes)."""
    noise = _covariance(correlation, shapes.shape[1:])
    flat = shapes.reshape(len(shapes), -1)
    return np.linalg.solve(noise + _FLOOR * np.eye(len(noise)), flat.T).T.reshape(shapes.shape)


def _variance(weights: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Of the filters (k, pixels) in noise of this covariance (pixels, pixels), (k,)."""
    return ((weights @ noise) * weights).sum(1)


def _covariance(correlation: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Of stationary noise in a window of these sides, (pixels, pixels), from its autocorrelation around lag 0.

    A correlation that was cut off at its last lag may have a spectrum below zero: that part becomes zero.
    """
    lags = [side // 2 for side in correlation.shape]
    size = [fft.next_fast_len(2 * max(lag, side) + 1, real=True) for lag, side in zip(lags, sides, strict=True)]
    patch = np.zeros(size)
    patch[np.ix_(*(np.arange(-lag, lag + 1) % many for lag, many in zip(lags, size, strict=True)))] = correlation
    spectrum = np.clip(fft.rfftn(patch).real, 0.0, None)
    proper = fft.irfftn(spectrum, s=size)
    place = np.indices(sides).reshape(len(sides), -1)
    gap = (place[:, :, None] - place[:, None]) % np.array(size)[:, None, None]
    return proper[tuple(gap)] / proper.flat[0]


def _shifted(filters: np.ndarray, reach: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Filters (k, *axes) at every shift within `reach`, (k K, pixels) in a window that holds all, and the shifts."""
    shifts = np.stack(np.meshgrid(*(np.arange(-far, far + 1) for far in reach), indexing="ij"), -1).reshape(
        -1, len(reach)
    )
    window = tuple(side + 2 * far for side, far in zip(filters.shape[1:], reach, strict=True))
    placed = np.zeros((len(filters), len(shifts), *window))
    for number, shift in enumerate(shifts):
        start = shift + np.array(reach)
        where = tuple(slice(low, low + side) for low, side in zip(start, filters.shape[1:], strict=True))
        placed[(slice(None), number, *where)] = filters
    return placed.reshape(len(filters) * len(shifts), -1), shifts
