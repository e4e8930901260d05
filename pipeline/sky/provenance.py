"""Provenance of a catalogue as FITS cards and VOTable INFO elements, and back without loss."""

import json
import re
from collections.abc import Iterable
from typing import Any

from astropy.io import fits

_JSON = "json:"
_STRUCTURE = re.compile(
    r"(SIMPLE|END|EXTEND|HIERARCH|CONTINUE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|CHECKSUM|DATASUM|EXTNAME|COMMENT|HISTORY|"
    r"T(TYPE|FORM|UNIT|UCD|COMM|NULL|SCAL|ZERO|DISP|DIM|CTYP|CUNI|CRPX|CRVL|CDLT|RPOS)\d+|)"
)


def to_cards(meta: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """(keyword, value, comment) of each entry: the keyword has 8 letters at most, the comment is the full name.

    Text, finite numbers and truth values stand as they are; anything else is written as JSON after `json:`.
    """
    cards, used = [], set()
    for name, value in meta.items():
        stem = _stem(str(name))
        keyword, count = stem, 1
        while keyword in used or _STRUCTURE.fullmatch(keyword):
            count += 1
            keyword = stem[: 8 - len(str(count))] + str(count)
        used.add(keyword)
        # A comment of several words is another writer's remark, so a name with blanks is quoted.
        cards.append((keyword, _simple(value), json.dumps(str(name)) if " " in str(name) else str(name)))
    return cards


def _stem(name: str) -> str:
    return re.sub(r"[^A-Z0-9_-]", "_", name.upper())[:8] or "META"


def from_cards(header: fits.Header) -> dict[str, Any]:
    """The entries that `to_cards` made, by their full names; cards of another writer by their keywords."""
    meta = {}
    for card in header.cards:
        if _STRUCTURE.fullmatch(card.keyword):
            continue
        meta[_name(card)] = _restored(card.value)
    return meta


def _name(card: fits.Card) -> str:
    name = card.comment
    if name.startswith('"') and name.endswith('"') and len(name) > 2:
        name = json.loads(name)
    elif not name or " " in name:
        return card.keyword
    stem, root = _stem(name), card.keyword.rstrip("0123456789")
    return name if stem == card.keyword or (root != card.keyword and stem.startswith(root)) else card.keyword


def to_text(meta: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of each entry; text stands as it is, anything else as JSON after `json:`."""
    return [(str(name), value if _is_text(value) else _JSON + _dumped(value)) for name, value in meta.items()]


def from_text(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The entries that `to_text` made."""
    return {str(name): _restored(str(value)) for name, value in pairs}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not value.startswith(_JSON)


def _simple(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    # FITS drops trailing blanks and cannot hold other than printable ASCII.
    if _is_text(value) and value.isascii() and (value.isprintable() and value == value.rstrip()):
        return value
    return _JSON + _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, default=lambda item: item.tolist() if hasattr(item, "tolist") else str(item))


def _restored(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_JSON):
        return json.loads(value[len(_JSON) :])
    return value
