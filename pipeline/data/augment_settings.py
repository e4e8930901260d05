"""What a user may ask of the augmentation; this module needs no torch."""

from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.settings import Settings


class AugmentSettings(Settings):
    """Random changes of training samples that leave the class as it is; the default changes nothing.

    They are made in this order: flip, rotate by 90 degrees, rotate by any angle or tilt and zoom, shift, brightness,
    noise, ends. Axes are counted in numpy order: 0 is the first axis after the channel.
    """

    flip: bool | list[int] = Field(False, description="mirror along all axes (true) or along these")
    rotate: Literal["none", "90", "any"] = Field("none", description="turn the plane of the last two axes [degrees]")
    tilt: float = Field(0.0, ge=0, le=45, description="turn the plane of the last two axes by up to so many degrees")
    zoom: float = Field(0.0, ge=0, le=2, description="stretch the last two axes by up to exp(+-zoom)")
    shift: int = Field(0, ge=0, description="move along every axis by up to so many pixels, filled with 0 [pixels]")
    scale: float = Field(0.0, ge=0, le=5, description="multiply the brightness by up to exp(+-scale)")
    noise: float = Field(0.0, ge=0, description="standard deviation of added white noise [normalised units]")
    crop_ends: float = Field(0.0, ge=0, lt=0.5, description="blank up to this share of a spectrum at either end")

    @field_validator("flip")
    @classmethod
    def _axes(cls, value: bool | list[int]) -> bool | list[int]:
        axes = [] if isinstance(value, bool) else value
        if len(set(axes)) < len(axes) or not {0, 1, 2}.issuperset(axes):
            raise ValueError("expected true, false, or different axes among 0, 1 and 2")
        return value

    @field_validator("rotate", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {90: "90", None: "none"}.get(value, value) if not isinstance(value, (bool, list, dict)) else value

    def problem(self, ndim: int) -> str | None:
        """Why this cannot be done to samples with `ndim` axes, or None."""
        if self.rotate != "none" and ndim < 2:
            return "rotate needs at least two axes, these samples have one"
        if self.tilt and ndim < 2:
            return "tilt needs at least two axes, these samples have one"
        if self.tilt and self.rotate == "any":
            return "tilt adds nothing to rotate: any"
        if not isinstance(self.flip, bool) and any(axis >= ndim for axis in self.flip):
            return f"flip names axis {max(self.flip)}, the last axis of these samples is {ndim - 1}"
        if self.crop_ends and ndim != 1:
            return f"crop_ends is for spectra, these samples have {ndim} axes"
        return None
