"""The line of text of a U-Net: ``unet-32.64.128_p2_r1_a1_c10``. Needs no torch."""

import re
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.nn.notation import where

NAME = "unet"

_ALLOWED = (
    "a U-Net is unet-32.64.128_p2_r1_a1_c10: the width of each level, with the options _p2 pixels to a cell of the "
    "first level (or per axis, _p1x2x2), _r1 residual blocks a level, _a1 lowest levels with attention, "
    "_c10 numbers of a condition"
)
_WIDTHS = r"[1-9][0-9]{0,4}(\.[1-9][0-9]{0,4})*"
_OPTIONS = {
    "p": r"[1-9][0-9]?(x[1-9][0-9]?)*",
    "r": r"[1-9][0-9]?",
    "a": r"[0-9]{1,2}",
    "c": r"[0-9]{1,5}",
}
_USUAL = {"p": "1", "r": "1", "a": "1", "c": "0"}


@dataclass(frozen=True)
class UNetLine:
    """What a line says: channels of each level from fine to coarse, pixels to a cell, and three numbers."""

    widths: tuple[int, ...]
    factor: tuple[int, ...]
    blocks: int
    attention: int
    condition: int

    @property
    def line(self) -> str:
        """The line that says this, every option written."""
        cell = "x".join(map(str, self.factor))
        widths = ".".join(map(str, self.widths))
        return f"{NAME}-{widths}_p{cell}_r{self.blocks}_a{self.attention}_c{self.condition}"


def read_unet_line(line: str, ndim: int) -> UNetLine:
    """Read the line of a U-Net for `ndim` axes.

    ``unet-32.64.128`` has three levels, each with half the pixels along each axis of the one before. Options that are
    left out are ``_p1_r1_a1_c0``.

    Raises
    ------
    UserError : the line is not one of a U-Net, or an option is unknown, given twice or out of range.
    """
    head, *options = line.strip().split("_")
    name, _, widths = head.partition("-")
    if name != NAME or not re.fullmatch(_WIDTHS, widths):
        raise UserError(
            where(line), f'"{head}" is not the beginning of a U-Net ({_ALLOWED})', f"begin with {NAME}-32.64"
        )
    given: dict[str, str] = {}
    for option in options:
        key, value = option[:1], option[1:]
        if key not in _OPTIONS or not re.fullmatch(_OPTIONS[key], value):
            raise UserError(where(line), f'"_{option}" is not an option ({_ALLOWED})', "write one of these")
        if key in given:
            raise UserError(
                where(line), f'"_{option}" answers again what "_{key}{given[key]}" said', "remove one of them"
            )
        given[key] = value
    given = _USUAL | given
    levels = tuple(int(width) for width in widths.split("."))
    factor = tuple(int(number) for number in given["p"].split("x"))
    if len(factor) not in (1, ndim):
        what = f'"_p{given["p"]}" has {len(factor)} numbers, but the data have {ndim} axes'
        raise UserError(where(line), what, "write one number for all axes, or one for each")
    if int(given["a"]) > len(levels):
        what = f'"_a{given["a"]}" asks for more levels with attention than the {len(levels)} there are'
        raise UserError(where(line), what, f"write at most _a{len(levels)}")
    return UNetLine(
        levels,
        factor * ndim if len(factor) == 1 else factor,
        int(given["r"]),
        int(given["a"]),
        int(given["c"]),
    )
