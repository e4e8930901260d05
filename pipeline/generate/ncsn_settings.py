"""What a user may choose about noise-conditional score networks; this module needs no torch."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.generate.flow_settings import NETWORK
from pipeline.generate.method_settings import MethodSettings


class NCSNSettings(MethodSettings):
    """A score at several noise levels, sampled by annealed Langevin dynamics, in network units.

    sigma_max is about the largest distance of two training stamps (Song & Ermon 2020, technique 1), sqrt(2 d) for d
    pixels of unit variance. levels, steps and step go together: for Gaussian data with a known score, of a standard
    deviation of 0.1 to 10, the defaults bring it back within 1 %; at 0.03, near sigma_min, they lose 5 %.
    """

    name: Literal["ncsn"] = Field("ncsn", description="score at several noise levels")
    network: str = Field(NETWORK, description="line of the U-Net, without the width of the condition")
    sigma_min: float = Field(0.01, gt=0, allow_inf_nan=False, description="lowest noise")
    sigma_max: float = Field(50.0, gt=0, allow_inf_nan=False, description="highest noise")
    levels: int = Field(100, ge=2, le=10_000, description="noise levels, a constant factor apart")
    steps: int = Field(2, gt=0, description="Langevin steps a level")
    step: float = Field(0.3, gt=0, le=1, description="length of a Langevin step in squares of the level's noise")

    @model_validator(mode="after")
    def _noise_falls(self) -> "NCSNSettings":
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min must be below sigma_max")
        return self
