"""Vision transformers by name: ``vit_p4_w64_h4_l4``, written out in the notation."""

import re

from pipeline.nn.tokens import Defaults, WrongToken

NAME = "vit"
DEFAULTS = Defaults(activation="gelu")

_ALLOWED = (
    "a transformer is vit_p4_w64_h4_l4: patch size (or per axis), width, heads, layers, "
    "with the options _sincos or _learned positions, _m4 inner width, _d0.1 dropout"
)
_NUMBER = {
    "w": r"[1-9][0-9]{0,4}",
    "h": r"[1-9][0-9]{0,2}",
    "l": r"[1-9][0-9]{0,2}",
    "m": r"[1-9][0-9]?",
    "d": r"0?\.[0-9]+|0",
}
_USUAL = {"p": "4", "w": "64", "h": "4", "l": "4"}


def expand(text: str) -> list[str]:
    """The tokens of a vision transformer for any number of axes, without its last dense layer.

    Dosovitskiy et al. (2021, ICLR), equations 1 to 4, with the sine-cosine positions and the mean over positions, in
    place of a class token, of Beyer, Zhai and Kolesnikov (2022, arXiv:2205.01580).

    Raises
    ------
    WrongToken : a part is missing, unknown, or out of range.
    """
    given = dict(_USUAL)
    positions, options = "sincos", {"m": "4", "d": "0"}
    missing = list(_USUAL)
    for part in text.split("_")[1:]:
        key, value = part[:1], part[1:]
        if part in ("sincos", "learned"):
            positions = part
        elif key == "p" and re.fullmatch(r"[1-9][0-9]{0,4}(x[1-9][0-9]{0,4})*", value):
            given[key] = value
        elif key in _NUMBER and re.fullmatch(_NUMBER[key], value):
            (options if key in options else given)[key] = value
        else:
            raise WrongToken(f'"_{part}" is not an option', _ALLOWED)
        missing = [name for name in missing if name != key]
    nearest = NAME + "".join(f"_{name}{given[name]}" for name in _USUAL)
    if missing:
        raise WrongToken("it does not say " + ", ".join(f"_{name}" for name in missing), _ALLOWED, nearest)
    width, heads = int(given["w"]), int(given["h"])
    if width % heads:
        better = nearest.replace(f"_w{width}_", f"_w{(width // heads + 1) * heads}_")
        raise WrongToken(
            f"the width {width} cannot be divided among {heads} heads", "the width is a multiple of the heads", better
        )
    block = f"T-{heads}_m{options['m']}_d{options['d']}"
    patches = f"C-{width}.{given['p']}_s{given['p']}_p0_linear"
    return [patches, f"E-{positions}", *[block] * int(given["l"]), "N-layer", "GAP"]
