"""Settings of the auto-encoders."""

from typing import Literal

from pydantic import Field

from pipeline.generate.method_settings import MethodSettings


class CodedSettings(MethodSettings):
    """What all methods with an encoder and a decoder can be told."""

    widths: tuple[int, ...] = Field((32, 64, 96), min_length=1, description="channels of the levels, the finest first")
    latent: int = Field(16, gt=0, description="latent coordinates")
    components: int = Field(10, gt=0, description="Gaussians that are fitted to the latents of the training samples")
    noise: bool = Field(True, description="add to samples the noise that the decoder leaves out")


class AutoEncoderSettings(CodedSettings):
    """An auto-encoder, with a mixture of Gaussians in its latent space."""

    name: Literal["autoencoder"] = Field("autoencoder", description="the method")


class DenoisingAutoEncoderSettings(CodedSettings):
    """An auto-encoder that learns to take away noise, with a mixture of Gaussians in its latent space."""

    name: Literal["denoising_autoencoder"] = Field("denoising_autoencoder", description="the method")
    corruption: float = Field(
        0.5, gt=0, allow_inf_nan=False, description="standard deviation of the noise to take away [network units]"
    )
