"""Real noise-free objects in noise of a known signal-to-noise ratio, and pure noise beside them, for N axes."""

import csv
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from pipeline.data.geometry import window
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.data.settings import InputSettings, grid_points
from pipeline.errors import UserError, UserErrors
from pipeline.files import atomic, write_text
from pipeline.simulate.settings import InjectionSettings
from pipeline.sky.frame import read_frame
from pipeline.sky.spectra import resample

_KINDS = {1: "spectrum", 2: "image", 3: "cube"}
_CACHED_FRAMES = 64
_FWHM = np.sqrt(8 * np.log(2))  # FWHM of a Gaussian in units of its standard deviation

Progress = Callable[[int], None]


def inject(
    settings: InjectionSettings, out_folder: str | Path, *, seed: int = 1, progress: Progress | None = None
) -> None:
    """Write ``samples.fits``, an array ``(n, *axes)`` float32 in units of the noise rms, and its ``manifest.csv``.

    A sample with an object is B(a s + white noise), where B smooths by the beam and brings the noise to rms 1, and a
    is such that the signal-to-noise ratio of the matched filter, sqrt(sum(a^2 s^2)) over the rms of the white noise
    (Turin 1960, IRE Trans. IT-6, 311), is drawn log-uniformly from `settings.snr`. Object and noise go through the
    same B, which a filter can undo: it is therefore the SNR of the best filter in the correlated noise as well, and
    nothing but the object tells the two kinds of sample apart. The sum is over the sample, after cutting. The object
    is flipped and turned at random, and its centre of light put at random in the central half of the sample. Every
    sample has its own random stream, from `seed` and its number.

    The manifest has the columns path, row, id, label, group, snr, source. Samples of one object share a group (the
    object's own group in the manifest of sources); every noise sample is its own group.

    Raises
    ------
    UserErrors : sources that cannot be read, have the wrong number of axes, or hold no signal.
    """
    sources = _sources(settings)
    folder = Path(out_folder)
    frames = [_loader(settings, sources, position) for position in range(len(sources.rows))]
    plan = _plan(settings, len(frames), seed)
    cached = lru_cache(maxsize=_CACHED_FRAMES)(lambda position: frames[position]())
    _check_sources(cached, plan)
    snrs = np.full(settings.n, np.nan)
    with atomic(folder / "samples.fits") as beside, open(beside, "ab+") as file:
        stream = fits.StreamingHDU(file, _header(settings, seed))
        for number, position in enumerate(plan):
            sample, snrs[number] = make_sample(
                None if position < 0 else cached(position), settings, np.random.default_rng((seed, number))
            )
            stream.write(sample.astype(">f4"))
            if progress is not None:
                progress(number + 1)
        stream.close()
    write_text(folder / "manifest.csv", _manifest_text(settings, sources, plan, snrs))


def make_sample(
    signal: np.ndarray | None, settings: InjectionSettings, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """One sample ``(*axes)`` of noise with rms 1, with `signal` ``(*its own axes)`` injected unless it is None.

    Returns the sample and its SNR as defined by `inject`, NaN for pure noise.
    """
    shape = settings.sample_shape
    sample, snr = rng.standard_normal(shape), np.nan
    if signal is not None:
        placed = _place(_turn(signal, settings, rng), shape, rng)
        low, high = np.log(settings.snr)
        snr = float(np.exp(rng.uniform(low, high)))
        sample += placed * (snr / np.sqrt(np.sum(placed**2)))
    return observe(sample, settings.beam), snr


def observe(sky: np.ndarray, beam: float) -> np.ndarray:
    """Smooth ``(*axes)`` by a round Gaussian of FWHM `beam` pixels, scaled so that white noise keeps its rms.

    The last two axes are smoothed (the only one of a spectrum): channels of a cube stay independent. The borders
    wrap around, so that the rms is the same everywhere.
    """
    if beam == 0:
        return sky
    ndim = sky.ndim
    sigma = (0.0,) * max(0, ndim - 2) + (beam / _FWHM,) * min(2, ndim)
    point = np.zeros(sky.shape)
    point[(0,) * ndim] = 1.0
    # The rms of smoothed white noise is the root of the sum of squares of the kernel.
    return gaussian_filter(sky, sigma, mode="wrap") / np.sqrt(np.sum(gaussian_filter(point, sigma, mode="wrap") ** 2))


def _sources(settings: InjectionSettings) -> Manifest:
    ndim = len(settings.sample_shape)
    # The grid is only there because spectra must have one; pixels are never resampled onto it here.
    grid = {"grid": settings.grid or (1.0, 1.0 + settings.sample_shape[0], 1.0)} if ndim == 1 else {}
    return read_manifest(
        settings.sources, InputSettings(manifest=settings.sources, kind=_KINDS[ndim], **grid), labels=None
    )


def _loader(settings: InjectionSettings, sources: Manifest, position: int) -> Callable[[], np.ndarray]:
    row = sources.rows.iloc[position]
    ndim = len(settings.sample_shape)

    def load() -> np.ndarray:
        frame = read_frame(row["path"], kind=_KINDS[ndim], row=row["row"])
        data = frame.data
        if settings.grid is not None:
            data = resample(frame.wavelength, data, grid_points(settings.grid))
        if data.ndim != ndim:
            what = f"{row['path']} has {data.ndim} axes where the samples have {ndim}"
            raise UserError(sources.where(position), what, "correct shape, or list other sources")
        data = np.nan_to_num(data.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        if not np.any(data):
            raise UserError(sources.where(position), f"{row['path']} holds no signal", "remove the row")
        return data

    return load


def _check_sources(cached: Callable[[int], np.ndarray], plan: np.ndarray) -> None:
    problems = []
    for position in sorted(set(plan[plan >= 0].tolist())):
        try:
            cached(position)
        except UserError as problem:
            problems.append(problem)
    if problems:
        raise UserErrors(problems)


def _plan(settings: InjectionSettings, sources: int, seed: int) -> np.ndarray:
    """The source of each sample, -1 for noise: ``(n,)``; every source is used equally often, give or take one."""
    rng = np.random.default_rng(seed)
    blank = round(settings.n * settings.blank_fraction)
    rounds = -(-(settings.n - blank) // sources)
    used = np.concatenate([rng.permutation(sources) for _ in range(rounds)] or [np.zeros(0, dtype=int)])
    return rng.permutation(np.concatenate([np.full(blank, -1), used[: settings.n - blank]]))


def _turn(signal: np.ndarray, settings: InjectionSettings, rng: np.random.Generator) -> np.ndarray:
    if signal.ndim == 1:
        return signal
    if settings.flip:
        signal = np.flip(signal, [axis for axis in range(signal.ndim) if rng.random() < 0.5])
    if settings.rotate:
        signal = np.rot90(signal, rng.integers(4), axes=(-2, -1))
    return signal


def _place(signal: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if signal.ndim == 1 and signal.shape == shape:
        return signal  # a spectrum on the grid of the samples stays at its wavelengths
    power = signal**2
    centre = [float(np.sum(power * along)) / float(power.sum()) for along in np.indices(power.shape, sparse=True)]
    offsets = [round(c - rng.uniform(0.25, 0.75) * (size - 1)) for c, size in zip(centre, shape, strict=True)]
    placed = window(signal, tuple(offsets), shape, 0.0)
    if not np.any(placed):
        # The centre of light of a hollow object may be empty; its brightest pixel is not.
        peak = np.unravel_index(np.argmax(power), power.shape)
        placed = window(signal, tuple(p - size // 2 for p, size in zip(peak, shape, strict=True)), shape, 0.0)
    return placed


def _header(settings: InjectionSettings, seed: int) -> fits.Header:
    header = fits.Header()
    header["SIMPLE"], header["BITPIX"], header["NAXIS"] = True, -32, 1 + len(settings.sample_shape)
    for axis, size in enumerate((*settings.sample_shape[::-1], settings.n), start=1):
        header[f"NAXIS{axis}"] = size
    if len(settings.sample_shape) == 1:
        start, _, step = settings.grid or (1.0, 0.0, 1.0)
        header["CTYPE1"], header["CUNIT1"] = "WAVE", "Angstrom"
        header["CRPIX1"], header["CRVAL1"], header["CDELT1"] = 1.0, start, step
        if settings.grid is None:
            header["COMMENT"] = "The wavelength is the pixel number: the samples have no grid."
    else:
        for axis in range(1, 1 + len(settings.sample_shape)):
            header[f"CTYPE{axis}"], header[f"CRPIX{axis}"] = "LINEAR", 1.0
            header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = 1.0, 1.0
    header["BUNIT"] = ("", "dimensionless: brightness over the rms of the noise")
    header["RMS"] = (1.0, "rms of the noise")
    header["BEAMPIX"] = (settings.beam, "[pix] FWHM of the correlation of the noise")
    header["SNRLOW"], header["SNRHIGH"] = settings.snr
    header["SEED"] = (seed, "seed of everything random")
    header["COMMENT"] = "SNR = sqrt(sum(s**2)) / rms, object s and white noise before the beam"
    return header


def _manifest_text(settings: InjectionSettings, sources: Manifest, plan: np.ndarray, snrs: np.ndarray) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "row", "id", "label", "group", "snr", "source"])
    digits = max(5, len(str(settings.n)))
    for number, position in enumerate(plan):
        name = f"sample-{number:0{digits}d}"
        if position < 0:
            writer.writerow(["samples.fits", number, name, settings.labels[1], name, "", ""])
        else:
            source = sources.rows.iloc[position]
            snr = f"{snrs[number]:.4f}"
            writer.writerow(["samples.fits", number, name, settings.labels[0], source["group"], snr, source["id"]])
    return text.getvalue()
