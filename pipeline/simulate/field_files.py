"""A simulated field as files: the image, its truth table and, where it has one, the primary beam."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import astropy.units as u

from pipeline.files import atomic, check_output
from pipeline.simulate.continuum import Field, simulate
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.field_names import IMAGE, PRIMARY_BEAM, TRUTH
from pipeline.sky.frame import write_frame


def write_field(
    settings: ContinuumSettings, seed: int, folder: str | os.PathLike, log: Callable[[str], None] | None = None
) -> Field:
    """Simulate a field and write `field.fits` and `truth.csv` into `folder`, whole or not at all.

    With a primary beam in the settings `primary_beam.fits` is written too. `log` is told what was made.

    Raises
    ------
    UserError : the settings need what is not given, or the files cannot be written.
    """
    folder = Path(folder)
    beam = folder / PRIMARY_BEAM if settings.primary_beam is not None else None
    for path in (folder / IMAGE, folder / TRUTH):
        check_output(path)
    field = simulate(settings, seed)
    save_field(field, folder / IMAGE, folder / TRUTH, beam)
    if log is not None:
        log(summary(field))
    return field


def save_field(
    field: Field,
    image: str | os.PathLike,
    truth: str | os.PathLike | None = None,
    primary_beam: str | os.PathLike | None = None,
) -> None:
    """Write the image (FITS, Jy/beam), the truth (CSV, one row a source) and the primary beam (FITS, of the image's
    shape), each where a path is given; numbers of the truth come back exactly.

    Raises
    ------
    UserError : a file cannot be written.
    """
    write_frame(image, field.frame)
    if truth is not None:
        with atomic(truth) as beside:
            field.truth.to_csv(beside, index=False)
    if primary_beam is not None:
        attenuation = replace(field.frame, data=field.primary_beam, unit=u.dimensionless_unscaled, beam=None)
        write_frame(primary_beam, attenuation)


def summary(field: Field) -> str:
    """A sentence's worth: size, noise, and how many sources there are and can be seen."""
    rows, columns = field.frame.data.shape
    rms = float(field.rms.mean())
    bright = int((field.truth["flux_jy"] * field.truth["attenuation"] > 5 * rms).sum())
    count = len(field.truth)
    return f"{columns}x{rows} pixels, noise {rms:.3g} Jy/beam, {count} sources, {bright} of them brighter than 5 rms"
