"""A trained detector in one model file: network, layout, calibrator, thresholds and the noise it was trained on."""

import os
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.detect.calibrate import Calibrator
from pipeline.detect.continuum import VALUES
from pipeline.detect.method import read_layout
from pipeline.detect.train import Detector, Names
from pipeline.errors import UserError
from pipeline.learn.model_file import load_model, save_model


@dataclass
class Model:
    """A detector and all that applying it needs.

    calibrator : probability and errors. threshold : the probability that maximises the expected score.
    radius : of the suppression, one for all axes or one each [pixel].
    symmetric : whether the calibrator was fitted on averages over symmetries.
    trained : what it was trained on, as JSON: "noise" (texture), "beam" (least, greatest FWHM [pixel]), "settings",
    "provenance", "measured" (figures on the validation area) and the like.
    """

    detector: Detector
    calibrator: Calibrator
    threshold: float
    radius: float | tuple[float, ...]
    symmetric: bool
    trained: dict[str, Any]

    def save(self, path: str | os.PathLike) -> None:
        """Write the model file, whole or not at all."""
        description = {
            "kind": "detect",
            "layout": self.detector.layout.to_dict(),
            "names": asdict(self.detector.names),
            "calibrator": self.calibrator.to_dict(),
            "threshold": self.threshold,
            "radius": self.radius,
            "symmetric": self.symmetric,
            "trained": self.trained,
        }
        save_model(path, self.detector.network, description)


def load(path: str | os.PathLike, device: torch.device | str = "cpu") -> Model:
    """The model in a file that `Model.save` wrote.

    Raises
    ------
    UserError : not a model file, one of another kind, or one whose description lacks something.
    """
    network, told = load_model(path, device)
    if told.get("kind") != "detect":
        raise UserError(path, f"is a model to {told.get('kind', 'do something else')}", "give a model of a detector")
    try:
        names = Names(**{name: tuple(value) for name, value in told["names"].items()})
        detector = Detector(network, read_layout(told["layout"]), names)
        calibrator = Calibrator.from_dict(told["calibrator"])
        radius = tuple(told["radius"]) if isinstance(told["radius"], list) else told["radius"]
        return Model(detector, calibrator, told["threshold"], radius, told["symmetric"], told["trained"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        what = f"describes its detector in a way that this version does not know ({error})"
        raise UserError(path, what, "train the model again with this version") from error


def check_continuum(model: Model, where: object) -> None:
    """Refuse a detector of anything but continuum sources in images.

    Raises
    ------
    UserError : another number of axes, or other parameters.
    """
    layout = model.detector.layout
    if layout.ndim != 2:
        kind = {1: "spectra", 3: "cubes"}[layout.ndim]
        raise UserError(where, f"is a model of {kind}", "give one that was trained on images")
    if layout.values != VALUES:
        what = "does not measure the parameters of continuum sources"
        raise UserError(where, what, "give a model that fleming train made for images")
