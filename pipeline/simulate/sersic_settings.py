"""What a user says about simulated Sersic galaxies."""

import math

from pydantic import Field, field_validator, model_validator

from pipeline.settings import Settings

_LARGEST_INDEX = 6.0


class SersicSettings(Settings):
    """Stamps of Sersic galaxies behind a Gaussian PSF in white noise; each range is drawn from log-uniformly."""

    n: int = Field(10000, ge=2, description="number of galaxies")
    shape: tuple[int, int] = Field((32, 32), description="shape of a stamp (y, x) [pixels]")
    pixel_scale: float = Field(0.5, gt=0, description="size of a pixel [arcsec]")
    psf: float = Field(2.5, ge=1.5, description="FWHM of the point spread function, the pixel included [pixels]")
    rms: float = Field(1e-8, gt=0, description="standard deviation of the noise of a pixel [unit]")
    noise: bool = Field(True, description="add the noise; without it the galaxies are the same")
    unit: str = Field("Jy", min_length=1, description="unit of a pixel, such as Jy, nJy, counts or Jy/beam")
    flux: tuple[float, float] = Field((400.0, 6300.0), description="sum of the pixels of a galaxy [rms]")
    size: tuple[float, float] = Field((1.2, 7.0), description="half-light radius along the major axis [pixels]")
    sersic_index: tuple[float, float] = Field((0.6, 4.7), description="Sersic index, 1 for discs, 4 for spheroids")
    axis_ratio: tuple[float, float] = Field((0.25, 1.0), description="minor over major axis")
    disc_below: float = Field(2.5, gt=0, description="Sersic index below which the label is disc, else spheroid")

    @field_validator("flux", "size", "sersic_index", "axis_ratio")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not (0 < low <= high and math.isfinite(high)):
            raise ValueError("expected [low, high] with 0 < low <= high")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> "SersicSettings":
        if min(self.shape) < 4:
            raise ValueError("shape must be two numbers of at least 4 pixels")
        if self.axis_ratio[1] > 1:
            raise ValueError("axis_ratio must not exceed 1")
        if self.sersic_index[0] < 0.5 or self.sersic_index[1] > _LARGEST_INDEX:
            raise ValueError(f"sersic_index must lie between 0.5 and {_LARGEST_INDEX:g}")
        return self
