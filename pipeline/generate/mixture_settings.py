"""Settings of the mixture of Gaussians."""

from typing import Literal

from pydantic import Field

from pipeline.generate.method_settings import MethodSettings


class MixtureSettings(MethodSettings):
    """A mixture of Gaussians in principal axes."""

    name: Literal["mixture"] = Field("mixture", description="the method")
    components: int = Field(10, gt=0, description="Gaussians; fewer where the training samples are few")
    axes: int = Field(48, gt=0, description="principal axes of the samples; equal noise beyond")
