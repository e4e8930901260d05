"""The second look at what a scan of a cube found: averages over the symmetries and matched filters, then calibrated."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pipeline.detect.calibrate import Calibrated
from pipeline.detect.model import Model
from pipeline.detect.predict import Detections, Search, in_half, join
from pipeline.detect.train import Detector
from pipeline.hi.matched_filter import Matched, line_widths, make_bank, matched_snr
from pipeline.hi.second_look import apart, second_look
from pipeline.hi.stream import ChunkStore, Cube, Noise, ProgressLog, fingerprint, snr_reader
from pipeline.hi.texture import beam_pixels, spectral_correlation

# Candidates that are looked at between two files that a killed run goes on from.
_BLOCK = 1024
# A bank of filters serves frequencies within this share: widths in channels change by twice as much.
_BAND = 0.025


@dataclass
class Candidates:
    """What was found in a cube: detections (n), matched_snr (n,), and features (n, K) that a calibrator is told."""

    detections: Detections
    matched_snr: np.ndarray
    features: np.ndarray

    def calibrated(self, model: Model, symmetric: bool) -> Calibrated:
        """With the probabilities and errors of the model's calibrator, which may be one without the features."""
        extra = self.features if model.calibrator.extra else None
        return model.calibrator.apply(self.detections, model.detector.names.values if symmetric else None, extra)


def look_again(
    found: Detections,
    reader: Cube,
    noise: Noise,
    detector: Detector,
    radius: float | Sequence[float],
    symmetric: bool,
    *,
    spectral: Sequence[float] | None = None,
    folder: str | os.PathLike | None = None,
    progress: Callable[[object], None] | None = None,
    depends: Any = None,
) -> Candidates:
    """The detections `found` of a scan, at most as many, each with its matched filter.

    Parameters
    ----------
    reader : a `CubeReader`. radius : within which two detections are one [pixel].
    symmetric : whether outputs are averaged over the 16 symmetries around each detection; those that turn out to be
        one are then one.
    spectral : autocorrelation of the noise along frequency; None measures it.
    folder, progress, depends : as in `detect_cube`.
    """
    read_snr = snr_reader(reader.read, noise)
    if symmetric:
        found = _averaged(found, read_snr, reader, noise, detector, radius, folder, progress, depends)
        found = found.take(apart(found, radius))
    spectral = spectral_correlation(reader, noise) if spectral is None else spectral
    ratio, features = matched_features(found.centre, reader, noise, spectral)
    return Candidates(found, ratio, features)


def matched_features(
    centre: np.ndarray, reader: Cube, noise: Noise, spectral: Sequence[float] = (1.0,)
) -> tuple[np.ndarray, np.ndarray]:
    """The signal-to-noise ratio (n,) in the best filter at centres (n, 3), and what a calibrator is told of it (n, 4).

    The filters are those of white noise seen through the beam, with this autocorrelation along frequency and line
    widths that suit each frequency.
    """
    read_snr = snr_reader(reader.read, noise)
    pixels = beam_pixels(reader)
    channel = np.clip(np.rint(centre[:, 0]), 0, reader.shape[0] - 1).astype(int)
    frequency, width = np.asarray(reader.frequency)[channel], np.asarray(reader.channel_hz)[channel]
    band = np.floor(np.log(frequency / np.min(reader.frequency)) / _BAND).astype(int)
    ratio, features = np.zeros(len(centre)), np.zeros((len(centre), 4))
    for number in np.unique(band):
        rows = np.flatnonzero(band == number)
        middle = float(np.min(reader.frequency) * np.exp((number + 0.5) * _BAND))
        bank = make_bank(pixels, line_widths(float(np.median(width[rows])), middle, reader.rest_hz), spectral=spectral)
        matched: Matched = matched_snr(read_snr, reader.shape, centre[rows], bank)
        ratio[rows], features[rows] = matched.snr, bank.features(matched)
    return ratio, features


def _averaged(
    found: Detections, read_snr, reader: Cube, noise: Noise, detector: Detector, radius, folder, progress, depends
):
    progress, store = progress or ProgressLog(reader.path), None
    if folder is not None:
        search = Search(radius=radius, symmetric=True)
        told = {
            "depends": depends,
            "found": _digest(found),
            "half": in_half(next(detector.network.parameters()).device),
        }
        store = ChunkStore(folder, fingerprint(reader, noise, detector, search, told))
    parts = []
    for index, start in enumerate(range(0, len(found), _BLOCK)):
        part = None if store is None else store.load(index)
        if part is None:
            part = second_look(
                detector.network,
                detector.layout,
                read_snr,
                reader.shape,
                found.take(np.arange(start, min(start + _BLOCK, len(found)))),
                detector.names.conditions,
                radius=radius,
            )
            if store is not None:
                store.save(index, part)
        parts.append(part)
        progress(f"{min(start + _BLOCK, len(found))} of {len(found)} candidates looked at again")
    return join(parts) if parts else found


def _digest(found: Detections) -> str:
    digest = hashlib.sha256()
    for part in fields(found):
        digest.update(np.ascontiguousarray(getattr(found, part.name)).tobytes())
    return digest.hexdigest()
