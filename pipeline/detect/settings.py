"""What the detector can be told about its objects, its loss and its crops."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from pipeline.detect.box_settings import BoxSettings
from pipeline.detect.directions import COSINE, SINE
from pipeline.errors import UserError
from pipeline.learn.settings import TrainSettings
from pipeline.nn.notation import network_line
from pipeline.settings import Settings

Number = TypeVar("Number", int, float)


def per_axis(value: Number | Sequence[Number], ndim: int, where: str) -> tuple[Number, ...]:
    """The numbers of `ndim` axes from one for all or one each.

    Raises
    ------
    UserError : as many numbers as there are not axes; `where` is the key that they are from.
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
    if len(numbers) != ndim:
        what = f"has {len(numbers)} numbers where frames have {ndim} axes"
        raise UserError(where, what, f"give one number for all axes, or {ndim}" if ndim > 1 else "give one number")
    return numbers


def _within(value: Number | tuple[Number, ...], low: float, high: float) -> Number | tuple[Number, ...]:
    numbers = value if isinstance(value, tuple) else (value,)
    if not 1 <= len(numbers) <= 3:
        raise ValueError("give one number, or one for each of up to three axes")
    if not all(low <= number <= high for number in numbers):
        raise ValueError(f"numbers must be from {low:g} to {high:g}")
    return value


class ObjectSettings(Settings):
    """Which objects are learnt, and which cells answer for them."""

    least_snr: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="least effective signal-to-noise ratio of a learnable object"
    )
    faint: Literal["background", "ignore"] = Field(
        "background",
        description="method cells: what objects from half of least_snr up to it are, sky like all that is fainter, or "
        "ignored: their cells teach nothing",
    )
    margin: float | tuple[float, ...] = Field(
        1.0,
        description="method cells: how far beyond half a cell an object has cells, "
        "one for all axes or one each [pixel]",
    )
    share: float | tuple[float, ...] = Field(
        0.0,
        description="method cells: what counts instead of the margin where it is more, in sides of the object's box, "
        "one for all axes or one each",
    )

    @property
    def lowest_snr(self) -> float:
        """The least effective signal-to-noise ratio of the objects that a batch has to name."""
        return self.least_snr / 2 if self.faint == "ignore" else self.least_snr

    @field_validator("margin")
    @classmethod
    def _margin_is_near(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        return _within(value, 0, 64)

    @field_validator("share")
    @classmethod
    def _share_is_a_share(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        return _within(value, 0, 1)


class LossSettings(Settings):
    """The weights of the loss's terms."""

    likelihood: Literal["laplace", "normal"] = Field("laplace", description="the distribution of errors")
    focal: float = Field(0.0, ge=0, le=5, description="exponent of the focal loss; 0 is binary cross-entropy")
    objectness: float = Field(1.0, gt=0, le=100, description="weight of being an object")
    position: float = Field(0.25, ge=0, le=100, description="weight of the position")
    size: float = Field(0.05, ge=0, le=100, description="weight of the box's sides")
    values: float = Field(0.25, ge=0, le=100, description="weight of the parameters")
    squares: float = Field(0.5, ge=0, le=100, description="weight of the parameters in means")
    means: tuple[str, ...] = Field(
        (COSINE, SINE, "core_fraction"),
        description="parameters whose mean is learnt, by squares, as their median says nothing of most objects",
    )
    classes: float = Field(0.25, ge=0, le=100, description="weight of the class")


# 26 kMAC a pixel at a receptive field of 81 pixels: residual blocks at a quarter of the resolution, answers at a half.
NETWORK = "C-32.4_s2_p1 [ C-64.4_s2_p1 R-64.3 R-64.3 R-64.3 R-64.3 U-2 ] C-32.3"


class DetectorSettings(Settings):
    """The network, its objects, loss and crops, and how it is trained."""

    method: Literal["cells", "association"] = Field(
        "cells",
        description="every cell near an object answers for it, or the best of several boxes a cell as in YOLO-CIANNA",
    )
    network: str = Field(NETWORK, description="the network without its last layer, which the parameters decide")
    objects: ObjectSettings = Field(ObjectSettings(), description="which objects are learnt")
    loss: LossSettings = Field(LossSettings(), description="method cells: the terms of the loss")
    association: BoxSettings = Field(BoxSettings(), description="method association: its boxes and its loss")
    crop: int | tuple[int, ...] = Field(
        128, description="side of the crops that are trained on, one for all axes or one each [pixel]"
    )
    steps: int = Field(200, gt=0, description="gradient steps an epoch")
    held_out_steps: int = Field(20, gt=0, description="batches of validation crops after each epoch")
    train: TrainSettings = Field(
        TrainSettings(epochs=20, batch=8, learning_rate=2.5e-3, warmup=0.5, ema=0.998, clip=2.0, weight_decay=1e-4),
        description="optimiser, schedule, precision, stopping",
    )

    @field_validator("network")
    @classmethod
    def _one_line(cls, value: str) -> str:
        return network_line(value)

    @field_validator("crop")
    @classmethod
    def _crop_can_be_turned(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, tuple) and len(value) > 1 and value[-1] != value[-2]:
            raise ValueError("the last two sides must be the same, because crops are turned on the sky")
        return _within(value, 16, 4096)

    @model_validator(mode="after")
    def _some_are_difficult(self) -> "DetectorSettings":
        limit = self.association.difficult_snr
        if limit is not None and limit <= self.objects.least_snr:
            least = f"objects.least_snr of {self.objects.least_snr:g}"
            raise ValueError(f"association.difficult_snr is not above {least}, so that no object is difficult")
        return self
