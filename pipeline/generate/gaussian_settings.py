"""Settings of the Gaussian."""

from typing import Literal

from pydantic import Field

from pipeline.generate.method_settings import MethodSettings


class GaussianSettings(MethodSettings):
    """One Gaussian of all pixels and conditions."""

    name: Literal["gaussian"] = Field("gaussian", description="the method")
    axes: int = Field(512, gt=0, description="principal axes with a covariance of their own; equal noise beyond")
