"""What a user says about simulated stamps of rotating HI discs: small cubes, or their line profiles."""

import math

from pydantic import Field, model_validator

from pipeline.settings import Settings


class DiscSettings(Settings):
    """Rotating HI discs in noise, each cut out: a cube (frequency, y, x), or its spectrum where shape is one number."""

    n: int = Field(2000, ge=2, description="number of discs")
    shape: tuple[int, ...] = Field((16, 16, 16), description="(frequency, y, x), or (frequency,) [pixels]")
    channel_hz: float = Field(100e3, gt=0, le=1e6, description="width of a channel [Hz]")
    pixel_arcsec: float = Field(2.8, gt=0, description="side of a pixel [arcsec]")
    beam: float = Field(2.5, ge=1.5, description="FWHM of the round beam [pixels]")
    rms: float = Field(1e-5, gt=0, description="rms of the noise [Jy/beam; Jy for spectra]")
    noise: bool = Field(True, description="add the noise; without it the discs are the same")
    snr: tuple[float, float] = Field(
        (15.0, 100.0), description="quadratic sum of the pixels over the rms, drawn log-uniformly"
    )
    size: tuple[float, float] = Field((3.0, 8.0), description="HI diameter, drawn log-uniformly [pixels]")
    width: tuple[float, float] = Field((0.2, 0.7), description="w20, drawn log-uniformly [share of the channels]")
    inclination: tuple[float, float] = Field((20.0, 90.0), description="drawn uniformly in its cosine [deg]")

    @model_validator(mode="after")
    def _agrees(self) -> "DiscSettings":
        if len(self.shape) not in (1, 3) or min(self.shape) < 8:
            raise ValueError("shape must be one or three numbers of at least 8 pixels")
        for name in ("snr", "size", "width"):
            low, high = getattr(self, name)
            if not (0 < low <= high and math.isfinite(high)):
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high")
        if self.width[1] > 1:
            raise ValueError("width must not exceed 1, all channels of a stamp")
        if not 0 <= self.inclination[0] <= self.inclination[1] <= 90:
            raise ValueError("inclination must be [low, high] between 0 and 90 degrees")
        return self

    @property
    def psf(self) -> float:
        """FWHM of the beam [pixels]."""
        return self.beam

    @property
    def pixel_scale(self) -> float:
        """Size of a pixel [arcsec]."""
        return self.pixel_arcsec
