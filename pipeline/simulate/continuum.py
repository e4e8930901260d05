"""Simulated fields of radio sources in noise, with the truth."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from scipy import fft

from pipeline.errors import UserError
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.dirty_beam import sidelobes
from pipeline.simulate.morphology import components, pictures, splat
from pipeline.simulate.noise import NoisePower, covariance, generate, white_beam
from pipeline.simulate.populations import LARGEST, STEEP, bootstrap, draw, sky_area
from pipeline.simulate.render import Gaussians, render
from pipeline.sky.frame import Beam, Frame

_MARGIN = 10.0  # beams around the image in which sources are drawn too, whose light reaches in
_TOLERANCE = 3e-3  # rms: where a source is cut off


@dataclass
class Field:
    """A simulated image with its truth.

    frame : the image (y, x), Jy/beam, apparent brightness: not corrected for the primary beam.
    truth : intrinsic sources whose centroid is inside the image, with the truth columns, the 0-based pixel
        coordinates x, y of the centroid, and attenuation, the flux in the image over flux_jy.
    primary_beam : attenuation of the image ``(y, x)`` float32, 1 where there is none.
    rms : rms of the noise ``(y, x)`` float32 [Jy/beam].
    """

    frame: Frame
    truth: pd.DataFrame
    primary_beam: np.ndarray
    rms: np.ndarray


def simulate(
    settings: ContinuumSettings,
    seed: int,
    *,
    noise: NoisePower | None = None,
    catalogue: pd.DataFrame | None = None,
) -> Field:
    """Simulate one field; the same settings and seed give the same field.

    noise : texture and rms of the noise, in place of `settings.noise` and `settings.rms`, also where settings are in
        units of the rms. Needed by ``settings.noise = "measured"``.
    catalogue : truth table of another field whose rows are drawn again instead of the laws' sources.

    Raises
    ------
    UserError : measured noise was asked for and not given, or the catalogue cannot be used.
    """
    if settings.noise == "measured" and noise is None:
        raise UserError("noise: measured", "needs noise that was measured", "give it or use noise: white_beam")
    # Streams of their own: sources do not change when the noise does.
    sky_rng, shape_rng, noise_rng, other_rng = (np.random.default_rng((seed, part)) for part in range(4))
    power = noise or white_beam(settings.beam_pixels, settings.rms)
    settings = settings.model_copy(update={"rms": power.rms})
    truth, centre = _sources(settings, catalogue, sky_rng)
    wcs = _wcs(settings)
    beam = covariance(*settings.beam_pixels)
    seen = beam * settings.broadening
    sky, centroid, attenuation = _sky(settings, truth, centre, seen, power.rms, shape_rng)
    # Jy per area of the response to Jy per area of the beam.
    sky /= np.float32(settings.broadening)
    if settings.sidelobes > 0:
        bright = (truth["flux_jy"].to_numpy() * attenuation) > settings.sidelobes_above * power.rms
        points = np.zeros(settings.shape)
        splat(points, centroid[bright], (truth["flux_jy"].to_numpy() * attenuation)[bright] * settings.sidelobes)
        sky += sidelobes(points, settings.beam_pixels, settings.centre[1], other_rng)
    rms = _rms(settings, power.rms, other_rng)
    data = sky + generate(power, settings.shape, noise_rng) * (rms / np.float32(power.rms))
    data += np.float32(settings.background_offset * power.rms)
    truth = _positions(truth, centre, centroid, wcs)
    truth["attenuation"] = attenuation
    inside = np.all((centroid >= -0.5) & (centroid < np.array(settings.shape) - 0.5), axis=1)
    truth = truth[inside].reset_index(drop=True)
    truth["id"] = np.arange(len(truth))
    return Field(_frame(settings, data, wcs, seed, power), truth, primary_beam(settings), rms)


def primary_beam(settings: ContinuumSettings) -> np.ndarray:
    """Attenuation of the image ``(y, x)`` float32: a Gaussian of FWHM `settings.primary_beam`, or 1."""
    along = [np.arange(n, dtype=float) for n in settings.shape]
    y, x = np.meshgrid(*along, indexing="ij", sparse=True)
    return np.broadcast_to(_attenuation(settings, y, x), settings.shape).astype(np.float32)


def _attenuation(settings: ContinuumSettings, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    if settings.primary_beam is None:
        return np.ones(np.broadcast_shapes(y.shape, x.shape))
    middle = [(n - 1) / 2 + offset for n, offset in zip(settings.shape, settings.primary_beam_offset, strict=True)]
    distance = ((y - middle[0]) ** 2 + (x - middle[1]) ** 2) * (settings.pixel_arcsec / 3600) ** 2
    return np.exp(-4 * np.log(2) * distance / settings.primary_beam**2)


def _sources(
    settings: ContinuumSettings, catalogue: pd.DataFrame | None, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """The truth table without positions and the cores ``(n, 2)`` in (y, x) [pixels], uniform over image and margin."""
    margin = _MARGIN * settings.beam_arcsec[0] / settings.pixel_arcsec
    low = np.full(2, -0.5 - margin)
    high = np.array(settings.shape) - 0.5 + margin
    area = float(np.prod(high - low)) * (settings.pixel_arcsec / 3600) ** 2
    if catalogue is None:
        truth = draw(settings, area, settings.frequency, rng)
    else:
        given = settings.catalogue_area
        covered = sky_area(catalogue) if given is None else given
        if not covered > 0:
            raise UserError("catalogue", "spans no area of sky", "give catalogue_area")
        n = rng.poisson(len(catalogue) / covered * area * settings.density)
        truth = bootstrap(catalogue, n, rng, jitter=settings.jitter)
    return truth, rng.uniform(low, high, (len(truth), 2))


def _sky(settings, truth, centre, beam, rms, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The noise-free image (y, x) float32, the centroids ``(n, 2)`` [pixels] and the attenuations ``(n,)``."""
    attenuation = _attenuation(settings, centre[:, 0], centre[:, 1]) * settings.attenuation
    real = np.zeros(len(truth), dtype=bool)
    if settings.shapes is not None:
        real = (truth["size_class"] == LARGEST) & (truth["source_class"] == STEEP) & (truth["b_maj_arcsec"] > 0)
        real = real.to_numpy() & (rng.random(len(truth)) < settings.shapes_share)
    drawn, row, centroid = components(truth, centre, settings.pixel_arcsec, settings.disc_scale, rng)
    # Of a source with a real shape only the core is a Gaussian component.
    kept = ~real[row] | np.all(drawn.covariance == 0, axis=(1, 2))
    drawn = Gaussians(drawn.centre[kept], drawn.flux[kept] * attenuation[row[kept]], drawn.covariance[kept])
    image = render(drawn, settings.shape, beam, tolerance=_TOLERANCE * rms)
    if real.any():
        image += _real_shapes(settings, truth, centre, centroid, attenuation, np.flatnonzero(real), beam, rng)
    return image, centroid, attenuation


def _real_shapes(settings, truth, centre, centroid, attenuation, rows, beam, rng) -> np.ndarray:
    """Image (y, x) float32 of the sources with a picture; sets their centroid and their minor axis in `truth`."""
    canvas = np.zeros(settings.shape)
    library = pictures(settings.shapes)
    rest = (truth["flux_jy"] * (1 - truth["core_frac"])).to_numpy()
    for index in rows:
        length = truth["b_maj_arcsec"].iat[index] / settings.pixel_arcsec
        theta = -truth["pa_deg"].iat[index] + 180.0 * rng.integers(2)
        points, light, ratio = library.place(rng.integers(len(library)), length, theta, rng.random() < 0.5)
        splat(canvas, centre[index] + points, rest[index] * attenuation[index] * light)
        centroid[index] = centre[index] + (1 - truth["core_frac"].iat[index]) * (light @ points)
        truth.loc[truth.index[index], "b_min_arcsec"] = truth["b_maj_arcsec"].iat[index] * ratio
    return _smooth(canvas, beam)


def _smooth(canvas: np.ndarray, beam: np.ndarray) -> np.ndarray:
    """Jy per pixel to Jy/beam, by a Gaussian beam of covariance ``(2, 2)`` that goes round no border."""
    reach = int(np.ceil(5 * np.sqrt(beam.max())))
    size = tuple(fft.next_fast_len(n + 2 * reach, real=True) for n in canvas.shape)
    fy, fx = np.meshgrid(fft.fftfreq(size[0]), fft.rfftfreq(size[1]), indexing="ij", sparse=True)
    form = beam[0, 0] * fy**2 + 2 * beam[0, 1] * fy * fx + beam[1, 1] * fx**2
    response = 2 * np.pi * np.sqrt(np.linalg.det(beam)) * np.exp(-2 * np.pi**2 * form)
    smooth = fft.irfft2(fft.rfft2(canvas, s=size) * response, s=size)
    return smooth[: canvas.shape[0], : canvas.shape[1]].astype(np.float32)


def _rms(settings: ContinuumSettings, rms: float, rng: np.random.Generator) -> np.ndarray:
    """rms of the noise (y, x) float32: its logarithm is a plane that rises in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.linspace(-0.5, 0.5, n) for n in settings.shape)
    slope = y[:, None] * np.sin(angle) + x[None, :] * np.cos(angle)
    slope = slope / max(abs(np.sin(angle)) + abs(np.cos(angle)), 1.0)
    return (rms * settings.rms_gradient**slope).astype(np.float32)


def _positions(truth: pd.DataFrame, centre: np.ndarray, centroid: np.ndarray, wcs: WCS) -> pd.DataFrame:
    truth = truth.copy()
    for name, at in (("core", centre), ("cent", centroid)):
        truth[f"ra_{name}"], truth[f"dec_{name}"] = wcs.wcs_pix2world(at[:, 1], at[:, 0], 0)
    truth["x"], truth["y"] = centroid[:, 1], centroid[:, 0]
    return truth


def _wcs(settings: ContinuumSettings) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = list(settings.centre)
    wcs.wcs.crpix = [(n + 1) / 2 for n in settings.shape[::-1]]
    wcs.wcs.cdelt = [-settings.pixel_arcsec / 3600, settings.pixel_arcsec / 3600]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def _frame(settings: ContinuumSettings, data: np.ndarray, wcs: WCS, seed: int, power: NoisePower) -> Frame:
    major, minor, angle = settings.beam_arcsec
    header = fits.Header()
    header["OBJECT"] = ("simulated", "simulated radio sources in noise")
    header.extend(wcs.to_header(), update=True)
    hertz = settings.frequency * 1e6
    header["RESTFRQ"], header["FREQ"] = (hertz, "[Hz]"), (hertz, "[Hz]")
    header["SIMSEED"] = (seed, "seed of everything random")
    header["SIMRMS"] = (power.rms, "[Jy/beam] rms of the noise")
    header["SIMSMIN"] = (settings.flux_limit * settings.rms, "[Jy] flux of the faintest sources")
    beam = Beam(major / 3600, minor / 3600, angle)
    return Frame(data.astype(np.float32), u.Jy / u.beam, wcs, beam, header, path=f"simulated field {seed}")
