"""Sampling: a model and what is asked of it to a FITS file of stamps in physical units, and its catalogue."""

import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import QTable

from pipeline.data.store import open_store
from pipeline.errors import UserError
from pipeline.files import atomic, check_distinct, check_output, sha256, write_error, write_json
from pipeline.generate.conditions import CLASS
from pipeline.generate.model import Generator
from pipeline.generate.samples_file import Card, write_samples
from pipeline.generate.stamps import told_table
from pipeline.generate.task_settings import GenerateSettings
from pipeline.generate.truth import truth_table
from pipeline.sky.catalogue import catalogue_format, write_catalogue

log = logging.getLogger("fleming")


def sample_model(
    model: Path,
    asked: dict[str, str] | None,
    *,
    n: int,
    seed: int,
    out: Path,
    catalogues: Sequence[Path] = (),
    each: bool = False,
    steps: int | None = None,
    guidance: float | None = None,
    strict: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Make `n` stamps with a model file; write `out`, see `write_result`. Returns what it cost.

    Parameters
    ----------
    asked : what every stamp shall be, by name of the condition, as text; nothing else is told then. Without any the
        conditions are drawn from the training set. None tells nothing at all.
    guidance : weight of the conditions; that of the model's task when None.
    strict : refuse conditions outside the training range, of which there is a warning otherwise.

    Raises
    ------
    UserError : no model of stamps, a condition that it does not know or cannot be told, or an unusable output.
    """
    _check_outputs(out, catalogues, each, [model])
    generator = Generator.load(model, device)
    if asked is None:
        table = pd.DataFrame(index=range(n))
    elif asked:
        generator.conditions.check(asked, strict)
        values = {name: value if name == CLASS else float(value) for name, value in asked.items()}
        table = pd.DataFrame({name: [value] * n for name, value in values.items()})
    else:
        table = generator.drawn(n, seed)
    return _sample(generator, model, table, seed, out, catalogues, each, steps, guidance)


def sample_dataset(
    model: Path,
    dataset: Path,
    task: GenerateSettings,
    *,
    n: int,
    seed: int,
    out: Path,
    catalogues: Sequence[Path] = (),
    each: bool = False,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
) -> None:
    """As `sample_model`, with the conditions of test stamps of the data set: all of them in turn, or the first `n`.

    What it cost is not returned but written beside `out` (.json), for `evaluate`.
    """
    cost = Path(out).parent / f"{Path(out).stem}.json"
    _check_outputs(out, catalogues, each, [model, dataset], cost)
    generator = Generator.load(model, device)
    with open_store(dataset) as store:
        if store.shape != generator.sample_shape:
            sizes = [" x ".join(map(str, shape)) for shape in (store.shape, generator.sample_shape)]
            what = f"has stamps of {sizes[0]}, the model makes {sizes[1]}"
            raise UserError(dataset, what, "give the data set that it was trained on")
        rows = store.indices("test")
        rows = rows[np.arange(n) % len(rows)]
        table, _ = told_table(store, rows, task.conditions, task.scale.blank)
    write_json(cost, _sample(generator, model, table, seed, out, catalogues, each, steps, guidance))


def _sample(
    generator: Generator,
    model: Path,
    table: pd.DataFrame,
    seed: int,
    out: Path,
    catalogues: Sequence[Path],
    each: bool,
    steps: int | None,
    guidance: float | None,
) -> dict[str, Any]:
    """Make and write the stamps; what that cost."""
    guidance = generator.description.get("guidance", 1.0) if guidance is None else guidance
    if not 0 <= guidance <= 100:
        raise UserError("fleming sample, --guidance", f"{guidance:g} is not from 0 to 100", "give a weight such as 1")
    began = time.perf_counter()
    stamps = generator.sample(table, seed, steps=steps, guidance=guidance)
    seconds = time.perf_counter() - began
    asked = table[[name for name in table if name in (*generator.conditions.names, CLASS)]]
    made = truth_table(stamps, asked, generator)
    cards = header_cards(generator, model, seed, steps, guidance)
    # Half of the checksum of the model is enough, and leaves room for the comment that says the card's name.
    made.meta = {key: value[:32] if key == "MODEL" else value for key, value, _ in cards if value is not None}
    write_result(stamps, made, cards, out, each)
    for path in catalogues:
        write_catalogue(made, path)
    log.info("%d stamps by %s, %.3g a second", len(stamps), generator.name, len(stamps) / seconds)
    return {
        "n": len(stamps),
        "seconds": seconds,
        "stamps_per_second": len(stamps) / seconds,
        "evaluations": generator.method.evaluations(steps),
        "macs": generator.description["training"]["macs"],
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
    }


def header_cards(generator: Generator, model: Path, seed: int, steps: int | None, guidance: float) -> list[Card]:
    """What the header says of the stamps and of how they were made."""
    facts, settings = generator.description["stamps"], generator.method.settings
    sampler = getattr(settings, "sampler", None) or getattr(settings, "solver", None) or settings.name
    used = steps if steps is not None else getattr(settings, "steps", None)
    origin = generator.description["provenance"]
    return [
        ("BUNIT", generator.description["unit"], "unit of the stamps"),
        ("PIXSCALE", facts["pixel_scale"], "[arcsec] size of a pixel"),
        ("PSFFWHM", facts["psf_arcsec"], "[arcsec] FWHM of the point spread function"),
        ("PSFPIX", facts["psf"], "[pix] the same in pixels"),
        ("RMS", facts["noise"], "standard deviation of the noise, in BUNIT"),
        ("METHOD", generator.name, "of the task that trained the model"),
        ("KIND", settings.name, "of method"),
        ("SAMPLER", sampler, "how the samples were drawn"),
        ("STEPS", used, "of the sampler"),
        ("EVALS", generator.method.evaluations(steps), "evaluations of the network a stamp"),
        ("GUIDANCE", guidance, "weight of the conditions"),
        ("SEED", seed, "of everything random"),
        ("MODEL", sha256(model), ""),  # a comment has no room
        ("ORIGIN", f"fleming {origin['fleming']}", "software that trained the model"),
        ("COMMIT", origin["commit"], "of the software that trained the model"),
    ]


def write_result(stamps: np.ndarray, table: QTable, cards: Sequence[Card], out: Path, each: bool) -> None:
    """Write stamps and table to the FITS file `out`, or with `each` a file a stamp into the new folder `out`.

    Raises
    ------
    UserError : `out` cannot be written.
    """
    if not each:
        with atomic(out) as beside:
            write_samples(beside, stamps, cards, table)
        return
    out = Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            inside = folder / out.name
            inside.mkdir()
            for row in range(len(stamps)):
                write_samples(inside / f"{table['id'][row]}.fits", stamps[row : row + 1], cards, table[row : row + 1])
            inside.replace(out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise write_error(out, error) from error


def _check_outputs(
    out: Path, catalogues: Sequence[Path], each: bool, inputs: Sequence[Path], cost: Path | None = None
) -> None:
    """Find out before the work what would be in its way."""
    beside = [] if cost is None else [cost]
    check_distinct([out, *catalogues, *beside], inputs)
    for path in catalogues:
        catalogue_format(path)
        check_output(path)
    for path in beside:
        check_output(path)
    if each:
        if Path(out).exists():
            raise UserError(out, "exists already", "name a new folder for --one-file-each")
        check_output(Path(out) / "galaxy.fits")
        return
    check_output(out)
    if Path(out).suffix not in (".fits", ".fit"):
        raise UserError(out, "does not end with .fits", "name a FITS file, such as galaxies.fits")
