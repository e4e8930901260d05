"""What a detection task can be told: the frames, the detector, and how the result is judged."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.detect.settings import DetectorSettings
from pipeline.errors import UserError
from pipeline.nn.notation import parse
from pipeline.settings import Settings
from pipeline.simulate.continuum_settings import ContinuumSettings

Degrees = Annotated[float, Field(allow_inf_nan=False)]


class LabelledFrame(Settings):
    """An image, and a table of the sources that truly are there."""

    image: str = Field(description="FITS image")
    truth: str = Field(description="truth table: CSV, FITS, ECSV, VOTable, or the text of the SDC1")
    primary_beam: str | None = Field(default=None, description="FITS image of the primary beam, 1 at its centre")
    region: tuple[Degrees, Degrees, Degrees, Degrees] | None = Field(
        default=None, description="only this rectangle: least and greatest right ascension and declination [deg]"
    )
    exclude: tuple[Degrees, Degrees, Degrees, Degrees] | None = Field(
        default=None, description="all but this rectangle: least and greatest right ascension and declination [deg]"
    )


class FrameSettings(Settings):
    """The frames of a task."""

    train: list[LabelledFrame] = Field(default=[], description="labelled frames to learn from")
    test: list[LabelledFrame] = Field(
        default=[], description="labelled frames to be judged on; without any a part of the training frames is kept"
    )
    detect: list[str] = Field(default=[], description="FITS images to search, without truth")


class AreaSettings(Settings):
    """How the rows of each training frame are divided, from the lowest y to the highest."""

    validation: float = Field(0.15, gt=0, lt=1, description="share that chooses epoch, calibrator and thresholds")
    test: float = Field(0.25, ge=0, lt=1, description="share that is kept for judging, when there is no test frame")

    @model_validator(mode="after")
    def _leave_something(self) -> "AreaSettings":
        if self.validation + self.test > 0.9:
            raise ValueError("validation and test together take more than 0.9 of the frame")
        return self


class AdaptSettings(Settings):
    """How a model is adapted to an image: by simulated fields that match its noise, beam and depth."""

    minutes: float = Field(3.0, gt=0, le=1440, description="time to train, on this machine [minutes]")
    fields: int = Field(18, ge=2, le=64, description="simulated fields; the last third chooses and calibrates")
    side: int = Field(1024, ge=256, le=8192, description="side of a simulated field [pixel]")


class ChallengeSettings(Settings):
    """The challenge whose score is computed."""

    name: Literal["sdc1"] = Field("sdc1", description="definition of the score")
    frequency: Literal[560, 1400, 9200] | None = Field(
        None,
        description="band, which decides how near positions must be [MHz]; none: as near in beams of each image as in "
        "the challenge",
    )
    mode: Literal["core", "centroid"] = Field("core", description="the positions that are compared")


class DetectSettings(Settings):
    """One detection task: where the frames come from, the detector, and how the result is judged."""

    kind: Literal["detect"] = Field(description="the kind of task")
    simulate: ContinuumSettings | None = Field(
        default=None, description="simulate a labelled field and use it as the only training frame"
    )
    frames: FrameSettings = Field(default=FrameSettings(), description="the images")
    areas: AreaSettings = Field(default=AreaSettings(), description="division of the training frames")
    model: str | None = Field(default=None, description="a trained model to use as it is, or to start from")
    adapt: AdaptSettings | None = Field(
        default=None, description="adapt the model to the first frame to search, without labels"
    )
    detector: DetectorSettings = Field(default=DetectorSettings(), description="network, objects, loss and training")
    symmetries: bool = Field(
        default=False, description="average the network's outputs over flips and quarter turns, at 8 times the cost"
    )
    purity: float | None = Field(
        default=None, gt=0, lt=1, description="wanted purity of the catalogue; none maximises the expected score"
    )
    challenge: ChallengeSettings = Field(default=ChallengeSettings(), description="the score")

    @model_validator(mode="after")
    def _frames_fit(self) -> "DetectSettings":
        if self.simulate is not None and self.frames.train:
            raise ValueError("has both simulate and frames.train; keep one")
        if not self.trains and self.model is None:
            raise ValueError("needs frames.train, simulate, or a model")
        if not (self.trains or self.frames.test or self.frames.detect):
            raise ValueError("frames names no image to search; give frames.test or frames.detect")
        if self.adapt is not None and self.model is None:
            raise ValueError("adapt needs a model to start from, such as resources/continuum.safetensors")
        try:
            layers = parse(self.detector.network, 2)
        except UserError as error:
            raise ValueError(
                "detector.network: " + " ".join(str(problem) for problem in error.problems).removesuffix(".")
            ) from error
        if any(layer.kind in ("D", "GAP", "GMP", "F", "T", "E") for layer in layers):
            raise ValueError("detector.network must keep its axes: no dense, global, flat or attention layers")
        if self.detector.method == "association":
            if len(self.detector.association.priors[0]) != 2:
                raise ValueError("detector.association.priors of images have two sides each, (y, x)")
            if self.symmetries:
                raise ValueError(
                    "symmetries averages cells that answer alone, which boxes do not: leave it out, "
                    "or set detector.method to cells"
                )
        return self

    @property
    def trains(self) -> bool:
        """Whether there is labelled sky to train on."""
        return self.simulate is not None or bool(self.frames.train)
