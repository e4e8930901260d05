"""What the method "association" can be told; the defaults are those of YOLO-CIANNA for the SDC1."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.detect.association_settings import AssociationSettings, PartSettings, ReferenceSettings
from pipeline.settings import Settings


class ScaleSettings(Settings):
    """The weight in the loss of each part of a box."""

    position: float = Field(36.0, ge=0, allow_inf_nan=False, description="weight of the centre within the cell")
    size: float = Field(
        0.2, ge=0, allow_inf_nan=False, description="weight of the logarithm of the size over its prior"
    )
    probability: float = Field(0.5, ge=0, allow_inf_nan=False, description="weight of there being an object")
    objectness: float = Field(2.0, ge=0, allow_inf_nan=False, description="weight of how well the box fits")
    classes: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight of the classes")
    parameters: float = Field(5.0, ge=0, allow_inf_nan=False, description="weight of the parameters")


class SlopeSettings(Settings):
    """The factor of the raw numbers of each part of a box."""

    position: float = Field(0.5, gt=0, allow_inf_nan=False, description="factor of the position")
    size: float = Field(0.5, gt=0, allow_inf_nan=False, description="factor of the size")
    probability: float = Field(0.2, gt=0, allow_inf_nan=False, description="factor of the probability")
    objectness: float = Field(0.5, gt=0, allow_inf_nan=False, description="factor of the objectness")
    classes: float = Field(1.0, gt=0, allow_inf_nan=False, description="factor of the classes")
    parameters: float = Field(0.5, gt=0, allow_inf_nan=False, description="factor of the parameters")


class ClampSettings(Settings):
    """The least and the largest number of each part of a box, after its factor."""

    position: tuple[float, float] = Field((-6.0, 6.0), description="ends of the position")
    size: tuple[float, float] = Field((-1.2, 1.2), description="ends of the logarithm of the size over its prior")
    probability: tuple[float, float] = Field((-6.0, 6.0), description="ends of the probability")
    objectness: tuple[float, float] = Field((-6.0, 6.0), description="ends of the objectness")
    classes: tuple[float, float] = Field((-6.0, 6.0), description="ends of the classes")
    parameters: tuple[float, float] = Field((-0.2, 1.5), description="ends of the parameters, which are from 0 to 1")

    @field_validator("*")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError("the first number must be the smaller one")
        return value


class MatchSettings(AssociationSettings):
    """How targets find the boxes that learn from them; for a limit that is null the usual one of the metric holds."""

    good: float | None = Field(0.5, description="metric above which a box that is not the best is left alone")
    low_best: float | None = Field(-0.1, description="metric below which the box of the nearest prior is taken instead")
    probability: float | None = Field(-0.3, description="metric above which the probability is learned")
    objectness: float | None = Field(-0.3, description="metric above which the objectness is learned")
    parameters: float | None = Field(-0.1, description="metric above which the parameters are learned")
    prior_distance: Literal["iou", "size", "offset"] = Field(
        "offset", description="how near a prior is: 1 - metric when centred, pixels, or logarithm of the ratio of sizes"
    )
    startup: int = Field(16000, ge=0, description="boxes are drawn at random for so many images at first")
    random_prior: float = Field(0.9, ge=0, le=1, description="chance that the box of the nearest prior is taken")
    random: float = Field(0.02, ge=0, le=1, description="chance that a random free box is taken")


class BoxSettings(Settings):
    """The method of YOLO-CIANNA (Cornu et al. 2024): its boxes, its loss, and how targets find boxes."""

    priors: tuple[tuple[float, ...], ...] = Field(
        ((6.0, 6.0),) * 6 + ((9.0, 12.0), (12.0, 9.0), (24.0, 24.0)),
        min_length=1,
        description="sides of each box of a cell, as (y, x) [pixel]",
    )
    background: tuple[float, ...] = Field(
        (0.15,) * 6 + (0.01,) * 3, min_length=1, description="weight of an empty box, one for all or one a prior"
    )
    weights: dict[str, float] = Field(
        {"ln_flux": 2.0, "ln_major": 2.0, "cos_2pa": 0.5, "sin_2pa": 0.5},
        description="weight of a parameter by its name; 1 for those that are left out",
    )
    sides: tuple[float, float] = Field((5.0, 64.0), description="true sides are brought into this range [pixel]")
    difficult_snr: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="fainter objects teach only where the prediction is already fair: effective signal-to-noise ratio",
    )
    difficult_level: Literal[1, 2, 3] = Field(
        1, description="difficult objects teach all, from 2 not class and parameters, at 3 not place and size either"
    )
    class_softmax: bool = Field(False, description="classes exclude each other: softmax and cross-entropy")
    scales: ScaleSettings = Field(ScaleSettings(), description="weights in the loss")
    slopes: SlopeSettings = Field(SlopeSettings(), description="factors of the raw numbers")
    clamps: ClampSettings = Field(ClampSettings(), description="ends of the raw numbers")
    match: MatchSettings = Field(MatchSettings(), description="how targets find boxes")

    @field_validator("priors")
    @classmethod
    def _are_boxes(cls, value: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        if len({len(prior) for prior in value}) != 1 or len(value[0]) not in (1, 2, 3):
            raise ValueError("every prior needs the same number of sides, one to three")
        if not all(1 <= side < float("inf") for prior in value for side in prior):
            raise ValueError("sides are finite and at least 1 pixel")
        return value

    @field_validator("sides")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] < value[1] < float("inf"):
            raise ValueError("expected two positive numbers, the smaller one first")
        return value

    @model_validator(mode="after")
    def _weights(self) -> "BoxSettings":
        if len(self.background) not in (1, len(self.priors)):
            raise ValueError(
                f"background has {len(self.background)} weights for {len(self.priors)} priors: give one, or one each"
            )
        if not all(0 <= weight < float("inf") for weight in (*self.background, *self.weights.values())):
            raise ValueError("background and weights must be finite numbers of at least 0")
        return self

    def reference(self, values: tuple[str, ...]) -> ReferenceSettings:
        """The settings of the loss, for parameters of these names."""
        names = ScaleSettings.model_fields
        parts = {
            name: PartSettings(
                scale=getattr(self.scales, name), slope=getattr(self.slopes, name), clamp=getattr(self.clamps, name)
            )
            for name in names
        }
        return ReferenceSettings(
            **parts,
            class_softmax=self.class_softmax,
            background=self.background,
            parameter_weights=tuple(self.weights.get(name, 1.0) for name in values),
            association=self.match,
        )
