"""The texture of an image's noise: its autocorrelation, measured beside sources, and new noise that has it."""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, maximum_filter

from pipeline.errors import UserError
from pipeline.sky.geometry import FWHM, squared_widths

LAGS = 16
_MAD = 1.4826  # standard deviation of a Gaussian in units of its median absolute deviation
_BLOCK = 512
_LEAST_VALID = 0.2  # of a block: correlations over fewer pixels scatter more than they tell
_SOURCE, _GROWN, _OUTLIER = 4.0, 2.5, 4.5


@dataclass(frozen=True)
class NoisePower:
    """Second-order statistics of stationary noise, in the unit of the image they were measured in.

    correlation : autocorrelation ``(2 L + 1, 2 L + 1)`` at the lags -L..L in y and x [pixels], 1 in the middle.
    rms : standard deviation of the pixels left after clipping sources.
    mad : 1.4826 times the median absolute deviation of all pixels, sources among them.
    spectral : of a cube, the autocorrelation along frequency at the lags 0, 1, ..., of which the first is 1; beyond the
        last it is 0.
    """

    correlation: np.ndarray
    rms: float
    mad: float
    spectral: tuple[float, ...] = (1.0,)

    @property
    def lags(self) -> int:
        return self.correlation.shape[0] // 2

    def to_dict(self) -> dict:
        """Plain numbers for JSON."""
        told = {"rms": self.rms, "mad": self.mad, "correlation": np.round(self.correlation, 6).tolist()}
        return told | ({"spectral": list(self.spectral)} if len(self.spectral) > 1 else {})

    @classmethod
    def from_dict(cls, stored: dict) -> "NoisePower":
        """The inverse of `to_dict`."""
        correlation, spectral = np.asarray(stored["correlation"], dtype=float), stored.get("spectral", (1.0,))
        return cls(correlation, float(stored["rms"]), float(stored["mad"]), tuple(map(float, spectral)))


def measure(image: np.ndarray, beam_pixels: float | None = None, *, lags: int = LAGS) -> NoisePower:
    """Measure the noise of `image` ``(y, x)``, which may hold sources and NaN.

    Blocks are taken one by one, so that memory does not grow with the image; each counts in units of its own rms,
    so that a gradient of the noise does not matter. What rises above 4 rms, in the pixels or after smoothing by the
    beam, is left out with what surrounds it; the correlation of the remaining pixels is the correlation of
    the masked block over the correlation of the mask, lag by lag. Sources too faint to be left out stay in the noise.

    beam_pixels : FWHM of the beam [pixels]; None takes 3.

    Raises
    ------
    UserError : no block has enough valid pixels.
    """
    if image.ndim != 2 or min(image.shape) <= lags:
        raise UserError("noise", f"cannot be measured in pixels of shape {image.shape}", "give a larger image (y, x)")
    beam = 3.0 if beam_pixels is None else float(beam_pixels)
    product, count, squares, pixels, deviations = 0.0, 0.0, 0.0, 0, []
    for block in _blocks(image):
        values = np.asarray(block, dtype=np.float64)
        valid = np.isfinite(values)
        if valid.mean() < _LEAST_VALID:
            continue
        values, mad = _centred(values, valid)
        if mad == 0:
            continue
        kept, level = _without_sources(values, valid, mad, beam)
        if kept.mean() < _LEAST_VALID:
            continue
        clean = np.where(kept, (values - level) / mad, 0.0)
        product = product + _correlate(clean, lags)
        count = count + _correlate(kept.astype(float), lags)
        squares += float(np.sum(clean**2)) * mad**2
        pixels += int(kept.sum())
        deviations.append(mad)
    if not deviations:
        raise UserError("noise", "has no region with enough valid pixels", "give an image with more empty sky")
    covariance = product / np.maximum(count, 1.0)
    return NoisePower(covariance / covariance[lags, lags], float(np.sqrt(squares / pixels)), float(np.mean(deviations)))


def generate(power: NoisePower, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise ``shape`` (y, x) float32 with the autocorrelation and rms of `power`.

    White noise is filtered by the root of the spectrum, the transform of the autocorrelation (Wiener-Khinchin).
    A correlation that was cut off at its last lag may have a spectrum below zero: that part becomes zero.
    """
    ny, nx = shape
    # The transform wraps around: the extra pixels keep opposite borders apart.
    size = tuple(fft.next_fast_len(n + 2 * power.lags + 1, real=True) for n in shape)
    lags = np.arange(-power.lags, power.lags + 1)
    patch = np.zeros(size)
    patch[np.ix_(lags % size[0], lags % size[1])] = power.correlation
    spectrum = np.clip(fft.rfft2(patch).real, 0.0, None)
    # The mean over all frequencies is the variance; the last columns of the half plane are counted as scipy does.
    variance = fft.irfft2(spectrum, s=size)[0, 0]
    root = np.sqrt(spectrum / variance).astype(np.float32)
    noise = fft.irfft2(fft.rfft2(rng.standard_normal(size, dtype=np.float32)) * root, s=size)
    return (noise[:ny, :nx] * np.float32(power.rms)).astype(np.float32)


def white_beam(beam: tuple[float, float, float], rms: float = 1.0, *, lags: int = LAGS) -> NoisePower:
    """White noise smoothed by an elliptical Gaussian: `beam` is FWHM major, minor [pixels] and theta [deg].

    theta is the angle of the major axis from +x towards +y. The autocorrelation is the beam smoothed by itself: a
    Gaussian of twice the covariance.
    """
    inverse = np.linalg.inv(2 * covariance(*beam))
    along = np.arange(-lags, lags + 1)
    offset = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1)
    correlation = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", offset, inverse, offset))
    return NoisePower(correlation, rms, rms)


def covariance(major: np.ndarray, minor: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Covariance ``(..., 2, 2)`` in (y, x) [pixels^2] of Gaussians of FWHM `major`, `minor` [pixels], `theta` [deg]."""
    return squared_widths(np.divide(major, FWHM), np.divide(minor, FWHM), theta)[..., ::-1, ::-1]


def autocorrelation(image: np.ndarray, lags: int = LAGS) -> np.ndarray:
    """Autocorrelation ``(2 lags + 1, 2 lags + 1)`` of all valid pixels of `image` ``(y, x)``, sources among them."""
    valid = np.isfinite(image)
    values = np.where(valid, image - np.mean(image[valid], dtype=np.float64), 0.0)
    product = _correlate(values, lags) / np.maximum(_correlate(valid.astype(float), lags), 1.0)
    return product / product[lags, lags]


def distance(one: NoisePower, other: NoisePower, lags: int = 4) -> float:
    """How different two textures are: the rms difference of the autocorrelations at separations of 1..`lags` pixels."""
    along = np.arange(-lags, lags + 1)
    separation = np.hypot(*np.meshgrid(along, along))
    used = (separation > 0) & (separation <= lags)
    patches = [power.correlation[_middle(power.lags, lags)] for power in (one, other)]
    return float(np.sqrt(np.mean((patches[0] - patches[1])[used] ** 2)))


def _middle(total: int, lags: int) -> tuple[slice, slice]:
    if lags > total:
        raise ValueError(f"the autocorrelation reaches {total} pixels, not {lags}")
    return (slice(total - lags, total + lags + 1),) * 2


def _blocks(image: np.ndarray):
    counts = [max(1, round(n / _BLOCK)) for n in image.shape]
    edges = [np.linspace(0, n, count + 1).astype(int) for n, count in zip(image.shape, counts, strict=True)]
    for top, bottom in zip(edges[0][:-1], edges[0][1:], strict=True):
        for left, right in zip(edges[1][:-1], edges[1][1:], strict=True):
            yield image[top:bottom, left:right]


def _centred(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, float]:
    good = values[valid]
    values = np.where(valid, values - np.median(good), 0.0)
    return values, float(_MAD * np.median(np.abs(values[valid])))


def _without_sources(values: np.ndarray, valid: np.ndarray, mad: float, beam: float) -> tuple[np.ndarray, float]:
    """The pixels ``(y, x)`` bool that are noise, and their mean level."""
    smooth = gaussian_filter(values, beam / FWHM)
    smooth_mad = _MAD * np.median(np.abs(smooth[valid] - np.median(smooth[valid])))
    radius = max(1, round(beam))
    source = np.zeros(valid.shape, dtype=bool)
    for picture, scale in ((values, mad), (smooth - np.median(smooth[valid]), smooth_mad)):
        seed = np.abs(picture) > _SOURCE * scale
        # A seed takes along the flank that it stands on, which reaches further for brighter sources.
        near = maximum_filter(seed, size=4 * radius + 1)
        source |= maximum_filter(seed, size=2 * radius + 1) | (near & (picture > _GROWN * scale))
    kept = valid & ~source
    if not kept.any():
        return kept, 0.0
    level = float(np.mean(values[kept]))
    kept &= np.abs(values - level) < _OUTLIER * mad
    return kept, float(np.mean(values[kept])) if kept.any() else 0.0


def _correlate(values: np.ndarray, lags: int) -> np.ndarray:
    """Sums of products ``(2 lags + 1, 2 lags + 1)`` of the pixels that each lag brings together."""
    size = tuple(fft.next_fast_len(n + lags, real=True) for n in values.shape)
    spectrum = fft.rfft2(values, s=size)
    product = fft.irfft2(spectrum.real**2 + spectrum.imag**2, s=size)
    along = np.arange(-lags, lags + 1)
    return product[np.ix_(along, along)]
