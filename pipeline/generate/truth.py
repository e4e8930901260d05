"""The catalogue of synthetic stamps: what was asked of each, and what it turned out to be."""

from typing import Any

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import QTable

from pipeline.generate.conditions import CLASS
from pipeline.generate.model import Generator
from pipeline.generate.morphology import morphology
from pipeline.generate.stamps import statistic_unit

_UCDS = {
    "flux": "phot.flux",
    "size": "phys.angSize",
    "half_light_radius": "phys.angSize",
    "peak": "phot.flux;stat.max",
    "axis_ratio": "phys.size.axisRatio",
    "pa": "pos.posAng",
    "redshift": "src.redshift",
    "ellipticity": "src.ellipticity",
    "background_rms": "instr.det.noise",
    "background_median": "instr.background",
}
_OTHER = "src.morph.param"
MEASURED = "measured_"


def truth_table(stamps: np.ndarray, asked: pd.DataFrame, generator: Generator) -> QTable:
    """One row a stamp of `stamps` `(n, channel, *axes)`: name, place in the file, conditions, statistics.

    What was not told is NaN, or an empty class. The columns of the statistics begin with "measured_".
    """
    table = QTable()
    digits = max(5, len(str(len(stamps))))
    _add(table, "id", np.array([f"galaxy-{row:0{digits}d}" for row in range(len(stamps))]), "meta.id;meta.main", "name")
    _add(table, "row", np.arange(len(stamps), dtype=np.int32), "meta.number", "place in the file of stamps, from 0")
    conditions = generator.conditions
    for name, unit in zip(conditions.names, conditions.units, strict=True):
        values = asked[name] if name in asked else np.full(len(stamps), np.nan)
        _add(table, name, _quantity(np.asarray(values, dtype=float), unit), _ucd(name), "asked for")
    if conditions.classes:
        texts = asked[CLASS] if CLASS in asked else [""] * len(stamps)
        _add(table, CLASS, np.asarray(list(texts), dtype=str), "src.class", "asked for")
    for name, values in morphology(stamps).items():
        quantity = _quantity(values, statistic_unit(name, generator.description["unit"]))
        _add(table, MEASURED + name, quantity, _ucd(name), "measured on the stamp")
    return table


def _ucd(name: str) -> str:
    return _UCDS.get(name, _OTHER)


def _quantity(values: np.ndarray, unit: str) -> Any:
    """With its unit; a unit that astropy does not know stays away."""
    try:
        return values * u.Unit(unit) if unit else values
    except (ValueError, TypeError):
        return values


def _add(table: QTable, name: str, values: Any, ucd: str, description: str) -> None:
    table[name] = values
    table[name].info.description = description
    table[name].info.meta = {"ucd": ucd}
