"""What a generative task can be told: the stamps, what a model is told of them, the methods and their training."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.data.augment_settings import AugmentSettings
from pipeline.data.settings import AXES, InputSettings, SplitSettings
from pipeline.generate.autoencoder_settings import CodedSettings
from pipeline.generate.flow_settings import FlowSettings
from pipeline.generate.methods import MethodSettingsOf, with_name
from pipeline.learn.settings import TrainSettings
from pipeline.settings import Settings
from pipeline.simulate.disc_settings import DiscSettings
from pipeline.simulate.sersic_settings import SersicSettings

ClassName = Annotated[str, Field(min_length=1)]
MethodName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]


class StampSimulation(Settings):
    """Stamps that are simulated in place of a manifest: Sersic galaxies, or discs where those are told."""

    sersic: SersicSettings = Field(default=SersicSettings(), description="galaxies with Sersic profiles in noise")
    discs: DiscSettings | None = Field(
        default=None, description="rotating HI discs instead: small cubes, or their line profiles"
    )

    @model_validator(mode="after")
    def _of_one_sort(self) -> "StampSimulation":
        if self.discs is not None and "sersic" in self.model_fields_set:
            raise ValueError("has both sersic and discs; keep one")
        return self

    @property
    def chosen(self) -> SersicSettings | DiscSettings:
        """The settings of what is simulated."""
        return self.discs or self.sersic


class ScaleSettings(Settings):
    """How the brightness of a stamp becomes the numbers that a network sees, and back."""

    softening: float | None = Field(
        6.0, gt=0, description="asinh(x / softening) above this many times the noise; none is linear [noise sigma]"
    )
    noise: float | None = Field(None, gt=0, description="standard deviation of the noise; measured when absent [unit]")
    blank: bool = Field(False, description="take invalid pixels (NaN) as 0; otherwise a stamp that has some is refused")


class GenerateSettings(Settings):
    """One generative task: where the stamps come from, what is told of them, the methods, and how they are trained."""

    kind: Literal["generate"] = Field(description="the kind of task")
    simulate: StampSimulation | None = Field(default=None, description="simulate the stamps, instead of a manifest")
    input: InputSettings = Field(
        default=InputSettings(kind="image"), description="the stamps, and how a file becomes an array"
    )
    labels: str | None = Field(
        default=None, description="the manifest's column of classes, told as the condition class"
    )
    classes: list[ClassName] | dict[ClassName, list[str]] | None = Field(
        default=None, description="the classes to keep, in order; a mapping merges old labels into new classes"
    )
    split: SplitSettings = Field(default=SplitSettings(), description="train, validation and test fractions")
    conditions: list[str] = Field(
        default=[], description="numeric columns of the manifest, or statistics that are measured, told to the model"
    )
    untold: float = Field(
        default=0.2, ge=0, lt=1, description="share of the training in which a condition is not told, one by one"
    )
    scale: ScaleSettings = Field(default=ScaleSettings(), description="from brightness to the network's numbers")
    psf: float | None = Field(default=None, gt=0, description="FWHM of the stamps' point spread function [pixels]")
    augment: AugmentSettings = Field(default=AugmentSettings(), description="random changes of the training stamps")
    methods: dict[MethodName, MethodSettingsOf] = Field(
        min_length=1, description="the methods by name; the samples of the first are the product, all are compared"
    )
    train: TrainSettings = Field(
        default=TrainSettings(epochs=40, batch=64, learning_rate=1e-3, warmup=0.5, ema=0.995),
        description="optimiser, schedule, precision, stopping",
    )
    samples: int = Field(default=1000, ge=2, description="stamps to make, of every method")
    guidance: float = Field(default=1.0, ge=0, description="weight of the conditions: 1 as learnt, 0 without any")
    features: str | None = Field(
        default=None, description="a classifier of such stamps (model.safetensors), in whose features they are compared"
    )

    @model_validator(mode="before")
    @classmethod
    def _methods_have_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("methods"), dict):
            return values | {"methods": {key: with_name(key, value) for key, value in values["methods"].items()}}
        return values

    @model_validator(mode="after")
    def _stamps_come_from_one_place(self) -> "GenerateSettings":
        if self.simulate is None and self.input.manifest is None:
            raise ValueError("needs input.manifest, the table of stamps, or simulate")
        if self.simulate is not None and self.input.manifest is not None:
            raise ValueError("has both simulate and input.manifest; keep one")
        return self

    @model_validator(mode="after")
    def _agrees(self) -> "GenerateSettings":
        if self.input.kind == "table":
            raise ValueError("input.kind is table; stamps are of kind spectrum, image, idx or cube")
        if "class" in self.conditions:
            raise ValueError("conditions has 'class'; name the column of classes in labels")
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError("conditions names a column twice")
        if self.classes is not None and self.labels is None:
            raise ValueError("classes needs labels, the column of classes")
        if self.simulate is not None and (axes := len(self.simulate.chosen.shape)) != self.ndim:
            kind = {1: "spectrum", 2: "image", 3: "cube"}[axes]
            raise ValueError(f"input.kind is {self.input.kind}, the simulated stamps are of kind {kind}")
        if problem := self.augment.problem(self.ndim):
            raise ValueError(f"augment: {problem}")
        if self.train.rebalance and self.labels is None:
            raise ValueError("train.rebalance needs labels, the column of classes")
        for name in ("rebalance", "label_smoothing"):
            if name != "rebalance" and getattr(self.train, name):
                raise ValueError(f"train.{name} is for tasks that classify")
        if self.train.monitor != "loss":
            raise ValueError(f"train.monitor is {self.train.monitor!r}; a generative method has loss alone")
        return self

    @model_validator(mode="after")
    def _methods_begin_with_flows(self) -> "GenerateSettings":
        for key, own in self.methods.items():
            begin = getattr(own, "begin", None)
            if begin is None:
                continue
            before = self.methods.get(begin)
            if not isinstance(before, FlowSettings):
                flows = [name for name, other in self.methods.items() if isinstance(other, FlowSettings)]
                known = f"is no flow of this task ({', '.join(flows) or 'there is none'})"
                raise ValueError(f"methods.{key}.begin: {begin} {known}")
            if before.network != own.network:
                raise ValueError(f"methods.{key}.network differs from that of {begin}, which it begins with")
        return self

    @property
    def ndim(self) -> int:
        """Number of axes of a stamp."""
        return {"idx": 2, **AXES}[self.input.kind]

    @property
    def product(self) -> str:
        """The method whose samples are the product."""
        return next(iter(self.methods))

    @property
    def coded(self) -> str | None:
        """The first method with an encoder and a decoder, whose latent plane is looked at."""
        return next((key for key, own in self.methods.items() if isinstance(own, CodedSettings)), None)

    @property
    def flow(self) -> str | None:
        """The first flow, by which an example is restored."""
        return next((key for key, own in self.methods.items() if isinstance(own, FlowSettings)), None)

    def begun(self, name: str) -> str | None:
        """The method that the method `name` starts from."""
        return getattr(self.methods[name], "begin", None)

    def told(self, name: str) -> dict[str, Any]:
        """All settings that the training of one method depends on, as JSON; not the device, as a run may move."""
        told = self.model_dump(mode="json", exclude={"methods", "samples", "guidance", "features"})
        own = self.methods[name]
        told["train"] = own.training(self.train).model_dump(mode="json", exclude={"device"})
        return told | {"method": own.model_dump(mode="json", exclude={"train"})}
