"""Populations of radio sources: how many there are of each flux, class and size."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.simulate.continuum_settings import ContinuumSettings

STEEP, FLAT, STAR_FORMING = 1, 2, 3
LARGEST, GAUSSIAN, EXPONENTIAL = 1, 2, 3
COLUMNS = [
    "id",
    "ra_core",
    "dec_core",
    "ra_cent",
    "dec_cent",
    "flux_jy",
    "core_frac",
    "b_maj_arcsec",
    "b_min_arcsec",
    "pa_deg",
    "size_class",
    "source_class",
]

_REFERENCE = 560.0  # MHz

# log10 of the number of sources per deg2 and dex at 560 MHz, at log10 of the flux in Jy. Below 0.1 mJy as in the sky
# model T-RECS (Bonaldi et al. 2019, MNRAS 482, 2), of which the SDC1 truth tables are samples; the sum above follows
# the counts at 1.4 GHz of Hopkins et al. (2003, AJ 125, 465), moved to 560 MHz with a spectral index of -0.7.
_FLUXES = np.array([-8.0, -7.1, -6.6, -6.1, -5.6, -5.1, -4.6, -4.1, -3.6, -3.1, -2.5, -2.0, -1.0, 0.0])
_COUNTS = {
    STAR_FORMING: np.array([6.22, 5.77, 5.51, 5.28, 5.04, 4.76, 4.39, 3.62, 2.95, 2.0, 0.9, 0.0, -2.0, -4.0]),
    STEEP: np.array([4.45, 4.11, 3.90, 3.70, 3.62, 3.44, 3.26, 2.96, 2.80, 2.46, 1.87, 1.53, 0.85, -0.18]),
    FLAT: np.array([4.05, 3.68, 3.42, 3.25, 3.03, 2.88, 2.78, 2.58, 2.30, 1.86, 1.27, 0.93, 0.25, -0.78]),
}
_INDEX = {STAR_FORMING: 0.7, STEEP: 0.8, FLAT: 0.1}


@dataclass(frozen=True)
class _Law:
    """Sizes of one survey's truth table: medians [arcsec] at log10 of the flux in Jy at 560 MHz, scatter [dex]."""

    code: int
    fluxes: tuple[float, ...]
    galaxies: tuple[float, ...]
    scatter: float
    limits: tuple[float, float]
    steep: tuple[float, float]
    steep_scatter: float
    steep_ratio: tuple[float, float]
    flat: tuple[float, float]
    flat_scatter: float


_LAWS = {
    # Scale lengths of discs. Steep: the largest angular size at 2 uJy and its slope, and the
    # range of the axis ratios of the extended. Flat: median and limit.
    "exponential": _Law(
        EXPONENTIAL, (-7.1, -6.2, -5.5, -4.6), (0.548, 0.614, 0.654, 0.76), 0.24, (0.3, 3.0), (0.9, 0.23), 0.4,
        (0.2, 0.5), (0.17, 0.3), 0.2,
    ),
    # FWHM of Gaussians, measured in the SDC1 truth table at 560 MHz.
    "gaussian": _Law(
        GAUSSIAN, (-7.0, -6.35, -5.96, -5.4, -4.6, -4.2), (0.123, 0.176, 0.242, 0.437, 1.319, 1.95), 0.26,
        (0.005, 20.0), (11.5, 0.0), 0.48, (0.35, 0.85), (0.016, 0.5), 0.5,
    ),
}  # fmt: skip


def counts(flux: np.ndarray, source_class: int, frequency: float = _REFERENCE) -> np.ndarray:
    """Number of sources of a class per deg2 and dex of flux [Jy] at `frequency` [MHz], straight between the nodes."""
    at = np.log10(flux) + _INDEX[source_class] * np.log10(frequency / _REFERENCE)
    nodes = _COUNTS[source_class]
    return 10 ** np.interp(at, _FLUXES, nodes)


def draw(settings: ContinuumSettings, area_deg2: float, frequency: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the sources of `area_deg2` at `frequency` [MHz]: a table with the columns of the truth, in no order.

    Numbers are Poisson, classes independent, positions are left NaN. Sizes are log-normal about a median that depends
    on class and flux, discs are seen at random inclinations (axis ratio q^2 = cos^2 i + q0^2 sin^2 i, q0 = 0.2,
    Hubble 1926, ApJ 64, 321).

    Raises
    ------
    UserError : the brightest sources would be fainter than the faintest.
    """
    low, high = np.log10(settings.flux_limit * settings.rms), np.log10(settings.flux_max)
    if not low < high:
        what = f"{settings.flux_max:g} Jy is below {settings.flux_limit:g} times the noise of {settings.rms:g} Jy/beam"
        raise UserError("flux_max", what, "raise it")
    grid = np.linspace(low, high, 2000)
    parts = []
    for source_class in (STAR_FORMING, STEEP, FLAT):
        number = counts(10**grid, source_class, frequency)
        steps = 0.5 * (number[1:] + number[:-1]) * np.diff(grid)
        below = np.concatenate([[0.0], np.cumsum(steps)])
        n = rng.poisson(below[-1] * area_deg2 * settings.density)
        flux = 10 ** np.interp(rng.uniform(0, below[-1], n), below, grid)
        at = np.log10(flux) + _INDEX[source_class] * np.log10(frequency / _REFERENCE)
        parts.append(_MAKERS[source_class](settings, flux, at, rng))
    table = pd.concat(parts, ignore_index=True)
    table["pa_deg"] = rng.uniform(-90.0, 90.0, len(table))
    return _complete(table)


def bootstrap(catalogue: pd.DataFrame, n: int, rng: np.random.Generator, *, jitter: float = 0.05) -> pd.DataFrame:
    """`n` rows of `catalogue` (truth columns), drawn with replacement, positions NaN and turned at random.

    Flux and sizes are multiplied by log-normal factors of scatter `jitter` [dex], one for the flux and one for both
    sizes, so that no two sources are the same.

    Raises
    ------
    UserError : a column is missing, the catalogue is empty, or has no row of positive flux.
    """
    needed = [name for name in COLUMNS if name not in ("id", "ra_core", "dec_core", "ra_cent", "dec_cent", "pa_deg")]
    missing = [name for name in needed if name not in catalogue.columns]
    if missing:
        raise UserError("catalogue", f"has no column {', '.join(missing)}", "give a truth table")
    rows = catalogue[np.isfinite(catalogue["flux_jy"]) & (catalogue["flux_jy"] > 0)]
    if not len(rows):
        raise UserError("catalogue", "has no row of positive flux", "give a catalogue with sources")
    table = rows.iloc[rng.integers(len(rows), size=n)][needed].reset_index(drop=True)
    table["flux_jy"] *= 10 ** (jitter * rng.standard_normal(n))
    size = 10 ** (jitter * rng.standard_normal(n))
    table["b_maj_arcsec"] *= size
    table["b_min_arcsec"] *= size
    table["core_frac"] = table["core_frac"].clip(0.0, 1.0)
    table["pa_deg"] = rng.uniform(-90.0, 90.0, n)
    return _complete(table)


def sky_area(catalogue: pd.DataFrame) -> float:
    """Area [deg2] of the box in right ascension and declination that the positions of a catalogue span."""
    # Right ascensions are unwrapped about the first, a field may lie across 0.
    ra = (catalogue["ra_cent"] - catalogue["ra_cent"].iloc[0] + 180.0) % 360.0
    dec = catalogue["dec_cent"]
    return float(np.ptp(ra) * np.ptp(np.sin(np.radians(dec))) * 180.0 / np.pi)


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    table["id"] = np.arange(len(table))
    for name in ("ra_core", "dec_core", "ra_cent", "dec_cent"):
        table[name] = np.nan
    return table[COLUMNS]


def _galaxies(settings: ContinuumSettings, flux: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    law, n = _LAWS[settings.size_form], len(flux)
    scatter = law.scatter if settings.size_scatter is None else settings.size_scatter
    median = np.interp(at, law.fluxes, np.log10(law.galaxies))
    size = np.clip(10 ** (median + scatter * rng.standard_normal(n)), *law.limits) * settings.size_factor
    if law.code == EXPONENTIAL:
        ratio = np.sqrt(0.04 + 0.96 * rng.uniform(0, 1, n) ** 2)
    else:
        # In the SDC1 table the ratio falls with flux, with little scatter: from 0.68 at 0.1 uJy to 0.25 at 30 uJy.
        mean = np.interp(at, (-7.0, -6.35, -5.96, -5.4, -4.6, -4.2), (0.68, 0.57, 0.50, 0.40, 0.27, 0.22))
        ratio = np.clip(mean + 0.10 * rng.standard_normal(n), 0.1, 1.0)
    return _table(flux, 0.0, size, ratio, law.code, STAR_FORMING)


def _steep(settings: ContinuumSettings, flux: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    law, n = _LAWS[settings.size_form], len(flux)
    median, slope = law.steep
    largest = 10 ** (np.log10(median) + slope * (at + 5.7) + law.steep_scatter * rng.standard_normal(n))
    largest = np.clip(largest, 0.1, 180.0) * settings.size_factor
    # As in SDC1 (Bonaldi et al. 2021, MNRAS 500, 3821): the compact are Gaussians of half the largest angular size.
    extended = largest > 2 * settings.beam_arcsec[0]
    ratio = np.where(
        extended, rng.uniform(*law.steep_ratio, n), np.clip(0.55 + 0.18 * rng.standard_normal(n), 0.25, 0.95)
    )
    core = np.where(extended, rng.beta(1.6, 26.0, n), rng.beta(2.5, 2.5, n))
    size = np.where(extended, largest, largest / 2)
    return _table(flux, core, size, ratio, np.where(extended, LARGEST, GAUSSIAN), STEEP)


def _flat(settings: ContinuumSettings, flux: np.ndarray, at: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    law, n = _LAWS[settings.size_form], len(flux)
    median, limit = law.flat
    size = np.minimum(median * 10 ** (law.flat_scatter * rng.standard_normal(n)), limit) * settings.size_factor
    core = np.clip(0.75 + 0.1 * rng.standard_normal(n), 0.0, 1.0)
    return _table(flux, core, size, rng.uniform(0.5, 1.0, n), GAUSSIAN, FLAT)


_MAKERS = {STAR_FORMING: _galaxies, STEEP: _steep, FLAT: _flat}


def _table(flux, core, size, ratio, code, source_class) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "flux_jy": flux,
            "core_frac": core,
            "b_maj_arcsec": size,
            "b_min_arcsec": size * ratio,
            "size_class": code,
            "source_class": source_class,
        }
    )
