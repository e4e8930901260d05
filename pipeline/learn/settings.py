"""What a user may choose about training, the same for every task."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings

HIGHER_IS_BETTER = frozenset({"accuracy", "balanced_accuracy", "f1_macro", "auc", "ap", "completeness", "purity"})


class TrainSettings(Settings):
    """How a network is trained: the optimiser, its schedule, when to stop, in which precision and where."""

    epochs: int = Field(30, gt=0, description="passes over the training set")
    batch: int = Field(64, gt=0, description="samples a gradient step, over all processes together")
    optimiser: Literal["sgd", "adam", "adamw"] = Field("adamw", description="how gradients become steps")
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False, description="peak learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd, first-moment decay of adam and adamw")
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False, description="decay of weights, not biases or norms")
    schedule: Literal["constant", "exponential", "cosine"] = Field("cosine", description="learning rate over the run")
    decay: float = Field(0.95, gt=0, le=1, description="factor an epoch of the exponential schedule")
    warmup: float = Field(0.0, ge=0, allow_inf_nan=False, description="linear rise of the learning rate [epochs]")
    rebalance: bool = Field(False, description="draw every class equally often, in training only")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label spread over all classes")
    patience: int = Field(0, ge=0, description="stop after so many epochs without a better one; 0 never [epochs]")
    monitor: str = Field("loss", min_length=1, description="validation measure that decides which epoch is best")
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the averaged weights; 0 is off")
    clip: float = Field(0.0, ge=0, allow_inf_nan=False, description="largest norm of the gradient; 0 is off")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto is bf16 on a CUDA device that supports it, fp32 elsewhere"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:0, cuda:1, ...")

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError("expected auto, cpu, cuda or cuda:<number>")
        return value

    @model_validator(mode="after")
    def _warmup_ends(self) -> "TrainSettings":
        if self.warmup >= self.epochs:
            raise ValueError("warmup must be shorter than epochs")
        return self

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of `monitor` is the better one."""
        return self.monitor in HIGHER_IS_BETTER
