"""What a user would take instead: sep and photutils, tuned by the SDC1 score with the freedom our detector has.

    python benchmarks/peers.py --tune tune.fits tune.csv --test test.fits test.csv

Needs `pip install -c constraints.txt -e '.[benchmarks]'`. `tune` looks at the areas it is given and at nothing else;
`apply` runs the chosen settings on any image.
"""

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Literal

import numpy as np
import pandas as pd
import photutils.background
import photutils.segmentation
import sep
from astropy.convolution import convolve_fft
from astropy.wcs import WCS

from pipeline.score.sdc1 import GAUSSIAN, Sdc1, score_sdc1
from pipeline.score.tables import read_table
from pipeline.sky.geometry import deconvolve, ellipse_to_sky, pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam
from pipeline.sky.window import FrameReader

FWHM = np.sqrt(8 * np.log(2))
APERTURES = (0.4, 0.6, 0.8, 1.0, 1.5)
"""Radii of the circular apertures that compete, in FWHM of the beam."""
FLUXES = ("isophotal", "isophotal corrected", "kron", "peak", *(f"aperture {radius}" for radius in APERTURES))


@dataclass(frozen=True)
class Extraction:
    """What decides which sources are found; a new value costs a new run of the program.

    threshold : of a pixel, in units of the local rms. least_pixels : above it.
    kernel : FWHM of the Gaussian the image is smoothed with to detect, in units of the beam's; 0 for none.
    contrast : least share of the flux of a part to be deblended; 1 for no deblending.
    mesh : side of the cells of background and rms [pixel].
    """

    program: Literal["sep", "photutils"] = "sep"
    threshold: float = 3.0
    least_pixels: int = 3
    kernel: float = 0.0
    contrast: float = 0.005
    mesh: int = 64


@dataclass(frozen=True)
class Corrections:
    """What is made of the measurements; a new value costs arithmetic only.

    least_snr : peak over rms that a source must have.
    flux : one of `FLUXES`, times flux_factor (snr / 10)^flux_slope: what is lost or won depends on how faint it is.
    moment_factor : on the FWHM of second moments, which stop at the threshold, before the beam is deconvolved.
    size_factor : after it. least_major, least_minor : floors of the intrinsic FWHM [arcsec].
    pa : "half turn" (own, 0 to 180), "signed" (own, -90 to 90) or a constant [deg], as the fold of the score minds it.
    core_fraction, source_class : of every source.
    """

    position: Literal["barycentre", "windowed"] = "barycentre"
    least_snr: float = 0.0
    flux: str = "isophotal"
    flux_factor: float = 1.0
    flux_slope: float = 0.0
    moment_factor: float = 1.0
    size_factor: float = 1.0
    least_major: float = 0.3
    least_minor: float = 0.2
    pa: str | float = "half turn"
    core_fraction: float = 0.0
    source_class: int = 3


@dataclass(frozen=True)
class PeerSettings:
    """All that can be tuned of a peer."""

    extraction: Extraction = Extraction()
    corrections: Corrections = Corrections()


EXTRACTION_GRIDS = {
    "threshold": (1.5, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 5.0),
    "least_pixels": (1, 2, 3, 4, 5, 7),
    "kernel": (0.0, 0.5, 0.8, 1.0),
    "contrast": (1e-5, 1e-4, 1e-3, 5e-3, 0.05, 1.0),
    "mesh": (32, 64, 128, 256, 512),
}
CORRECTION_GRIDS = {
    "flux": FLUXES,
    "flux_factor": tuple(np.round(np.geomspace(0.7, 2.0, 40), 3).tolist()),
    "flux_slope": (-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
    "least_major": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0),
    "least_minor": (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6),
    "moment_factor": (0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5),
    "size_factor": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4),
    "pa": ("half turn", "signed", *np.arange(-45.0, 46.0, 7.5).tolist()),
    "core_fraction": (0.0, 0.02, 0.0375),
    "position": ("barycentre", "windowed"),
    "source_class": (1, 2, 3),
    "least_snr": (0.0, 2.5, 3.0, 3.25, 3.5, 3.75, 4.0, 4.25, 4.5, 5.0),
}
COARSE_GRIDS = {
    "threshold": (2.0, 2.5, 3.0, 3.5),
    "least_pixels": (1, 2, 3, 5),
    "contrast": (1e-4, 1e-3, 1.0) if find_spec("skimage") else (1.0,),
    "kernel": (0.0, 0.8),
    "mesh": (64, 256),
}
"""Extraction grids for photutils, which takes ten times as long; it needs scikit-image to deblend."""

Scorer = Callable[[pd.DataFrame, pd.DataFrame], float]


@dataclass
class Area:
    """Part of an image: `pixels` (y, x) [Jy/beam], NaN where invalid, with their own WCS and the beam of the image."""

    pixels: np.ndarray
    wcs: WCS
    beam: Beam
    runs: dict[Extraction, "Measurements"] = field(default_factory=dict)

    @classmethod
    def open(cls, image: str | os.PathLike, section: tuple[slice, slice] | None = None) -> "Area":
        """Read a section (y, x) of a FITS image, or all of it."""
        with FrameReader(image) as reader:
            section = section or (slice(None), slice(None))
            return cls(reader.read(section), reader.wcs.celestial[section], reader.beam)

    @cached_property
    def beam_pixels(self) -> float:
        """FWHM of the beam, the geometric mean of its axes [pixel]."""
        return float(np.sqrt(self.beam.major * self.beam.minor / np.abs(np.linalg.det(self.wcs.pixel_scale_matrix))))

    def holds(self, truth: pd.DataFrame) -> np.ndarray:
        """Which rows `(n,)` of a truth table with the official columns have their centroid on these pixels."""
        x, y = sky_to_pixel(self.wcs, truth["ra_cent"].to_numpy(), truth["dec_cent"].to_numpy())
        rows, columns = self.pixels.shape
        return (x >= -0.5) & (x < columns - 0.5) & (y >= -0.5) & (y < rows - 0.5)

    def measure(self, extraction: Extraction) -> "Measurements":
        """Run the program, once for each extraction."""
        if extraction not in self.runs:
            self.runs[extraction] = _RUN[extraction.program](self, extraction)
        return self.runs[extraction]


@dataclass
class Measurements:
    """What one run gave for its n sources, before corrections; sizes as the image shows them.

    position : by name, ra and dec `(n,)` [deg]. flux : by name `(n,)` [Jy]. major, minor : FWHM [arcsec].
    pa : east of north [deg]. peak, rms : [Jy/beam].
    seconds : CPU time for background, rms, detection, deblending, moments and isophotal flux.
    """

    position: dict[str, tuple[np.ndarray, np.ndarray]]
    flux: dict[str, np.ndarray]
    major: np.ndarray
    minor: np.ndarray
    pa: np.ndarray
    peak: np.ndarray
    rms: np.ndarray
    beam: Beam
    seconds: float

    def catalogue(self, corrections: Corrections) -> pd.DataFrame:
        """The official SDC1 columns, and `snr` (peak over rms) to rank by; sources without a flux are left out."""
        snr = self.peak / self.rms
        flux = self.flux[corrections.flux] * corrections.flux_factor * (snr / 10) ** corrections.flux_slope
        seen = corrections.moment_factor
        major, minor, pa = deconvolve(seen * self.major, seen * self.minor, self.pa, self.beam)
        ra, dec = self.position[corrections.position]
        if isinstance(corrections.pa, str):
            # SDC1 counts clockwise from west.
            angle = (90.0 - pa) % 180.0
            angle = np.where((angle > 90.0) & (corrections.pa == "signed"), angle - 180.0, angle)
        else:
            angle = corrections.pa
        wide = np.maximum(corrections.size_factor * major, corrections.least_major)
        narrow = np.minimum(np.maximum(corrections.size_factor * minor, corrections.least_minor), wide)
        place = (np.arange(1, len(ra) + 1), ra, dec, ra, dec)
        shape = (flux, corrections.core_fraction, wide, narrow, angle, GAUSSIAN, corrections.source_class)
        table = pd.DataFrame(dict(zip(Sdc1(560).names(), (*place, *shape), strict=True)) | {"snr": snr})
        return table[np.isfinite(flux) & (flux > 0) & (snr >= corrections.least_snr)].reset_index(drop=True)


def _kernel(width: float) -> np.ndarray:
    """A round Gaussian of FWHM `width` [pixel] whose sum is 1, float32."""
    reach = max(1, int(np.ceil(width)))
    square = np.arange(-reach, reach + 1) ** 2
    kernel = np.exp(-4 * np.log(2) * (square[:, None] + square) / width**2)
    return (kernel / kernel.sum()).astype(np.float32)


def _run_sep(area: Area, extraction: Extraction) -> Measurements:
    mask = ~np.isfinite(area.pixels)
    pixels = np.where(mask, 0, area.pixels).astype(np.float32)
    # sep gives up on fields crowded with faint sources unless its buffers are large.
    sep.set_extract_pixstack(max(300_000, pixels.size))
    sep.set_sub_object_limit(4096)
    mask = mask if mask.any() else None
    start = time.process_time()
    back = sep.Background(pixels, mask=mask, bw=extraction.mesh, bh=extraction.mesh)
    pixels, rms = pixels - back.back(), back.rms()
    found = sep.extract(
        pixels,
        extraction.threshold,
        err=rms,
        mask=mask,
        minarea=extraction.least_pixels,
        # "conv" keeps the threshold in rms of a pixel: the noise is correlated, which "matched" does not know.
        filter_kernel=_kernel(extraction.kernel * area.beam_pixels) if extraction.kernel else None,
        filter_type="conv",
        deblend_cont=extraction.contrast,
    )
    seconds = time.process_time() - start
    names = ("x", "y", "a", "b", "theta", "peak", "flux")
    return _measured(area, extraction, pixels, rms, mask, [found[name] for name in names], seconds)


def _run_photutils(area: Area, extraction: Extraction) -> Measurements:
    mask = ~np.isfinite(area.pixels)
    pixels = np.where(mask, 0, area.pixels).astype(np.float32)
    start = time.process_time()
    back = photutils.background.Background2D(pixels, extraction.mesh, coverage_mask=mask)
    pixels, rms = pixels - back.background.astype(np.float32), back.background_rms.astype(np.float32)
    smooth = pixels
    if extraction.kernel:
        smooth = convolve_fft(pixels, _kernel(extraction.kernel * area.beam_pixels)).astype(np.float32)
    segments = photutils.segmentation.detect_sources(
        smooth, extraction.threshold * rms, extraction.least_pixels, mask=mask
    )
    if extraction.contrast < 1 and segments is not None:
        segments = photutils.segmentation.deblend_sources(
            smooth, segments, extraction.least_pixels, contrast=extraction.contrast, progress_bar=False
        )
    columns = [np.zeros(0)] * 7
    if segments is not None:
        source = photutils.segmentation.SourceCatalog(pixels, segments, mask=mask)
        ellipse = source.semimajor_axis.value, source.semiminor_axis.value, np.deg2rad(source.orientation.value)
        columns = [source.x_centroid, source.y_centroid, *ellipse, source.max_value, source.segment_flux]
    seconds = time.process_time() - start
    return _measured(area, extraction, pixels, rms, mask if mask.any() else None, columns, seconds)


_RUN = {"sep": _run_sep, "photutils": _run_photutils}


def _measured(area, extraction, pixels, rms, mask, columns, seconds) -> Measurements:
    """The rest is measured alike for both programs, with sep's photometry: apertures, Kron flux, windowed positions."""
    x, y, a, b, theta, peak, total = (np.array(column, float) for column in columns)
    # A source of one or two pixels has moments of 0, or NaN, where there is no ellipse.
    a, b, theta = (np.nan_to_num(part) for part in (a, b, theta))
    wide, narrow = np.maximum(a, 0.1), np.maximum(np.minimum(a, b), 0.1)
    turn = np.clip((theta + np.pi / 2) % np.pi - np.pi / 2, -1.5707, 1.5707)
    per_beam = np.pi / (4 * np.log(2)) * area.beam_pixels**2
    at = np.clip(np.rint(y).astype(int), 0, len(rms) - 1), np.clip(np.rint(x).astype(int), 0, rms.shape[1] - 1)
    noise = rms[at].astype(float)
    isophotal = total / per_beam
    # Of a Gaussian cut at a level t the part 1 - t / peak is above it.
    share = np.clip(1 - extraction.threshold * noise / peak, 0.2, 1.0)
    flux = {"isophotal": isophotal, "isophotal corrected": isophotal / share, "peak": peak}
    radius, _ = sep.kron_radius(pixels, x, y, wide, narrow, turn, 6.0, mask=mask)
    around = np.clip(2.5 * np.nan_to_num(radius), 3.5, 20.0)
    flux["kron"] = sep.sum_ellipse(pixels, x, y, wide, narrow, turn, around, mask=mask)[0] / per_beam
    for size in APERTURES:
        flux[f"aperture {size}"] = sep.sum_circle(pixels, x, y, size * area.beam_pixels, mask=mask)[0] / per_beam
    x_windowed, y_windowed, _ = sep.winpos(pixels, x, y, area.beam_pixels / FWHM, mask=mask)
    strayed = np.hypot(x_windowed - x, y_windowed - y) > area.beam_pixels
    windowed = np.where(strayed, x, x_windowed), np.where(strayed, y, y_windowed)
    major, minor, pa = ellipse_to_sky(area.wcs, x, y, FWHM * a, FWHM * b, np.rad2deg(theta))
    position = {"barycentre": pixel_to_sky(area.wcs, x, y), "windowed": pixel_to_sky(area.wcs, *windowed)}
    return Measurements(position, flux, major, minor, pa, peak, noise, area.beam, seconds)


def official(catalogue: pd.DataFrame, truth: pd.DataFrame) -> float:
    """The SDC1 score at 560 MHz, over all of both tables."""
    return score_sdc1(catalogue, truth, 560, area="all").score


def apply(settings: PeerSettings, area: Area) -> pd.DataFrame:
    """The catalogue of an image: official SDC1 columns and `snr` to rank by."""
    return area.measure(settings.extraction).catalogue(settings.corrections)


def tune(
    areas: Sequence[tuple[Area, pd.DataFrame]],
    score: Scorer = official,
    start: PeerSettings = PeerSettings(),
    *,
    extraction_grids: dict[str, Iterable] | None = None,
    corrections: Sequence[str] = tuple(CORRECTION_GRIDS),
    rounds: int = 3,
) -> tuple[PeerSettings, float]:
    """The settings with the best sum of scores over the areas, and that sum.

    Parameters
    ----------
    areas : images with their truths (official columns), the only ones that are looked at.
    extraction_grids : what to try for the fields of `Extraction`; None takes grids that suit the program.
    corrections : the fields of `Corrections` to tune.
    rounds : at most so many searches along all grids in turn; a round without gain is the last.
    """
    search = _Search(areas, score, start, corrections)
    if extraction_grids is None:
        extraction_grids = COARSE_GRIDS if start.extraction.program == "photutils" else EXTRACTION_GRIDS
    for number in range(rounds):
        before = search.best
        for name, values in extraction_grids.items():
            search.extractions(name, values)
            if number == 0 and name == "threshold":
                search.corrections()
        search.corrections()
        if search.best <= before:
            break
    return search.settings, search.best


class _Search:
    """A search along one setting after another, which keeps what is better."""

    def __init__(
        self, areas: Sequence[tuple[Area, pd.DataFrame]], score: Scorer, start: PeerSettings, free: Sequence[str]
    ):
        self.free = free
        self.areas = [(area, truth[area.holds(truth)].reset_index(drop=True)) for area, truth in areas]
        self.score, self.settings, self.best = score, start, -np.inf
        self.tried: set[PeerSettings] = set()
        self.consider(start)

    def consider(self, settings: PeerSettings) -> None:
        if settings in self.tried:
            return
        self.tried.add(settings)
        value = sum(self.score(apply(settings, area), truth) for area, truth in self.areas)
        if value > self.best:
            self.settings, self.best = settings, value

    def correct(self, **changes: object) -> None:
        self.consider(replace(self.settings, corrections=replace(self.settings.corrections, **changes)))

    def extractions(self, name: str, values: Iterable) -> None:
        """A lower threshold pays only with a higher cut in SNR, so the two are tried together."""
        first = self.settings.extraction
        for value in values:
            extraction = replace(first, **{name: value})
            corrections = self.settings.corrections
            for snr in CORRECTION_GRIDS["least_snr"] if "least_snr" in self.free else (corrections.least_snr,):
                self.consider(PeerSettings(extraction, replace(corrections, least_snr=snr)))

    def corrections(self) -> None:
        """Each flux has a factor and a slope of its own, so the three are tried together, coarsely."""
        coarse = {"flux": 1, "flux_factor": 6, "flux_slope": 4}
        together = {name: CORRECTION_GRIDS[name][::step] for name, step in coarse.items() if name in self.free}
        for values in itertools.product(*together.values()):
            self.correct(**dict(zip(together, values, strict=True)))
        for name in self.free:
            if name != "flux":
                for value in CORRECTION_GRIDS[name]:
                    self.correct(**{name: value})


def measure(settings: PeerSettings, area: Area, truth: pd.DataFrame) -> dict:
    """The score of these settings on an area with its truth, and how fast the extraction was."""
    figures = score_sdc1(apply(settings, area), truth[area.holds(truth)], 560, area="all").as_dict()
    seconds = area.measure(settings.extraction).seconds
    return figures | {"mpix_per_cpu_second": area.pixels.size / 1e6 / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pair = {"nargs": 2, "metavar": ("IMAGE", "TRUTH"), "action": "append"}
    parser.add_argument("--program", choices=tuple(_RUN), default="sep")
    parser.add_argument("--tune", **pair, required=True, help="image and truth to tune on; may be given again")
    parser.add_argument("--test", **pair, default=[], help="image and truth to judge on; may be given again")
    options = parser.parse_args()
    tuned_on, judged_on = (
        [(Area.open(image), read_table(truth, Sdc1, truth=True)) for image, truth in pairs]
        for pairs in (options.tune, options.test)
    )
    start = PeerSettings(Extraction(options.program, contrast=1.0 if options.program == "photutils" else 0.005))
    best, value = tune(tuned_on, start=start)
    result = {"settings": asdict(best), "score_on_tuning_areas": value}
    for name, settings in (("as_given", start), ("tuned", best)):
        result[name] = [measure(settings, area, truth) for area, truth in judged_on]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
