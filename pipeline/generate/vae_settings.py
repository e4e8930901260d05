"""Settings of the variational auto-encoder."""

from typing import Literal

from pydantic import Field

from pipeline.generate.autoencoder_settings import CodedSettings


class VAESettings(CodedSettings):
    """A variational auto-encoder, told the conditions in the encoder and in the decoder."""

    name: Literal["vae"] = Field("vae", description="the method")
    beta: float = Field(1.0, ge=0, allow_inf_nan=False, description="weight of the divergence from the prior")
    prior: Literal["normal", "fitted"] = Field(
        "normal", description="latents to decode: standard normal, or as those of the training samples are"
    )
