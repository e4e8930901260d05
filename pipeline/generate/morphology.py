"""What astronomers measure of a galaxy's picture, for thousands of stamps at once and without a fit.

The same statistics serve a spectrum, an image and a cube wherever they make sense (`statistic_names`). A statistic
that is undefined for a stamp (no light, nothing but NaN, ...) is NaN.
"""

from functools import lru_cache

import numpy as np
from scipy import ndimage

from pipeline.data.background import MAD_TO_SIGMA
from pipeline.generate.growth import EXTENT, Growth, Spectra, curve_of_growth

_ALWAYS = (
    "flux", "peak", "half_light_radius", "concentration", "asymmetry", "raw_asymmetry", "gini", "m20",
    "background_rms", "background_median",
)  # fmt: skip
_PLANE = ("ellipticity", "e1", "e2")
_BLOCK = 1 << 18  # pixels that are measured at a time
_SMOOTHING = 0.2  # of a Petrosian radius: Lotz et al. 2004, section 2.3
_BRIGHT = 0.2  # of the flux: Lotz et al. 2004, equation 8
_PIECE = 0.1  # of the brightest piece's flux: what is fainter is noise


def statistic_names(ndim: int) -> tuple[str, ...]:
    """The statistics of stamps with `ndim` axes: ellipticities have a meaning in the plane only."""
    return _ALWAYS + _PLANE if ndim == 2 else _ALWAYS


def morphology(stamps: np.ndarray) -> dict[str, np.ndarray]:
    """Measure `stamps` `(n, channel, *axes)`, N = 1 to 3 axes; each statistic is float64 `(n,)`.

    Colour stamps are measured on the mean of their channels; NaN and infinite pixels count as background.

    ================== =========================================================================================
    flux               sum of all pixels [unit x pixel]; the zero level is the stamp's own
    peak               brightest pixel [unit]
    background_median  median outside the ellipse that the stamp holds (N = 1: outside the middle 3/4) [unit]
    background_rms     1.4826 times the median absolute deviation there [unit]
    half_light_radius  holds half the flux within 1.5 Petrosian radii [pixels]
    concentration      5 log10(r80 / r20), radii of 80 and 20 per cent of that flux (Kent 1985; Conselice 2003,
                       ApJS 147, 1, section 3; Lotz et al. 2004, AJ 128, 163, section 2.2)
    asymmetry          sum |I - I180| / sum |I| within 1.5 Petrosian radii, less the same of as much background
                       (Conselice 2003, section 3; Lotz et al. 2004, section 2.2); I180 is the point reflection
    raw_asymmetry      sum |I - I180| / sum |I| of the whole stamp about its middle, noise and all
    gini               inequality of the galaxy's pixels (Lotz et al. 2004, equation 6), see `gini`
    m20                log10 of the second moment of the brightest 20 per cent of the flux over that of all
                       (Lotz et al. 2004, equations 7 and 8)
    e1, e2             (Qxx - Qyy) / (Qxx + Qyy) and 2 Qxy / (Qxx + Qyy) of the second moments
                       (Bartelmann & Schneider 2001, Phys. Rep. 340, 291, section 4.2)
    ellipticity        1 - b/a of the same moments
    ================== =========================================================================================

    All but flux, peak and background are measured after subtracting the background median, about the centre of
    symmetry. Gini, M20 and moments are of the galaxy's pixels: those that, after smoothing by a fifth of the Petrosian
    radius, are brighter than the galaxy is at that radius (Lotz et al. 2004, section 2.3), in connected pieces of at
    least a tenth of the brightest piece's flux, so that double sources stay whole and noise stays out.

    Raises
    ------
    ValueError : `stamps` has not 3 to 5 dimensions, or an axis of less than 3 pixels.
    """
    stamps = np.asarray(stamps)
    if stamps.ndim not in (3, 4, 5) or min(stamps.shape[2:]) < 3:
        raise ValueError(f"stamps have the shape {stamps.shape}, expected (n, channel, *axes) of 3 pixels or more")
    names = statistic_names(stamps.ndim - 2)
    size = max(1, _BLOCK // int(np.prod(stamps.shape[2:])))
    with np.errstate(all="ignore"):
        parts = [_measure(_mono(stamps[start : start + size])) for start in range(0, len(stamps), size)]
    found = {name: np.concatenate([part[name] for part in parts]) if parts else np.zeros(0) for name in names}
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}


def gini(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Gini coefficient `(n,)` of the `chosen` `(n, p)` of `values` `(n, p)` (Lotz et al. 2004, equation 6).

    0 where all are equal, 1 where one pixel has all light; NaN for less than two pixels, or no light.
    """
    count = chosen.sum(axis=1)
    # What is not chosen comes first, where its rank is negative and its weight is zero.
    ordered = np.sort(np.where(chosen, np.abs(values), -1.0), axis=1)
    rank = np.arange(1, values.shape[1] + 1) - (values.shape[1] - count)[:, None]
    kept = np.maximum(ordered, 0.0)
    with np.errstate(all="ignore"):
        found = ((2 * rank - count[:, None] - 1) * kept).sum(axis=1) / (kept.sum(axis=1) * (count - 1))
    return np.where((count > 1) & (kept.sum(axis=1) > 0), found, np.nan)


def m20(values: np.ndarray, square: np.ndarray) -> np.ndarray:
    """M20 `(n,)` of fluxes `values` `(n, p)` at squared distances `square` `(n, p)` from the centroid.

    The brightest pixels hold 20 per cent of the flux exactly: the pixel that crosses that share counts in part.
    Pixels of no flux do not count.
    """
    order = np.argsort(-values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    moment = ordered * np.take_along_axis(square, order, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    with np.errstate(all="ignore"):
        limit = _BRIGHT * ordered.sum(axis=1, keepdims=True)
        part = np.where(ordered > 0, np.clip((limit - before) / ordered, 0, 1), 0)
        return np.log10((part * moment).sum(axis=1) / moment.sum(axis=1))


def _mono(stamps: np.ndarray) -> np.ndarray:
    """`(n, *axes)` float64, the mean of the finite channels, NaN where there is none."""
    stamps = stamps.astype(np.float64)
    finite = np.isfinite(stamps)
    return np.where(finite, stamps, 0).sum(axis=1) / finite.sum(axis=1)


def _measure(image: np.ndarray) -> dict[str, np.ndarray]:
    """Every statistic of the planes, lines or cubes `(n, *axes)`."""
    finite = np.isfinite(image)
    outer = np.where(finite, image, np.nan)[:, _outskirts(image.shape[1:])]
    median = _median(outer)
    rms = MAD_TO_SIGMA * _median(np.abs(outer - median[:, None]))
    known = _wide(median, image)
    light = np.where(finite & np.isfinite(known), image - known, 0.0)
    spectra = Spectra(light)
    growth = curve_of_growth(light, spectra.symmetric_centre())
    chosen = _galaxy(light, spectra, growth)
    seen = finite.reshape(len(image), -1).any(axis=1)
    sums = tuple(range(1, image.ndim))
    difference = np.abs(light - np.flip(light, sums))
    found = {
        "flux": np.where(seen, np.where(finite, image, 0).sum(axis=sums), np.nan),
        "peak": np.where(finite, image, -np.inf).max(axis=sums),
        "half_light_radius": growth.radius(0.5),
        "concentration": 5 * np.log10(growth.radius(0.8) / growth.radius(0.2)),
        "asymmetry": _asymmetry(light, spectra, growth, difference[:, _outskirts(image.shape[1:])].mean(axis=1)),
        "raw_asymmetry": difference.sum(axis=sums) / np.abs(light).sum(axis=sums),
        "background_rms": rms,
        "background_median": median,
    }
    return found | _pixels(light, chosen)


@lru_cache(maxsize=8)
def _outskirts(axes: tuple[int, ...]) -> np.ndarray:
    """True `(*axes)` where a stamp shows background."""
    parts = [((np.arange(axis) - (axis - 1) / 2) / (axis / 2)) ** 2 for axis in axes]
    square = sum(np.meshgrid(*parts, indexing="ij"))
    return square > (0.75**2 if len(axes) == 1 else 1.0)


def _median(values: np.ndarray) -> np.ndarray:
    """Median `(n,)` of the rows, NaN left out; NaN of a row of NaN."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    rows, last = np.arange(len(values)), values.shape[1] - 1
    low, high = np.clip((count - 1) // 2, 0, last), np.clip(count // 2, 0, last)
    return np.where(count > 0, (ordered[rows, low] + ordered[rows, high]) / 2, np.nan)


def _wide(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    return values.reshape(-1, *(1,) * (image.ndim - 1))


def _squares(image: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Squared distance `(n, *axes)` of each pixel from `centre` `(n, N)`."""
    square = np.zeros(image.shape)
    for place, axis in enumerate(image.shape[1:]):
        shape = (-1, *(axis if number == place else 1 for number in range(image.ndim - 1)))
        square += ((np.arange(axis) - centre[:, place, None]) ** 2).reshape(shape)
    return square


def _galaxy(light: np.ndarray, spectra: Spectra, growth: Growth) -> np.ndarray:
    """True `(n, *axes)` at the pixels that belong to the galaxy."""
    radius = np.nan_to_num(growth.petrosian)
    level = growth.brightness()
    smooth = spectra.smoothed(_SMOOTHING * radius)
    inside = _squares(light, growth.centre) <= _wide((EXTENT * radius) ** 2, light)
    bright = inside & (smooth >= _wide(level, light)) & (_wide(growth.total, light) > 0)
    touching = np.zeros((3,) * light.ndim, dtype=bool)
    touching[1] = True  # pieces do not reach from stamp to stamp
    pieces, count = ndimage.label(bright, touching)
    flux = np.bincount(pieces.ravel(), light.ravel(), count + 1)
    flux[0] = -np.inf
    of_pixel = flux[pieces]
    largest = of_pixel.reshape(len(light), -1).max(axis=1)
    return bright & (of_pixel >= _wide(_PIECE * largest, light))


def _asymmetry(light: np.ndarray, spectra: Spectra, growth: Growth, background: np.ndarray) -> np.ndarray:
    """Asymmetry `(n,)`, with `background` `(n,)` the mean difference of a pixel that shows none of the galaxy."""
    turned = spectra.reflected(growth.centre)
    square = _squares(light, growth.centre)
    compared = square <= _wide((EXTENT * growth.petrosian) ** 2, light)
    for place, axis in enumerate(light.shape[1:]):
        # A pixel whose partner lies outside the stamp has nothing to be compared with.
        partner = 2 * growth.centre[:, place, None] - np.arange(axis)
        shape = (-1, *(axis if number == place else 1 for number in range(light.ndim - 1)))
        compared &= ((partner >= -0.5) & (partner <= axis - 0.5)).reshape(shape)
    sums = tuple(range(1, light.ndim))
    difference = np.where(compared, np.abs(light - turned), 0).sum(axis=sums)
    whole = np.where(compared, np.abs(light), 0).sum(axis=sums)
    return np.where(growth.total > 0, (difference - compared.sum(axis=sums) * background) / whole, np.nan)


def _pixels(light: np.ndarray, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """What is computed from the galaxy's pixels: Gini, M20 and the second moments."""
    n, axes = len(light), light.shape[1:]
    flux = np.where(chosen, light, 0.0)
    whole = flux.reshape(n, -1).sum(axis=1)
    whole = np.where(whole > 0, whole, np.nan)
    centre = np.stack([_projected(flux, place) @ np.arange(axis) / whole for place, axis in enumerate(axes)], axis=1)
    found = {
        "gini": gini(light.reshape(n, -1), chosen.reshape(n, -1)),
        "m20": m20(flux.reshape(n, -1), _squares(light, centre).reshape(n, -1)),
    }
    if len(axes) != 2:
        return found
    y, x = (np.arange(axis) - centre[:, place, None] for place, axis in enumerate(axes))
    qyy = (_projected(flux, 0) * y**2).sum(axis=1) / whole
    qxx = (_projected(flux, 1) * x**2).sum(axis=1) / whole
    qxy = np.einsum("nyx,ny,nx->n", flux, y, x) / whole
    e1, e2 = (qxx - qyy) / (qxx + qyy), 2 * qxy / (qxx + qyy)
    size = np.hypot(e1, e2)
    return found | {"e1": e1, "e2": e2, "ellipticity": 1 - np.sqrt((1 - size) / (1 + size))}


def _projected(flux: np.ndarray, place: int) -> np.ndarray:
    """Sums `(n, axis)` over all axes but one."""
    return flux.sum(axis=tuple(1 + number for number in range(flux.ndim - 1) if number != place))
