"""The nearest right form of a token that is wrong: repairs of the usual slips, tried until one can be read."""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches

from pipeline.nn.tokens import ACTIVATIONS, FORMS, NORMS, PADS, WrongToken

_WORDS = {
    "conv": "C",
    "convolution": "C",
    "pool": "P",
    "max": "P",
    "mp": "P",
    "maxpool": "P",
    "avg": "A",
    "ap": "A",
    "avgpool": "A",
    "mean": "A",
    "dense": "D",
    "fc": "D",
    "linear": "D",
    "fully": "D",
    "res": "R",
    "residual": "R",
    "resblock": "R",
    "up": "U",
    "upsample": "U",
    "flatten": "F",
    "flat": "F",
    "norm": "N",
    "bn": "N-batch",
    "batchnorm": "N-batch",
    "batch": "N-batch",
    "gap": "GAP",
    "globalpool": "GAP",
    "gmp": "GMP",
    "attention": "T-4",
    "transformer": "T-4",
    "resnet": "resnet-18",
    "vit": "vit_p4_w64_h4_l4",
}
_USUAL = {kind: form.example for kind, form in FORMS.items()} | {"D": "D-128"}
_POSITIVE = re.compile(r"[1-9][0-9]*")
_PARTS = re.compile(r"([A-Za-z]+?)(?:[123][dD])?[-:=(]*([^A-Za-z].*|batch|layer|instance|group.*|sincos|learned|)")


def nearest_form(text: str, read: Callable[[str], object]) -> str:
    """The first repair of `text` that `read` accepts, or "" when there is none."""
    for candidate in _repairs(text):
        try:
            read(candidate)
        except WrongToken:
            continue
        if candidate != text:
            return candidate
    return ""


def _repairs(text: str) -> Iterator[str]:
    tidy = text.strip(",;()").replace("\u00d7", "x").replace("*", "x").replace(",", ".")
    # D-1024-d0.5 and D-1024.d0.5 for D-1024_d0.5
    tidy = re.sub(r"(?<=[0-9])[-.](?=[A-Za-z])", "_", tidy)
    head, *options = tidy.split("_")
    for kind, argument in _heads(head):
        for argument_now in _arguments(kind, argument):
            start = f"{kind}-{argument_now}" if argument_now else kind
            for mended in _options(options):
                yield "_".join([start, *mended])
            yield start


def _heads(head: str) -> Iterator[tuple[str, str]]:
    match = _PARTS.fullmatch(head)
    word, argument = match.groups() if match else head.partition("-")[::2]
    for kind in (word, word.upper(), _WORDS.get(word.lower(), "")):
        if kind in FORMS:
            yield kind, argument
    known = get_close_matches(word.lower(), _WORDS, 1, 0.8)
    for whole in [_WORDS.get(word.lower(), ""), *(_WORDS[name] for name in known)]:
        kind, _, usual = whole.partition("-")
        if kind:
            yield kind, argument or usual
            yield kind, usual


def _arguments(kind: str, argument: str) -> Iterator[str]:
    yield argument
    if kind in FORMS and FORMS[kind].argument == "wide":
        filters, _, sizes = argument.partition(".")
        filters = filters if _POSITIVE.fullmatch(filters) else "16"
        first = sizes.split("x")[0]
        size = first if _POSITIVE.fullmatch(first) else "3"
        yield f"{filters}.{sizes}"
        yield f"{filters}.{size}"
    else:
        yield argument.lower()
        yield argument.split("x")[0].split(".")[0]
        if argument.startswith("group"):
            yield "group8"
        yield from get_close_matches(argument.lower(), (*NORMS, "sincos", "learned"), 1)
    yield _USUAL.get(kind, "").partition("-")[2]


def _options(options: list[str]) -> Iterator[list[str]]:
    yield options
    mended = [_option(option) for option in options]
    yield mended
    yield [option for option in mended if option]
    for dropped in range(len(options) - 1, -1, -1):
        yield options[:dropped] + options[dropped + 1 :]


def _option(option: str) -> str:
    low = option.lower().replace("relu", "") if option.lower().startswith("leaky") else option.lower()
    if re.fullmatch(r"0?\.[0-9]+", low):
        return f"d{low}"
    short = re.fullmatch(r"(stride|pad|padding|groups|dropout|drop)[=-]?([0-9.x]+)", low)
    if short:
        return short[1][0] + short[2]
    per_cent = re.fullmatch(r"d([0-9][0-9])", low)
    if per_cent:
        return f"d0.{per_cent[1]}"
    short = re.fullmatch(r"([spgbdm])[=-]?([0-9.x]*)", low)
    if short:
        return (short[1] + short[2].split("x")[0]) if low == option else low
    return next(iter(get_close_matches(low, (*ACTIVATIONS, *NORMS, *PADS), 1)), "")
