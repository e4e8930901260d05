"""What a user may choose about mean flows; this module needs no torch."""

from typing import Literal

from pydantic import Field

from pipeline.generate.flow_settings import NETWORK
from pipeline.generate.method_settings import MethodSettings


class MeanFlowSettings(MethodSettings):
    """A mean flow: how the average velocity is trained, and in how many steps it brings noise to data.

    Times are spread more widely than the 1 of Geng et al. (their mean is 0.4 in this direction of time), as a single
    step needs the intervals from end to end, which that spread has in one of some thousand samples.
    """

    name: Literal["mean_flow"] = Field("mean_flow", description="mean flow, of one or few steps")
    network: str = Field(NETWORK, description="line of the U-Net, without the width of the condition")
    steps: int = Field(1, gt=0, description="steps from noise to data, one evaluation of the network each")
    begin: str | None = Field(None, description="the flow of this task that it starts from and distils; none for none")
    instant: float = Field(
        0.75, ge=0, lt=1, description="share of a batch that trains the velocity itself, an average over no time"
    )
    time_mean: float = Field(0.0, ge=-5, le=5, description="mean of the logit of times; above 0 is nearer to the data")
    time_spread: float = Field(2.0, gt=0, le=5, description="standard deviation of the logit of times")
    weight_power: float = Field(
        0.75, ge=0, le=1, description="a sample's loss is divided by its error to this power; 0 for few numbers"
    )
