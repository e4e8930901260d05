"""Galaxies of the 21 cm line: what the detector learns of a cube, and what that is on the sky."""

import numpy as np

from pipeline.score.sdc2 import LIGHT_KM_S
from pipeline.sky.geometry import ARCSEC, jacobian

ALONG_X, ALONG_Y = "cos_pa", "sin_pa"
VALUES = ("ln_flux", "ln_size", "ln_w20", ALONG_X, ALONG_Y, "cos_i")


def from_values(values: np.ndarray, centre: np.ndarray, rms: np.ndarray, cube) -> dict[str, np.ndarray]:
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
        "w20": np.exp(value["ln_w20"]) * channel * _km_s_per_hz(frequency, cube.rest_hz),
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


def _channel(cube, z: np.ndarray) -> np.ndarray:
    """The width [Hz] of the channels that z (n,) are in; beyond the cube those of its ends."""
    widths = np.asarray(cube.channel_hz, float)
    return widths[np.clip(np.rint(np.nan_to_num(z)), 0, len(widths) - 1).astype(int)]


def _beam_arcsec(cube) -> float:
    """FWHM of the beam [arcsec], the geometric mean of its axes."""
    return ARCSEC * float(np.sqrt(cube.beam.major * cube.beam.minor))


def _km_s_per_hz(frequency: np.ndarray, rest: float) -> np.ndarray:
    """The width in velocity [km/s] of one hertz at `frequency` [Hz], as SDC2 counts it."""
    return LIGHT_KM_S * rest / frequency**2
