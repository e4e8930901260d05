"""Normalisation: from values with a unit to numbers that a network can take, several ways stacked as channels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from scipy.ndimage import percentile_filter

from pipeline.data.normalise_settings import Normalisation, Step
from pipeline.data.statistics import Constants, SetStatistics, sample_constants
from pipeline.errors import UserError

_SPECS = TypeAdapter(Normalisation)
# below this share of the median flux the continuum is noise, and dividing by it tells nothing
_LEAST_CONTINUUM = 0.01


@dataclass(frozen=True)
class Normaliser:
    """A fitted normalisation; the same one serves training and prediction.

    NaN and infinite pixels take no part in any constant and are 0 afterwards. A sample that is constant, or has no
    finite pixel, becomes 0 everywhere. What each step makes of a value x, with mean m, standard deviation s,
    minimum a and maximum b of the sample (all channels together, so that colours survive), of the channel in
    the training set, or of the value's own place in the training set:

    - none: x, centre: x - m, standardise: z = (x - m) / s
    - minmax: (x - a) / (b - a), minmax_symmetric: 2 (x - a) / (b - a) - 1; with constants of the training set
      other samples may fall outside of [0, 1] and [-1, 1]
    - tanh: tanh(z / scale), asinh: asinh(z / softening) (Lupton, Gunn & Szalay 1999, AJ 118, 1406,
      equation 3 without its zero point and factor)
    - continuum: x / c - 1, c the running percentile over `window` pixels, bridged over NaN; 0 where c is not above
      one per cent of the sample's median |x|; spectra only
    - mask: 1 where x is finite, else 0

    `clip` limits x to two percentiles before. Those of the training set come from all its values up to four
    million, then from an even selection of them.
    """

    steps: tuple[Step, ...]
    constants: tuple[Constants | None, ...]

    @classmethod
    def fit(cls, specs: Any, batches: Iterable[np.ndarray] = ()) -> "Normaliser":
        """Take the constants from the training set, streamed as arrays `(n, channel, *axes)`.

        Raises
        ------
        UserError : a wrong spec, no finite value in a channel, or no sample though a constant needs them.
        """
        steps = parse(specs)
        wanted = sorted({(step.per, step.clip) for step in steps if step.per != "sample"}, key=str)
        gathered = {key: SetStatistics(*key) for key in wanted}
        if gathered:
            for batch in batches:
                for statistics in gathered.values():
                    statistics.add(batch)
        constants = {key: statistics.constants() for key, statistics in gathered.items()}
        return cls(steps, tuple(constants.get((step.per, step.clip)) for step in steps))

    def channels(self, channel: int) -> int:
        """Channels after normalisation of samples with `channel` channels."""
        return channel * len(self.steps)

    def mask_channels(self, channel: int) -> list[int]:
        """Which channels of the result say where pixels are valid."""
        places = [place for place, step in enumerate(self.steps) if step.name == "mask"]
        return [place * channel + index for place in places for index in range(channel)]

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Normalise `(n, channel, *axes)`; float32 `(n, step * channel, *axes)`, all channels of the first step first.

        Raises
        ------
        UserError : the continuum of something that is not a spectrum, or samples that do not suit the constants.
        """
        x = np.asarray(x)
        n, channel, *axes = x.shape
        values = x.astype(np.float64)
        finite = np.isfinite(values)
        values[~finite] = 0.0
        out = np.empty((n, len(self.steps), channel, *axes), dtype=np.float32)
        for place, (step, constants) in enumerate(zip(self.steps, self.constants, strict=True)):
            out[:, place] = _apply(step, constants, values, finite)
        return out.reshape(n, self.channels(channel), *axes)

    def to_dict(self) -> dict[str, Any]:
        """Steps and constants as plain JSON values; floats survive the round trip exactly."""
        return {
            "steps": [step.model_dump(mode="json", exclude_defaults=True) for step in self.steps],
            "constants": [None if constants is None else constants.to_dict() for constants in self.constants],
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Normaliser":
        """The inverse of `to_dict`.

        Raises
        ------
        UserError : it was not written by `to_dict`.
        """
        try:
            constants = tuple(None if item is None else Constants.from_dict(item) for item in value["constants"])
            steps = parse(value["steps"])
        except (KeyError, TypeError) as error:
            raise UserError("normalisation", "is incomplete", "train the model again") from error
        if len(steps) != len(constants):
            raise UserError("normalisation", "has constants for other steps", "train the model again")
        return cls(steps, constants)


def parse(specs: Any) -> tuple[Step, ...]:
    """Validated steps from names, `{name: value}` or `{name: {option: value}}`.

    Raises
    ------
    UserError : an unknown name, option or value.
    """
    try:
        return tuple(_SPECS.validate_python(specs))
    except ValidationError as error:
        first = error.errors()[0]
        what = first["msg"].removeprefix("Value error, ")
        where = ".".join(["normalise", *(str(part) for part in first["loc"])])
        raise UserError(where, what[:1].lower() + what[1:], "see the normalisations in config/README.md") from error


def _apply(step: Step, constants: Constants | None, values: np.ndarray, finite: np.ndarray) -> np.ndarray:
    if step.name == "mask":
        return finite
    if step.name == "none":
        return values
    if step.name == "continuum":
        return _continuum(values, finite, step.window, step.percentile)
    own = constants is None
    constants = sample_constants(values, finite, step.clip) if own else constants.shaped(values.shape[1:])
    if step.clip is not None:
        values = np.clip(values, constants.low, constants.high)
    return np.where(finite, _scaled(step, constants, values), 0.0)


def _scaled(step: Step, constants: Constants, values: np.ndarray) -> np.ndarray:
    if step.name == "centre":
        return np.where(constants.high > constants.low, values - constants.mean, 0.0)
    if step.name in ("minmax", "minmax_symmetric"):
        unit = (values - constants.low) * _inverse(constants.high - constants.low)
        if step.name == "minmax":
            return unit
        return np.where(constants.high > constants.low, 2.0 * unit - 1.0, 0.0)
    z = (values - constants.mean) * _inverse(constants.spread)
    if step.name == "tanh":
        return np.tanh(z / step.scale)
    if step.name == "asinh":
        return np.arcsinh(z / step.softening)
    return z


def _inverse(width: np.ndarray) -> np.ndarray:
    return np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)


def _continuum(values: np.ndarray, finite: np.ndarray, window: int, percentile: float) -> np.ndarray:
    if values.ndim != 3:
        what = f"continuum is for spectra, these samples have {values.ndim - 2} axes"
        raise UserError("normalise", what, "choose another normalisation, such as standardise")
    out = np.zeros_like(values)
    place = np.arange(values.shape[-1])
    for index in np.ndindex(values.shape[:2]):
        good = finite[index]
        if not good.any():
            continue
        # the window is longer than the spectrum at most: beyond that the ends only repeat
        whole = values[index] if good.all() else np.interp(place, place[good], values[index][good])
        level = percentile_filter(whole, percentile, size=min(window, len(whole)), mode="nearest")
        least = _LEAST_CONTINUUM * np.median(np.abs(whole[good]))
        use = good & (level > least)
        out[index][use] = whole[use] / level[use] - 1.0
    return out
