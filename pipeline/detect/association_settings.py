"""The settings of YOLO-CIANNA's association and loss (Cornu et al. 2024)."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings

# metric: good, low_best, probability, objectness, classes, parameters, difficult, difficult_objectness
LIMITS = {
    "iou": (0.5, 0.1, 0.0, 0.0, 0.2, 0.2, 0.5, 0.3),
    "giou": (0.4, -0.5, -1.0, -1.0, -0.3, -0.3, 0.4, 0.2),
    "diou": (0.3, -0.6, -1.0, -1.0, -0.5, -0.5, 0.3, 0.1),
    "diou2": (0.3, -0.5, -1.0, -1.0, -0.4, -0.4, 0.3, 0.1),
}
_LIMITED = (
    "good",
    "low_best",
    "probability",
    "objectness",
    "classes",
    "parameters",
    "difficult",
    "difficult_objectness",
)


class AssociationSettings(Settings):
    """How targets find the boxes that learn from them; a limit that is left out is the usual one of the metric."""

    metric: Literal["iou", "giou", "diou", "diou2"] = Field("diou", description="how well a box fits a target")
    good: float | None = Field(None, description="metric above which a box that is not the best is left alone")
    low_best: float | None = Field(None, description="metric below which the box of the nearest prior is taken instead")
    probability: float | None = Field(None, description="metric above which the probability is learned")
    objectness: float | None = Field(None, description="metric above which the objectness is learned")
    classes: float | None = Field(None, description="metric above which the class is learned")
    parameters: float | None = Field(None, description="metric above which the parameters are learned")
    difficult: float | None = Field(None, description="metric from which a difficult target is learned")
    difficult_objectness: float | None = Field(
        None, description="predicted objectness from which a difficult target is learned"
    )
    strict_box_size: int = Field(0, ge=0, description="boxes of so many nearest priors may answer; 0 is all")
    forced_scaling: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="targets below so many smallest priors get one of those"
    )
    prior_distance: Literal["iou", "size", "offset"] = Field(
        "size", description="how near a prior is: 1 - metric when centred, pixels, or logarithm of the ratio of sizes"
    )
    startup: int = Field(64000, ge=0, description="boxes are drawn at random for so many images at first")
    random_prior: float = Field(0.0, ge=0, le=1, description="chance that the box of the nearest prior is taken")
    random: float = Field(0.0, ge=0, le=1, description="chance that a random free box is taken")

    @field_validator(*_LIMITED)
    @classmethod
    def _in_range(cls, value: float | None) -> float | None:
        if value is not None and not -1 <= value <= 1:
            raise ValueError("a metric and an objectness are from -1 to 1")
        return value

    def limit(self, name: str) -> float:
        """The limit of that name, as given or as usual for the metric."""
        given = getattr(self, name)
        return LIMITS[self.metric][_LIMITED.index(name)] if given is None else given


class PartSettings(Settings):
    """How one part of a box is read from the raw numbers, and how much it weighs in the loss."""

    scale: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight in the loss")
    slope: float = Field(1.0, gt=0, allow_inf_nan=False, description="factor of the raw number")
    clamp: tuple[float, float] = Field((-6.0, 6.0), description="least and largest number after the slope")
    fit: Literal[1, 0, -1] = Field(1, description="1 learns the target, 0 a neutral value, -1 nothing")

    @field_validator("clamp")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError("the first number must be the smaller one")
        return value


class ReferenceSettings(Settings):
    """The reference loss: its parts, the weight of the background, and how boxes and targets find each other."""

    position: PartSettings = Field(PartSettings(scale=2.0), description="centre within the cell")
    size: PartSettings = Field(
        PartSettings(scale=2.0, clamp=(-1.6, 1.6)), description="logarithm of the size over its prior"
    )
    probability: PartSettings = Field(PartSettings(), description="whether there is an object")
    objectness: PartSettings = Field(PartSettings(scale=2.0), description="how well the box fits, from 0 to 1")
    classes: PartSettings = Field(PartSettings(), description="one number a class")
    parameters: PartSettings = Field(
        PartSettings(clamp=(-0.2, 1.2)), description="further quantities, scaled to lie from 0 to 1"
    )
    class_softmax: bool = Field(False, description="classes exclude each other: softmax and cross-entropy")
    background: tuple[float, ...] = Field((0.2,), description="weight of an empty box, one for all or one a prior")
    parameter_weights: tuple[float, ...] = Field((), description="weight of each parameter; all 1 when left out")
    association: AssociationSettings = Field(AssociationSettings(), description="how targets find boxes")

    @model_validator(mode="after")
    def _weights(self) -> "ReferenceSettings":
        weights = (*self.background, *self.parameter_weights)
        if not self.background or not all(0 <= weight < float("inf") for weight in weights):
            raise ValueError("background and parameter_weights must be finite numbers of at least 0")
        return self
