"""What a classification task can be told."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.data.augment_settings import AugmentSettings
from pipeline.data.normalise_settings import Normalisation, Step
from pipeline.data.settings import InputSettings, SplitSettings
from pipeline.errors import UserError
from pipeline.learn.settings import TrainSettings
from pipeline.nn.notation import head, parse
from pipeline.settings import Settings
from pipeline.simulate.settings import InjectionSettings

# what is measured on validation after each epoch
MEASURES = ("loss", "accuracy", "balanced_accuracy")
ClassName = Annotated[str, Field(min_length=1)]


class ClassifySettings(Settings):
    """One classification task: where the objects come from, the network, and how it is trained."""

    kind: Literal["classify"] = Field(description="the kind of task")
    simulate: InjectionSettings | None = Field(
        default=None, description="inject noise-free frames into noise and classify the result, instead of a manifest"
    )
    input: InputSettings = Field(description="the objects, and how a file becomes an array")
    labels: str | list[str] = Field(
        default="class", description="the manifest's label column; a list of 0/1 columns makes the task multi-label"
    )
    classes: list[ClassName] | dict[ClassName, list[str]] | None = Field(
        default=None, description="the classes to keep, in order; a mapping merges old labels into new classes"
    )
    split: SplitSettings = Field(default=SplitSettings(), description="train, validation and test fractions")
    normalise: Normalisation = Field(
        default=[Step(name="standardise")], description="normalisations, stacked as input channels"
    )
    augment: AugmentSettings = Field(default=AugmentSettings(), description="random changes of the training samples")
    network: str = Field(description="the network in the notation of `fleming describe --help`, or a name")
    symmetries: bool = Field(
        default=False, description="average the prediction over flips (and quarter turns of square images)"
    )
    train: TrainSettings = Field(default=TrainSettings(), description="optimiser, schedule, precision, stopping")

    @model_validator(mode="after")
    def _objects_come_from_one_place(self) -> "ClassifySettings":
        if self.simulate is None and self.input.manifest is None:
            raise ValueError("needs input.manifest, the table of objects, or simulate")
        if self.simulate is not None and self.input.manifest is not None:
            raise ValueError("has both simulate and input.manifest; keep one")
        return self

    @model_validator(mode="after")
    def _suits_the_axes(self) -> "ClassifySettings":
        try:
            layers = parse(self.network, self.ndim, len(self.known_classes) or None)
        except UserError as error:
            raise ValueError(" ".join(str(problem) for problem in error.problems).removesuffix(".")) from error
        asked, last = head(layers), layers[-1]
        if self.known_classes and last.kind == "D" and last.width != len(self.known_classes):
            classes = ", ".join(self.known_classes)
            raise ValueError(
                f"network ends with {last.width} numbers, the classes are {len(self.known_classes)}: {classes}"
            )
        fitting = "sigmoid" if self.multilabel else "softmax"
        if asked not in ("linear", fitting):
            kind = "multi-label" if self.multilabel else "single-label"
            raise ValueError(f"network ends with {asked}, a {kind} task takes {fitting}; leave _{asked} out")
        if self.symmetries and self.ndim == 1:
            raise ValueError("symmetries is for images and cubes: a spectrum has none")
        if self.ndim != 1 and any(step.name == "continuum" for step in self.normalise):
            raise ValueError("normalise: continuum is for spectra; choose another one, such as standardise")
        if problem := self.augment.problem(self.ndim):
            raise ValueError(f"augment: {problem}")
        if self.train.monitor not in MEASURES:
            raise ValueError(f"train.monitor is {self.train.monitor!r}; choose one of {', '.join(MEASURES)}")
        return self

    @property
    def ndim(self) -> int:
        """Number of axes of a sample."""
        if self.simulate is not None:
            return len(self.simulate.sample_shape)
        return {"spectrum": 1, "table": 1, "image": 2, "idx": 2, "cube": 3}[self.input.kind]

    @property
    def known_classes(self) -> list[str]:
        """The classes, as far as the settings alone tell them; none when the manifest decides."""
        if self.multilabel:
            return list(self.labels)
        return list(self.classes or [])

    @property
    def multilabel(self) -> bool:
        return isinstance(self.labels, list)
