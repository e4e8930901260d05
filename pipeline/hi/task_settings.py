"""What a task on galaxies in cubes can be told: the cubes, what to practise on, the detector, the second look."""

from typing import Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.detect.directions import ALONG_X, ALONG_Y
from pipeline.detect.settings import DetectorSettings, LossSettings, ObjectSettings
from pipeline.errors import UserError
from pipeline.learn.settings import TrainSettings
from pipeline.nn.notation import parse
from pipeline.settings import Settings
from pipeline.simulate.hi_settings import HiSettings

# That of config/models/hi.txt, where it is explained.
NETWORK = "C-64.4_s4_valid_linear C-48.1x3x3_linear C-48.9x1x1" + 4 * " R-48.1x3x3+5x1x1"


class SearchedCube(Settings):
    """A cube to search."""

    cube: str = Field(description="FITS cube with a spectral axis of frequency or velocity")
    continuum: str | None = Field(
        default=None, description="FITS image or cube of the continuum, whose bright sources are left out"
    )


class LabelledCube(SearchedCube):
    """A cube, and a table of the galaxies that truly are there."""

    truth: str = Field(description="truth table: CSV, FITS, ECSV, VOTable, or the text of the SDC2")


class CubeSettings(Settings):
    """The cubes of a task."""

    train: list[LabelledCube] = Field(
        default=[], description="labelled cubes: their noise is practised in, their truth chooses the thresholds"
    )
    test: list[LabelledCube] = Field(default=[], description="labelled cubes to be judged on")
    detect: list[SearchedCube] = Field(default=[], description="cubes to search, without truth")
    continuum_limit: float = Field(
        3e-3, gt=0, description="mean continuum from which on a pixel is left out, as in YOLO-CIANNA [Jy/beam]"
    )


class PracticeSettings(Settings):
    """The simulated galaxies that are learnt from."""

    galaxies: int = Field(12000, ge=100, description="galaxies without noise to learn from")
    least_snr: float = Field(3.0, ge=0, description="signal-to-noise ratio of the faintest of them")
    per_crop: float = Field(3.0, gt=0, description="galaxies in a crop, on average")
    density: float = Field(
        6.0, ge=1, description="factor on the galaxies of the simulated cube that chooses calibrator and threshold"
    )
    shape: tuple[int, int, int] | None = Field(
        None, description="size of that cube, (frequency, y, x); none is that of simulate.shape [pixels]"
    )


class HiAdaptSettings(Settings):
    """How a model is adapted to a cube: by simulated galaxies in noise that matches its rms, texture and beam."""

    minutes: float = Field(10.0, gt=0, le=1440, description="time to train, on this machine [minutes]")
    galaxies: int = Field(4000, ge=100, description="galaxies without noise to learn from")
    channels: int = Field(480, ge=96, le=8192, description="channels of the simulated cube that calibrates")
    side: int = Field(512, ge=64, le=8192, description="its side on the sky [pixel]")


class LookSettings(Settings):
    """The second look at what a scan found."""

    candidates: float = Field(0.5, gt=0, description="candidates looked at again in a million voxels")
    symmetries: bool = Field(True, description="average the network's outputs over the 16 symmetries there")


class HiDetectorSettings(DetectorSettings):
    """The network, its objects, loss and crops, and how it is trained, for galaxies in cubes."""

    network: str = Field(
        NETWORK, description="the network without its last layer, or a text file that holds it (config/models)"
    )
    # A faint line is nowhere in particular within its width: cells of a quarter of it may answer.
    objects: ObjectSettings = Field(
        ObjectSettings(least_snr=3.5, margin=(4.0, 1.0, 1.0), share=(0.2, 0.0, 0.0)),
        description="which objects are learnt",
    )
    # Most galaxies are too faint to show which side recedes: to a median each of them says as much as a bright one.
    loss: LossSettings = Field(
        LossSettings(means=(ALONG_X, ALONG_Y)), description="method cells: the terms of the loss"
    )
    crop: int | tuple[int, ...] = Field(
        (96, 32, 32), description="sides of the crops that are trained on, (frequency, y, x) [pixel]"
    )
    train: TrainSettings = Field(
        TrainSettings(epochs=60, batch=4, learning_rate=3e-3, warmup=0.5, ema=0.997, clip=2.0, weight_decay=1e-4),
        description="optimiser, schedule, precision, stopping",
    )


class HiTaskSettings(Settings):
    """One task on galaxies of the 21 cm line: where the cubes come from, the detector, and how the result is judged."""

    kind: Literal["hi"] = Field(description="the kind of task")
    simulate: HiSettings | None = Field(
        default=None,
        description="the sky that is practised on; without frames.train also one cube that chooses the thresholds and "
        "one to be judged on are simulated",
    )
    frames: CubeSettings = Field(default=CubeSettings(), description="the cubes")
    practice: PracticeSettings = Field(default=PracticeSettings(), description="what is learnt from")
    model: str | None = Field(default=None, description="a trained model to use as it is, or to start from")
    adapt: HiAdaptSettings | None = Field(
        default=None, description="adapt the model to the first cube to search, without labels"
    )
    detector: HiDetectorSettings = Field(
        default=HiDetectorSettings(), description="network, objects, loss and training"
    )
    look: LookSettings = Field(default=LookSettings(), description="the second look at candidates")
    products: bool = Field(default=False, description="write cubelet, maps and spectrum of every galaxy")
    purity: float | None = Field(
        default=None, gt=0, lt=1, description="wanted purity of the catalogue; none maximises the expected score"
    )

    @model_validator(mode="after")
    def _choosing_sky_can_be(self) -> "HiTaskSettings":
        if self.practice.shape is not None:
            if not self.simulates_cubes:
                raise ValueError("practice.shape is of a simulated cube, and none is simulated")
            try:
                self.choosing_sky  # noqa: B018
            except ValidationError as error:
                raise ValueError("practice.shape: " + error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return self

    @model_validator(mode="after")
    def _frames_fit(self) -> "HiTaskSettings":
        if not self.trains and self.model is None:
            raise ValueError("needs simulate, frames.train, or a model")
        if not (self.simulates_cubes or self.frames.test or self.frames.detect):
            raise ValueError("frames names no cube to search; give frames.test or frames.detect")
        if self.adapt is not None and self.model is None:
            raise ValueError("adapt needs a model to start from; name it by model")
        if self.detector.method != "cells":
            raise ValueError("detector.method of cubes is cells")
        try:
            layers = parse(self.detector.network, 3)
        except UserError as error:
            raise ValueError(
                "detector.network: " + " ".join(str(problem) for problem in error.problems).removesuffix(".")
            ) from error
        if any(layer.kind in ("D", "GAP", "GMP", "F", "T", "E") for layer in layers):
            raise ValueError("detector.network must keep its axes: no dense, global, flat or attention layers")
        return self

    @property
    def trains(self) -> bool:
        """Whether a detector is trained."""
        return self.simulate is not None or bool(self.frames.train)

    @property
    def simulates_cubes(self) -> bool:
        """Whether the cubes that choose the thresholds and are judged on are simulated."""
        return self.simulate is not None and not self.frames.train

    @property
    def choosing_sky(self) -> HiSettings:
        """The sky of the simulated cube that chooses calibrator and thresholds."""
        sky = self.simulate or HiSettings()
        changes = {"density": sky.density * self.practice.density, "shape": self.practice.shape or sky.shape}
        return HiSettings.model_validate(sky.model_dump() | changes)
