"""What a user may choose about denoising diffusion; this module needs no torch."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.generate.flow_settings import NETWORK
from pipeline.generate.method_settings import MethodSettings


class DDPMSettings(MethodSettings):
    """Denoising diffusion: the forward chain, what the network predicts, and how the chain is gone back.

    The steps get shorter towards the data, as the background of stamps is noise of 0.03 to 0.4 in network units. For
    Gaussian data with a known score, 50 equal steps of DDIM lose 44 % of a standard deviation of 0.03 and 14 % of 0.1;
    the default crowding 14 % and 6 %, then 3 % up to 1 and 6 % at 3. In ancestral steps these are 22, 12, 7 to 4 and
    6 %, but they forget the errors of the network (see `pipeline.generate.ddpm`).
    """

    name: Literal["ddpm"] = Field("ddpm", description="denoising diffusion")
    network: str = Field(NETWORK, description="line of the U-Net, without the width of the condition")
    prediction: Literal["v", "eps", "x0"] = Field("v", description="what the network predicts")
    schedule: Literal["linear", "cosine"] = Field("cosine", description="how noise grows along the chain")
    levels: int = Field(1000, ge=50, le=100_000, description="steps of the chain from data to noise")
    sampler: Literal["ancestral", "ddim"] = Field(
        "ancestral", description="back along the chain with its noise drawn anew, or without (times eta)"
    )
    eta: float = Field(0.0, ge=0, le=1, description="new noise in the steps of ddim, as a share of the chain's")
    steps: int = Field(50, gt=0, description="steps back, of which the levels are the most")
    crowding: float = Field(1.5, ge=1, le=10, description="1 for equal steps, more for shorter ones near the data")
    clip: float | None = Field(
        None, gt=0, description="largest value of a clean sample while sampling [network units]; none is no limit"
    )

    @model_validator(mode="after")
    def _chain_ends_where_data_are_seen(self) -> "DDPMSettings":
        if self.prediction == "eps" and self.schedule == "cosine" and self.clip is None:
            raise ValueError(
                "prediction eps says nothing of the data at the end of the cosine schedule: choose prediction v, "
                "schedule linear, or give clip"
            )
        return self

    @model_validator(mode="after")
    def _steps_are_levels(self) -> "DDPMSettings":
        if self.steps > self.levels:
            raise ValueError(f"steps ({self.steps}) must not be more than levels ({self.levels})")
        return self
