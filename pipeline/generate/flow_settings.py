"""What a user may choose about flow matching; this module needs no torch."""

from typing import Literal

from pydantic import Field

from pipeline.generate.method_settings import MethodSettings

NETWORK = "unet-32.48.64_p2_r1_a1"


class FlowSettings(MethodSettings):
    """Flow matching: how the velocity field is trained, and how it is followed from noise to data.

    The defaults of the sampler were chosen for Gaussian data with a known field, of a standard deviation of 0.03 to 1
    (noise and sources of astronomical stamps in network units): 24 evaluations bring it back within 1 % by midpoint
    steps that get shorter towards the data, where 25 equal Euler steps lose 5 to 45 % of it.

    Those of the training times were tried on simulated galaxies. Their noise is fainter than their light, so that it is
    told from the noise that a path begins with near its end alone: with the usual mean of 0 and spread of 1 a short
    training left the noise of the samples 8 % too low.
    """

    name: Literal["flow"] = Field("flow", description="flow matching")
    network: str = Field(NETWORK, description="line of the U-Net, without the width of the condition")
    solver: Literal["euler", "midpoint", "heun", "adaptive"] = Field(
        "midpoint", description="how the field is followed; midpoint and heun evaluate it twice a step"
    )
    steps: int = Field(12, gt=0, description="steps of the solver from noise to data; adaptive finds its own")
    crowding: float = Field(2.0, ge=1, le=10, description="1 for equal steps, more for shorter ones near the data")
    tolerance: float = Field(1e-3, ge=1e-6, le=0.1, description="relative error of an adaptive step")
    time: Literal["logit_normal", "uniform"] = Field("logit_normal", description="distribution of training times")
    time_mean: float = Field(0.7, ge=-5, le=5, description="mean of the logit of time; above 0 is nearer to the data")
    time_spread: float = Field(1.4, gt=0, le=5, description="standard deviation of the logit of time")
    pairing: Literal["none", "ot"] = Field("none", description="ot: pair noise and samples of a batch by transport")
    pairing_weight: float = Field(10.0, ge=0, description="how much pairing keeps to samples that are told the same")
