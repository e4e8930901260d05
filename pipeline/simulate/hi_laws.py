"""The laws that say which HI galaxies there are: masses and distances, sizes, line widths."""

from functools import lru_cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM

from pipeline.simulate.hi_settings import REST_HZ, HiSettings

LIGHT_KM_S = 299792.458
DISPERSION = 10.0
"""Velocity dispersion of the gas of discs [km/s] (Leroy et al. 2008, AJ 136, 2782, appendix B: 11 +- 3)."""
THICKNESS = 0.2
"""Axis ratio of a disc seen edge-on, as SDC2 takes for spirals (Hartley et al. 2023)."""

_COSMOLOGY = FlatLambdaCDM(H0=67.0, Om0=0.32)  # of the scorer of SDC2
_HUBBLE = 0.67 / 0.7  # Jones et al. 2018 take H0 = 70
_KNEE, _SLOPE, _AMOUNT = 9.94, -1.25, 4.5e-3  # log10 Msun, alpha, Mpc^-3 dex^-1
_JY_HZ = 49.8  # Msun per Mpc^2 and Jy Hz: Duffy et al. 2012, MNRAS 426, 3385
_SDC2_COUNT, _SDC2_AREA, _SDC2_BAND, _SDC2_LIMIT = 233245, 20.0, (0.95e9, 1.15e9), 1.4
_VELOCITY = 118.0  # km/s at 1e9 Msun, for the median w20 of SDC2; THINGS and HALOGAS: 113, scatter 0.2 dex
_STEP = 0.01  # dex of mass
_RADII = np.linspace(0.0, 2.0, 801)  # of R_HI, half the diameter at 1 Msun/pc^2
_EDGE, _FADE = 0.6, 0.19  # of R_HI
_ARCSEC = 206264.806


def channel_frequency(settings: HiSettings) -> np.ndarray:
    """Frequency of the channels ``(f,)`` [Hz]."""
    return settings.lowest_hz + settings.channel_hz * np.arange(settings.shape[0])


def channel_width_km_s(frequency: np.ndarray, channel_hz: float) -> np.ndarray:
    """Width of a channel [km/s] of optical velocity at `frequency` [Hz]: c nu0 dnu / nu^2, as SDC2's scorer has it."""
    return LIGHT_KM_S * REST_HZ * channel_hz / np.asarray(frequency) ** 2


def expected_count(settings: HiSettings, area: float, band: tuple[float, float]) -> float:
    """The mean number of galaxies in `area` [deg2] between two frequencies [Hz].

    The mass function of Jones et al. (2018, MNRAS 477, 2), above the flux limit, times the factor that makes it the
    233,245 galaxies of SDC2 in 20 deg2 from 950 to 1150 MHz; without evolution of the knee that factor is 0.99.
    """
    evolution = settings.mass_evolution
    reference = _number(_SDC2_BAND, _SDC2_LIMIT, evolution) / (_SDC2_COUNT / _SDC2_AREA)
    return settings.density * area * _number(band, settings.flux_limit, evolution) / reference


def draw_masses(
    settings: HiSettings, band: tuple[float, float], n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frequency [Hz] and HI mass [Msun] of `n` galaxies, each ``(n,)``, between two frequencies [Hz]."""
    redshift, mass, weight = _population(band, settings.flux_limit, settings.mass_evolution)
    chosen = rng.choice(weight.size, n, p=(weight / weight.sum()).ravel())
    row, column = np.unravel_index(chosen, weight.shape)
    step = redshift[1] - redshift[0]
    z = redshift[row] + step * rng.uniform(-0.5, 0.5, n)
    # The lightest bin is cut where the limit is; within a bin the logarithm of the mass is uniform.
    low = np.maximum(mass[column] - _STEP / 2, _lightest(redshift[row], settings.flux_limit))
    log_mass = rng.uniform(low, np.maximum(mass[column] + _STEP / 2, low))
    # Moving a galaxy within its step of redshift must not bring it below the limit.
    log_mass += 2 * np.log10(_luminosity_distance(z) / _luminosity_distance(redshift[row]))
    return REST_HZ / (1 + z), 10**log_mass


def line_flux(mass: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Line flux [Jy Hz] of HI masses [Msun] at `frequency` [Hz]: M = 49.8 D_L^2 S (Duffy et al. 2012)."""
    return mass / (_JY_HZ * _luminosity_distance(REST_HZ / frequency - 1) ** 2)


def hi_size(settings: HiSettings, mass: np.ndarray, frequency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Diameter at 1 Msun/pc^2 [arcsec]: log D [kpc] = 0.506 log M - 3.293 (Wang et al. 2016, MNRAS 460, 2143, eq. 2),
    times the settings' factor, with their scatter."""
    scatter = settings.size_scatter * rng.standard_normal(len(mass))
    kpc = settings.size_factor * 10 ** (0.506 * np.log10(mass) - 3.293 + scatter)
    z = REST_HZ / frequency - 1
    return kpc / (1e3 * _luminosity_distance(z) / (1 + z) ** 2) * _ARCSEC


def line_width(settings: HiSettings, mass: np.ndarray, inclination: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """w20 [km/s] of HI masses at inclinations [deg]: of the spectrum of a disc that turns and is turbulent.

    The flat part turns with V = 118 (M / 1e9 Msun)^(1/4) km/s: the slope of gas-rich galaxies (McGaugh 2012, AJ 143,
    40), which is also that of the scaling in SDC2, sqrt(M / D).
    """
    flat = _VELOCITY * (mass / 1e9) ** 0.25 * 10 ** (settings.velocity_scatter * rng.standard_normal(len(mass)))
    ratio = flat * np.sin(np.radians(inclination)) / DISPERSION
    return settings.width_factor * DISPERSION * width_ratio(ratio, turnover(len(mass), rng))


def turnover(n: int, rng: np.random.Generator) -> np.ndarray:
    """Radius [R_HI] ``(n,)`` in which rotation curves rise, V(r) = V_flat (1 - exp(-r / turnover))
    (Giovanelli & Haynes 2002, ApJ 571, L107, without the outer slope)."""
    return np.clip(0.12 * 10 ** (0.2 * rng.standard_normal(n)), 0.02, 0.5)


def surface_density(radius: np.ndarray) -> np.ndarray:
    """Relative surface density of HI at `radius` [R_HI]: flat inside, exponential outside with a scale of 0.19 R_HI,
    the same for all galaxies (Wang et al. 2014, MNRAS 441, 2159, eq. 1, with one scale length)."""
    return 1.0 / (1.0 + np.exp((radius - _EDGE) / _FADE))


def radii(share: np.ndarray) -> np.ndarray:
    """The radius [R_HI] within which a disc has the `share` of its gas; none is beyond 2 R_HI."""
    return np.interp(share, _enclosed(), _RADII)


def rms_radius() -> float:
    """Root mean square distance [R_HI] of a disc's gas from its centre, along one axis of its plane."""
    weight = surface_density(_RADII) * _RADII
    return float(np.sqrt(np.sum(weight * _RADII**2) / np.sum(weight) / 2))


def width_ratio(rotation: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """w20 over the velocity dispersion, of V_flat sin(i) over the dispersion and the turnover radius [R_HI]."""
    ratio, rises, width = _widths()
    row = np.interp(np.log(np.clip(rotation, ratio[0], ratio[-1])), np.log(ratio), np.arange(len(ratio)))
    column = np.interp(rise, rises, np.arange(len(rises)))
    i, j = np.minimum(row.astype(int), len(ratio) - 2), np.minimum(column.astype(int), len(rises) - 2)
    u, v = row - i, column - j
    inside = (width[i, j] * (1 - v) + width[i, j + 1] * v) * (1 - u)
    inside += (width[i + 1, j] * (1 - v) + width[i + 1, j + 1] * v) * u
    return inside * np.maximum(rotation / ratio[-1], 1.0)


def rotation_ratio(width: float, rise: float) -> float:
    """The inverse of `width_ratio`: V_flat sin(i) over the dispersion; 0 for lines that no rotation widens."""
    ratio = _widths()[0]
    along = width_ratio(ratio, np.full(len(ratio), rise))
    if width > along[-1]:
        return float(ratio[-1] * width / along[-1])
    return float(np.interp(width, along, ratio, left=0.0))


def spectrum_width(velocity: np.ndarray, spectrum: np.ndarray) -> tuple[float, float]:
    """Width between the outermost crossings of a fifth of the peak, and the middle between them, in units of
    `velocity` ``(n,)``, which rises evenly."""
    level = 0.2 * spectrum.max()
    above = np.flatnonzero(spectrum >= level)
    step = velocity[1] - velocity[0]
    padded = np.concatenate([[0.0], spectrum, [0.0]])
    first, last = above[0] + 1, above[-1] + 1
    low = velocity[above[0]] - step * (padded[first] - level) / (padded[first] - padded[first - 1])
    high = velocity[above[-1]] + step * (padded[last] - level) / (padded[last] - padded[last + 1])
    return float(high - low), float(high + low) / 2


def _luminosity_distance(z: np.ndarray) -> np.ndarray:
    grid, distance, _ = _distances()
    return np.interp(z, grid, distance)


@lru_cache(maxsize=1)
def _distances() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Redshift, luminosity distance [Mpc] and comoving volume [Mpc^3 per deg2 and unit of redshift]."""
    # Fine near us, where distances grow with redshift from nothing.
    z = np.concatenate([np.linspace(0, 0.1, 1000, endpoint=False), np.linspace(0.1, 15, 8000)])
    volume = _COSMOLOGY.differential_comoving_volume(z).value * (np.pi / 180) ** 2
    return z, _COSMOLOGY.luminosity_distance(z).value, volume


def _lightest(z: np.ndarray, limit: float) -> np.ndarray:
    return np.log10(_JY_HZ * _luminosity_distance(z) ** 2 * limit)


@lru_cache(maxsize=8)
def _population(band: tuple[float, float], limit: float, evolution: float):
    """Middles of the steps of redshift and of log10 mass, and galaxies per deg2 in each cell ``(z, mass)``."""
    edges = np.linspace(REST_HZ / band[1] - 1, REST_HZ / band[0] - 1, 101)
    z = (edges[1:] + edges[:-1]) / 2
    mass = np.arange(5.0, 12.0, _STEP) + _STEP / 2
    knee = _KNEE - 2 * np.log10(_HUBBLE) + evolution * z[:, None]
    below = mass - knee
    density = np.log(10) * _AMOUNT * _HUBBLE**3 * 10 ** (below * (_SLOPE + 1)) * np.exp(-(10**below))
    kept = np.clip((mass + _STEP / 2 - _lightest(z, limit)[:, None]) / _STEP, 0, 1) * _STEP
    grid, _, volume = _distances()
    return z, mass, density * kept * (np.interp(z, grid, volume) * np.diff(edges))[:, None]


def _number(band: tuple[float, float], limit: float, evolution: float) -> float:
    return float(_population(tuple(band), limit, evolution)[2].sum())


@lru_cache(maxsize=1)
def _enclosed() -> np.ndarray:
    mass = np.cumsum(surface_density(_RADII) * _RADII)
    return mass / mass[-1]


@lru_cache(maxsize=1)
def _widths() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation over dispersion, turnover [R_HI], and w20 over dispersion ``(rotation, turnover)`` of their spectra."""
    ratio, rise = np.geomspace(0.1, 60.0, 40), np.linspace(0.02, 0.5, 9)
    radius = radii((np.arange(120) + 0.5) / 120)
    cosine = np.cos(np.pi * (np.arange(90) + 0.5) / 90)
    width = np.empty((len(ratio), len(rise)))
    for j, turn in enumerate(rise):
        shape = ((1 - np.exp(-radius / turn))[:, None] * cosine).ravel()
        for i, speed in enumerate(ratio):
            edge = speed + 6.0
            bins = max(64, int(2 * edge / 0.2))
            counts, edges = np.histogram(shape * speed, bins, (-edge, edge))
            velocity = (edges[1:] + edges[:-1]) / 2
            kernel = np.exp(-0.5 * (np.arange(-30, 31) * (velocity[1] - velocity[0])) ** 2)
            width[i, j], _ = spectrum_width(velocity, np.convolve(counts, kernel, "same"))
    return ratio, rise, width
