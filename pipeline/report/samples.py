"""One object drawn with its axes: a spectrum, an image on the sky, or a cube as moment 0 and summed spectrum."""

import warnings
from dataclasses import dataclass

import astropy.units as u
import matplotlib
import numpy as np
from astropy.io import fits
from astropy.visualization import AsinhStretch, BaseStretch, ImageNormalize, LinearStretch
from astropy.wcs import WCS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from pipeline.report.style import MUTED, NETWORK, PALETTE, SKY_MAP, light_grid, plain, quantity

_MISSING = "#c9ced6"


@dataclass
class Sample:
    """One object of the store with what is needed to draw it.

    Attributes
    ----------
    x : `(channel, *axes)`, NaN where invalid.
    axis : wavelength [angstrom] of a spectrum's pixels, or None.
    unit : unit of x, "" when it has none.
    wcs : the WCS of the axes, or None.
    picture : a PNG, JPEG or idx picture: its rows run downwards and its values have no physical scale.
    title, note : what is written above it, left and right.
    colour : of the title.
    """

    x: np.ndarray
    axis: np.ndarray | None
    unit: str
    wcs: WCS | None
    picture: bool
    title: str
    note: str
    colour: str


def read_wcs(header: str) -> WCS | None:
    """The WCS that a stored header text describes; None for a blank text or one without celestial axes."""
    if not header.strip():
        return None
    with warnings.catch_warnings():
        # The reader of the original file has warned about its header already.
        warnings.simplefilter("ignore")
        wcs = WCS(fits.Header.fromstring(header, sep="\n" if "\n" in header else ""))
    return wcs if wcs.has_celestial else None


def draw_spectrum(axes: Axes, sample: Sample) -> None:
    """Flux against wavelength, or against the pixel number where no wavelength is known; one line a channel."""
    position = np.arange(sample.x.shape[-1]) if sample.axis is None else sample.axis
    for index, flux in enumerate(sample.x):
        axes.plot(position, flux, color=PALETTE[index % len(PALETTE)], lw=0.8)
    axes.margins(x=0.01)
    axes.locator_params(axis="y", nbins=3)
    axes.tick_params(axis="y", labelsize=7.5)
    light_grid(axes, "x")
    axes.set_title(plain(sample.title, 40), size=8.5, color=sample.colour, weight="bold", pad=3)
    axes.set_title(plain(sample.note, 60), size=7.5, color=MUTED, loc="right", pad=3)


def draw_image(figure: Figure, place: SubplotSpec, sample: Sample) -> None:
    """An image `(channel, y, x)` with sky coordinates where its header has them, else in pixels.

    Three channels are a colour picture; otherwise the first channel is drawn with a colour bar in its unit, stretched
    by asinh unless it is a PNG, JPEG or idx picture.
    """
    axes = _sky_axes(figure, place, sample.wcs)
    if sample.picture:
        _picture(figure, axes, sample.x, "pixel value", LinearStretch())
        # the first row of a picture is its top; sky axes refuse images with another origin, so the axis is turned
        axes.invert_yaxis()
    else:
        _picture(figure, axes, sample.x, quantity("brightness", sample.unit), AsinhStretch(0.1))
    _title(axes, sample)


def draw_cube(figure: Figure, map_place: SubplotSpec, spectrum_place: SubplotSpec, sample: Sample) -> None:
    """A cube `(channel, z, y, x)`: the sum over its first axis (moment 0) and the sum over its last two."""
    cube = sample.x[0]
    position, name, step_unit, width = _spectral_axis(sample.wcs, cube.shape[0])
    unit = " ".join(part for part in (sample.unit, step_unit) if part)
    axes = _sky_axes(figure, map_place, sample.wcs)
    moment = np.where(np.isfinite(cube).any(axis=0), np.nansum(cube, axis=0) * width, np.nan)
    _picture(figure, axes, moment[None], quantity("moment 0", unit), LinearStretch())
    _title(axes, sample)
    below = figure.add_subplot(spectrum_place)
    below.axhline(0, color=MUTED, lw=0.8)
    below.plot(position, np.nansum(cube, axis=(1, 2)), color=NETWORK, lw=1.2, drawstyle="steps-mid")
    below.set(xlabel=quantity(name, step_unit if sample.wcs is not None else ""), ylabel=quantity("sum", sample.unit))
    below.tick_params(labelsize=7.5)
    below.xaxis.label.set_size(8)
    below.yaxis.label.set_size(8)
    light_grid(below, "x")


def _spectral_axis(wcs: WCS | None, length: int) -> tuple[np.ndarray, str, str, float]:
    """Coordinate of each channel, its name, its unit as text, and the width of a channel in that unit."""
    spectral = wcs.spectral if wcs is not None else None
    if spectral is None or spectral.naxis != 1:
        return np.arange(length), "channel", "channel", 1.0
    raw = spectral.wcs_pix2world(np.arange(length)[:, None], 0)[:, 0] * u.Unit(spectral.wcs.cunit[0])
    kind = spectral.wcs.ctype[0].upper()
    name, unit = next(
        (
            (label, shown)
            for label, shown in (("velocity", u.km / u.s), ("frequency", u.MHz), ("wavelength", u.angstrom))
            if raw.unit.is_equivalent(shown)
        ),
        (kind.lower(), raw.unit),
    )
    values = raw.to_value(unit)
    width = float(np.abs(np.diff(values)).mean()) if length > 1 else 1.0
    return values, name, unit.to_string().replace(" ", ""), width


def _sky_axes(figure: Figure, place: SubplotSpec, wcs: WCS | None) -> Axes:
    if wcs is None:
        axes = figure.add_subplot(place)
        axes.set_xlabel("x [pixel]", size=8)
        axes.set_ylabel("y [pixel]", size=8)
        axes.tick_params(labelsize=7.5)
        return axes
    celestial = wcs.celestial
    axes = figure.add_subplot(place, projection=celestial)
    for coordinate, label in zip(axes.coords, ("RA", "Dec"), strict=True):
        if celestial.wcs.lngtyp != "RA":
            label = {"RA": "longitude", "Dec": "latitude"}[label]
        coordinate.set_axislabel(label, size=8, minpad=0.5)
        coordinate.set_ticks(number=3)
        coordinate.set_ticklabel(size=7, exclude_overlapping=True, simplify=True)
    return axes


def _picture(figure: Figure, axes: Axes, image: np.ndarray, label: str, stretch: BaseStretch) -> None:
    if len(image) == 3:
        scaled = image / 255 if image.dtype == np.uint8 else _unit_range(image)
        axes.imshow(np.moveaxis(scaled, 0, -1), origin="lower", interpolation="nearest")
        return
    low, high = _limits(image[0])
    colours = matplotlib.colormaps[SKY_MAP].with_extremes(bad=_MISSING)
    norm = ImageNormalize(vmin=low, vmax=high, stretch=stretch, clip=False)
    shown = axes.imshow(image[0], origin="lower", interpolation="nearest", cmap=colours, norm=norm)
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(label, size=7.5)
    bar.outline.set_visible(False)
    bar.ax.locator_params(nbins=4)


def _limits(image: np.ndarray) -> tuple[float, float]:
    """From the faint end, without a few bad pixels, to the brightest: a compact source fills only a few pixels."""
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, 0.5), values.max()
    return float(low), float(high if high > low else low + 1)


def _unit_range(image: np.ndarray) -> np.ndarray:
    low, high = _limits(image)
    return np.nan_to_num(np.clip((image - low) / (high - low), 0, 1))


def _title(axes: Axes, sample: Sample) -> None:
    """The class in bold with the object's name and probability below it: a panel is too narrow for one line."""
    axes.set_title(plain(sample.title, 32), size=9, color=sample.colour, weight="bold", pad=17)
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(plain(sample.note, 36), (0, 1), (0, 6), size=7.5, color=MUTED, annotation_clip=False, **place)
