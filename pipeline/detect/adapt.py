"""Adapting a model to an image: practice on simulated fields that match its noise, beam and depth."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.detect.areas import Section, divide
from pipeline.detect.choose import Chosen, choose
from pipeline.detect.continuum import NAMES
from pipeline.detect.image import ContinuumImage
from pipeline.detect.labelled import LabelledArea
from pipeline.detect.model import Model, check_continuum, load
from pipeline.detect.pace import paced
from pipeline.detect.population import resembling
from pipeline.detect.practice import Practice, practise, truth_table
from pipeline.detect.predict import Search
from pipeline.detect.settings import DetectorSettings
from pipeline.detect.task_settings import AdaptSettings, AreaSettings
from pipeline.detect.texture import texture
from pipeline.detect.train import Detector, train_detector
from pipeline.detect.truth import covered, read_truth, response
from pipeline.errors import UserError
from pipeline.files import check_distinct, check_output, scratch, write_text
from pipeline.learn.settings import TrainSettings
from pipeline.provenance import provenance
from pipeline.score.sdc1 import Sdc1
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.match import match_noise
from pipeline.simulate.noise import NoisePower

log = logging.getLogger("fleming")
_STEPS = 25
_TRAIN = TrainSettings(epochs=2, batch=8, learning_rate=1.5e-3, warmup=0.5, ema=0.99, clip=2.0)
# The share of real sky in training and in calibration, where there is a truth for it: no simulation is quite like it.
_REAL = 0.3
_MOST_REPEATS = 30
_STEEPEST = 3.0
_BRIGHTEST = 1e4
# The frequency that is taken where a header names none: the lowest band of the first challenge [Hz].
_FREQUENCY = 560e6
_RADIO = (1e7, 1e12)
# Densities to try in turn, of those asked for.
_SPARSER = (1.0, 0.5, 0.25, 0.1)


def adapt(
    image: str | os.PathLike,
    model: str | os.PathLike,
    out: Path,
    settings: AdaptSettings,
    *,
    seed: int,
    device: str | None = None,
    truth: str | os.PathLike | None = None,
    primary_beam: str | os.PathLike | None = None,
) -> None:
    """Fine-tune the model file `model` on simulated fields like `image`, and write the model file `out`.

    With a truth table of part of the image its pixels are learnt from too, its rows take the place of the laws of
    the simulated sources, and what the image shows of a true flux is measured; a part of them chooses, with the last
    third of the simulated fields, the calibrator and the threshold.

    Raises
    ------
    UserError : the image, the truth or the model cannot be used, or nothing can be learnt from them.
    """
    check_distinct([out], [path for path in (image, model, truth, primary_beam) if path is not None])
    check_output(out)
    began = load(model)
    check_continuum(began, model)
    opened = ContinuumImage.open(image, primary_beam)
    real = None if truth is None else _labelled(opened, truth)
    areas = _practice(opened, began, settings, seed, real)
    last = max(len(areas) // 3, 1)
    held, learnt = areas[-last:], areas[:-last]
    if real is not None:
        bands = divide(real.section, AreaSettings(validation=0.25, test=0.0), False)
        learnt = [replace(real, section=bands["train"])] * _repeats(bands["train"], learnt) + learnt
        held = [replace(real, section=bands["validation"])] * _repeats(bands["validation"], held) + held
    least = DetectorSettings().objects.lowest_snr
    fields, tests = (
        [area.image.labelled(area.truth, area.section, least) for area in group] for group in (learnt, held)
    )
    start = DetectorSettings(method=began.detector.layout.method, steps=_STEPS, held_out_steps=5, train=_TRAIN)
    chosen_settings = paced(began.detector, fields, start, settings.minutes, seed=seed, device=device)
    with scratch(out.parent / f"{out.stem}-checkpoint") as folder:
        detector = train_detector(
            fields, tests, NAMES, chosen_settings, folder, seed=seed, device=device, begin=began.detector
        )
        search = Search(radius=began.radius, symmetric=began.symmetric)
        chosen = choose(detector, held, Sdc1(560), search, seed)
        _adapted(began, detector, chosen, opened, chosen_settings, seed).save(out)
        write_text(out.parent / f"{out.stem}-history.csv", (folder / "history.csv").read_text(encoding="utf-8"))
    log.info(
        "adapted to %s: threshold %.3f, purity of the practice fields %.3f",
        image,
        chosen.threshold,
        chosen.figures["purity"],
    )


def _repeats(section: Section, practised: list[LabelledArea]) -> int:
    """How often the real sky enters a list of areas, to make up `_REAL` of their pixels."""
    pixels = [
        np.prod([part.stop - part.start for part in area]) for area in (section, *(one.section for one in practised))
    ]
    return int(np.clip(round(_REAL / (1 - _REAL) * sum(pixels[1:]) / pixels[0]), 1, _MOST_REPEATS))


def _labelled(image: ContinuumImage, truth: str | os.PathLike) -> LabelledArea:
    """The part of the image that the truth table covers; sets the image's response to what it shows there."""
    table = read_truth(truth)
    image.response = response(image, table, truth)
    return LabelledArea(image, table, covered(image, table, truth))


def radio_frequency(found: float | np.ndarray | None) -> float:
    """The frequency of a header [Hz], or `_FREQUENCY` where it has none or one that no radio telescope observes at."""
    plain = found is not None and np.ndim(found) == 0 and _RADIO[0] <= found <= _RADIO[1]
    return float(found) if plain else _FREQUENCY


def _practice(
    image: ContinuumImage, model: Model, settings: AdaptSettings, seed: int, real: LabelledArea | None
) -> list[LabelledArea]:
    """Simulated fields with the noise, beam, depth and, where a truth is known, the sources of the image."""
    reader, levels = image.reader, image.background.summary()
    beam, pixel = reader.beam, 3600 * reader.pixel_scale
    frequency = radio_frequency(reader.frequency)
    measured = texture(image)
    told = ContinuumSettings(
        shape=(settings.side, settings.side),
        pixel_arcsec=pixel,
        beam_arcsec=(3600 * beam.major, 3600 * beam.minor, beam.pa),
        frequency=frequency / 1e6,
        rms=measured.rms,
        rms_gradient=min(levels["max_rms"] / levels["min_rms"], _STEEPEST) if levels["min_rms"] > 0 else 1.0,
        flux_max=max(0.01, _BRIGHTEST * measured.rms),
        attenuation=image.response,
        size_form="gaussian",
    )
    catalogue = None if real is None else truth_table(real.truth, image, real.section)
    told, noise = _matched(told, measured, seed, catalogue, image.path)
    told = resembling(image, model, told, noise, seed, catalogue)
    told, noise = _matched(told, measured, seed, catalogue, image.path)
    log.info(
        "practising on %s sources seen with %.2f times the beam's area, %.2f times as many as usual",
        "the truth's" if real else told.size_form,
        told.broadening,
        told.density,
    )
    return [practise(Practice(told, noise), seed + 1 + number, catalogue) for number in range(settings.fields)]


def _matched(
    settings: ContinuumSettings, measured: NoisePower, seed: int, catalogue: pd.DataFrame | None, where: str
) -> tuple[ContinuumSettings, NoisePower]:
    """The noise that makes simulated fields as those `settings` look like what was measured; with fewer sources where
    the usual number leaves no empty sky to measure in, which the image does."""
    for share in _SPARSER:
        told = settings.model_copy(update={"density": share * settings.density})
        try:
            return told, match_noise(told, measured, seed=seed, catalogue=catalogue)
        except UserError as error:
            problem = error
    what = "is so crowded at its beam and depth that simulations of it leave no empty sky to match its noise in"
    raise UserError(where, what, "search it with the model as it is, and mind the warning") from problem


def _adapted(
    began: Model, detector: Detector, chosen: Chosen, image: ContinuumImage, settings: DetectorSettings, seed: int
) -> Model:
    trained = {
        "beam": [0.95 * image.beam.mean, 1.05 * image.beam.mean],
        "noise": [texture(image).to_dict()],
        "settings": settings.model_dump(mode="json"),
        "adapted_to": Path(image.path).name,
        "response": image.response,
        "measured": chosen.figures,
        "began_with": {name: began.trained.get(name) for name in ("command", "settings", "provenance")},
        "provenance": provenance(seed),
    }
    return Model(detector, chosen.calibrator, chosen.threshold, began.radius, began.symmetric, trained)
