"""Sersic galaxies behind a Gaussian PSF in white noise, thousands a second, and their truth table."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.special import gammainc, gammaincinv

from pipeline.simulate.sersic_settings import SersicSettings
from pipeline.simulate.stamp_files import Progress, write_stamps
from pipeline.sky.units import brightness_unit

_FWHM = np.sqrt(8 * np.log(2))  # FWHM of a Gaussian in units of its standard deviation
_BLOCK = 128  # stamps drawn at once: what they need stays in the processor's cache
# Standard deviations of the Gaussians that make up a profile, in half-light radii: finer ones the PSF would hide.
_SIGMAS = 0.03 * 1.4 ** np.arange(20)
_INDICES = np.geomspace(0.5, 6.0, 33)
_RIDGE = 1e-3  # neighbouring Gaussians are alike: this chooses among the mixtures that are equally good


def simulate_galaxies(
    settings: SersicSettings, out_folder: str | Path, *, seed: int = 1, progress: Progress | None = None
) -> None:
    """Write ``samples.fits``, an array ``(n, y, x)`` float32 in `settings.unit`, and its ``manifest.csv``.

    The manifest has the columns path, row, id, label, group and the truth as `make_galaxies` gives it, with its units.
    Galaxy i is the same for any number of galaxies.
    """
    starts = range(0, settings.n, _BLOCK)
    blocks = (make_galaxies(settings, seed, first, min(_BLOCK, settings.n - first)) for first in starts)
    light = _light_unit(settings)
    units = {"flux": light, "total_flux": light, "size": "arcsec", "pa": "deg"}
    write_stamps(out_folder, settings.n, settings.shape, blocks, _cards(settings, seed), units, progress=progress)


def make_galaxies(
    settings: SersicSettings, seed: int, first: int, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Galaxies number `first` ... of a seed: stamps ``(count, y, x)`` float32 [settings.unit], and their truth.

    The truth holds arrays ``(count,)``: flux, the noise-free light within the stamp, and total_flux, that of the whole
    profile, in the unit of a pixel (for a unit a beam, without the beam: Jy); size, the half-light radius along the
    major axis [arcsec]; axis_ratio; sersic_index; pa, from +y towards -x [deg]; label. The centre lies anywhere in
    one of the middle pixels. Every galaxy has its own random stream, from the seed and its number.
    """
    streams = [np.random.default_rng((seed, number)) for number in range(first, first + count)]
    uniform = np.array([stream.random(7) for stream in streams])
    ranges = (settings.flux, settings.size, settings.sersic_index, settings.axis_ratio)
    flux, size, index, ratio = (
        low * (high / low) ** share for (low, high), share in zip(ranges, uniform.T[:4], strict=True)
    )
    pa = 180.0 * uniform[:, 4]
    centre = (np.array(settings.shape) - 1) / 2 + uniform[:, 5:] - 0.5
    stamps = render(settings.shape, centre, size, index, ratio, pa, settings.psf)
    share = stamps.sum(axis=(1, 2), dtype=np.float64)
    stamps *= (flux / share).astype(np.float32)[:, None, None]
    if settings.noise:
        stamps += np.array([stream.standard_normal(settings.shape, dtype=np.float32) for stream in streams])
    stamps *= np.float32(settings.rms)
    flux = flux * settings.rms / _beam_area(settings)
    label = np.where(index < settings.disc_below, "disc", "spheroid")
    return stamps, {
        "label": label,
        "flux": flux,
        "size": size * settings.pixel_scale,
        "axis_ratio": ratio,
        "sersic_index": index,
        "pa": pa,
        "total_flux": flux / share,
    }


def render(
    shape: tuple[int, int],
    centre: np.ndarray,
    size: np.ndarray,
    index: np.ndarray,
    axis_ratio: np.ndarray,
    pa: np.ndarray,
    psf: float,
) -> np.ndarray:
    """Noise-free Sersic galaxies of total flux 1, ``(n, y, x)`` float32.

    For an index of 0.5 or more the profile exp(-b (r / size)^(1 / index)) (Sersic 1968; Ciotti 1991, A&A 249, 99,
    equation 1) is completely monotone in r^2, so that it is a mixture of Gaussians of positive weights. Convolved with
    a Gaussian PSF it is again one, exactly; and a Gaussian of a FWHM above 1.5 pixels loses nothing by being sampled
    at the centres of the pixels. (Hogg & Lang 2013, PASP 125, 719, use such mixtures for two of the indices.)

    Parameters
    ----------
    centre : ``(n, 2)`` in (y, x) [pixels].
    size : half-light radius along the major axis ``(n,)`` [pixels].
    index : 0.5 to 6 ``(n,)``.
    axis_ratio : minor over major ``(n,)``.
    pa : of the major axis, from +y towards -x ``(n,)`` [deg].
    psf : FWHM [pixels].
    """
    weights = mixture(index)  # (n, component)
    variance = (psf / _FWHM) ** 2
    cosine, sine = np.cos(np.radians(pa)), np.sin(np.radians(pa))
    y = np.arange(shape[0]) - centre[:, :1]
    x = np.arange(shape[1]) - centre[:, 1:]
    along = (y * cosine[:, None])[:, :, None] - (x * sine[:, None])[:, None, :]
    across = (y * sine[:, None])[:, :, None] + (x * cosine[:, None])[:, None, :]
    along, across = (np.square(part, dtype=np.float32, casting="same_kind") for part in (along, across))
    stamps = np.zeros((len(centre), *shape), dtype=np.float32)
    for weight, sigma in zip(weights.T, _SIGMAS, strict=True):
        used = np.flatnonzero(weight > 0)
        major = (sigma * size[used]) ** 2 + variance
        minor = (sigma * size[used] * axis_ratio[used]) ** 2 + variance
        height = weight[used] / (2 * np.pi * np.sqrt(major * minor))
        exponent = along[used] * _wide(-0.5 / major)
        exponent += across[used] * _wide(-0.5 / minor)
        light = np.exp(exponent, out=exponent)
        light *= _wide(height)
        stamps[used] += light
    return stamps


def mixture(index: np.ndarray) -> np.ndarray:
    """Weights ``(n, component)`` of Gaussians of `_SIGMAS` half-light radii that make up profiles ``(n,)``."""
    place = np.interp(np.log(index), np.log(_INDICES), np.arange(len(_INDICES)))
    below = np.minimum(place.astype(int), len(_INDICES) - 2)
    part = (place - below)[:, None]
    weights = _mixtures()
    return (1 - part) * weights[below] + part * weights[below + 1]


@lru_cache(maxsize=1)
def _mixtures() -> np.ndarray:
    """Weights ``(index, component)`` whose curves of growth are those of the profiles, to some thousandths."""
    radius = np.geomspace(0.03, 20.0, 200)
    growth = 1 - np.exp(-0.5 * (radius[:, None] / _SIGMAS) ** 2)
    matrix = np.vstack([growth, _RIDGE * np.eye(len(_SIGMAS))])
    none = np.zeros(len(_SIGMAS))
    return np.array([nnls(matrix, np.append(curve_of_growth(index, radius), none))[0] for index in _INDICES])


def curve_of_growth(index: float, radius: np.ndarray) -> np.ndarray:
    """Share of the light within `radius` ``(m,)`` [half-light radii] (Graham & Driver 2005, PASA 22, 118, eq. 2)."""
    return gammainc(2 * index, gammaincinv(2 * index, 0.5) * radius ** (1 / index))


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _beam_area(settings: SersicSettings) -> float:
    """Pixels that the beam of a unit a beam stands for, else 1."""
    return np.pi / 4 / np.log(2) * settings.psf**2 if _per_beam(settings) else 1.0


def _light_unit(settings: SersicSettings) -> str:
    unit = brightness_unit(settings.unit, "unit")
    return (unit * brightness_unit("beam") if _per_beam(settings) else unit).to_string()


def _per_beam(settings: SersicSettings) -> bool:
    unit = brightness_unit(settings.unit, "unit")
    return any(base.name == "beam" and power == -1 for base, power in zip(unit.bases, unit.powers, strict=True))


def _cards(settings: SersicSettings, seed: int) -> dict[str, tuple[object, str]]:
    return {
        "BUNIT": (settings.unit, "unit of a pixel"),
        "RMS": (settings.rms if settings.noise else 0.0, "standard deviation of the noise [BUNIT]"),
        "PIXSCALE": (settings.pixel_scale, "[arcsec] size of a pixel"),
        "PSFFWHM": (settings.psf * settings.pixel_scale, "[arcsec] FWHM of the PSF, pixel included"),
        "SEED": (seed, "seed of everything random"),
    }
