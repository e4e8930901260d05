"""The catalogue of a classification: one row an object, with units, UCDs and provenance."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

SEPARATOR = "|"


def class_names(indicator: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Texts `(n,)` of labels: one class for `(n,)` indices (-1: ""), classes joined by "|" for `(n, k)` 0/1."""
    if indicator.ndim == 1:
        return [classes[index] if index >= 0 else "" for index in indicator]
    return [SEPARATOR.join(name for name, on in zip(classes, row, strict=True) if on) for row in indicator]


def classification_table(
    probability: np.ndarray,
    classes: Sequence[str],
    *,
    multilabel: bool,
    ids: Sequence[str],
    meta: dict[str, Any],
    ra: np.ndarray | None = None,
    dec: np.ndarray | None = None,
    extra: dict[str, tuple[Sequence, str, str]] | None = None,
) -> QTable:
    """The catalogue of n objects.

    Parameters
    ----------
    probability : `(n, k)` calibrated probabilities of the k `classes`.
    ids : n object names.
    ra, dec : `(n,)` degrees (ICRS); left out of the table when no position is known.
    extra : further columns between position and class: name -> (values, UCD, description).
    meta : provenance, written to the header.
    """
    probability = np.asarray(probability, dtype=np.float32).reshape(len(ids), len(classes))
    table = QTable(meta=dict(meta))
    _add(table, "id", np.asarray(list(ids), dtype=str), "meta.id;meta.main", "name of the object")
    if ra is not None and dec is not None and np.isfinite(ra).any():
        _add(table, "ra", np.asarray(ra, float) * u.deg, "pos.eq.ra;meta.main", "right ascension, ICRS")
        _add(table, "dec", np.asarray(dec, float) * u.deg, "pos.eq.dec;meta.main", "declination, ICRS")
    for name, (values, ucd, description) in (extra or {}).items():
        _add(table, name, np.asarray(values), ucd, description)
    if multilabel:
        chosen = class_names((probability >= 0.5).astype(int), classes)
        description = "classes of probability 0.5 or more, joined by |"
    else:
        chosen = class_names(probability.argmax(1) if len(ids) else np.zeros(0, int), classes)
        description = "most probable class"
    _add(table, "class", np.asarray(chosen, dtype=str), "src.class", description)
    top = probability.max(1) if len(ids) else np.zeros(0, np.float32)
    _add(table, "probability", top, "stat.probability", "probability of the most probable class")
    for k, name in enumerate(classes):
        _add(table, f"p_{name}", probability[:, k], "stat.probability", f"calibrated probability of class {name}")
    return table


def catalogue_meta(description: dict[str, Any], model: str) -> dict[str, Any]:
    """Header cards that say which model made a catalogue, and with which software."""
    origin = description["provenance"]
    return {
        "ORIGIN": f"fleming {origin['fleming']}",
        "COMMIT": origin["commit"],
        "MODEL": model,
        "CLASSES": json.dumps(description["classes"], ensure_ascii=True),
        "TEMPERAT": description["temperature"],
        "TORCH": origin["torch"],
        "SEED": origin["seed"],
    }


def _add(table: QTable, name: str, values: Any, ucd: str, description: str) -> None:
    table[name] = values
    table[name].info.description = description
    table[name].info.meta = {"ucd": ucd}
