"""Simulated cubes of HI galaxies in noise, with the truth, and the same galaxies one by one for training."""

from collections.abc import Iterator
from dataclasses import dataclass

import astropy.units as u
import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.errors import UserError
from pipeline.simulate.hi_continuum import ContinuumResidual
from pipeline.simulate.hi_laws import (
    channel_width_km_s,
    draw_masses,
    expected_count,
    hi_size,
    line_flux,
    line_width,
)
from pipeline.simulate.hi_noise import NoiseStream, channel_rms, sdc2_rms
from pipeline.simulate.hi_settings import REST_HZ, HiSettings
from pipeline.simulate.hi_stamp import Stamp, matched_snr, stamp, white_power
from pipeline.simulate.noise import NoisePower
from pipeline.sky.frame import Beam, Frame
from pipeline.sky.geometry import pixel_to_sky

_BLOCK = 64  # channels made at a time
_MARGIN = (40, 12, 12)  # channels and pixels around the cube in which galaxies are drawn too, whose light reaches in
_AROUND = 24  # channels that a galaxy may be wider on each side than its w20
_TRIES, _BARREN = 4096, 50  # galaxies of a library drawn at a time; times without a bright one
_APPROXIMATE = 1.5  # the approximate SNR is never too low by more than this


@dataclass
class HiCube:
    """A simulated cube with its truth.

    frame : ``(frequency, y, x)`` in Jy/beam, frequency ascending, with a WCS of RA, Dec and FREQ and the beam.
    truth : galaxies whose centre is in the cube: the columns of SDC2 (`pipeline.score.sdc2`); snr, the
        signal-to-noise ratio of the best linear filter (`hi_stamp.matched_snr`); x, y, z, 0-based pixels.
    rms : of the noise of each channel ``(f,)`` float32 [Jy/beam].
    """

    frame: Frame
    truth: pd.DataFrame
    rms: np.ndarray


class HiSky:
    """All that one seed makes of the settings, given out in blocks of channels, so that memory is bounded.

    settings, wcs, header, beam, rms ``(f,)`` : of the cube. Iterate `blocks` once, then ask for `truth`.
    """

    def __init__(self, settings: HiSettings, seed: int, noise: NoisePower | None = None, rms: np.ndarray | None = None):
        self.settings, self._seed = settings, seed
        # Streams of their own: galaxies do not change when the noise does.
        rng, other = (np.random.default_rng((seed, part)) for part in (0, 3))
        self._rows = galaxies(settings, rng, margin=_MARGIN)
        self.rms = channel_rms(settings, other) if rms is None else np.asarray(rms, np.float32)
        if self.rms.shape != settings.shape[:1]:
            raise ValueError(f"rms must have one value for each of {settings.shape[0]} channels")
        self._noise = noise or white_power(settings)
        self._residual = ContinuumResidual(settings, other)
        self._snr = np.zeros(len(self._rows))
        self.wcs = cube_wcs(settings)
        major, minor, angle = settings.beam_arcsec
        self.beam = Beam(major / 3600, minor / 3600, angle)
        self.header = self._header()

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first channel and the pixels ``(channels, y, x)`` float32 [Jy/beam] of each block, in order."""
        channels, ny, nx = self.settings.shape
        waiting = self._extents()
        drawn: list[tuple[Stamp, np.ndarray]] = []
        noise = NoiseStream(self._noise, (ny, nx))
        for number, start in enumerate(range(0, channels, _BLOCK)):
            stop = min(start + _BLOCK, channels)
            rng = np.random.default_rng((self._seed, 2, number))
            data = noise.take(stop - start, rng)
            data *= self.rms[start:stop, None, None]
            self._residual.add(data, start)
            while waiting and waiting[-1][0] < stop:
                drawn.append(self._draw(waiting.pop()[1]))
            for picture, corner in drawn:
                _add(data, picture.pixels, corner - [start, 0, 0])
            drawn = [part for part in drawn if part[1][0] + part[0].pixels.shape[0] > stop]
            yield start, data

    def truth(self) -> pd.DataFrame:
        """The truth table of the galaxies inside the cube; their SNR is known after the last block."""
        rows = self._rows.assign(snr=self._snr)
        place = rows[["z", "y", "x"]].to_numpy()
        inside = np.all((place >= -0.5) & (place < np.array(self.settings.shape) - 0.5), axis=1)
        rows = rows[inside].reset_index(drop=True)
        rows["id"] = np.arange(len(rows))
        return rows[[*(name for name in rows if name not in "xyz"), "x", "y", "z"]]

    def _extents(self) -> list[tuple[float, int]]:
        """Lowest channel that each galaxy may reach, and its row, the lowest last."""
        width = self._rows["w20"] / channel_width_km_s(self._rows["central_freq"], self.settings.channel_hz)
        first = (self._rows["z"] - width - _AROUND).to_numpy()
        return [(float(first[row]), int(row)) for row in np.argsort(-first, kind="stable")]

    def _draw(self, row: int) -> tuple[Stamp, np.ndarray]:
        values = self._rows.iloc[row].to_dict()
        place = np.array([values[name] for name in "zyx"])
        middle = np.rint(place).astype(int)
        rng = np.random.default_rng((self._seed, 1, row))
        picture = stamp(values, self.settings, rng, offset=place - middle)
        corner = middle - np.rint(picture.centre).astype(int)
        channel = np.clip(corner[0] + np.arange(picture.pixels.shape[0]), 0, len(self.rms) - 1)
        self._snr[row] = matched_snr(picture.pixels, self._noise, self.rms[channel])
        return picture, corner

    def _header(self) -> fits.Header:
        header = fits.Header()
        header["OBJECT"] = ("simulated", "simulated HI galaxies in noise")
        header.extend(self.wcs.to_header(), update=True)
        header["RESTFRQ"] = (REST_HZ, "[Hz] HI")
        header["SPECSYS"] = ("BARYCENT", "frame of the frequencies")
        header["SIMSEED"] = (self._seed, "seed of everything random")
        header["SIMRMS"] = (float(np.median(self.rms)), "[Jy/beam] median rms of the noise")
        header["SIMSMIN"] = (self.settings.flux_limit, "[Jy Hz] line flux of the faintest galaxies")
        return header


def simulate_hi(
    settings: HiSettings, seed: int, noise: NoisePower | None = None, rms: np.ndarray | None = None
) -> HiCube:
    """Simulate one cube; the same settings and seed give the same cube.

    noise : texture of the noise in place of white noise smoothed by the beam.
    rms : of the noise of each channel ``(f,)`` [Jy/beam] in place of the settings' law.

    Raises
    ------
    UserError : the folder of real galaxies cannot be used.
    """
    sky = HiSky(settings, seed, noise, rms)
    data = np.empty(settings.shape, dtype=np.float32)
    for start, block in sky.blocks():
        data[start : start + len(block)] = block
    frame = Frame(data, u.Jy / u.beam, sky.wcs, sky.beam, sky.header, path=f"simulated cube {seed}")
    return HiCube(frame, sky.truth(), sky.rms)


def galaxies(
    settings: HiSettings,
    rng: np.random.Generator,
    n: int | None = None,
    *,
    margin: tuple[int, int, int] = (0, 0, 0),
) -> pd.DataFrame:
    """Truth rows with the columns of SDC2 and x, y, z [pixels], uniform on the sky, seen from all sides.

    n : how many; None draws the number that the laws expect in the cube. margin : (z, y, x) pixels added all round.
    """
    low = -0.5 - np.array(margin, dtype=float)
    high = np.array(settings.shape) - 0.5 + margin
    band = tuple(settings.lowest_hz + settings.channel_hz * edge for edge in (low[0], high[0]))
    band = (band[0], min(band[1], 0.999 * REST_HZ))
    area = float(np.prod(high[1:] - low[1:])) * (settings.pixel_arcsec / 3600) ** 2
    n = rng.poisson(expected_count(settings, area, band)) if n is None else n
    frequency, mass = draw_masses(settings, band, n, rng)
    inclination = np.degrees(np.arccos(rng.uniform(0, 1, n)))
    y, x = rng.uniform(low[1:], high[1:], (n, 2)).T
    ra, dec = pixel_to_sky(cube_wcs(settings), x, y)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "ra": ra,
            "dec": dec,
            "hi_size": hi_size(settings, mass, frequency, rng),
            "line_flux_integral": line_flux(mass, frequency),
            "central_freq": frequency,
            "pa": rng.uniform(0, 360, n),
            "i": inclination,
            "w20": line_width(settings, mass, inclination, rng),
            "x": x,
            "y": y,
            "z": (frequency - settings.lowest_hz) / settings.channel_hz,
        }
    )


def library(
    settings: HiSettings,
    n: int,
    seed: int,
    least_snr: float = 0.0,
    *,
    noise: NoisePower | None = None,
) -> list[Stamp]:
    """`n` stamps of galaxies drawn by the laws, those fainter than `least_snr` passed over; each row has its snr.

    The SNR is for the settings' noise without interference. `noise` : its texture, None for the beam's.

    Raises
    ------
    UserError : no galaxy is as bright as that, or the folder of real galaxies cannot be used.
    """
    power = noise or white_power(settings)
    rng = np.random.default_rng((seed, 0))
    stamps: list[Stamp] = []
    barren = 0
    while len(stamps) < n:
        rows = galaxies(settings, rng, _TRIES)
        rms = settings.noise * sdc2_rms(rows["central_freq"].to_numpy(), settings.channel_hz)
        likely = _APPROXIMATE * approximate_snr(rows, settings, rms) >= least_snr
        barren = 0 if likely.any() else barren + 1
        if barren == _BARREN:
            what = f"{least_snr:g} is an SNR that no galaxy among {_BARREN * _TRIES} has"
            raise UserError("least_snr", what, "lower it or the noise")
        for position in np.flatnonzero(likely):
            picture = stamp(rows.iloc[position].to_dict(), settings, np.random.default_rng((seed, 1, len(stamps))))
            picture.row["snr"] = matched_snr(picture.pixels, power, rms[position])
            if picture.row["snr"] >= least_snr:
                stamps.append(picture)
            if len(stamps) == n:
                break
    return stamps


def approximate_snr(rows: pd.DataFrame, settings: HiSettings, rms: np.ndarray) -> np.ndarray:
    """Line flux over rms, channel width and the root of the voxels' number that the galaxy fills ``(n,)``: channels of
    w20 times beams of a Gaussian of FWHM hi_size."""
    channels = np.maximum(rows["w20"] / channel_width_km_s(rows["central_freq"], settings.channel_hz), 1.0)
    beam = np.sqrt(settings.beam_arcsec[0] * settings.beam_arcsec[1])
    minor = rows["hi_size"] * np.cos(np.radians(rows["i"]))
    beams = np.sqrt((1 + (rows["hi_size"] / beam) ** 2) * (1 + (minor / beam) ** 2))
    return (rows["line_flux_integral"] / (rms * settings.channel_hz * np.sqrt(channels * beams))).to_numpy()


def cube_wcs(settings: HiSettings) -> WCS:
    """RA, Dec (SIN) and FREQ; the reference point is the middle of the sky, and the first channel."""
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN", "FREQ"]
    wcs.wcs.cunit = ["deg", "deg", "Hz"]
    wcs.wcs.crval = [*settings.centre, settings.lowest_hz]
    wcs.wcs.crpix = [(settings.shape[2] + 1) / 2, (settings.shape[1] + 1) / 2, 1.0]
    wcs.wcs.cdelt = [-settings.pixel_arcsec / 3600, settings.pixel_arcsec / 3600, settings.channel_hz]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def _add(data: np.ndarray, pixels: np.ndarray, corner: np.ndarray) -> None:
    """Add `pixels` to `data` in place, with their first voxel at `corner`, where the two overlap."""
    low = np.maximum(corner, 0)
    high = np.minimum(corner + pixels.shape, data.shape)
    if np.any(low >= high):
        return
    into = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    data[into] += pixels[tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))]
