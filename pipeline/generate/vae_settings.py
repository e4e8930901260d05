"""Settings of the variational auto-encoder."""

from typing import Literal

from pydantic import Field

from pipeline.generate.autoencoder_settings import CodedSettings


class VAESettings(CodedSettings):
    """A variational auto-encoder."""

    name: Literal["vae"] = Field("vae", description="the method")
    beta: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight of the divergence from the prior")
    prior: Literal["normal", "fitted"] = Field(
        "fitted", description="latents to decode: normal, or as the training samples have them"
    )
