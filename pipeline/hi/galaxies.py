"""Galaxies of the 21 cm line: from a truth table to what the detector learns of a cube, and back."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd
from astropy.wcs import WCS

from pipeline.detect.directions import ALONG_X, ALONG_Y
from pipeline.detect.objects import Objects
from pipeline.detect.train import Names
from pipeline.hi.lines import km_s_per_hz
from pipeline.score.sdc2 import Sdc2
from pipeline.sky.geometry import ARCSEC, ellipse_to_pixel, jacobian, squared_widths
from pipeline.sky.headers import Beam

VALUES = ("ln_flux", "ln_size", "ln_w20", ALONG_X, ALONG_Y, "cos_i")
NAMES = Names(values=VALUES)
# What no cube tells apart: sizes below this share of the beam, lines below this share of a channel.
LEAST_SIZE, LEAST_WIDTH = 0.02, 0.1
# Around what a box holds, on each side: pixels on the sky, and channels.
SKY_MARGIN, CHANNEL_MARGIN = 2.0, 5.0
# A beam is that of the SDC2 within this share.
_SAME_BEAM = 0.1


class Cube(Protocol):
    """What a cube says of itself: a `CubeReader`, or what has its geometry. Pixels (z, y, x), frequency rising with z.

    shape : (f, y, x). wcs : of the two celestial axes. channel_hz : (f,) width of each channel [Hz]. beam : FWHM [deg].
    rest_hz : of the line [Hz].
    """

    shape: tuple[int, ...]
    wcs: WCS
    channel_hz: np.ndarray
    beam: Beam
    rest_hz: float

    def to_sky(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Right ascension, declination (ICRS) [deg] and frequency [Hz] of pixels."""

    def from_sky(
        self, ra: np.ndarray, dec: np.ndarray, frequency: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The inverse of `to_sky`."""


def challenge_of(cube: Cube) -> Sdc2:
    """The rules of the SDC2 as they are for its own cubes, and for others with their beam, band and centre."""
    places = [[(side - 1) / 2] * 2 for side in cube.shape[1:]]
    ra, dec, frequency = cube.to_sky(np.array([0.0, cube.shape[0] - 1]), *map(np.array, places))
    official, beam = Sdc2(), _beam_arcsec(cube)
    low, high = official.band_hz
    if abs(beam / official.beam_arcsec - 1) < _SAME_BEAM and low <= frequency.min() and frequency.max() <= high:
        return official
    return Sdc2.for_cube(beam, (float(frequency.min()), float(frequency.max())), (float(ra[0]), float(dec[0])))


def to_objects(truth: pd.DataFrame, cube: Cube, rms_at: Callable[[np.ndarray], np.ndarray]) -> Objects:
    """What a cube shows of the galaxies of a truth table with the official SDC2 columns.

    Parameters
    ----------
    rms_at : the local noise (n,) [Jy/beam] at centres (n, 3) [pixel].

    Fluxes are learnt in units of the rms in a channel, sizes in units of the beam, widths in channels, the position
    angle of the receding side as a unit vector in the pixel plane. The signal-to-noise ratio is that of the table's
    column "snr" where it has one, else that of a boxcar line and a Gaussian disc of FWHM `hi_size` (`effective_snr`).
    The box holds the beam-smeared ellipse and the line, with a margin. Galaxies outside the cube keep their rows.
    """
    ra, dec, frequency, size, pa = (
        truth[name].to_numpy(float) for name in ("ra", "dec", "central_freq", "hi_size", "pa")
    )
    z, y, x = cube.from_sky(ra, dec, frequency)
    centre = np.stack([z, y, x], axis=1)
    channel, beam, rms = _channel(cube, z), _beam_arcsec(cube), rms_at(centre)
    cosine = np.abs(np.cos(np.radians(truth["i"].to_numpy(float))))
    size = np.maximum(size, LEAST_SIZE * beam)
    width = np.maximum(truth["w20"].to_numpy(float) / km_s_per_hz(frequency, cube.rest_hz) / channel, LEAST_WIDTH)
    with np.errstate(divide="ignore", invalid="ignore"):
        flux = truth["line_flux_integral"].to_numpy(float) / (rms * channel)
        along_x, along_y = _to_pixels(cube.wcs, x, y, pa)
        values = [np.log(flux), np.log(size / beam), np.log(width), along_x, along_y, cosine]
    snr = truth["snr"].to_numpy(float) if "snr" in truth else effective_snr(flux, size / beam, width, cosine)
    return Objects(
        centre=centre,
        size=box_sides(cube.wcs, x, y, np.hypot(size, beam), np.hypot(size * cosine, beam), pa, width),
        values=np.stack(values, axis=1),
        label=np.full(len(truth), -1),
        snr=snr,
        row=np.arange(len(truth)),
    )


def from_values(values: np.ndarray, centre: np.ndarray, rms: np.ndarray, cube: Cube) -> dict[str, np.ndarray]:
    """The official SDC2 quantities (n,) that values (n, P), in the order of `VALUES`, stand for.

    Parameters
    ----------
    centre : (n, 3) [pixel]. rms : (n,) local noise [Jy/beam].

    line_flux_integral [Jy Hz], hi_size [arcsec], w20 [km/s], pa [deg, 0 to 360, receding side], i [deg, 0 to 90]. They
    are what a network said: its direction need not be a unit vector, nor its cosine below 1.
    """
    value = dict(zip(VALUES, np.moveaxis(values, -1, 0), strict=True))
    z, y, x = centre.T
    channel, frequency = _channel(cube, z), cube.to_sky(z, y, x)[2]
    direction = np.stack([value[ALONG_X], value[ALONG_Y]], axis=-1)
    east, north = (jacobian(cube.wcs, x, y) @ direction[..., None])[..., 0].T
    return {
        "line_flux_integral": np.exp(value["ln_flux"]) * rms * channel,
        "hi_size": np.exp(value["ln_size"]) * _beam_arcsec(cube),
        "w20": np.exp(value["ln_w20"]) * channel * km_s_per_hz(frequency, cube.rest_hz),
        "pa": np.rad2deg(np.arctan2(east, north)) % 360.0,
        "i": np.rad2deg(np.arccos(np.clip(value["cos_i"], 0.0, 1.0))),
    }


def effective_snr(flux: np.ndarray, size: np.ndarray, width: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """The signal-to-noise ratio (n,) of a galaxy's flux summed over its line and its disc.

    flux : in units of rms times channel. size : in units of the beam, taken for the FWHM of a Gaussian, which is an
    approximation: it is a diameter at a surface density. width : channels. cosine : of the inclination.

    F / (rms dnu sqrt(n_ch n_beam)), where the channels are at least 1 and the beams those of the smeared ellipse.
    """
    beams = np.sqrt((1 + size**2) * (1 + (size * cosine) ** 2))
    return flux / np.sqrt(np.maximum(width, 1.0) * beams)


def box_sides(wcs: WCS, x, y, major, minor, pa, width) -> np.ndarray:
    """Sides (n, 3) [pixel] of ellipses of these axes [arcsec] and lines of this width [channel], with their margins."""
    square = squared_widths(*ellipse_to_pixel(wcs, x, y, major, minor, pa))
    sides = [width + 2 * CHANNEL_MARGIN, *(np.sqrt(square[:, at, at]) + 2 * SKY_MARGIN for at in (1, 0))]
    return np.stack(sides, axis=1)


def _to_pixels(wcs: WCS, x: np.ndarray, y: np.ndarray, pa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit vector along x and y that points from x, y [pixel] in the direction `pa` [deg] on the sky."""
    angle = np.radians(pa)
    turn = jacobian(wcs, x, y)
    # Solved by hand: where the projection ends the matrix is not a number, which no solver takes.
    (east_x, east_y), (north_x, north_y) = np.moveaxis(turn, 0, -1)
    handed = np.sign(east_x * north_y - east_y * north_x)
    along_x = handed * (north_y * np.sin(angle) - east_y * np.cos(angle))
    along_y = handed * (east_x * np.cos(angle) - north_x * np.sin(angle))
    length = np.hypot(along_x, along_y)
    return along_x / length, along_y / length


def _channel(cube: Cube, z: np.ndarray) -> np.ndarray:
    """The width [Hz] of the channels that z (n,) are in; beyond the cube those of its ends."""
    widths = np.asarray(cube.channel_hz, float)
    return widths[np.clip(np.rint(np.nan_to_num(z)), 0, len(widths) - 1).astype(int)]


def _beam_arcsec(cube: Cube) -> float:
    """FWHM of the beam [arcsec], the geometric mean of its axes."""
    return ARCSEC * float(np.sqrt(cube.beam.major * cube.beam.minor))
