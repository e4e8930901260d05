"""What a user says about sources that are put into an image or a cube."""

from pydantic import Field, model_validator

from pipeline.settings import Settings

_BRIGHTEST = 1e20  # pixels in float32 hold it in any unit


class InsertSettings(Settings):
    """Sources to put into a frame: stamps, the rows of a table, or, without either, point sources into an image and
    simulated galaxies into a cube of HI."""

    stamps: str | None = Field(
        None,
        description="FITS file of stamps (n, y, x), for cubes (n, frequency, y, x), as fleming sample writes it",
    )
    sources: str | None = Field(
        None, description="table of sources to draw from, as fleming field --truth writes it, or in the columns of SDC2"
    )
    n: int = Field(500, gt=0, description="number of sources; a table that keeps its positions gives all it has")
    flux_range: tuple[float, float] | None = Field(
        None, description="lowest and highest flux, drawn log-uniformly, None for the sources' own [Jy, of lines Jy Hz]"
    )
    in_place: bool = Field(False, description="sources: put the rows where their positions say, every row once")
    apart: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="least distance between two of the sources [FWHM of the beam]"
    )
    clip: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="stamps: keep what is brighter than so many times their noise and hangs together",
    )
    stamp_pixel: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="stamps: side of a pixel, None for what their header says, else the frame's [arcsec]",
    )
    stamp_psf: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="stamps: FWHM of their PSF, None for what their header says, else 0 [arcsec]",
    )

    @model_validator(mode="after")
    def _agrees(self) -> "InsertSettings":
        if self.flux_range is not None and not 0 < self.flux_range[0] <= self.flux_range[1] <= _BRIGHTEST:
            raise ValueError(f"flux_range must be two fluxes above 0, up to {_BRIGHTEST:g}, the lower one first")
        if self.stamps is not None and self.sources is not None:
            raise ValueError("sources cannot be given beside stamps")
        if self.in_place and self.sources is None:
            raise ValueError("in_place needs a table of sources")
        for name in ("clip", "stamp_pixel", "stamp_psf"):
            if getattr(self, name) is not None and self.stamps is None:
                raise ValueError(f"{name} needs stamps")
        return self
