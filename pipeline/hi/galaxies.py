"""Galaxies of the 21 cm line: what the detector learns of a cube, and what that is on the sky."""

import numpy as np

from pipeline.hi.lines import width_km_s
from pipeline.sky.geometry import jacobian

VALUES = ("ln_flux", "ln_size", "ln_w20", "cos_pa", "sin_pa", "cos_i")


def from_values(values: np.ndarray, centre: np.ndarray, rms: np.ndarray, cube) -> dict[str, np.ndarray]:
    """The official SDC2 quantities (n,) that values (n, P), in the order of `VALUES`, stand for.

    Parameters
    ----------
    centre : (n, 3) [pixel]. rms : (n,) [Jy/beam].
    """
    value = dict(zip(VALUES, np.moveaxis(values, -1, 0), strict=True))
    z, y, x = centre.T
    _, _, frequency = cube.to_sky(z, y, x)
    channel = cube.channel_hz[np.clip(np.rint(z), 0, len(cube.channel_hz) - 1).astype(int)]
    east, north = np.moveaxis(
        jacobian(cube.wcs, x, y) @ np.stack([value["cos_pa"], value["sin_pa"]], -1)[..., None], 1, 0
    )
    return {
        "line_flux_integral": np.exp(value["ln_flux"]) * rms * channel,
        "hi_size": np.exp(value["ln_size"]) * 3600.0 * np.sqrt(cube.beam.major * cube.beam.minor),
        "w20": width_km_s(np.exp(value["ln_w20"]) * channel, frequency, cube.rest_hz),
        "pa": np.rad2deg(np.arctan2(east[:, 0], north[:, 0])) % 360.0,
        "i": np.rad2deg(np.arccos(np.clip(value["cos_i"], 0.0, 1.0))),
    }
