"""The network notation: a line of text to a list of layers, for any number of axes.

``C-6.5 P-2 C-16.5 P-2 C-48.3 D-1024_d0.5 D-256_d0.2 D-10`` is a whole network; `pipeline.nn.tokens` lists the tokens.
A directive sets a default for what follows it: ``act=relu``, ``norm=batch`` (convolutions and residual blocks),
``pad=valid`` (convolutions). A name stands for the layers of a published network: ``resnet-18``, ``vit_p4_w64_h4_l4``;
it may be followed by more tokens, and a line that is only a name gets its last dense layer by itself. A long line may
be kept in a text file, with ``#`` before remarks; `network_line` reads it.

This module needs no torch, so that a configuration is checked quickly.
"""

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from pipeline.errors import UserError, UserErrors
from pipeline.nn import resnet, vit
from pipeline.nn.hints import nearest_form
from pipeline.nn.tokens import (
    ACTIVATIONS,
    HEADS,
    NORMS,
    PADS,
    Defaults,
    Layer,
    WrongToken,
    allowed_activations,
    allowed_norms,
    read_activation,
    read_norm,
    read_token,
)

DIRECTIVES = {"act": "activation", "norm": "norm", "pad": "pad"}
LONGEST = 100
FLAT = ("GAP", "GMP", "F", "D")
FILE = ".txt"
_NETWORKS = {resnet.NAME: resnet, vit.NAME: vit}


def where(line: str) -> str:
    """How messages name a network line: on one line, and cut when it is long."""
    text = " ".join(line.split())
    return f'network "{text}"' if len(text) <= LONGEST else f'network "{text[:LONGEST]}..."'


def wrong_layer(line: str, layer: Layer, reason: str, remedy: str) -> UserError:
    """The message for a layer that can be read but cannot be built in this place."""
    inside = f' (its layer "{layer.token}")' if layer.source != layer.token else ""
    return UserError(where(line), f'token {layer.number} "{layer.source}"{inside}: {reason}', remedy)


def network_line(text: str) -> str:
    """The network that `text` is or, where it names a text file, that the file holds: one line, without remarks.

    Raises
    ------
    UserError : the file cannot be read as text, or holds nothing but remarks.
    """
    path = text.strip()
    if not path.endswith(FILE):
        return text
    try:
        rows = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, "cannot be read as text", "name a text file that holds a network") from error
    line = " ".join(" ".join(row.partition("#")[0] for row in rows).split())
    if not line:
        raise UserError(path, "holds no network", 'write one into it, for example "C-16.3 P-2 C-16.3"')
    return line


def parse(line: str, ndim: int, outputs: int | None = None) -> list[Layer]:
    """Read a network line for data of `ndim` axes (1 to 3, channels not counted).

    Parameters
    ----------
    line : tokens with white space between them; line breaks are white space, and brackets need none.
    ndim : number of axes.
    outputs : a line that is only the name of a network gets a last dense layer of so many units.

    Raises
    ------
    UserError : one or more tokens are wrong (all are reported), or the line is empty.
    """
    if ndim not in (1, 2, 3):
        raise UserError(
            where(line), f"networks have 1, 2 or 3 axes, not {ndim}", "reduce the data to at most three axes"
        )
    tokens = line.replace("[", " [ ").replace("]", " ] ").split()
    if not tokens:
        raise UserError(where(line), "no layer is given", 'write one, for example "C-16.3 P-2 GAP D-3"')
    if outputs is not None and len(tokens) == 1 and _network(tokens[0]):
        tokens.append(f"D-{outputs}")
    layers: list[Layer] = []
    problems: list[UserError] = []
    defaults = Defaults()
    for number, text in enumerate(tokens, 1):
        try:
            if "=" in text and not text[0].isdigit():
                defaults = _directive(text, defaults)
            else:
                layers += [replace(layer, number=number, source=text) for layer in _layers(text, ndim, defaults)]
        except WrongToken as wrong:
            problems.append(_message(line, number, text, ndim, wrong, tokens))
    if not problems and not layers:
        problems.append(UserError(where(line), "no layer is given, only directives", 'add one, for example "D-3"'))
    if not problems:
        layers = _finish(layers)
        problems += _misplaced(line, layers)
    if problems:
        raise problems[0] if len(problems) == 1 else UserErrors(problems)
    return layers


def head(layers: list[Layer]) -> str:
    """How the numbers that the network returns are to be finished: linear, softmax or sigmoid."""
    last = layers[-1].activation
    return last if last in HEADS else "linear"


def _network(text: str):
    return _NETWORKS.get(text.split("_")[0].split("-")[0])


def _layers(text: str, ndim: int, defaults: Defaults) -> list[Layer]:
    network = _network(text)
    if network is None:
        return [read_token(text, ndim, defaults)]
    return [read_token(token, ndim, network.DEFAULTS) for token in network.expand(text)]


def _directive(text: str, defaults: Defaults) -> Defaults:
    key, _, value = text.partition("=")
    if key not in DIRECTIVES:
        close = get_close_matches(key.lower(), DIRECTIVES, 1) or [k for k in DIRECTIVES if key.lower().startswith(k)]
        raise WrongToken(
            f'"{key}=" is not a directive',
            "directives are act=, norm= and pad=",
            f"{close[0]}={value}" if close else "",
        )
    readers = {"act": read_activation, "norm": read_norm, "pad": lambda name: name if name in PADS else None}
    read = readers[key](value)
    allowed = {"act": allowed_activations(), "norm": allowed_norms(), "pad": ", ".join(PADS)}[key]
    if read is None or (key == "act" and read == "softmax"):
        known = {"act": ACTIVATIONS[:-1], "norm": (*NORMS[:-1], "group8"), "pad": PADS}[key]
        close = get_close_matches(value.lower(), known, 1)
        reason = "softmax is for the last layer alone" if read else f'"{value}" is not one of its values'
        raise WrongToken(reason, f"{key}= may be {allowed}", f"{key}={close[0]}" if close else "")
    return replace(defaults, **{DIRECTIVES[key]: read})


def _message(line: str, number: int, text: str, ndim: int, wrong: WrongToken, tokens: list[str]) -> UserError:
    before = next((token for token in reversed(tokens[: number - 1]) if "=" not in token), "D-3")
    activation = read_activation(text.lower().replace("leakyrelu", "leaky"))
    if activation is not None:
        remedy = f'write it as an option, "{before}_{activation}"' + f', or as "act={activation}"' * (
            activation != "softmax"
        )
        return UserError(where(line), f'token {number} "{text}": an activation is not a layer of its own', remedy)
    nearest = wrong.nearest
    if not nearest and "=" not in text:
        nearest = nearest_form(text, lambda candidate: _layers(candidate, ndim, Defaults()))
    remedy = f'write "{nearest}"' if nearest else "write one of these instead"
    return UserError(where(line), f'token {number} "{text}": {wrong.reason} ({wrong.allowed})', remedy)


def _finish(layers: list[Layer]) -> list[Layer]:
    """The last dense layer has no activation of its own accord."""
    last = layers[-1]
    said = any(read_activation(option) is not None for option in last.token.split("_")[1:])
    return layers if last.kind != "D" or said else [*layers[:-1], replace(last, activation="linear")]


def _misplaced(line: str, layers: list[Layer]) -> Iterator[UserError]:
    flat_after: Layer | None = None
    opened: list[Layer] = []
    for before, layer in zip([None, *layers], layers, strict=False):
        if layer.kind == "[":
            opened.append(layer)
        elif layer.kind == "]":
            yield from _closed(line, layer, before, opened)
            continue
        if layer.activation == "softmax" and layer is not layers[-1]:
            better = layer.token.replace("_softmax", "")
            yield wrong_layer(line, layer, "softmax is for the last layer alone", f'write "{better}"')
        if flat_after is not None and layer.kind not in "DN":
            reason = f'it needs axes, but token {flat_after.number} "{flat_after.source}" has flattened them'
            yield wrong_layer(line, layer, reason, "move it before that token or remove it")
        elif layer.kind in FLAT and opened:
            reason = f'it leaves no axes, which the branch that token {opened[-1].number} "[" starts needs at its end'
            yield wrong_layer(line, layer, reason, 'move it behind the last "]" or remove it')
        elif layer.kind in FLAT:
            flat_after = flat_after or layer
    for layer in opened:
        yield wrong_layer(line, layer, 'its branch is never ended by a "]"', 'end it with "]"')
    last = layers[-1]
    if last.kind == "D" and last.dropout:
        better = "_".join(part for part in last.token.split("_") if not part.startswith("d"))
        yield wrong_layer(line, last, "dropout after the last layer would erase answers", f'write "{better}"')


def _closed(line: str, layer: Layer, before: Layer | None, opened: list[Layer]) -> Iterator[UserError]:
    if not opened:
        yield wrong_layer(line, layer, 'no "[" before it starts a branch', 'start the branch with "[" or remove it')
    elif opened.pop() is before:
        reason = f'no layer is between it and token {before.number} "["'
        yield wrong_layer(line, layer, reason, 'write the layers of the branch there, as in "[ P-2 C-16.3 U-2 ]"')
