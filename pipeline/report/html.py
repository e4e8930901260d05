"""Pieces of a web page as text; whatever comes from a file is escaped here and nowhere else."""

import base64
import os
import struct
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WIDE = 900


class Markup(str):
    """Text that is HTML already; every other text is escaped when it is put into an element."""


def markup(value: object) -> Markup:
    """`value` as HTML: None is a dash, Markup stays, all else is escaped."""
    if isinstance(value, Markup):
        return value
    return Markup("–" if value is None else escape(str(value)))


def join(parts: Iterable[object], between: str = "\n") -> Markup:
    """Parts one after the other, each escaped unless it is Markup."""
    return Markup(between.join(markup(part) for part in parts))


def tag(name: str, *content: object, **attributes: str) -> Markup:
    """An element; attributes are written as in Python: `class_` for class, `aria_label` for aria-label."""
    given = "".join(f' {_attribute(key)}="{escape(str(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{join(content, '')}</{name}>")


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()) -> Markup:
    """A table that scrolls sideways where it is too wide; the columns in `numbers` are set to the right."""

    def cells(name: str, row: Sequence[object]) -> Markup:
        looks = ({"class_": "number"} if place in numbers else {} for place in range(len(row)))
        return join((tag(name, cell, **look) for cell, look in zip(row, looks, strict=True)), "")

    body = join(tag("tr", cells("td", row)) for row in rows)
    whole = tag("table", tag("thead", tag("tr", cells("th", head))), tag("tbody", body))
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label="table")


def picture(path: Path, title: str, caption: str) -> Markup:
    """A PNG inside the page with its title and caption; one of 900 pixels or wider takes the whole line.

    Raises
    ------
    UserError : `path` is absent or is not a PNG.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(path, "cannot be read", "run the figures stage of this task again") from error
    if data[:8] != _SIGNATURE or len(data) < 24:
        raise UserError(path, "is not a PNG image", "run the figures stage of this task again")
    width, height = struct.unpack(">II", data[16:24])
    source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    sizes = f'width="{width}" height="{height}"'
    image = Markup(f'<img src="{source}" {sizes} alt="{escape(f"{title}. {caption}")}" loading="lazy">')
    text = tag("figcaption", tag("strong", title), " ", caption)
    return tag("figure", tag("div", image, class_="plate"), text, class_="wide" if width >= _WIDE else "half")


def link(path: Path, beside: Path) -> Markup:
    """A link to `path`, relative to the folder `beside`, with the size of the file."""
    address = quote(Path(os.path.relpath(path, beside)).as_posix())
    return join([tag("a", path.name, href=address), tag("span", size_text(path.stat().st_size), class_="muted")], " ")


def share_bar(value: float | None, low: float | None, high: float | None, look: str) -> Markup:
    """A share as a bar from 0 to 1 with its interval as a line, drawn in the page's own colours."""
    value, low, high = (part or 0.0 for part in (value, low, high))
    return Markup(
        f'<svg viewBox="0 0 100 8" preserveAspectRatio="none" class="{look}" aria-hidden="true">'
        '<rect width="100" height="8" rx="1" fill="var(--bar)"/>'
        f'<rect width="{100 * value:.2f}" height="8" rx="1" fill="currentColor" opacity="0.85"/>'
        f'<rect x="{100 * low:.2f}" width="{100 * (high - low):.2f}" y="3.2" height="1.6" fill="var(--ink)"/></svg>'
    )


def anchor(name: str) -> str:
    """The fragment that links to a task's section."""
    return "task-" + "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)


def size_text(number: float) -> str:
    """Bytes in the unit that a person would choose."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def percent(value: float | None) -> str:
    """A share with one decimal, a dash when it is not defined."""
    return "–" if value is None else f"{100 * value:.1f} %"


def span_text(low: float | None, high: float | None) -> str:
    """An interval of shares."""
    return "" if low is None or high is None else f"{100 * low:.1f} – {100 * high:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals, a dash when it is not defined."""
    return "–" if value is None else f"{value:,.{digits}f}"


def count(value: float | None) -> str:
    """A whole number with separators; from ten million on in M or G."""
    if value is None:
        return "–"
    for limit, scale, unit in ((1e10, 1e9, "G"), (1e7, 1e6, "M")):
        if value >= limit:
            return f"{value / scale:,.1f} {unit}"
    return f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
