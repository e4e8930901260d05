"""What a user may choose about the preconditioned diffusion model of Karras et al.; this module needs no torch."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.generate.flow_settings import NETWORK
from pipeline.generate.method_settings import MethodSettings


class EDMSettings(MethodSettings):
    """EDM: noise in training, and the steps from noise to data, in network units, in which data have unit variance.

    The noises are twice those of the paper, as its data have a standard deviation of 0.5; the lowest is not, as the
    background of a stamp has one of about 0.03 to 0.4. For Gaussian data with a known score, of a standard deviation of
    0.03 to 10, the default of 18 steps brings it back within 7 %, and 30 steps within 2 %.

    `whiten` is for pictures whose pixels are nearly equal to their neighbours, and for short trainings: without any it
    makes normal samples with the mean and covariance of the training set, given what is told. A cell is then what the
    network's _p says, such as 4 by 4 pixels of three colours.
    """

    name: Literal["edm"] = Field("edm", description="diffusion with the preconditioning and sampler of Karras et al.")
    network: str = Field(NETWORK, description="line of the U-Net, without the width of the condition")
    whiten: bool = Field(
        False, description="decorrelate the cells (_p) of the network, and begin at their best linear denoiser"
    )
    axes: int = Field(128, gt=0, description="principal axes of the linear denoiser of whitened samples")
    data_spread: float = Field(1.0, gt=0, le=100, description="standard deviation of the data [network units]")
    log_noise_mean: float = Field(-0.5, ge=-10, le=10, description="mean of the logarithm of the noise in training")
    log_noise_spread: float = Field(1.2, gt=0, le=10, description="standard deviation of that logarithm")
    sigma_min: float = Field(0.01, gt=0, allow_inf_nan=False, description="lowest noise of the sampler above 0")
    sigma_max: float = Field(80.0, gt=0, allow_inf_nan=False, description="noise that the sampler starts from")
    rho: float = Field(7.0, ge=1, le=100, description="1 for equal steps, more for shorter ones at low noise")
    churn: float = Field(0.0, ge=0, le=1000, description="noise added on the way, 0 is the deterministic sampler")
    steps: int = Field(18, gt=1, description="steps of the Heun sampler, of two evaluations but the last")

    @model_validator(mode="after")
    def _whitened_have_unit_variance(self) -> "EDMSettings":
        if self.whiten and self.data_spread != 1:
            raise ValueError("whiten makes the standard deviation of the data 1; leave data_spread out")
        return self

    @model_validator(mode="after")
    def _noise_falls(self) -> "EDMSettings":
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min must be below sigma_max")
        return self
