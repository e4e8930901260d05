"""Residual networks by name: ``resnet-18``, ``resnet-10_w16_stem1``, written out in the notation."""

import re

from pipeline.nn.tokens import Defaults, WrongToken

NAME = "resnet"
BLOCKS = {"10": (1, 1, 1, 1), "18": (2, 2, 2, 2), "26": (3, 3, 3, 3), "34": (3, 4, 6, 3)}
# the stem's reduction of the axes; 1 suits stamps below 64 pixels (He et al. 2016, section 4.2)
STEMS = {"1": ("C-{w}.3",), "2": ("C-{w}.7_s2",), "4": ("C-{w}.7_s2", "P-3_s2_p1")}
DEFAULTS = Defaults(activation="relu", norm="batch")

_ALLOWED = (
    "a residual network is resnet-10, resnet-18, resnet-26 or resnet-34, "
    "with the options _w64 first width, _stem1, _stem2 or _stem4"
)


def expand(text: str) -> list[str]:
    """The tokens of a residual network (He et al. 2016, CVPR, table 1), without its last dense layer.

    ``resnet-18`` has the published 64 filters in its first stage and the stem that reduces the axes by 4; ``_w16`` sets
    the width, ``_stem1`` a stem of 3-wide filters that keeps the axes. The blocks are the basic ones.

    Raises
    ------
    WrongToken : an unknown depth or option.
    """
    head, *options = text.split("_")
    depth = head.removeprefix(f"{NAME}-")
    if depth not in BLOCKS:
        raise WrongToken(f'"{depth}" is not a known depth', _ALLOWED, "_".join([_nearest(depth), *options]))
    width, stem = 64, "4"
    for option in options:
        if re.fullmatch(r"w[1-9][0-9]{0,3}", option):
            width = int(option[1:])
        elif option.startswith("stem") and option.removeprefix("stem") in STEMS:
            stem = option.removeprefix("stem")
        else:
            raise WrongToken(f'"_{option}" is not an option', _ALLOWED)
    tokens = [token.format(w=width) for token in STEMS[stem]]
    for stage, count in enumerate(BLOCKS[depth]):
        for block in range(count):
            tokens.append(f"R-{width << stage}.3" + "_s2" * (stage > 0 and block == 0))
    return [*tokens, "GAP"]


def _nearest(depth: str) -> str:
    wish = int(depth) if re.fullmatch(r"[0-9]{1,6}", depth) else 18
    return f"{NAME}-" + min(BLOCKS, key=lambda known: abs(int(known) - wish))
