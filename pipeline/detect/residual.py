"""What an image still shows when the sources of a catalogue are taken out of it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from astropy.table import Table

from pipeline.detect.comparison import listed
from pipeline.detect.image import ContinuumImage
from pipeline.errors import UserError
from pipeline.simulate.noise import covariance
from pipeline.simulate.render import Gaussians, render
from pipeline.sky.frame import Frame, read_frame
from pipeline.sky.geometry import ellipse_to_pixel
from pipeline.sky.window import JY_BEAM

# Where a source is cut off [rms].
_TOLERANCE = 3e-3
_PIXELS_AT_ONCE = 1 << 22


def subtract(image: ContinuumImage, catalogue: Table | pd.DataFrame, section: Sequence[slice] | None = None) -> Frame:
    """The image, or a section (y, x) of it, in Jy/beam less the catalogue's sources, as a frame of its own.

    Each source is the Gaussian of its deconvolved axes and integrated flux, attenuated by the primary beam where that
    is known, and smoothed by the image's beam. Sources without a flux or of unknown attenuation stay in.

    Parameters
    ----------
    catalogue : with the columns of Fleming's detector or the official ones of the SDC1, see `compare`.

    Raises
    ------
    UserError : the image has no celestial coordinates, or the catalogue lacks columns.
    """
    sources = gaussians(image, catalogue)
    frame = read_frame(image.path, kind="image", section=section)
    # The reader's pixels are those that were searched: it takes an image without a unit for Jy/beam.
    frame.data, frame.unit = image.reader.read(section or [slice(None)] * 2), JY_BEAM
    beam = covariance(image.beam.major, image.beam.minor, image.beam.theta)
    whole = section or [slice(None)] * 2
    origin = np.array([part.indices(size)[0] for part, size in zip(whole, image.shape, strict=True)])
    tolerance = _TOLERANCE * image.background.summary()["min_rms"]
    rows = max(1, _PIXELS_AT_ONCE // frame.data.shape[1])
    for start in range(0, len(frame.data), rows):
        band = frame.data[start : start + rows]
        shifted = Gaussians(sources.centre - origin - [start, 0], sources.flux, sources.covariance)
        band -= render(shifted, band.shape, beam, tolerance=tolerance)
    return frame


def gaussians(image: ContinuumImage, catalogue: Table | pd.DataFrame) -> Gaussians:
    """The catalogue's sources in the pixels of the image, before its beam, with the flux that the image shows."""
    wcs = image.reader.wcs
    if wcs is None:
        raise UserError(image.path, "has no celestial coordinates", "add a WCS to its header")
    _, found = listed(catalogue, wcs, image.reader.beam)
    if not len(found):
        return Gaussians(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2, 2)))
    names = ("x", "y", "deconvolved_major", "deconvolved_minor", "deconvolved_pa")
    columns = [found[name].to_numpy(float) for name in names]
    # An unresolved source has neither size nor angle.
    axes = ellipse_to_pixel(wcs, *columns[:2], *(np.nan_to_num(column) for column in columns[2:]))
    flux = found["flux"].to_numpy(float) * image.attenuation_at(found["ra"].to_numpy(), found["dec"].to_numpy())
    centre = np.stack([columns[1], columns[0]], axis=1)
    known = np.isfinite(flux) & np.isfinite(centre).all(1)
    return Gaussians(centre[known], flux[known], covariance(*axes)[known])
