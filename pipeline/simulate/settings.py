"""What a user says about noise-free objects to be injected into noise."""

import math

from pydantic import Field, model_validator

from pipeline.data.settings import grid_points, grid_problem
from pipeline.settings import Settings


class InjectionSettings(Settings):
    """Noise-free frames injected into noise of a stated signal-to-noise ratio, beside pure noise."""

    sources: str = Field(min_length=1, description="manifest (CSV or ECSV) of noise-free frames, one row an object")
    shape: tuple[int, ...] | None = Field(
        None, description="shape of a sample in numpy order: (n,), (y, x) or (z, y, x) [pixels]"
    )
    grid: tuple[float, float, float] | None = Field(
        None, description="spectra: wavelengths start, stop (not included), step instead of shape [angstrom]"
    )
    n: int = Field(400, ge=2, description="number of samples")
    blank_fraction: float = Field(0.5, ge=0, le=1, description="fraction of the samples that are pure noise")
    snr: tuple[float, float] = Field(
        (8.0, 40.0), description="range of the signal-to-noise ratio of the matched filter, drawn log-uniformly"
    )
    beam: float = Field(
        0.0, ge=0, description="FWHM that smooths the last two axes of object and noise, 0 for white noise [pixels]"
    )
    flip: bool = Field(True, description="flip the objects at random along every axis (not for spectra)")
    rotate: bool = Field(True, description="turn the objects by random quarter turns of the last two axes")
    labels: tuple[str, str] = Field(("galaxy", "noise"), description="labels of samples with and without an object")

    @model_validator(mode="after")
    def _agrees(self) -> "InjectionSettings":
        if (self.shape is None) == (self.grid is None):
            raise ValueError("give either shape, in pixels, or grid, in angstrom")
        if self.grid is not None and (problem := grid_problem(self.grid)):
            raise ValueError(problem)
        if self.shape is not None and (len(self.shape) not in (1, 2, 3) or min(self.shape) < 2):
            raise ValueError("shape must be one to three numbers of at least 2 pixels")
        low, high = self.snr
        if not (0 < low <= high and math.isfinite(high)):
            raise ValueError("snr must be [low, high] with 0 < low <= high")
        if not all(self.labels) or self.labels[0] == self.labels[1]:
            raise ValueError("labels must be two different names")
        if self.beam > 0 and self.beam > min(self.sample_shape[-2:]):
            raise ValueError("beam must not be larger than the sample")
        return self

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample, ``(*axes)``."""
        return self.shape if self.grid is None else (len(grid_points(self.grid)),)
