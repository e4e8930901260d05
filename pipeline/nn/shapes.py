"""Shapes, parameters and multiply-adds of a network, worked out from its line alone, without torch."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from pipeline.errors import UserError
from pipeline.nn import vit
from pipeline.nn.notation import parse, where, wrong_layer
from pipeline.nn.tokens import Layer

# a layer beyond these would not fit the memory of any one device
MOST_PARAMETERS = 2_000_000_000
MOST_VALUES = 100_000_000_000


@dataclass(frozen=True)
class Step:
    """One layer in its place.

    Shapes are (channel, *axes), or (features,) once flattened. `macs` are multiply-adds for one sample, counted in
    convolutions, dense layers and attention. `reduction` is how many input pixels apart two neighbouring outputs are,
    and `field` how many input pixels an output sees, one number an axis; both are () once the axes are gone. The input
    of "]" is the end of its branch.
    """

    layer: Layer
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    reduction: tuple[Fraction, ...]
    field: tuple[int, ...]


def trace(line: str, ndim: int, input_shape: tuple[int, ...], outputs: int | None = None) -> list[Step]:
    """Follow the shape (channel, *axes) of one sample through a network.

    Parameters
    ----------
    outputs : how many numbers the network has to return for a sample; None allows any end, feature maps too.

    Raises
    ------
    UserError : the line is wrong, the input does not have `ndim` axes, a layer does not fit the shape that reaches it,
        a branch does not end with the axes it began with, or the network does not end with `outputs` numbers.
    """
    layers = parse(line, ndim, outputs)
    shape = tuple(int(n) for n in input_shape)
    if len(shape) != ndim + 1 or min(shape) < 1:
        raise UserError(
            where(line),
            f"the input shape {shape} is not one number of channels and {ndim} axis lengths",
            f"give {ndim + 1} positive numbers, channels first",
        )
    steps: list[Step] = []
    reduction, field = (Fraction(1),) * ndim, (1,) * ndim
    entered: list[tuple] = []
    for layer in layers:
        if len(shape) == 1 and layer.kind == "N" and layer.norm == "instance":
            raise wrong_layer(line, layer, "it needs axes to normalise over, but they are flattened", 'write "N-layer"')
        if layer.kind == "[":
            entered.append((shape, reduction))
        out = _output_shape(line, layer, shape)
        if layer.kind == "]":
            entry, apart = entered.pop()
            _check_branch(line, layer, shape, reduction, entry, apart)
            # the branch sees at least what entered it, so its receptive field is that of both
            out = (entry[0] + shape[0], *shape[1:])
        parameters, macs = _count(layer, shape, out)
        if parameters > MOST_PARAMETERS:
            reason = f"it would have {parameters:,} parameters, for its input of shape {shape}"
            raise wrong_layer(
                line, layer, reason, "pool or stride before it, put GAP before a dense layer, or make it smaller"
            )
        if prod(out) > MOST_VALUES:
            reason = f"it would make {prod(out):,} values, of its input of shape {shape}"
            raise wrong_layer(line, layer, reason, "make it smaller")
        reduction, field = _view(layer, shape, out, reduction, field, input_shape)
        steps.append(Step(layer, shape, out, parameters, macs, reduction, field))
        shape = out
    if outputs is not None and shape != (outputs,):
        ends = f"ends with {shape[0]} numbers" if len(shape) == 1 else f"ends with feature maps of shape {shape}"
        last = layers[-1]
        options = "_".join(["", *last.token.split("_")[1:]])
        remedy = f'change the last token to "D-{outputs}{options}"' if last.kind == "D" else f'append "GAP D-{outputs}"'
        if last.kind != "D" and len(shape) == 1:
            remedy = f'append "D-{outputs}"'
        raise UserError(where(line), f"it {ends}, but {outputs} are needed", remedy)
    return steps


def _output_shape(line: str, layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    channel, *axes = shape
    if layer.kind == "D":
        return (layer.width,)
    if layer.kind == "F":
        return (prod(shape),)
    if layer.kind in ("GAP", "GMP"):
        return (channel,)
    if layer.kind in "[]":
        return shape
    if layer.kind in "NET":
        _check_channels(line, layer, channel, layer.width if layer.kind == "T" else 1, "attention heads")
        _check_norm(line, layer, channel, axes)
        if layer.positions == "sincos" and channel < 2 * len(axes):
            reason = f"{channel} channels are too few for a sine and a cosine of each of {len(axes)} axes"
            raise wrong_layer(line, layer, reason, f'use at least {2 * len(axes)} channels, or write "E-learned"')
        return shape
    if layer.kind == "U":
        return (channel, *(n * k for n, k in zip(axes, layer.size, strict=True)))
    _check_channels(line, layer, channel, layer.groups, "groups")
    out = []
    for index, n in enumerate(axes):
        k, s, p = layer.size[index], layer.stride[index], layer.padding[index]
        if n + 2 * p < k:
            reason = f"its size {k} does not fit axis {index + 1}, which is {n} long here (shape {shape})"
            raise wrong_layer(line, layer, reason, "remove it, make it smaller on that axis, or give a larger input")
        if layer.source.startswith(vit.NAME) and n % s:
            reason = f"axis {index + 1} is {n} long, which is not a multiple of the patch size {s}"
            remedy = f"crop the input to {n - n % s}" if n > s else f"choose a patch of at most {n}"
            raise wrong_layer(line, layer, reason, f"{remedy}, or choose a patch size that divides it")
        out.append((n + 2 * p - k) // s + 1)
    if layer.kind in "CR":
        _check_norm(line, layer, layer.width, out)
        return (layer.width, *out)
    return (channel, *out)


def _check_branch(line: str, layer: Layer, shape: tuple, reduction: tuple, entry: tuple, apart: tuple) -> None:
    """Refuse a branch whose pixels are not those of what entered it, of shape `entry` and reduction `apart`."""
    if shape[1:] == entry[1:] and reduction == apart:
        return
    reason = f"its branch ends with the shape {shape}, but began with the shape {entry}"
    if shape[1:] == entry[1:]:
        steps = " and ".join("x".join(str(r) for r in each) for each in (reduction, apart))
        reason += f" and other pixels, which are {steps} input pixels apart"
    factors = [r / a for r, a in zip(reduction, apart, strict=True)]
    remedy = 'pad with "_same" and give the layers of the branch odd sizes'
    if (
        all(n * f == m and f.denominator == 1 for n, f, m in zip(shape[1:], factors, entry[1:], strict=True))
        and max(factors) > 1
    ):
        remedy = f'write "U-{"x".join(str(f) for f in factors)}" before it'
    elif reduction != apart:
        remedy = (
            "let the branch upsample by as much as it pools or strides, and crop the input to axes that this divides"
        )
    elif any(n > m for n, m in zip(entry[1:], shape[1:], strict=True)):
        remedy = "crop the input so that what the branch pools or strides by divides the axes, or pad its layers"
    raise wrong_layer(line, layer, reason, remedy)


def _check_channels(line: str, layer: Layer, channel: int, parts: int, name: str) -> None:
    if channel % parts:
        fitting = max(d for d in range(1, parts) if channel % d == 0)
        raise wrong_layer(
            line,
            layer,
            f"{channel} channels cannot be divided into {parts} {name}",
            f"divide into {fitting}, or make the channels a multiple of {parts}",
        )


def _check_norm(line: str, layer: Layer, channel: int, axes: list[int]) -> None:
    """Refuse normalisations that do not exist for this number of channels, or that leave nothing but zeros."""
    if layer.norm.startswith("group"):
        count = int(layer.norm.removeprefix("group"))
        _check_channels(line, layer, channel, count, "groups to normalise")
        values = channel // count * prod(axes)
    else:
        values = {"instance": prod(axes), "layer": channel}.get(layer.norm, 2)
    if values < 2:
        reason = f"{layer.norm} normalisation of shape {(channel, *axes)} becomes zero, with one value in each group"
        raise wrong_layer(line, layer, reason, "use fewer groups, or another normalisation")


def _count(layer: Layer, shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and multiply-adds for one sample."""
    channel, width = shape[0], out[0]
    kernel, pixels = prod(layer.size), prod(out[1:])
    norm = 0 if layer.norm == "none" else 2 * width
    bias = width if layer.bias else 0
    if layer.kind == "C":
        weights = channel // layer.groups * kernel * width
        return weights + bias + norm, weights * pixels
    if layer.kind == "R":
        skip = channel * width if projects(layer, channel) else 0
        weights = (channel * kernel + width * prod(layer.second)) * width + skip
        return weights + (bias + norm) * (3 if skip else 2), weights * pixels
    if layer.kind == "D":
        weights = prod(shape) * width
        return weights + bias, weights
    if layer.kind == "N":
        return norm, 0
    if layer.kind == "E":
        return (prod(shape) if layer.positions == "learned" else 0), 0
    if layer.kind == "T":
        weights = 4 * channel**2 + 2 * layer.ratio * channel**2
        # biases of query, key, value, projection and the two inner layers, and two normalisations
        return weights + (9 + layer.ratio) * channel, weights * pixels + 2 * pixels**2 * channel
    return 0, 0


def projects(layer: Layer, channel: int) -> bool:
    """Whether a residual block needs a 1-wide convolution in its skip connection."""
    return channel != layer.width or any(s > 1 for s in layer.stride)


def _view(
    layer: Layer, shape: tuple, out: tuple, reduction: tuple, field: tuple, input_shape: tuple
) -> tuple[tuple[Fraction, ...], tuple[int, ...]]:
    """Reduction and receptive field after a layer, given those before it."""
    if len(out) == 1:
        return (), ()
    if layer.kind == "T":
        return reduction, tuple(max(f, n) for f, n in zip(field, input_shape[1:], strict=True))
    if layer.kind == "U":
        return tuple(r / k for r, k in zip(reduction, layer.size, strict=True)), field
    if layer.kind not in "CRPA":
        return reduction, field
    # the second convolution of a residual block works at the reduced resolution
    again = layer.second or (1,) * len(layer.size)
    widened = tuple(
        ceil(f + (k - 1) * r + (m - 1) * r * s)
        for f, k, m, r, s in zip(field, layer.size, again, reduction, layer.stride, strict=True)
    )
    return tuple(r * s for r, s in zip(reduction, layer.stride, strict=True)), widened
