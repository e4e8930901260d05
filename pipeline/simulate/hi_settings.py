"""What a user says about a simulated cube of HI galaxies."""

from pydantic import Field, model_validator

from pipeline.settings import Settings

REST_HZ = 1.420405752e9
"""Rest frequency of the 21 cm line of neutral hydrogen [Hz]."""
HIGHEST_HZ = 0.995 * REST_HZ
"""Where a simulated cube ends at the latest: beyond, galaxies need not recede [Hz]."""


class HiSettings(Settings):
    """Galaxies of the 21 cm line in noise, as an interferometer images them. The defaults are those of SKA-Mid after
    2000 hours: pixel, channel, beam, noise and number of galaxies of the second SKA Science Data Challenge (Hartley et
    al. 2023, MNRAS 523, 1967)."""

    shape: tuple[int, int, int] = Field((1024, 512, 512), description="size of the cube, (frequency, y, x) [pixels]")
    pixel_arcsec: float = Field(2.8, gt=0, allow_inf_nan=False, description="side of a pixel [arcsec]")
    channel_hz: float = Field(30e3, gt=0, allow_inf_nan=False, description="width of a channel [Hz]")
    lowest_hz: float = Field(1.034e9, gt=1e8, description="frequency of the first channel [Hz]")
    beam_arcsec: tuple[float, float, float] = Field(
        (7.0, 7.0, 0.0), description="FWHM of the beam, major and minor [arcsec], position angle east of north [deg]"
    )
    centre: tuple[float, float] = Field((180.0, -30.0), description="right ascension, declination of the centre [deg]")
    noise: float = Field(1.0, gt=0, description="factor on the rms of the noise, which rises with frequency as in SDC2")
    density: float = Field(1.0, ge=0, description="factor on the number of galaxies")
    flux_limit: float = Field(1.4, gt=0, description="line flux of the faintest galaxies [Jy Hz]")
    mass_evolution: float = Field(
        0.4, description="growth of the knee of the HI mass function; 0.4 gives the median flux of SDC2 [dex per z]"
    )
    size_factor: float = Field(
        1.35, gt=0, description="factor on the sizes of the mass-size relation; 1.35 gives the median size of SDC2"
    )
    size_scatter: float = Field(0.1, ge=0, description="scatter of the mass-size relation, 0.06 in nature [dex]")
    width_factor: float = Field(
        1.0,
        gt=0,
        description="factor on the widths of lines; 1 gives the median w20 of SDC2 by the scorer's law between w20 and "
        "frequency, 1.37 the widths in channels of its cubes, whose truth says w20 at rest",
    )
    velocity_scatter: float = Field(0.12, ge=0, description="scatter of rotation velocity at one HI mass [dex]")
    lopsidedness: float = Field(0.1, ge=0, le=0.3, description="scatter of the amplitude cos(azimuth) of the gas")
    rfi: float = Field(0.0, ge=0, le=0.9, description="share of the channels with excess noise")
    rfi_factor: float = Field(3.0, ge=1, description="largest factor on the noise of such channels")
    continuum_residual: float = Field(
        0.0, ge=0, le=1, description="part of the flux of continuum sources that their subtraction left, rms over z"
    )
    galaxies: str | None = Field(None, description="folder of HI cubes of real galaxies (FITS), None for discs only")
    galaxies_share: float = Field(0.5, ge=0, le=1, description="share of the galaxies with the shape of a real one")

    @model_validator(mode="after")
    def _agrees(self) -> "HiSettings":
        if min(self.shape) < 8:
            raise ValueError("shape must be three numbers of at least 8 pixels")
        major, minor, _ = self.beam_arcsec
        if not major >= minor > 0:
            raise ValueError("beam_arcsec must be major, minor, angle with major >= minor > 0")
        if minor < 1.5 * self.pixel_arcsec:
            raise ValueError("beam_arcsec must be at least 1.5 pixels wide")
        if not (-180 <= self.centre[0] <= 360 and -90 <= self.centre[1] <= 90):
            raise ValueError("centre must be a right ascension and a declination in degrees, from -90 to 90")
        if self.lowest_hz + self.shape[0] * self.channel_hz > HIGHEST_HZ * (1 + 1e-12):
            raise ValueError("lowest_hz and shape must keep all channels below 1.413e9 Hz, where galaxies recede")
        return self

    @property
    def beam_pixels(self) -> tuple[float, float, float]:
        """FWHM major, minor [pixels] and theta [deg], the angle of the major axis from +x towards +y."""
        major, minor, angle = self.beam_arcsec
        return major / self.pixel_arcsec, minor / self.pixel_arcsec, angle + 90.0
