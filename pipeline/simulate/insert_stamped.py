"""Stamps put into a frame: their fluxes, their places and what they truly are."""

import warnings

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.simulate.hi_laws import channel_width_km_s, spectrum_width
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_pictures import Pictures
from pipeline.simulate.insert_places import draw_fluxes
from pipeline.simulate.insert_settings import InsertSettings
from pipeline.simulate.insert_sources import source_truth
from pipeline.simulate.insert_stamps import NoisyStampsWarning, StampPlacer, Stamps, stamp_moments
from pipeline.simulate.populations import GAUSSIAN, STEEP
from pipeline.sky.window import FrameReader


def stamp_pictures(
    stamps: Stamps,
    settings: InsertSettings,
    reader: FrameReader,
    plane: Plane,
    places: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Pictures, pd.DataFrame]:
    """What stamps, drawn at random, look like with their middles at `places` ``(n, N)`` [pixels], and their truth.

    In the truth of an image a stamp is a Gaussian (size code 2) of the second moments of its light without its PSF, of
    the class of steep spectra. In that of a cube w20 is that of its spectrum, the size its major axis, the inclination
    that of a flat disc of its axes.

    Raises
    ------
    UserError : fluxes are not known and not given, channels are of another width, the PSF is too broad, or nothing is
        left of a stamp.

    Warns
    -----
    NoisyStampsWarning : the stamps have noise, and are not clipped.
    """
    _check(stamps, settings, reader)
    placer = StampPlacer(stamps, plane)
    covered, sides = placer.covered, np.array(reader.shape[-2:])
    if (covered >= sides).all():
        what = f"has stamps as large as {covered[1]} x {covered[0]} pixels of {reader.path}, which has no more than "
        raise UserError(stamps.path, what + f"{sides[1]} x {sides[0]}", "give cut-outs of single sources")
    channel = float(np.median(reader.channel_hz)) if len(reader.shape) == 3 else 1.0
    sums = stamps.pixels.reshape(len(stamps.pixels), -1).sum(axis=1, dtype=float)
    usable = np.flatnonzero(sums > 0)
    if not len(usable):
        what = f"has no stamp with light above {settings.clip:g} times the noise"
        raise UserError(stamps.path, what, "clip at less")
    rounds = -(-len(places) // len(usable))
    chosen = np.concatenate([rng.permutation(usable) for _ in range(rounds)])[: len(places)]
    flux = sums[chosen] * channel
    if settings.flux_range is not None:
        flux = draw_fluxes(settings.flux_range, len(places), rng)
    factor = (flux / channel / sums[chosen]).astype(np.float32)
    low, high = placer.extent(places[:, -2:])
    if len(reader.shape) == 3:
        depth = stamps.pixels.shape[1]
        first = np.rint(places[:, 0]).astype(int) - (depth - 1) // 2
        low, high = np.column_stack([first, low]), np.column_stack([first + depth, high])

    def draw(number: int) -> np.ndarray:
        return factor[number] * placer.draw(stamps.pixels[chosen[number]], places[number, -2:])

    truth = (_cube_truth if len(reader.shape) == 3 else _image_truth)(
        stamps, chosen, flux, reader, plane, placer, places
    )
    return Pictures(low, high, draw), truth.assign(source=chosen, id=np.arange(len(truth)))


def _check(stamps: Stamps, settings: InsertSettings, reader: FrameReader) -> None:
    if not stamps.calibrated and settings.flux_range is None:
        what = "is not in a unit that gives fluxes in Jy (BUNIT Jy/pixel, or Jy/beam with a PSF)"
        raise UserError(stamps.path, what, "give --flux-range")
    if len(reader.shape) == 3 and stamps.channel_hz is not None:
        channel = float(np.median(reader.channel_hz))
        if abs(stamps.channel_hz / channel - 1) > 0.01:
            what = f"has channels of {stamps.channel_hz:.6g} Hz where those of {reader.path} are {channel:.6g} Hz wide"
            raise UserError(stamps.path, what, "give stamps of the same channels")
    if settings.clip is not None and not stamps.noise > 0:
        raise UserError(stamps.path, "does not tell its noise (no RMS in its header)", "leave out --clip")
    if settings.clip is None and stamps.noise > 0:
        warnings.warn(
            f"{stamps.path}: its stamps have noise of their own, which is put in with them; "
            "clip it with --clip, for example 3.",
            NoisyStampsWarning,
            4,
        )


def _moments(stamps: Stamps, chosen: np.ndarray, placer: StampPlacer) -> tuple[np.ndarray, np.ndarray]:
    """Centroids ``(n, 2)`` from the middle and covariances ``(n, 2, 2)`` without the PSF, (y, x) of the frame."""
    planes = stamps.pixels if stamps.pixels.ndim == 3 else stamps.pixels.sum(axis=1)
    middle = (np.array(planes.shape[1:]) - 1) / 2
    numbers, back = np.unique(chosen, return_inverse=True)
    found = [stamp_moments(planes[number].astype(float), float(planes[number].sum(dtype=float))) for number in numbers]
    centre = np.array([placer.turn @ (centre - middle) for centre, _ in found])
    square = np.array([placer.turn @ square @ placer.turn.T - placer.psf for _, square in found])
    return centre[back], square[back]


def _image_truth(stamps, chosen, flux, reader, plane: Plane, placer, places) -> pd.DataFrame:
    centre, square = _moments(stamps, chosen, placer)
    centroid = places + centre
    major, minor, pa = plane.sky_widths(centroid[:, 1], centroid[:, 0], square)
    table = pd.DataFrame(
        {
            "id": np.arange(len(flux)),
            "flux_jy": flux,
            "core_frac": 0.0,
            "b_maj_arcsec": major,
            "b_min_arcsec": minor,
            # The official position angle runs clockwise from west.
            "pa_deg": (90.0 - pa) % 180.0,
            "size_class": GAUSSIAN,
            "source_class": STEEP,
        }
    )
    return source_truth(table, plane, centroid, centroid)


def _cube_truth(stamps, chosen, flux, reader, plane: Plane, placer, places) -> pd.DataFrame:
    centre, square = _moments(stamps, chosen, placer)
    y, x = places[:, 1] + centre[:, 0], places[:, 2] + centre[:, 1]
    major, minor, _ = plane.sky_widths(x, y, square)
    lines = [_line(stamps.pixels[number], placer, plane) for number in chosen]
    z = np.rint(places[:, 0]) - (stamps.pixels.shape[1] - 1) // 2 + np.array([line[1] for line in lines])
    ra, dec, frequency = reader.to_sky(z, y, x)
    step = channel_width_km_s(frequency, float(np.median(reader.channel_hz)))
    ratio = np.divide(minor, major, out=np.ones(len(major)), where=major > 0)
    return pd.DataFrame(
        {
            "id": np.arange(len(flux)),
            "ra": ra,
            "dec": dec,
            "hi_size": major,
            "line_flux_integral": flux,
            "central_freq": frequency,
            "pa": [line[2] for line in lines],
            "i": np.degrees(np.arccos(ratio)),
            "w20": step * np.array([line[0] for line in lines]),
            "x": x,
            "y": y,
            "z": z,
        }
    )


def _line(pixels: np.ndarray, placer: StampPlacer, plane: Plane) -> tuple[float, float, float]:
    """w20 [channels], the middle of the line [channel of the stamp], and the position angle of the receding side."""
    spectrum = pixels.sum(axis=(1, 2), dtype=float)
    width, middle = spectrum_width(np.arange(len(spectrum), dtype=float), spectrum)
    z, y, x = np.indices(pixels.shape, float)
    light = pixels / pixels.sum(dtype=float)
    # The covariance of place and frequency points to the approaching side.
    away = np.array([-(light * (z - middle) * (part - (light * part).sum())).sum() for part in (y, x)])
    east, north = plane.turn @ (placer.turn @ away)[::-1]
    return float(width), float(middle), float(np.degrees(np.arctan2(east, north)) % 360.0)
