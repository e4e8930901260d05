"""Settings of probabilistic principal component analysis."""

from typing import Literal

from pydantic import Field

from pipeline.generate.method_settings import MethodSettings


class PPCASettings(MethodSettings):
    """Probabilistic principal component analysis."""

    name: Literal["ppca"] = Field("ppca", description="the method")
    axes: int = Field(48, gt=0, description="principal axes; equal noise beyond")
