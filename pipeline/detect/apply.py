"""Detecting: images of a user's own and a trained model, to a catalogue."""

import itertools
import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from astropy.table import QTable

from pipeline.data.background import measure_background
from pipeline.detect.calibrate import Calibrated, take
from pipeline.detect.catalogue import detection_format, make_catalogue, sampling_of, write_detections
from pipeline.detect.columns import join_catalogues
from pipeline.detect.continuum import VALUES, pixel_ellipse
from pipeline.detect.image import ContinuumImage
from pipeline.detect.measures import threshold_for_purity
from pipeline.detect.model import Model, check_continuum, load
from pipeline.detect.predict import Search, detect
from pipeline.detect.resample import SLACK, ResampledReader, Sampling, check_beam, dilution_ratio, miss
from pipeline.detect.texture import TOLERANCE, check_texture
from pipeline.errors import FlemingWarning, UserError, UserErrors
from pipeline.files import check_distinct, check_output
from pipeline.learn.device import pick_device

log = logging.getLogger("fleming")


class BeamMismatchWarning(FlemingWarning):
    """No sampling of the image gives its beam a width that the model was trained on."""


class EmptySkyWarning(FlemingWarning):
    """No source was found."""


class PurityWarning(FlemingWarning):
    """No threshold keeps as pure a catalogue as was asked for."""


def detect_images(
    images: Sequence[tuple[str | os.PathLike, str | os.PathLike | None]],
    model: str | os.PathLike | Model,
    outs: Sequence[str | os.PathLike],
    *,
    purity: float | None = None,
    regions: str | os.PathLike | None = None,
    symmetric: bool | None = None,
    device: str | None = None,
    fmt: str | None = None,
) -> QTable:
    """Find the sources of images, each with an image of its primary beam or None, and write one catalogue of all.

    Parameters
    ----------
    outs : files to write, the format by suffix or `fmt`; see `catalogue.detection_format`. regions : a DS9 file.
    purity : wanted mean probability of the catalogue; None takes the threshold that maximises the expected score.
    symmetric : average over the 8 symmetries of the sky; None as the model's calibrator was fitted.

    Raises
    ------
    UserErrors : all outputs that cannot be written, or all images that cannot be searched.

    Warns
    -----
    NoiseMismatchWarning, BeamMismatchWarning : of an image. PurityWarning, EmptySkyWarning : of the catalogue.
    """
    written = [(path, detection_format(path, fmt)) for path in outs]
    written += [] if regions is None else [(regions, "regions")]
    read = [path for pair in images for path in pair if path is not None]
    check_distinct([path for path, _ in written], read if isinstance(model, Model) else [*read, model])
    check_repeats([image for image, _ in images])
    together(check_output, [(path,) for path, _ in written])
    if purity is not None:
        threshold_for_purity(np.zeros(0), purity)
    where = pick_device(device or "auto")
    model = _usable(model, where)
    start = time.perf_counter()
    opened = together(ContinuumImage.open, images)
    together(_check, [(image, model) for image in opened])
    # The purity of a catalogue depends on all detections; what is below the model's own threshold is not needed.
    least = model.threshold if purity is None else 0.0
    found = [detect_image(image, model, symmetric=symmetric, device=where, least=least) for image in opened]
    threshold = chosen_threshold(np.concatenate([part.probability for part in found]), model, purity, _names(opened))
    kept = [take(part, part.probability >= threshold) for part in found]
    first = itertools.accumulate((len(part.probability) for part in kept), initial=1)
    names = column_names([image.path for image in opened])
    tables = [
        make_catalogue(part, image, model, first=number, name=name)
        for part, image, number, name in zip(kept, opened, first, names, strict=False)
    ]
    table = join_catalogues(tables)
    # To write a table takes as much memory again as the table.
    del found, kept, tables
    table.meta["THRESHOL"] = threshold
    if not len(table):
        warnings.warn(
            f"{_names(opened)}: no source was found above the threshold of {threshold:.3g}; "
            "check that the image shows sky and that the model suits it.",
            EmptySkyWarning,
            2,
        )
    for path, form in written:
        write_detections(table, path, form)
    taken, size = time.perf_counter() - start, sum(np.prod(image.shape) for image in opened) / 1e6
    log.info("%s: %d sources in %.3g Mpix, %.1f s, %.2f Mpix/s", _names(opened), len(table), size, taken, size / taken)
    return table


def detect_image(
    image: ContinuumImage,
    model: Model,
    *,
    symmetric: bool | None = None,
    device: torch.device | str | None = None,
    side: int | None = None,
    least: float = 0.0,
) -> Calibrated:
    """The detections above the search's lowest logit, calibrated, in the pixels, the beam and the rms of `image`.

    An image whose beam the model does not know is searched on other pixels. The image is read by section.

    Parameters
    ----------
    side : of the tiles [pixel], which the result does not depend on.
    least : the lowest probability that is kept.

    Raises
    ------
    UserError : a beam that cannot be searched, or a model of something else.

    Warns
    -----
    NoiseMismatchWarning, BeamMismatchWarning
    """
    model = _usable(model, torch.device(device or next(model.detector.network.parameters()).device))
    _check(image, model)
    sampling = sampling_of(image, model)
    seen = _resampled(image, sampling)
    known = model.trained["beam"]
    if miss(seen.beam, *known) > SLACK:
        warnings.warn(
            f"{image.path}: its beam of {image.beam.mean:.3g} pixels is outside the {known[0]:.3g} to {known[1]:.3g} "
            "that the model was trained on; run fleming adapt, or use a model of this beam.",
            BeamMismatchWarning,
            2,
        )
    _compare_noise(seen, model)
    detector = model.detector
    symmetric = model.symmetric if symmetric is None else symmetric
    search = Search(radius=model.radius, symmetric=symmetric, side=side)
    detections = detect(
        detector.network,
        detector.layout,
        seen.reader.read,
        seen.background,
        seen.beam.conditions,
        detector.names.conditions,
        search,
    )
    calibrated = model.calibrator.apply(detections, detector.names.values if symmetric else None, least=least)
    del detections
    calibrated = _to_image(calibrated, seen, image, sampling)
    centre = calibrated.detections.centre
    inside = ((centre >= -0.5) & (centre < np.array(image.shape) - 0.5)).all(1)
    return calibrated if inside.all() else take(calibrated, inside)


def _compare_noise(image: ContinuumImage, model: Model) -> None:
    known = model.trained["noise"]
    known = [known] if isinstance(known, dict) else known
    try:
        check_texture(image, known, model.trained.get("noise_tolerance", TOLERANCE))
    except UserError as error:
        # Too few pixels without sources to tell the texture are no reason not to search.
        log.info("%s: its noise is not compared with that of the model's training, for it %s", image.path, error.what)


def _usable(model: str | os.PathLike | Model, device: torch.device) -> Model:
    """The model, on the device, if it is one of continuum images."""
    where: object = "model"
    if not isinstance(model, Model):
        where, model = model, load(model, device)
    check_continuum(model, where)
    model.detector.network.to(device).eval()
    return model


def _check(image: ContinuumImage, model: Model) -> None:
    check_beam(image.beam, image.path)
    sampling = sampling_of(image, model)
    if sampling != Sampling():
        ResampledReader(image.reader, sampling, image.beam)


def _resampled(image: ContinuumImage, sampling: Sampling) -> ContinuumImage:
    """The image as the model is to see it."""
    if image.reader.note:
        log.info("%s %s", image.path, image.reader.note)
    if sampling == Sampling():
        return image
    reader = ResampledReader(image.reader, sampling, image.beam)
    background = measure_background(reader.read, reader.shape, where=image.path)
    seen = ContinuumImage(reader, background, image.attenuation)
    log.info(
        "%s: its beam of %.3g pixels is %s, so that the model sees one of %.3g pixels",
        image.path, image.beam.mean, sampling, seen.beam.mean,
    )  # fmt: skip
    return seen


def _to_image(calibrated: Calibrated, seen: ContinuumImage, image: ContinuumImage, sampling: Sampling) -> Calibrated:
    """Detections of the resampled image in the pixels, the rms and the beam of the image itself."""
    if sampling == Sampling():
        return calibrated
    found = calibrated.detections
    at = {name: index for index, name in enumerate(VALUES)}
    centre, values = sampling.to_image(found.centre), found.values.copy()
    rms = image.rms_at(centre)
    ellipse = pixel_ellipse(values, seen.beam)
    gain = np.log(found.rms / rms)
    values[:, at["ln_flux"]] += gain
    values[:, at["ln_peak"]] += gain + np.log(dilution_ratio(*ellipse, seen.beam, sampling, image.beam))
    values[:, [at["ln_major"], at["ln_minor"]]] += np.log(seen.beam.mean * sampling.step / image.beam.mean)
    scale = np.ones(2 + len(VALUES))
    scale[:2] = sampling.step
    detections = replace(
        found, centre=centre, size=found.size * sampling.step, values=values, width=found.width * scale, rms=rms
    )
    return Calibrated(detections, calibrated.probability, calibrated.errors * scale)


def chosen_threshold(probability: np.ndarray, model: Model, purity: float | None, where: str) -> float:
    """That of the model, or the lowest of which `probability` (n,) make a catalogue of the wanted purity, else 1."""
    if purity is None:
        return model.threshold
    threshold = threshold_for_purity(probability, purity)
    if threshold is not None:
        return threshold
    if len(probability):
        warnings.warn(
            f"{where}: no catalogue is as pure as {purity:g}, for the best detection has a probability of "
            f"{probability.max():.6g}, so that it is empty; ask for less purity.",
            PurityWarning,
            3,
        )
    return 1.0


def column_names(paths: Sequence[str]) -> list[str | None]:
    """How a catalogue names its frames: not at all where there is one, by their paths where names repeat."""
    if len(paths) == 1:
        return [None]
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def check_repeats(paths: Sequence[str | os.PathLike]) -> None:
    """Refuse a frame that is named twice.

    Raises
    ------
    UserError : its sources would be listed twice.
    """
    known = set()
    for path in paths:
        place = os.path.realpath(path)
        if place in known:
            raise UserError(path, "is named twice, so that its sources would be listed twice", "name it once")
        known.add(place)


def _names(images: Sequence[ContinuumImage]) -> str:
    return images[0].path if len(images) == 1 else f"{images[0].path} and {len(images) - 1} more"


def together(action, calls: Sequence[tuple]) -> list:
    """What `action` gives for each call; all the problems at once where there are any."""
    results, problems = [], []
    for call in calls:
        try:
            results.append(action(*call))
        except UserError as error:
            problems.append(error)
    if problems:
        raise UserErrors(problems)
    return results
