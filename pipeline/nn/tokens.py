"""One token of the network notation: what may be written, and what it stands for.

====================  =====================================================================================
``C-16.3``            convolution, 16 filters of size 3 on every axis; ``C-16.3x5x5`` gives a size per axis
``P-2`` ``A-2``       maximum or average pooling; the stride is the size unless ``_s`` says another
``GAP`` ``GMP``       global average or maximum pooling over all axes, which leaves one number a channel
``F``                 flatten
``D-1024``            dense layer of 1024 units (flattens by itself)
``N-batch``           normalisation: batch, layer (over the channels of each position), group8 (8 groups), instance
``R-32.3``            residual block: two convolutions and a skip; ``R-32.1x3x3+5x1x1`` gives each its size
``U-2``               upsampling by repetition
``E-sincos``          position embedding added to every position: sincos or learned
``T-4``               transformer block with 4 attention heads over all positions
``[`` ``]``           a branch: what the layers between them make is joined, as more channels, to what entered them
====================  =====================================================================================

Options follow in any order, each after an underscore: ``_s2`` stride, ``_p1`` padding (both also per axis,
``_s1x2x2``), ``_same`` or ``_valid`` padding, ``_g4`` groups, ``_b0`` no bias (``_b1`` bias), ``_d0.3`` dropout,
``_m4`` width of the transformer's inner layer in units of its outer one, an activation, a normalisation. A layer
applies convolution, normalisation, activation and dropout in this order, and has no bias where it has a normalisation.

A branch has to end with the axes it began with, and may hold other branches: ``C-8.3 [ P-2 C-16.3 U-2 ] C-8.3`` is the
smallest U-Net. The channels that entered come first.

Axes are in NumPy order, the slowest first: (frequency, y, x) for a cube.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

ACTIVATIONS = ("linear", "relu", "leaky", "gelu", "silu", "tanh", "sigmoid", "softmax")
NORMS = ("none", "batch", "layer", "instance", "group")
PADS = ("same", "valid")
POSITIONS = ("sincos", "learned")
HEADS = ("softmax", "sigmoid")
LEAKY_SLOPE = "0.1"

_WHOLE = re.compile(r"[0-9]{1,9}")
_FRACTION = re.compile(r"[0-9]{0,9}\.?[0-9]{1,9}")


class WrongToken(Exception):
    """A token that is not in the notation: why, what is allowed there, and the nearest right text if known."""

    def __init__(self, reason: str, allowed: str, nearest: str = ""):
        super().__init__(reason)
        self.reason, self.allowed, self.nearest = reason, allowed, nearest


@dataclass(frozen=True)
class Defaults:
    """What the directives ``act=``, ``norm=`` and ``pad=`` have set for the tokens that follow."""

    activation: str = f"leaky{LEAKY_SLOPE}"
    norm: str = "none"
    pad: str = "same"


@dataclass(frozen=True)
class Layer:
    """One layer, with every default filled in; `size`, `stride` and `padding` have one number an axis.

    `second` is the size of the second convolution of a residual block, and () elsewhere.
    """

    kind: str
    token: str
    number: int = 0
    source: str = ""
    width: int = 0
    size: tuple[int, ...] = ()
    second: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True
    activation: str = "linear"
    norm: str = "none"
    dropout: float = 0.0
    ratio: int = 0
    positions: str = ""


@dataclass(frozen=True)
class Form:
    """How a kind of layer is written."""

    name: str
    written: str
    example: str
    argument: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} is {self.written}" + f", for example {self.example}" * (self.example != self.written)

    def allowed(self) -> str:
        """The options of this kind of layer, in words."""
        choices = {
            "activation": f"an activation ({allowed_activations()})",
            "norm": f"a normalisation ({allowed_norms()})",
        }
        listed = [OPTIONS[key] if key in OPTIONS else choices[key] for key in self.options]
        return f"{self.name} has the options {', '.join(listed)}" if listed else f"{self.name} has no options"


OPTIONS = {
    "s": "_s2 stride",
    "p": "_p1 padding",
    "g": "_g4 groups",
    "b": "_b0 no bias",
    "d": "_d0.3 dropout",
    "m": "_m4 inner width",
    "pad": "_same or _valid",
}

FORMS = {
    "C": Form(
        "a convolution", "C-filters.size", "C-16.3", "wide", ("s", "p", "pad", "g", "b", "activation", "norm", "d")
    ),
    "R": Form("a residual block", "R-filters.size", "R-32.3", "wide", ("s", "activation", "norm", "d")),
    "P": Form("a maximum pooling", "P-size", "P-2", "size", ("s", "p")),
    "A": Form("an average pooling", "A-size", "A-2", "size", ("s", "p")),
    "U": Form("an upsampling", "U-factor", "U-2", "size", ()),
    "D": Form("a dense layer", "D-units", "D-128_d0.5", "width", ("activation", "b", "d")),
    "T": Form("a transformer block", "T-heads", "T-4", "width", ("activation", "d", "m")),
    "N": Form("a normalisation", "N-batch, N-layer, N-instance or N-group8", "N-batch", "norm", ("activation",)),
    "E": Form("a position embedding", "E-sincos or E-learned", "E-sincos", "positions", ()),
    "GAP": Form("a global average pooling", "GAP", "GAP", "", ("activation",)),
    "GMP": Form("a global maximum pooling", "GMP", "GMP", "", ("activation",)),
    "F": Form("a flattening", "F", "F", "", ()),
    "[": Form("the start of a branch", "[", "[", "", ()),
    "]": Form("the end of a branch", "]", "]", "", ()),
}


def same_padding(size: tuple[int, ...]) -> tuple[int, ...]:
    """The padding called "same": ``(k - 1) // 2``, with which an odd size k and a stride s make n into ceil(n / s).

    For an even size it is the most that adds no pixel: n becomes floor(n / 2) for s = 2, and n - 1 for s = 1.
    """
    return tuple((k - 1) // 2 for k in size)


def read_activation(text: str) -> str | None:
    """The canonical name of an activation (``leaky`` becomes ``leaky0.1``), or None when `text` is not one."""
    if text.startswith("leaky"):
        slope = text.removeprefix("leaky") or LEAKY_SLOPE
        return f"leaky{slope}" if _FRACTION.fullmatch(slope) else None
    return text if text in ACTIVATIONS else None


def read_norm(text: str) -> str | None:
    """The name of a normalisation, or None when `text` is not one; ``group8`` has 8 groups of channels."""
    if text.startswith("group"):
        count = text.removeprefix("group")
        return text if _WHOLE.fullmatch(count) and int(count) > 0 else None
    return text if text in NORMS else None


def allowed_activations() -> str:
    """The activations, as a user may write them."""
    return ", ".join("leaky0.1" if name == "leaky" else name for name in ACTIVATIONS)


def allowed_norms() -> str:
    """The normalisations, as a user may write them."""
    return ", ".join("group8" if name == "group" else name for name in NORMS)


def read_token(text: str, ndim: int, defaults: Defaults) -> Layer:
    """Read one layer token for `ndim` axes.

    Raises
    ------
    WrongToken : the token is not in the notation.
    """
    head, *options = text.split("_")
    kind, dash, argument = head.partition("-")
    form = FORMS.get(kind)
    if form is None:
        raise WrongToken(f'"{kind}" is not a layer', "layers are " + ", ".join(f.example for f in FORMS.values()))
    if bool(dash) != bool(form.argument):
        raise WrongToken("something is missing after it" if form.argument else "nothing may follow it", str(form))
    layer = Layer(kind, text)
    if form.argument:
        layer = _ARGUMENTS[form.argument](layer, argument, ndim, form)
    return _read_options(layer, options, ndim, form, defaults)


def _wide(layer: Layer, argument: str, ndim: int, form: Form) -> Layer:
    filters, dot, sizes = argument.partition(".")
    if not dot:
        nearest = f"{layer.kind}-{filters}.3" if _WHOLE.fullmatch(filters) and int(filters) else ""
        raise WrongToken("the size of the filters is missing", str(form), nearest)
    layer = replace(layer, width=_whole(filters, "the number of filters", form))
    if layer.kind != "R":
        return replace(layer, size=_sizes(sizes, ndim, "the size", form))
    first, plus, second = sizes.partition("+")
    layer = replace(layer, size=_sizes(first, ndim, "the size", form))
    layer = replace(layer, second=_sizes(second, ndim, "the second size", form) if plus else layer.size)
    if not all(k % 2 for k in layer.size + layer.second):
        odd = re.sub("[0-9]+", lambda found: str(int(found[0]) // 2 * 2 + 1), sizes)
        raise WrongToken(
            "the size of a residual block must be odd, for its two paths to meet", str(form), f"R-{filters}.{odd}"
        )
    return layer


def _size(layer: Layer, argument: str, ndim: int, form: Form) -> Layer:
    return replace(layer, size=_sizes(argument, ndim, "the size", form))


def _width(layer: Layer, argument: str, ndim: int, form: Form) -> Layer:
    what = "the number of attention heads" if layer.kind == "T" else "the number of units"
    return replace(layer, width=_whole(argument, what, form))


def _norm(layer: Layer, argument: str, ndim: int, form: Form) -> Layer:
    if read_norm(argument) in (None, "none"):
        raise WrongToken(f'"{argument}" is not a normalisation', str(form))
    return replace(layer, norm=argument)


def _positions(layer: Layer, argument: str, ndim: int, form: Form) -> Layer:
    if argument not in POSITIONS:
        raise WrongToken(f'"{argument}" is not a position embedding', str(form))
    return replace(layer, positions=argument)


_ARGUMENTS: dict[str, Callable[[Layer, str, int, Form], Layer]] = {
    "wide": _wide,
    "size": _size,
    "width": _width,
    "norm": _norm,
    "positions": _positions,
}


def _whole(text: str, what: str, form: Form | str, least: int = 1) -> int:
    if not _WHOLE.fullmatch(text) or int(text) < least:
        raise WrongToken(f'{what} is "{text}", not a whole number of at least {least}', str(form))
    return int(text)


def _sizes(text: str, ndim: int, what: str, form: Form | str, least: int = 1) -> tuple[int, ...]:
    """One number for all axes, or `ndim` numbers with an x between them."""
    numbers = tuple(_whole(part, what, form, least) for part in text.split("x"))
    if len(numbers) == 1:
        return numbers * ndim
    if len(numbers) != ndim:
        plural = "axis" if ndim == 1 else "axes"
        raise WrongToken(f"{what} {text} has {len(numbers)} numbers, but the data have {ndim} {plural}", str(form))
    return numbers


def _read_options(layer: Layer, options: list[str], ndim: int, form: Form, defaults: Defaults) -> Layer:
    given: dict[str, object] = {}
    for text in options:
        key, value = _read_option(text, ndim, form)
        # `_p1` and `_same` answer one question
        question = "p" if key == "pad" else key
        if question in given:
            raise WrongToken(f'the option "_{text}" answers again what an earlier option said', form.allowed())
        given[question] = value
    return _fill(layer, given, ndim, form, defaults)


def _read_option(text: str, ndim: int, form: Form) -> tuple[str, object]:
    found = _option_value(text, ndim, form)
    if found is None:
        raise WrongToken(f'"_{text}" is not an option', form.allowed())
    if found[0] not in form.options:
        raise WrongToken(f'the option "_{text}" does not belong here', form.allowed())
    return found


def _option_value(text: str, ndim: int, form: Form) -> tuple[str, object] | None:
    if (activation := read_activation(text)) is not None:
        return "activation", activation
    if (norm := read_norm(text)) is not None:
        return "norm", norm
    if text in PADS:
        return "pad", text
    key, value = text[:1], text[1:]
    if not re.fullmatch(r"[0-9.x]+", value):
        return None
    if key == "s":
        return key, _sizes(value, ndim, "the stride", form)
    if key == "p":
        return key, _sizes(value, ndim, "the padding", form, least=0)
    if key in ("g", "m"):
        return key, _whole(value, "the number of groups" if key == "g" else "the inner width", form)
    if key == "b":
        if value not in ("0", "1"):
            raise WrongToken(f'the bias is "{value}", not 0 or 1', str(form))
        return key, value == "1"
    if key == "d":
        if not _FRACTION.fullmatch(value) or not float(value) < 1:
            raise WrongToken(f"the dropout is {value}, not a fraction from 0 to below 1", str(form))
        return key, float(value)
    return None


def _fill(layer: Layer, given: dict, ndim: int, form: Form, defaults: Defaults) -> Layer:
    """Fill the options that the token does not give from the directives and the defaults."""
    kind = layer.kind
    own_activation = defaults.activation if kind in "CRDT" else "linear"
    norm = given.get("norm", defaults.norm) if kind in "CR" else layer.norm
    stride = given.get("s", layer.size if kind in "PAU" else (1,) * ndim if layer.size else ())
    pad = given.get("p", defaults.pad if kind in "CR" else "valid")
    if isinstance(pad, str):
        # the two paths of a residual block meet only when its convolutions keep the shape
        pad = same_padding(layer.size) if pad == "same" or kind == "R" else (0,) * len(layer.size)
    if kind in "PA" and any(2 * p > k for p, k in zip(pad, layer.size, strict=True)):
        most = "x".join(str(k // 2) for k in layer.size)
        reason = f"the padding is more than {most}, half the size, so that a pixel could come from padding alone"
        raise WrongToken(reason, str(form))
    groups = given.get("g", 1)
    if kind == "C" and layer.width % groups:
        nearest = max(round(layer.width / groups), 1) * groups
        raise WrongToken(
            f"{layer.width} filters cannot be divided into {groups} groups",
            "the number of filters is a multiple of the groups",
            layer.token.replace(f"C-{layer.width}.", f"C-{nearest}.", 1),
        )
    return replace(
        layer,
        stride=stride,
        padding=pad,
        groups=groups,
        # a normalisation subtracts or replaces the bias, as He et al. (2016) note
        bias=given.get("b", norm == "none"),
        activation=given.get("activation", own_activation),
        norm=norm,
        dropout=given.get("d", 0.0),
        ratio=given.get("m", 4) if kind == "T" else 0,
    )
