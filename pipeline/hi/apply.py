"""Detecting: spectral-line cubes of a user's own and a trained model, to a catalogue of galaxies."""

import hashlib
import itertools
import logging
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.table import QTable

from pipeline.data.continuum_mask import MaskedReader, continuum_mask
from pipeline.data.cube_noise import CubeNoise, measure_cube_noise
from pipeline.detect.apply import (
    BeamMismatchWarning,
    EmptySkyWarning,
    check_repeats,
    chosen_threshold,
    column_names,
    together,
)
from pipeline.detect.calibrate import Calibrated, joined, take
from pipeline.detect.columns import join_catalogues
from pipeline.detect.continuum import PixelBeam
from pipeline.detect.measures import threshold_for_purity
from pipeline.detect.model import Model, load
from pipeline.detect.predict import Search
from pipeline.detect.resample import SLACK, miss
from pipeline.errors import UserError
from pipeline.files import check_distinct, check_output, read_json, write_json
from pipeline.hi.candidates import look_again
from pipeline.hi.catalogue import galaxy_format, make_catalogue, write_galaxies
from pipeline.hi.galaxies import VALUES
from pipeline.hi.large import parts_of, search_large, too_large
from pipeline.hi.products import write_products
from pipeline.hi.stream import MEMORY, chunk_sides, detect_cube, file_state
from pipeline.hi.texture import check_texture
from pipeline.hi.thumbnails import thumbnails
from pipeline.learn.device import pick_device
from pipeline.sky.cube import CubeReader
from pipeline.sky.geometry import ARCSEC
from pipeline.sky.headers import Beam

log = logging.getLogger("fleming")

# Pixels whose mean continuum is brighter are left out, as YOLO-CIANNA does in SDC2 [Jy/beam].
CONTINUUM_LIMIT = 3e-3


@dataclass
class Searched:
    """What was found in a cube: detections with their probabilities and errors, and matched_snr (n,)."""

    calibrated: Calibrated
    matched_snr: np.ndarray

    def above(self, threshold: float) -> "Searched":
        """Those of at least this probability."""
        chosen = self.calibrated.probability >= threshold
        return Searched(take(self.calibrated, chosen), self.matched_snr[chosen])


def detect_cubes(
    cubes: Sequence[tuple[str | os.PathLike, str | os.PathLike | None]],
    model: str | os.PathLike | Model,
    outs: Sequence[str | os.PathLike],
    *,
    purity: float | None = None,
    regions: str | os.PathLike | None = None,
    symmetric: bool | None = None,
    device: str | None = None,
    fmt: str | None = None,
    beam: Beam | None = None,
    limit_jy: float = CONTINUUM_LIMIT,
    folder: str | os.PathLike | None = None,
    candidates: str | os.PathLike | None = None,
    products: str | os.PathLike | None = None,
    page: str | os.PathLike | None = None,
    memory: float = MEMORY,
) -> QTable:
    """Find the galaxies of cubes, each with an image or cube of its continuum or None, and write one catalogue of all.

    Parameters
    ----------
    outs : files to write, the format by suffix or `fmt`; see `catalogue.galaxy_format`. regions : a DS9 file.
    purity : wanted mean probability of the catalogue; None takes the threshold that maximises the expected score.
    symmetric : average over the 16 symmetries around each candidate; None as the model's calibrator was fitted.
    beam : of the cubes, instead of their headers'.
    limit_jy : where the continuum is brighter a cube is left out [Jy/beam].
    folder : keeps what is done of the search, for a run that is killed to go on from; None takes one beside the first
        of `outs`, which is removed at the end, and when a cube turns out to have no noise to measure.
    candidates : a FITS catalogue of all that was looked at twice, however improbable.
    products : a folder for the cubelets, maps and spectra of the galaxies.
    page : a folder for a picture of the galaxies, galaxies.png, and its caption, galaxies.json.
    memory : the most to take [byte].

    Raises
    ------
    UserErrors : all outputs that cannot be written, or all cubes that cannot be searched.

    Warns
    -----
    BeamMismatchWarning, NoiseMismatchWarning : of a cube. PurityWarning, EmptySkyWarning : of the catalogue.
    """
    written = [(path, galaxy_format(path, fmt)) for path in outs]
    written += [] if regions is None else [(regions, "regions")]
    files = [path for path, _ in written] + ([] if candidates is None else [candidates])
    folders = [place for place in (folder, products) if place is not None]
    read = [path for pair in cubes for path in pair if path is not None]
    check_distinct([*files, *folders], read if isinstance(model, Model) else [*read, model])
    check_repeats([cube for cube, _ in cubes])
    kept_beside = None if folder is not None or not outs else Path(f"{outs[0]}.chunks")
    folder = folder or kept_beside
    inside = [Path(place) / "0" for place in (folder, products, page) if place is not None]
    together(check_output, [(path,) for path in [*files, *inside]])
    if purity is not None:
        threshold_for_purity(np.zeros(0), purity)
    model = usable(model, pick_device(device or "auto"))
    start = time.perf_counter()
    opened = together(open_cube, [(cube, beam, continuum, limit_jy) for cube, continuum in cubes])
    for reader, _ in opened:
        # Too little memory is told before the noise is measured, which of a large cube takes minutes.
        chunk_sides(reader.shape, model.detector.network, Search(radius=model.radius), memory)
    begun_before = kept_beside is not None and kept_beside.exists()
    try:
        noises = [_noise(reader, depends, folder) for reader, depends in opened]
    except UserError:
        # Nothing is searched yet that a later run could go on behind.
        if kept_beside is not None and not begun_before:
            shutil.rmtree(kept_beside, ignore_errors=True)
        raise
    found = [
        search_cube(reader, noise, model, symmetric=symmetric, folder=folder, memory=memory, depends=depends)
        for (reader, depends), noise in zip(opened, noises, strict=True)
    ]
    paths = [reader.path for reader, _ in opened]
    where = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    probability = np.concatenate([part.calibrated.probability for part in found])
    threshold = chosen_threshold(probability, model, purity, where)
    names = column_names(paths)
    readers = [reader for reader, _ in opened]
    if candidates is not None:
        write_galaxies(join_catalogues(_tables(found, readers, noises, model, names)), candidates, "fits")
    tables = _tables([part.above(threshold) for part in found], readers, noises, model, names)
    for table, reader, noise in zip(tables, readers, noises, strict=True):
        if products is not None:
            write_products(table, reader, noise, products)
    if page is not None:
        _draw(tables, readers, noises, Path(page))
    table = join_catalogues(tables)
    table.meta["THRESHOL"] = threshold
    if not len(table):
        warnings.warn(
            f"{where}: no galaxy was found above the threshold of {threshold:.3g}; "
            "check that the cube shows sky and that the model suits it.",
            EmptySkyWarning,
            2,
        )
    for path, form in written:
        write_galaxies(table, path, form)
    if kept_beside is not None:
        shutil.rmtree(kept_beside, ignore_errors=True)
    taken, size = time.perf_counter() - start, sum(prod(reader.shape) for reader, _ in opened) / 1e6
    log.info("%s: %d galaxies in %.4g Mvoxel, %.1f s, %.3g Mvoxel/s", where, len(table), size, taken, size / taken)
    return table


def _tables(
    found: Sequence[Searched],
    readers: Sequence[CubeReader],
    noises: Sequence[CubeNoise],
    model: Model,
    names: Sequence[str | None],
) -> list[QTable]:
    """A catalogue of each cube, the ids counted on."""
    first = itertools.accumulate((len(part.matched_snr) for part in found), initial=1)
    return [
        make_catalogue(part.calibrated, reader, noise, model, matched_snr=part.matched_snr, first=number, name=name)
        for part, reader, noise, number, name in zip(found, readers, noises, first, names, strict=False)
    ]


def _draw(tables: Sequence[QTable], readers: Sequence[CubeReader], noises: Sequence[CubeNoise], page: Path) -> None:
    """A picture of the galaxies of the first cube that has any, and its caption; none where no cube has one."""
    for table, reader, noise in zip(tables, readers, noises, strict=True):
        if len(table):
            write_json(page / "galaxies.json", thumbnails(table, reader, noise, page))
            return


def search_cube(
    reader: CubeReader,
    noise: CubeNoise,
    model: Model,
    *,
    symmetric: bool | None = None,
    folder: str | os.PathLike | None = None,
    memory: float = MEMORY,
    depends: Any = None,
) -> Searched:
    """Every detection of a cube, looked at twice and calibrated; arguments as in `stream.detect_cube`.

    Of those above the lowest logit that the model's calibrator was fitted on ("least_logit" in `model.trained`).

    Raises
    ------
    UserError : too little memory, or a model of something else.

    Warns
    -----
    BeamMismatchWarning : or, where the beam is the model's, NoiseMismatchWarning.
    """
    model = usable(model, next(model.detector.network.parameters()).device)
    least, greatest = model.trained["beam"]
    size = float(np.sqrt(reader.beam.major * reader.beam.minor) / reader.pixel_scale)
    if miss(PixelBeam(size, size, 0.0), least, greatest) > SLACK:
        warnings.warn(
            f"{reader.path}: its beam of {size:.3g} pixels is outside the {least:.3g} to {greatest:.3g} "
            "that the model was trained on; run fleming adapt, or use a model of this beam.",
            BeamMismatchWarning,
            2,
        )
    else:
        check_texture(reader, noise, model.trained)
    symmetric = model.symmetric if symmetric is None else symmetric
    search = Search(least=model.trained.get("least_logit", Search.least), radius=model.radius)
    found = detect_cube(reader, noise, model.detector, search, folder=folder, memory=memory, depends=depends)
    candidates = look_again(
        found, reader, noise, model.detector, model.radius, symmetric, folder=folder, depends=depends
    )
    calibrated = candidates.calibrated(model, symmetric)
    centre = calibrated.detections.centre
    inside = ((centre >= -0.5) & (centre < np.array(reader.shape) - 0.5)).all(1)
    found = Searched(take(calibrated, inside), candidates.matched_snr[inside])
    return _with_large(found, reader, noise, model, symmetric, memory)


def _with_large(
    found: Searched, reader: CubeReader, noise: CubeNoise, model: Model, symmetric: bool, memory: float
) -> Searched:
    """With galaxies that the scan took to pieces in the place of the pieces."""
    larger = search_large(reader, noise, model, found.calibrated, symmetric, memory=memory)
    if larger is None:
        return found
    galaxies, ratio = larger
    log.info("%s: %d of its galaxies are so large that they are seen whole in larger pixels", reader.path, len(ratio))
    pieces = found.calibrated.detections
    # What is larger than all that was learnt is no galaxy of its own beside one that was measured.
    rest = ~parts_of(galaxies, pieces.centre, reader, too_large(model.detector.layout, pieces.values))
    return Searched(joined([galaxies, take(found.calibrated, rest)]), np.concatenate([ratio, found.matched_snr[rest]]))


def check_hi(model: Model, where: object) -> None:
    """Refuse a detector of anything but galaxies in spectral-line cubes.

    Raises
    ------
    UserError : another number of axes, or other parameters.
    """
    layout = model.detector.layout
    if layout.ndim != 3:
        kind = {1: "spectra", 2: "images"}[layout.ndim]
        raise UserError(where, f"is a model of {kind}", "give one that was trained on cubes")
    if layout.values != VALUES:
        raise UserError(where, "does not measure the parameters of galaxies", "give a model that was trained on cubes")


def usable(model: str | os.PathLike | Model, device: torch.device) -> Model:
    """The model, on the device, if it is one of galaxies in cubes."""
    where: object = "model"
    if not isinstance(model, Model):
        where, model = model, load(model, device)
    check_hi(model, where)
    model.detector.network.to(device).eval()
    return model


def open_cube(
    path: str | os.PathLike, beam: Beam | None, continuum: str | os.PathLike | None, limit_jy: float
) -> tuple[CubeReader | MaskedReader, Any]:
    """The cube without its bright continuum, and what says which voxels that leaves; arguments as in `detect_cubes`.

    Raises
    ------
    UserError : the cube or its continuum cannot be used.
    """
    reader = CubeReader(path, beam=beam)
    if reader.wcs is None:
        what = f"has no celestial coordinates ({reader.wcs_flaw})"
        raise UserError(path, what, "correct the WCS cards of its header")
    # Pixels that are not square are refused here, not after the noise is measured.
    log.debug("%s: pixels of %.4g arcsec", reader.path, ARCSEC * reader.pixel_scale)
    if reader.note:
        log.info("%s %s", reader.path, reader.note)
    if continuum is None:
        return reader, None
    mask = continuum_mask(continuum, reader, limit_jy)
    log.info("%s: %.3g %% of the sky is left out for its continuum", reader.path, 100 * mask.mean())
    return MaskedReader(reader, mask), hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


def _noise(reader: CubeReader | MaskedReader, depends: Any, folder: str | os.PathLike | None) -> CubeNoise:
    """The noise of a cube, measured once however often a run is killed."""
    if folder is None:
        return measure_cube_noise(reader.read, reader.shape, where=reader.path)
    state = hashlib.sha256(repr((file_state(reader), depends)).encode()).hexdigest()
    kept = Path(folder) / f"noise_{state[:24]}.json"
    if kept.exists():
        return CubeNoise.from_dict(read_json(kept))
    noise = measure_cube_noise(reader.read, reader.shape, where=reader.path)
    write_json(kept, noise.to_dict())
    # What a later run reads is what this one goes on with.
    return CubeNoise.from_dict(read_json(kept))
