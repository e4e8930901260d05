"""Settings of the adversarial methods."""

from typing import Literal

from pydantic import Field

from pipeline.generate.method_settings import MethodSettings
from pipeline.learn.settings import TrainSettings


class AdversarialSettings(MethodSettings):
    """What all methods with a generator and a critic can be told."""

    widths: tuple[int, ...] = Field((32, 64, 96), min_length=1, description="channels of the levels, the finest first")
    latent: int = Field(64, gt=0, description="normal numbers that a sample is made of")
    noise: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="rms of white noise in samples at first, then learnt; 0 is none"
    )
    train: TrainSettings | None = Field(
        # Two opponents circle around the solution: momentum drives them outwards, and the mean of their ways is better.
        TrainSettings(momentum=0.0, weight_decay=0.0, ema=0.99),
        description="what of the task's train is different for this method, such as {epochs: 40}",
    )


class GANSettings(AdversarialSettings):
    """A generative adversarial network."""

    name: Literal["gan"] = Field("gan", description="the method")
    loss: Literal["non_saturating", "min_max"] = Field("non_saturating", description="what the generator minimises")
    penalty: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="weight of the critic's squared gradient at given samples"
    )
    critic_steps: int = Field(1, gt=0, description="steps of the critic for one of the generator")


class WGANGPSettings(AdversarialSettings):
    """A Wasserstein generative adversarial network with a gradient penalty."""

    name: Literal["wgan_gp"] = Field("wgan_gp", description="the method")
    penalty: float = Field(10.0, ge=0, allow_inf_nan=False, description="weight of the gradient penalty")
    critic_steps: int = Field(3, gt=0, description="steps of the critic for one of the generator")
