"""Sources from a table, Gaussians, discs, lobes and points, to be put into an image."""

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.score.sdc1 import Sdc1
from pipeline.score.tables import read_table
from pipeline.score.validate import check_table
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.insert_geometry import Plane
from pipeline.simulate.insert_pictures import Pictures
from pipeline.simulate.morphology import components
from pipeline.simulate.populations import COLUMNS, FLAT, GAUSSIAN
from pipeline.simulate.render import Gaussians, render
from pipeline.sky.geometry import ellipse_to_pixel, pixel_to_sky

_SIGMAS = 5.0  # to where a component is drawn
_TOLERANCE = 1e-6  # of the peak: smaller than what is outside
_OFFICIAL = ("flux", "b_maj", "b_min", "pa", "size", "class")
_OWN = ("flux_jy", "b_maj_arcsec", "b_min_arcsec", "pa_deg", "size_class", "source_class")
DISC_SCALE = ContinuumSettings.model_fields["disc_scale"].default


def read_sources(path: str) -> pd.DataFrame:
    """The rows of a truth table of images with the columns that a simulated field's truth has.

    Raises
    ------
    UserError, UserErrors : not a table, columns missing, rows that cannot be true, or no row.
    """
    definition = Sdc1(560)
    table = read_table(path, definition, truth=True)
    check_table(table, definition, path, truth=True)
    if not len(table):
        raise UserError(path, "holds no source", "give a table with sources")
    return table.rename(columns=dict(zip(_OFFICIAL, _OWN, strict=True)))


def point_sources(n: int) -> pd.DataFrame:
    """`n` rows of points, their fluxes NaN."""
    same = {"core_frac": 1.0, "b_maj_arcsec": 0.0, "b_min_arcsec": 0.0, "pa_deg": 0.0, "flux_jy": np.nan}
    return pd.DataFrame({"id": np.arange(n)}).assign(**same, size_class=GAUSSIAN, source_class=FLAT)


def source_pictures(
    table: pd.DataFrame, plane: Plane, places: np.ndarray, rng: np.random.Generator
) -> tuple[Pictures, pd.DataFrame]:
    """What rows of a truth table look like in an image with their cores at `places` ``(n, 2)`` in (y, x) [pixels].

    Each is drawn as a simulated field has it (`simulate.morphology.components`), smoothed by the beam. The second
    result is the truth: `COLUMNS`, x and y of the centroids, and attenuation, which is 1.
    """
    y, x = places.T
    sky = (table["b_maj_arcsec"], table["b_min_arcsec"], 90.0 - table["pa_deg"])
    major, minor, theta = ellipse_to_pixel(plane.wcs, x, y, *(part.to_numpy(float) for part in sky))
    in_pixels = table.assign(b_maj_arcsec=major, b_min_arcsec=minor, pa_deg=-theta)
    parts, row, centroid = components(in_pixels, places, 1.0, DISC_SCALE, rng)
    width = _SIGMAS * np.sqrt(np.einsum("nii->ni", parts.covariance + plane.beam))
    low, high = np.full(places.shape, np.inf), np.full(places.shape, -np.inf)
    np.minimum.at(low, row, np.floor(parts.centre - width))
    np.maximum.at(high, row, np.ceil(parts.centre + width) + 1)
    order = np.argsort(row, kind="stable")
    starts = np.searchsorted(row[order], np.arange(len(table) + 1))

    def draw(number: int) -> np.ndarray:
        own = order[starts[number] : starts[number + 1]]
        moved = Gaussians(parts.centre[own] - low[number], parts.flux[own], parts.covariance[own])
        smeared = np.linalg.det(parts.covariance[own] + plane.beam)
        peak = np.max(np.abs(parts.flux[own]) * np.sqrt(np.linalg.det(plane.beam) / smeared))
        shape = tuple((high[number] - low[number]).astype(int))
        return render(moved, shape, plane.beam, tolerance=max(_TOLERANCE * peak, np.finfo(np.float32).tiny))

    return Pictures(low, high, draw), source_truth(table, plane, places, centroid)


def source_truth(table: pd.DataFrame, plane: Plane, core: np.ndarray, centroid: np.ndarray) -> pd.DataFrame:
    """Rows with the columns of a simulated field's truth, for positions ``(n, 2)`` in (y, x) [pixels]."""
    truth = table.reset_index(drop=True).copy()
    for name, at in (("core", core), ("cent", centroid)):
        truth[f"ra_{name}"], truth[f"dec_{name}"] = pixel_to_sky(plane.wcs, at[:, 1], at[:, 0])
    truth["x"], truth["y"], truth["attenuation"] = centroid[:, 1], centroid[:, 0], 1.0
    return truth[[*COLUMNS, "x", "y", "attenuation"]]
