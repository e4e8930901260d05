"""The score of SKA Science Data Challenge 2 (Hartley et al. 2023, MNRAS 523, 1967), equal to ska-sdc 2.0.0."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from astropy.cosmology import FlatLambdaCDM

from pipeline.score.challenge import Challenge, Column, Rows, capped, finite_rows, relative, separation
from pipeline.score.match import score
from pipeline.score.result import Score

BEAM_ARCSEC = 7.0
REST_HZ = 1.420405752e9
BAND_HZ = (0.95e9, 1.15e9)
CENTRE_DEG = (180.0, -30.0)
LIGHT_KM_S = 299792.458
_ARCSEC = 206265.0
_COSMOLOGY = FlatLambdaCDM(H0=67.0, Om0=0.32)


@dataclass(frozen=True)
class Sdc2(Challenge):
    """SDC2: HI galaxies in a cube. Detections of one galaxy all match and share its score.

    beam_arcsec : FWHM. band_hz : the frequencies in which galaxies count. centre_deg : right ascension, declination
    of the field's centre. The defaults are those of the challenge's cubes.
    """

    beam_arcsec: float = BEAM_ARCSEC
    band_hz: tuple[float, float] = BAND_HZ
    centre_deg: tuple[float, float] = CENTRE_DEG

    name: ClassVar[str] = "sdc2"
    flux: ClassVar[str] = "line_flux_integral"
    named: ClassVar[bool] = True
    shared: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("position", "central_freq", "flux", "hi_size", "pa", "w20", "i")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("id"),
        Column("ra", "deg", -180, 360),
        Column("dec", "deg", -90, 90),
        Column("hi_size", "arcsec", 0),
        Column("line_flux_integral", "Jy Hz", 0),
        Column("central_freq", "Hz", 1e8, 1e10, hint="give frequencies in Hz, not in MHz or GHz"),
        Column("pa", "deg", -720, 720),
        Column("i", "deg", -360, 360),
        Column("w20", "km/s", 0, 1e4, hint="give line widths in km/s, not in m/s"),
    )

    @classmethod
    def for_cube(cls, beam_arcsec: float, frequency_hz: tuple[float, float], centre_deg: tuple[float, float]) -> "Sdc2":
        """The same rules for another cube; a galaxy centred a little beyond its first or last frequency counts too."""
        low, high = min(frequency_hz), max(frequency_hz)
        return cls(
            float(beam_arcsec), (low - 0.05 * (high - low), high + 0.05 * (high - low)), tuple(map(float, centre_deg))
        )

    def clean(self, rows: Rows) -> Rows:
        return finite_rows(rows, self.names())

    def search(self, rows: Rows) -> Rows:
        frequency = rows["central_freq"]
        return rows.take(np.flatnonzero((frequency > self.band_hz[0]) & (frequency < self.band_hz[1])))

    def points(self, rows: Rows) -> np.ndarray:
        """Mpc east, north and (angular-diameter distance) away of the field's centre: (n, 3)."""
        lon, lat = _offsets(rows["ra"], rows["dec"], self.centre_deg)
        away = _distance_mpc(rows["central_freq"])
        return np.stack([lon * away, lat * away, away], axis=1)

    def radius(self, rows: Rows) -> np.ndarray:
        """The larger of the size on the sky and the depth of the line, in Mpc."""
        frequency = rows["central_freq"]
        near, far = _distance_mpc(frequency + _line_hz(rows)), _distance_mpc(frequency)
        return np.maximum(self._width(rows) / _ARCSEC * far, far - near)

    def distance(self, submission: Rows, truth: Rows) -> np.ndarray:
        width, line = self._width(truth), _line_hz(truth)
        place = _apart(submission, truth) / width
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.abs(submission["central_freq"] - truth["central_freq"]) / line
        size = np.abs(submission["hi_size"] - truth["hi_size"]) / width
        total = place**2 + shift**2 + size**2
        for name in ("line_flux_integral", "w20"):
            total = total + relative(submission[name], truth[name]) ** 2
        return np.where((place < 1) & (shift < 1), np.sqrt(total), np.nan)

    def scores(self, submission: Rows, truth: Rows) -> np.ndarray:
        place = _apart(submission, truth) / np.sqrt(4 * self.beam_arcsec**2 + truth["hi_size"] ** 2)
        shift = np.abs(submission["central_freq"] - truth["central_freq"]) / _line_hz(truth)
        columns = (
            capped(place, 0.3),
            capped(shift, 0.3),
            capped(relative(submission["line_flux_integral"], truth["line_flux_integral"]), 0.1),
            capped(relative(submission["hi_size"], truth["hi_size"]), 0.3),
            capped(np.abs(_turn(submission["pa"] - truth["pa"])), 10.0),
            capped(relative(submission["w20"], truth["w20"]), 0.3),
            capped(np.abs(submission["i"] - truth["i"]), 10.0),
        )
        return np.stack(columns, axis=1)

    def errors(self, submission: Rows, truth: Rows) -> dict[str, np.ndarray]:
        """PA error over the full circle (the receding side counts) and inclination error in degrees, size in arcsec."""
        return {
            "pa_error_deg": _turn(submission["pa"] - truth["pa"]),
            "i_error_deg": submission["i"] - truth["i"],
            "hi_size_error_arcsec": submission["hi_size"] - truth["hi_size"],
        }

    def settings(self) -> dict:
        return {}

    def _width(self, rows: Rows) -> np.ndarray:
        return np.sqrt(rows["hi_size"] ** 2 + self.beam_arcsec**2)


def score_sdc2(submission: pd.DataFrame, truth: pd.DataFrame) -> Score:
    """Score tables with the official SDC2 columns (`Sdc2.columns`); official cleaning, no validation."""
    return score(Sdc2(), submission, truth)


def _offsets(ra: np.ndarray, dec: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude in radians in the frame whose origin is the field's centre."""
    east, north, middle = np.radians(ra - centre[0]), np.radians(dec), np.radians(centre[1])
    ahead = np.cos(middle) * np.cos(north) * np.cos(east) + np.sin(middle) * np.sin(north)
    up = np.cos(middle) * np.sin(north) - np.sin(middle) * np.cos(north) * np.cos(east)
    return np.arctan2(np.cos(north) * np.sin(east), ahead), np.arcsin(np.clip(up, -1.0, 1.0))


def _distance_mpc(frequency: np.ndarray) -> np.ndarray:
    return _COSMOLOGY.angular_diameter_distance(REST_HZ / frequency - 1.0).value


def _line_hz(rows: Rows) -> np.ndarray:
    return rows["w20"] * rows["central_freq"] ** 2 / (LIGHT_KM_S * REST_HZ)


def _apart(submission: Rows, truth: Rows) -> np.ndarray:
    return 3600.0 * separation(submission["ra"], submission["dec"], truth["ra"], truth["dec"])


def _turn(angle: np.ndarray) -> np.ndarray:
    return (angle + 180.0) % 360.0 - 180.0
