"""Where the weights that ship are: beside the package in a clone, among the installed files otherwise."""

from importlib import metadata
from pathlib import Path

import pipeline
from pipeline.errors import UserError

NAME = "continuum.safetensors"
_DISTRIBUTION = "fleming-sky"


def shipped_model() -> Path:
    """The model file for radio continuum that ships with Fleming.

    Raises
    ------
    UserError : neither the clone nor the installation has it.
    """
    clone = Path(pipeline.__file__).resolve().parent.parent / "resources" / NAME
    place = clone if clone.is_file() else _installed()
    if place is None:
        what = "is neither in this clone nor among the installed files"
        raise UserError(clone, what, "install Fleming again, or name a model by --model")
    return place


def _installed() -> Path | None:
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    places = (Path(file.locate()) for file in files if file.name == NAME)
    return next((place for place in places if place.is_file()), None)
