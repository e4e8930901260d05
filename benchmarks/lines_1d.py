"""Emission lines in spectra with the detector of images: N = 1 costs no new code.

    python benchmarks/lines_1d.py

Spectra of white noise of rms 1, the continuum subtracted, hold Gaussian emission lines of known centre, width and
flux. The detector trains on some and is judged on others by the average precision of its boxes, whose sides are twice
the lines' full width at half maximum, beside that of the runs of channels above 5 rms, which needs no training.
"""

import tempfile
from pathlib import Path

import numpy as np

from pipeline.data.background import measure_background
from pipeline.detect.crops import LabelledField
from pipeline.detect.objects import Objects
from pipeline.detect.precision import average_precision
from pipeline.detect.predict import Search, detect
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.train import Detector, Names, train_detector
from pipeline.learn.settings import TrainSettings

NAMES = Names(values=("ln_flux",))
CHANNELS, LINES = 4096, 60
FWHM = (3.0, 12.0)
PEAK = (3.0, 30.0)
THRESHOLDS = (0.1, 0.3, 0.5)
SETTINGS = DetectorSettings(
    network="C-16.8_s2_p3 C-16.7 C-16.7",
    crop=512,
    steps=50,
    held_out_steps=4,
    train=TrainSettings(epochs=4, batch=8, learning_rate=1e-2, warmup=0.2, ema=0.9, clip=2.0, precision="fp32"),
)


def spectrum(seed: int, channels: int = CHANNELS, lines: int = LINES) -> LabelledField:
    """A spectrum (channel,) in units of its noise, and its lines."""
    random = np.random.default_rng(seed)
    centre = random.uniform(0, channels - 1, lines)
    width = np.exp(random.uniform(*np.log(FWHM), lines))
    peak = np.exp(random.uniform(*np.log(PEAK), lines))
    away = (np.arange(channels) - centre[:, None]) / width[:, None]
    snr = random.normal(0, 1, channels) + (peak[:, None] * np.exp(-4 * np.log(2) * away**2)).sum(0)
    flux = peak * width * np.sqrt(np.pi / (4 * np.log(2)))
    objects = Objects(
        centre=centre[:, None],
        size=2 * width[:, None],
        values=np.log(flux)[:, None],
        label=np.full(lines, -1),
        snr=peak,
        row=np.arange(lines),
    )
    return LabelledField(snr.astype(np.float32), objects, ())


def trained(settings: DetectorSettings, folder: Path, seed: int = 0) -> Detector:
    """A detector of lines, from two spectra to learn from and one to choose the epoch by."""
    return train_detector(
        [spectrum(seed + 1), spectrum(seed + 2)], [spectrum(seed + 3)], NAMES, settings, folder, seed=seed, device="cpu"
    )


def judged(detector: Detector, field: LabelledField) -> dict:
    """The average precision of the detector and of the baseline, and the error of ln flux of the lines found."""
    found = detect(
        detector.network,
        detector.layout,
        lambda section: field.snr[tuple(section)],
        measure_background(lambda section: field.snr[tuple(section)], field.snr.shape, mesh=1024),
        (),
        (),
        Search(least=-4.0, radius=2.75),
    )
    boxes = np.stack([found.centre - found.size / 2, found.centre + found.size / 2], axis=1)
    truth = field.objects.boxes()
    plain_boxes, plain_scores = runs(field.snr)
    near = np.abs(found.centre - field.objects.centre.T)
    match = near.argmin(1)
    sure = (found.logit > 0) & (near.min(1) < 2)
    return {
        "detector": average_precision(boxes, found.logit, truth, THRESHOLDS)["at"],
        "above 5 rms": average_precision(plain_boxes, plain_scores, truth, THRESHOLDS)["at"],
        "flux_error": float(np.median(np.abs(found.values[sure, 0] - field.objects.values[match[sure], 0]))),
    }


def runs(snr: np.ndarray, least: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 2, 1) of the runs of channels above `least` rms, and their peaks (n,)."""
    edge = np.flatnonzero(np.diff(np.concatenate([[False], snr > least, [False]]).astype(int)))
    start, stop = edge[::2], edge[1::2]
    peak = np.array([snr[low:high].max() for low, high in zip(start, stop, strict=True)])
    # The channels above a threshold of half the peak span the full width; the boxes span twice that.
    half = (stop - start)[:, None]
    middle = (start + stop - 1)[:, None] / 2
    return np.stack([middle - half, middle + half], axis=1), peak


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = judged(trained(SETTINGS, Path(folder)), spectrum(4))
    for name in ("detector", "above 5 rms"):
        shown = ", ".join(f"{100 * at['ap']:.1f} % at IoU {threshold}" for threshold, at in result[name].items())
        print(f"{name}: average precision {shown}")
    print(f"median error of ln flux of the lines found: {result['flux_error']:.3f}")


if __name__ == "__main__":
    main()
