"""Which simulated sources resemble those of an image, by what one and the same model measures of both."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.detect.areas import Section
from pipeline.detect.choose import detect_area
from pipeline.detect.continuum import VALUES
from pipeline.detect.image import ContinuumImage
from pipeline.detect.labelled import LabelledArea
from pipeline.detect.model import Model
from pipeline.detect.practice import Practice, practise
from pipeline.detect.predict import Search
from pipeline.simulate.continuum_settings import ContinuumSettings
from pipeline.simulate.noise import NoisePower

FORMS = ("gaussian", "exponential")
BROADENINGS = (1.0, 1.08, 1.16, 1.25, 1.4)
# Sources whose extent can be measured, in bins of their signal-to-noise ratio with enough of them for quantiles.
_SNR = (10.0, 20.0, 50.0, 300.0)
_FEWEST = 30
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_SIDE = 2048
_DENSITY = (0.05, 5.0)


@dataclass(frozen=True)
class Census:
    """What a model says of the bright sources of a section.

    extent : (bins, quantiles) of ln (integrated flux / peak), 0 for a point source; NaN of too few sources.
    density : sources a pixel.
    """

    extent: np.ndarray
    density: float

    def distance(self, other: "Census") -> float:
        """The mean difference of the quantiles, infinite where none can be compared."""
        known = np.isfinite(self.extent) & np.isfinite(other.extent)
        return float(np.abs(self.extent - other.extent)[known].mean()) if known.any() else np.inf


def census(image: ContinuumImage, model: Model) -> Census:
    """Count and measure the bright sources in the middle of an image."""
    section = _middle(image)
    detections = detect_area(model.detector, LabelledArea(image, None, section), Search(least=0.0, radius=model.radius))
    value = dict(zip(VALUES, detections.values.T, strict=True))
    extent, peak = value["ln_flux"] - value["ln_peak"], np.exp(value["ln_peak"])
    bins = [extent[(peak >= low) & (peak < high)] for low, high in itertools.pairwise(_SNR)]
    unknown = np.full(len(_QUANTILES), np.nan)
    quantiles = [np.quantile(part, _QUANTILES) if len(part) >= _FEWEST else unknown for part in bins]
    pixels = np.prod([part.stop - part.start for part in section])
    return Census(np.array(quantiles), float(sum(map(len, bins)) / pixels))


def resembling(
    image: ContinuumImage,
    model: Model,
    settings: ContinuumSettings,
    noise: NoisePower,
    seed: int,
    catalogue: pd.DataFrame | None = None,
) -> ContinuumSettings:
    """The settings whose simulated sources the model measures to be what it measures in `image`.

    Tried are both laws of sizes, and a response to point sources that is broader than the beam in the header: pixels,
    smearing and shallow deconvolution make it so. The number of sources is scaled to that found. The model need not
    be right about any of it: its errors are the same on both sides, as the noise has the same texture. With a
    `catalogue` (columns of a simulated truth) sizes and numbers are known, and the peak is what was measured.
    """
    found = census(image, model)
    tried = []
    for form, broadening in itertools.product(FORMS if catalogue is None else FORMS[:1], BROADENINGS):
        changes: dict[str, Any] = {"size_form": form, "broadening": broadening}
        if catalogue is not None:
            changes["attenuation"] = settings.attenuation * broadening
        told = settings.model_copy(update=changes)
        probe = census(practise(Practice(told, noise), seed, catalogue).image, model)
        tried.append((found.distance(probe), told, probe.density))
    _, told, density = min(tried, key=lambda trial: trial[0])
    if catalogue is None and found.density > 0 and density > 0:
        changed = told.density * found.density / density
        told = told.model_copy(update={"density": float(np.clip(changed, *_DENSITY))})
    return told


def _middle(image: ContinuumImage) -> Section:
    starts = [max((side - _SIDE) // 2, 0) for side in image.shape]
    rows, columns = (slice(start, min(start + _SIDE, side)) for start, side in zip(starts, image.shape, strict=True))
    return rows, columns
