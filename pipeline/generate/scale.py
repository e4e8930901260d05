"""From physical units to network units and back, exactly: an asinh in units of the noise, then one affine map."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.data.background import MAD_TO_SIGMA
from pipeline.data.evenly import evenly
from pipeline.errors import UserError, UserErrors

Values = TypeVar("Values", np.ndarray, Tensor)

_BORDER = 8  # the border is an eighth of an axis on either side
_PEAK_SHARE = 0.01  # stamps without noise: what stands for it, as a share of their peak
_AT_ONCE = 1 << 22
_NOISE_STAMPS = 4096
_MOST_NAMED = 10


@dataclass(frozen=True)
class Scale:
    """y = (asinh(x / (softening * noise)) - offset) / spread, or y = (x - offset) / spread without a softening.

    asinh is linear in the noise and logarithmic in what is bright, for both signs (Lupton, Gunn & Szalay 1999,
    AJ 118, 1406, equation 3), and nothing is clipped: what a network makes has a flux in the unit of the stamps.

    Attributes
    ----------
    softening : in units of the noise; None for a linear scale (pictures, digits). What is normal in network units
        has tails after sinh: for noise of the right standard deviation the middle half of it is 4 % too narrow with a
        softening of 3, 1 % with 6. With a large one the sky is a small part of what a network learns.
    offset, spread : mean and standard deviation over all pixels of the training stamps, after asinh: y has mean 0
        and standard deviation 1 there.
    noise : standard deviation of the noise of a typical training stamp, in `unit`.
    unit : of x, "" when dimensionless.
    """

    softening: float | None
    offset: float
    spread: float
    noise: float
    unit: str = ""

    def __post_init__(self):
        widths = [self.spread] if self.softening is None else [self.spread, self.softening, self.noise]
        if not all(math.isfinite(width) and width > 0 for width in widths) or not math.isfinite(self.offset):
            raise ValueError("the widths of a scale are positive, finite numbers")

    @classmethod
    def fit(
        cls,
        x: np.ndarray | Tensor,
        softening: float | None,
        noise: float | None = None,
        *,
        unit: str = "",
        names: Sequence[str] | None = None,
        blank: bool = False,
    ) -> "Scale":
        """Take the constants from the training stamps x `(n, channel, *axes)` in `unit`, any number type.

        Parameters
        ----------
        softening : None for a linear scale.
        noise : where it is known; else the median over the stamps of 1.4826 times the median absolute deviation of
            their border. Where that is 0, as in pictures cut at zero, a hundredth of the median peak.
        names : n names of the stamps, for messages.
        blank : take NaN pixels as 0.

        Raises
        ------
        UserErrors : fewer than two stamps, the same value everywhere, or NaN pixels without `blank`.
        """
        if len(x) < 2:
            what = f"hold {len(x)} stamp{'s' * (len(x) != 1)}, and a distribution is learnt from many"
            raise UserError("the training stamps", what, "list more objects, or give train a larger share")
        x = valid_stamps(x, names, blank)
        noise = noise if noise is not None else border_noise(x)
        width = None if softening is None else softening * noise
        total = square = count = 0.0
        for part in _parts(x):
            y = part if width is None else np.arcsinh(part / width)
            total, square, count = total + y.sum(), square + (y**2).sum(), count + y.size
        mean = total / count
        spread = math.sqrt(max(0.0, square / count - mean**2))
        # what float64 leaves of the difference of two equal numbers
        if not spread > 1e-7 * max(abs(mean), np.finfo(float).tiny):
            raise UserError("the training stamps", "have the same value everywhere", "check the input")
        return cls(softening, float(mean), spread, float(noise), unit)

    def forward(self, x: Values) -> Values:
        """Physical to network units, elementwise; a tensor or an array of floats of any shape, of the same type."""
        if self.softening is None:
            return (x - self.offset) / self.spread
        ratio = x / (self.softening * self.noise)
        return ((torch.asinh(ratio) if isinstance(x, Tensor) else np.arcsinh(ratio)) - self.offset) / self.spread

    def inverse(self, y: Values) -> Values:
        """Network to physical units, the inverse of `forward`; also the same type."""
        if self.softening is None:
            return y * self.spread + self.offset
        ratio = y * self.spread + self.offset
        return (torch.sinh(ratio) if isinstance(y, Tensor) else np.sinh(ratio)) * (self.softening * self.noise)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; floats survive the round trip exactly."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Scale":
        """The inverse of `to_dict`.

        Raises
        ------
        UserError : it was not written by `to_dict`.
        """
        try:
            return cls(**{name: value[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("scale", "is incomplete", "train the model again") from error


def valid_stamps(x: Values, names: Sequence[str] | None = None, blank: bool = False) -> Values:
    """x `(n, channel, *axes)` without a NaN or infinite pixel: itself, or with `blank` a copy that has 0 there.

    Raises
    ------
    UserErrors : stamps with such pixels, by their names, unless `blank`.
    """
    if not (x.is_floating_point() if isinstance(x, Tensor) else x.dtype.kind == "f"):
        return x
    finite = torch.isfinite(x) if isinstance(x, Tensor) else np.isfinite(x)
    if finite.all():
        return x
    if blank:
        return torch.where(finite, x, 0.0) if isinstance(x, Tensor) else np.where(finite, x, x.dtype.type(0))
    whole = finite.reshape(len(x), -1)
    bad = (~whole).sum(-1)
    positions = [int(position) for position in np.flatnonzero(np.asarray(bad))]
    remedy = "cut or repair it, or set blank to take such pixels as 0"
    problems = [
        UserError(
            names[position] if names is not None else f"stamp {position}",
            f"has {int(bad[position])} of {whole.shape[-1]} pixels that are NaN or infinite",
            remedy,
        )
        for position in positions[:_MOST_NAMED]
    ]
    if len(positions) > _MOST_NAMED:
        rest = len(positions) - _MOST_NAMED
        problems.append(UserError("the stamps", f"have NaN or infinite pixels in {rest} more", "mend these first"))
    raise UserErrors(problems)


def border_noise(x: np.ndarray | Tensor) -> float:
    """The noise of a typical stamp of x `(n, channel, *axes)`, finite, in the unit of x; above 0.

    The median over (an even selection of) the stamps of the robust rms of their border, or a hundredth of their
    median peak where that is 0, or 1 where all is 0. A border of m pixels lies closer to its own median than to the
    true one: the factor sqrt(m / (m - 1)) allows for it, as for a mean.
    """
    chosen = evenly(len(x), _NOISE_STAMPS)
    values = np.asarray(x[chosen], dtype=np.float64)
    border = np.ones(values.shape[2:], dtype=bool)
    inner = tuple(slice(max(1, size // _BORDER), size - max(1, size // _BORDER)) for size in border.shape)
    border[inner] = False
    pixels = values[:, :, border]  # (n, channel, pixel)
    deviations = np.abs(pixels - np.median(pixels, axis=-1, keepdims=True))
    few = math.sqrt(pixels.shape[-1] / max(1, pixels.shape[-1] - 1))
    rms = float(np.median(few * MAD_TO_SIGMA * np.median(deviations, axis=-1)))
    peak = float(np.median(np.abs(values).reshape(len(values), -1).max(axis=-1)))
    return rms or _PEAK_SHARE * peak or 1.0


def _parts(x: np.ndarray | Tensor) -> Iterator[np.ndarray]:
    step = max(1, _AT_ONCE // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), step):
        yield np.asarray(x[start : start + step], dtype=np.float64)
