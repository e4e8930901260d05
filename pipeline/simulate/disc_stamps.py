"""Stamps of rotating HI discs, three axes or one, drawn by the laws of the simulated cubes, and their truth table."""

from pathlib import Path

import numpy as np

from pipeline.data.geometry import window
from pipeline.simulate.disc_settings import DiscSettings
from pipeline.simulate.hi_laws import channel_width_km_s
from pipeline.simulate.hi_settings import HiSettings
from pipeline.simulate.hi_stamp import stamp
from pipeline.simulate.injection import observe
from pipeline.simulate.stamp_files import Progress, Truth, write_stamps

_FREQUENCY = 1.3e9  # of all lines [Hz]: one width of a channel in km/s serves them all
_EDGE_ON = 60.0
_UNITS = {"flux": "Jy Hz", "size": "arcsec", "w20": "km/s", "inclination": "deg", "pa": "deg"}


def simulate_discs(
    settings: DiscSettings, out_folder: str | Path, *, seed: int = 1, progress: Progress | None = None
) -> None:
    """Write ``samples.fits``, ``(n, *axes)`` float32 [Jy/beam; Jy for spectra], and its ``manifest.csv``.

    The manifest has the columns path, row, id, label, group and the truth as `make_disc` gives it, with its units.
    """
    blocks = (_block(settings, seed, number) for number in range(settings.n))
    cards = {
        "BUNIT": ("Jy/beam" if len(settings.shape) == 3 else "Jy", "unit of a pixel"),
        "RMS": (settings.rms if settings.noise else 0.0, "rms of the noise [BUNIT]"),
        "PIXSCALE": (settings.pixel_arcsec, "[arcsec] size of a pixel"),
        "PSFFWHM": (settings.beam * settings.pixel_arcsec, "[arcsec] FWHM of the beam"),
        "CHANNEL": (settings.channel_hz, "[Hz] width of a channel"),
        "SEED": (seed, "seed of everything random"),
    }
    write_stamps(out_folder, settings.n, settings.shape, blocks, cards, _UNITS, name="disc", progress=progress)


def make_disc(settings: DiscSettings, seed: int, number: int) -> tuple[np.ndarray, dict[str, float | str]]:
    """Disc `number` of a seed: a stamp ``(*axes)`` float32 [Jy/beam; Jy for a spectrum], and its truth.

    The truth holds flux, the noise-free line flux within the stamp [Jy Hz]; size, the HI diameter [arcsec]; w20 [km/s];
    inclination and pa [deg]; snr; label. The noise of the planes of a cube is smoothed by the beam.
    """
    rng = np.random.default_rng((seed, number))
    snr, size, width = (
        low * (high / low) ** rng.random() for low, high in (settings.snr, settings.size, settings.width)
    )
    low, high = np.cos(np.radians(settings.inclination[::-1]))
    row = {
        "hi_size": size * settings.pixel_arcsec,
        "line_flux_integral": 1.0,
        "central_freq": _FREQUENCY,
        "pa": 360.0 * rng.random(),
        "i": float(np.degrees(np.arccos(rng.uniform(low, high)))),
        "w20": width * settings.shape[0] * float(channel_width_km_s(_FREQUENCY, settings.channel_hz)),
    }
    beam = settings.beam * settings.pixel_arcsec
    sky = HiSettings(
        shape=(8, 8, 8), pixel_arcsec=settings.pixel_arcsec, channel_hz=settings.channel_hz, beam_arcsec=(beam, beam, 0)
    )
    picture = stamp(row, sky, rng)
    area = np.pi / 4 / np.log(2) * settings.beam**2
    light, centre = picture.pixels.astype(np.float64), picture.centre
    if len(settings.shape) == 1:
        light, centre, area = light.sum(axis=(1, 2)), centre[:1], 1.0
    offsets = tuple(round(float(at)) - extent // 2 for at, extent in zip(centre, settings.shape, strict=True))
    pixels = window(light, offsets, settings.shape, 0.0)
    pixels *= snr * settings.rms / np.sqrt(np.sum(pixels**2))
    flux = float(pixels.sum()) * settings.channel_hz / area
    if settings.noise:
        noise = rng.standard_normal(settings.shape)
        pixels += settings.rms * (noise if len(settings.shape) == 1 else observe(noise, settings.beam))
    return pixels.astype(np.float32), {
        "label": "edge-on" if row["i"] > _EDGE_ON else "face-on",
        "flux": flux,
        "size": row["hi_size"],
        "w20": row["w20"],
        "inclination": row["i"],
        "pa": row["pa"],
        "snr": snr,
    }


def _block(settings: DiscSettings, seed: int, number: int) -> tuple[np.ndarray, Truth]:
    pixels, truth = make_disc(settings, seed, number)
    return pixels[None], {name: np.array([value]) for name, value in truth.items()}
