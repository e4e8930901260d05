"""What a user says about a simulated radio-continuum field."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings import Settings


class ContinuumSettings(Settings):
    """A field of radio sources in noise, as an interferometer images it. The defaults are those of SKA-Mid at 560 MHz
    after some 1000 hours: pixel, beam and noise of the first SKA Science Data Challenge (Bonaldi et al. 2021)."""

    shape: tuple[int, int] = Field((1024, 1024), description="size of the image, (y, x) [pixels]")
    pixel_arcsec: float = Field(0.6, gt=0, allow_inf_nan=False, description="side of a pixel [arcsec]")
    beam_arcsec: tuple[float, float, float] = Field(
        (1.5, 1.5, 0.0), description="FWHM of the beam, major and minor [arcsec], position angle east of north [deg]"
    )
    frequency: float = Field(560.0, gt=0, le=1e6, description="frequency [MHz]")
    centre: tuple[float, float] = Field((1.0, -30.6), description="right ascension, declination of the centre [deg]")
    rms: float = Field(2.55e-7, gt=0, allow_inf_nan=False, description="rms of the noise [Jy/beam]")
    noise: Literal["white_beam", "measured"] = Field(
        "white_beam", description="white noise smoothed by the beam, or the texture measured in an image"
    )
    rms_gradient: float = Field(1.0, ge=1, description="rms at one border over rms at the opposite one")
    background_offset: float = Field(0.0, description="constant added to every pixel [rms]")
    density: float = Field(1.0, ge=0, description="factor on the number of sources")
    flux_limit: float = Field(0.2, gt=0, description="flux of the faintest sources [rms]")
    flux_max: float = Field(0.01, gt=0, description="flux of the brightest sources [Jy]")
    size_form: Literal["exponential", "gaussian"] = Field(
        "exponential", description="star-forming galaxies: exponential discs, or Gaussians as in the SDC1 truth table"
    )
    disc_scale: float = Field(
        0.42,
        gt=0,
        description="exponential scale length of a disc as drawn over the major axis that the truth says; 0.42 gives "
        "it the half-light diameter of the Gaussian that scorers compare it with, sqrt(2) times that axis",
    )
    size_factor: float = Field(1.0, gt=0, description="factor on all sizes of sources")
    size_scatter: float | None = Field(
        None, ge=0, description="scatter of the sizes of star-forming galaxies, None for the law's own [dex]"
    )
    jitter: float = Field(0.05, ge=0, description="catalogue given: scatter added to flux and size of its rows [dex]")
    catalogue_area: float | None = Field(
        None, gt=0, description="catalogue given: area it covers, None to take the span of its positions [deg2]"
    )
    attenuation: float = Field(1.0, gt=0, description="flux in the image over flux in the truth, before primary beam")
    broadening: float = Field(
        1.0,
        gt=0,
        le=10,
        description="area of the response to a point source over the area of the beam; its flux stays what it is",
    )
    primary_beam: float | None = Field(None, gt=0, description="FWHM of the Gaussian primary beam, None for none [deg]")
    primary_beam_offset: tuple[float, float] = Field(
        (0.0, 0.0), description="pointing centre minus centre of the image, (y, x) [pixels]"
    )
    sidelobes: float = Field(0.0, ge=0, description="fraction of bright sources left with the dirty beam's sidelobes")
    sidelobes_above: float = Field(50.0, gt=0, description="flux of the faintest source with sidelobes [rms]")
    shapes: str | None = Field(None, description="folder of images of real radio galaxies (FITS), None for two lobes")
    shapes_share: float = Field(0.7, ge=0, le=1, description="share of the extended steep sources with a real shape")

    @model_validator(mode="after")
    def _agrees(self) -> "ContinuumSettings":
        if min(self.shape) < 8:
            raise ValueError("shape must be two numbers of at least 8 pixels")
        major, minor, _ = self.beam_arcsec
        if not major >= minor > 0:
            raise ValueError("beam_arcsec must be major, minor, angle with major >= minor > 0")
        if major < 1.5 * self.pixel_arcsec:
            raise ValueError("beam_arcsec must be at least 1.5 pixels wide")
        if not (-180 <= self.centre[0] <= 360 and -90 <= self.centre[1] <= 90):
            raise ValueError("centre must be a right ascension and a declination in degrees, from -90 to 90")
        if self.flux_limit * self.rms >= self.flux_max:
            raise ValueError("flux_max must be above flux_limit times rms")
        return self

    @property
    def beam_pixels(self) -> tuple[float, float, float]:
        """FWHM major, minor [pixels] and theta [deg], the angle of the major axis from +x towards +y."""
        major, minor, angle = self.beam_arcsec
        return major / self.pixel_arcsec, minor / self.pixel_arcsec, angle + 90.0
