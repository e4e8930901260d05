"""Injection and recovery: what share of sources put into an image the detector finds, and how well it measures them."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.table import QTable

from pipeline.detect import measures
from pipeline.detect.apply import detect_images
from pipeline.detect.catalogue import to_sdc1
from pipeline.detect.comparison import listed
from pipeline.detect.image import ContinuumImage
from pipeline.detect.judge import SNR_EDGES
from pipeline.detect.model import check_continuum, load
from pipeline.detect.tallies import by_half_decades, complete
from pipeline.detect.truth import read_truth
from pipeline.errors import UserError
from pipeline.files import atomic, check_distinct, check_output, scratch, write_json
from pipeline.learn.device import pick_device
from pipeline.provenance import provenance
from pipeline.score.match import score
from pipeline.score.sdc1 import Sdc1
from pipeline.simulate.insert import insert
from pipeline.simulate.insert_settings import InsertSettings

_SPANS = {"above 3": (3.0, np.inf), "above 5": (5.0, np.inf), "above 7": (7.0, np.inf), "4 to 5": (4.0, 5.0)}
_MEASURED = ("ra", "dec", "flux", "snr", "probability")
_OFFICIAL = [
    "id",
    "ra_core",
    "dec_core",
    "ra_cent",
    "dec_cent",
    "flux",
    "core_frac",
    "b_maj",
    "b_min",
    "pa",
    "size",
    "class",
]


def recover(
    image: str | os.PathLike,
    model: str | os.PathLike,
    out: str | os.PathLike,
    settings: InsertSettings,
    *,
    rounds: int = 5,
    seed: int = 42,
    purity: float | None = None,
    device: str | None = None,
    log: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Put sources into an image `rounds` times, detect each time, and write how many are found to `out` (JSON).

    A table with a row for every source is written beside it (.csv). Sources are matched by the rule of SDC1 for the
    beam of the image. What the detector finds in the image as it is competes for the matches: a detection that is
    nearer to one of those is not one of a source that was put in.

    Returns
    -------
    n : sources in all. complete_above : share found by span of signal-to-noise ratio with 68 % Jeffreys intervals.
    by_snr, by_flux : `measures.fraction_in_bins`, by effective signal-to-noise ratio (peak as the beam shows it over
    the local noise of the image as it is) and by flux [Jy]. flux : `measures.bias_and_scatter` of ln(measured / true)
    of the matches, by the same ratio. chance : how many would be found in the catalogue of the image as it is.

    Raises
    ------
    UserError : of `insert` and `detect_images`; or `rounds` is not positive.
    """
    if rounds < 1:
        raise UserError("fleming recover", f"--rounds {rounds} is no number of times", "give 1 or more")
    check_output(out)
    table_path = Path(out).with_suffix(".csv")
    if table_path == Path(out):
        raise UserError(out, "is the name of the table that is written beside it", "name a JSON file, such as out.json")
    read = [path for path in (image, model, settings.stamps, settings.sources) if path is not None]
    check_distinct([out, table_path], read)
    check_output(table_path)
    opened = ContinuumImage.open(image)
    definition = Sdc1(560).for_beam(opened.beam_arcsec)
    detector = load(model, pick_device(device or "auto"))
    check_continuum(detector, model)
    known, parts, chance = None, [], 0
    with scratch(Path(out).with_name(f".{Path(out).name}.rounds")) as folder:
        for number in range(rounds):
            frame, truth_file = folder / "image.fits", folder / "truth.csv"
            # Every round is a seed of its own, and no round of one seed is that of the next.
            insert(image, frame, truth_file, settings, int(np.random.default_rng((seed, number)).integers(2**31)))
            truth = read_truth(truth_file)
            if known is None:
                # Only now: sources that cannot be put in are refused before anything is searched.
                known = to_sdc1(detect_images([(image, None)], detector, [], purity=purity, device=device))
            snr = opened.objects(truth).snr
            found = detect_images([(frame, None)], detector, [], purity=purity, device=device)
            parts.append(_found(found, truth, known, opened, definition).assign(round=number, snr=snr))
            chance += score(definition, known, truth).n_match if len(known) else 0
            if log is not None:
                log(f"round {number + 1} of {rounds}: {int(parts[-1]['found'].sum())} of {len(truth)} sources found")
    opened.reader.close()
    sources = pd.concat(parts, ignore_index=True)
    result = {
        "kind": "recovery",
        "image": str(image),
        "model": str(model),
        "settings": settings.model_dump(mode="json"),
        "rounds": rounds,
        "beam_arcsec": opened.beam_arcsec,
        "median_rms": opened.background.summary()["median_rms"],
        **summary(sources),
        "chance": {"count": chance, "fraction": chance / len(sources)},
        "provenance": provenance(seed) | {"date": datetime.now(UTC).isoformat(timespec="seconds")},
    }
    with atomic(table_path) as beside:
        sources.to_csv(beside, index=False, float_format="%.9g")
    write_json(out, result)
    return result


def summary(sources: pd.DataFrame) -> dict[str, Any]:
    """Completeness, and how well the fluxes come back, of rows with flux, snr, found and measured_flux."""
    snr, found = sources["snr"].to_numpy(float), sources["found"].to_numpy(bool)
    flux = sources["flux"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(sources["measured_flux"].to_numpy(float) / flux)
    return {
        "n": len(sources),
        "complete_above": complete(snr, found, _SPANS),
        "by_snr": measures.fraction_in_bins(snr, found, SNR_EDGES),
        "by_flux": by_half_decades(flux, found),
        "flux": measures.bias_and_scatter(ratio[found], snr[found], SNR_EDGES),
    }


def _found(
    catalogue: QTable, truth: pd.DataFrame, known: pd.DataFrame, image: ContinuumImage, definition: Sdc1
) -> pd.DataFrame:
    """The truth with found, and what was measured of each source, NaN where it was not found."""
    result = truth.assign(found=False, **{f"measured_{name}": np.nan for name in _MEASURED})
    submission, rows = listed(catalogue, image.reader.wcs, image.reader.beam)
    # Ids of their own: one truth source is matched once.
    others = known.assign(id=np.arange(len(known)) + len(truth) + int(truth["id"].max()) + 1)
    everything = pd.concat([truth[_OFFICIAL], others[_OFFICIAL]], ignore_index=True)
    matches = score(definition, submission, everything).matches
    own = matches.truth < len(truth)
    at = matches.truth[own]
    result.loc[at, "found"] = True
    for name in _MEASURED:
        result.loc[at, f"measured_{name}"] = rows[name].to_numpy(float)[matches.submission[own]]
    return result
