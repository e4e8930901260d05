"""What a user says about the input of a task: the manifest, the kind of its objects and the split."""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from pipeline.settings import Settings

AXES = {"spectrum": 1, "image": 2, "cube": 3}
SPLITS = ("train", "validation", "test")

# A YAML value such as 1 or true is written in a manifest as text, so the filter keeps text.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, (int, float)) else value)]


def grid_problem(grid: tuple[float, float, float]) -> str | None:
    """Why a wavelength grid [start, stop, step] is wrong, or None."""
    start, stop, step = grid
    if not all(math.isfinite(value) for value in grid):
        return "grid must be three finite numbers [start, stop, step] in angstrom"
    if start <= 0 or step <= 0 or stop <= start:
        return "grid must be [start, stop, step] in angstrom with 0 < start < stop and step > 0"
    if not 4 <= (stop - start) / step <= 1_000_000:
        return "grid must have between 4 and 1000000 points"
    return None


def grid_points(grid: tuple[float, float, float]) -> np.ndarray:
    """The wavelengths of a grid [start, stop, step], stop not included: ``(n,)`` angstrom."""
    start, stop, step = grid
    # The small term keeps [4000, 5000, 0.1] at 10000 points whatever the rounding of the division.
    return start + step * np.arange(math.ceil((stop - start) / step - 1e-6))


class InputSettings(Settings):
    """The objects of a task: where they are listed and how each becomes one array."""

    manifest: str | None = Field(None, description="CSV or ECSV with one row an object: a path or an http(s) URL")
    kind: Literal["spectrum", "image", "cube", "table", "idx"] = Field(
        description="what an object is; idx is the MNIST file format, table has one object a row"
    )
    grid: tuple[float, float, float] | None = Field(
        None, description="spectra: common wavelengths start, stop (not included), step [angstrom]"
    )
    shape: tuple[int, ...] | None = Field(
        None, description="images (y, x), cubes (z, y, x): centre crop or pad to this shape before binning [pixels]"
    )
    bin: int | tuple[int, ...] = Field(
        1, description="block average by this factor after cropping, one number or one an axis [pixels]"
    )
    unit: str | None = Field(None, description="convert brightness to this unit, such as mJy/beam [unit]")
    colour: Literal["grey", "rgb"] = Field("grey", description="PNG and JPEG pictures: one channel or three")
    pixel_scale: float | None = Field(None, gt=0, description="pictures without WCS: size of a pixel [arcsec]")
    where: dict[str, Text | list[Text]] = Field(
        default_factory=dict, description="keep the manifest rows whose column has this value, or one of these"
    )
    features: list[str] | None = Field(
        None, min_length=1, description="tables: columns used as features; all numeric columns when absent"
    )
    columns: list[str] | None = Field(
        None, min_length=1, description="names of the columns of a CSV without a header line"
    )

    @model_validator(mode="after")
    def _agrees(self) -> "InputSettings":
        if self.manifest is not None and not self.manifest.strip():
            raise ValueError("manifest must name a CSV or ECSV file")
        self._check_geometry()
        if self.features is not None and self.kind != "table":
            raise ValueError(f"features is for kind table, not {self.kind}")
        for name in ("features", "columns"):
            values = getattr(self, name) or []
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names a column twice")
        if self.pixel_scale is not None and self.kind not in ("image", "idx"):
            raise ValueError(f"pixel_scale is for kind image, not {self.kind}")
        if self.colour == "rgb" and self.kind != "image":
            raise ValueError(f"colour rgb is for kind image, not {self.kind}")
        return self

    def _check_geometry(self) -> None:
        if (self.grid is None) == (self.kind == "spectrum"):
            raise ValueError(
                "kind spectrum needs grid: [start, stop, step] in angstrom"
                if self.grid is None
                else f"grid is for kind spectrum, not {self.kind}"
            )
        if self.grid is not None and (problem := grid_problem(self.grid)):
            raise ValueError(problem)
        ndim = {"image": 2, "cube": 3, "idx": 2}.get(self.kind)
        if self.shape is not None:
            if ndim is None:
                raise ValueError(f"shape is for images and cubes, not {self.kind}")
            if len(self.shape) != ndim or min(self.shape) < 1:
                raise ValueError(f"shape of kind {self.kind} must be {ndim} positive numbers of pixels")
        bins = self.bin if isinstance(self.bin, tuple) else (self.bin,)
        if not bins or min(bins) < 1:
            raise ValueError("bin must be 1 or more pixels")
        if max(bins) > 1 and ndim is None:
            raise ValueError(f"bin is for images and cubes, not {self.kind}")
        if isinstance(self.bin, tuple) and ndim is not None and len(bins) != ndim:
            raise ValueError(f"bin of kind {self.kind} must be one number or {ndim} numbers")
        if self.shape is not None and any(n % b for n, b in zip(self.shape, self.bins(ndim), strict=True)):
            raise ValueError("shape must be a multiple of bin on every axis")

    def bins(self, ndim: int) -> tuple[int, ...]:
        """The binning factor of every axis, ``(ndim,)`` [pixels]."""
        return self.bin if isinstance(self.bin, tuple) else (self.bin,) * ndim


class SplitSettings(Settings):
    """How objects are divided: by fractions, or by a column of the manifest."""

    train: float = Field(0.7, gt=0, le=1, description="fraction of the groups used for training")
    validation: float = Field(0.15, gt=0, lt=1, description="fraction used to choose the best epoch")
    test: float = Field(0.15, ge=0, lt=1, description="fraction used for the reported measures only")
    column: str | None = Field(
        None, description="manifest column that holds train, validation or test; replaces the fractions"
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> "SplitSettings":
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("train, validation and test must sum to 1")
        if self.test == 0 and self.column is None:
            raise ValueError("test must be above 0: without test objects nothing can be judged")
        return self

    @property
    def fractions(self) -> tuple[float, float, float]:
        """The fractions of train, validation and test."""
        return self.train, self.validation, self.test
