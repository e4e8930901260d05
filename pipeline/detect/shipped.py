"""Where the weights that ship are: beside the package in a clone, among the installed files otherwise."""

from importlib import metadata
from pathlib import Path

import pipeline
from pipeline.errors import UserError

# By the axes of the frames that they are for.
NAMES = {2: "continuum.safetensors", 3: "hi.safetensors"}
_DISTRIBUTION = "fleming-sky"


def shipped_model(axes: int = 2) -> Path:
    """The model file that ships with Fleming: for radio-continuum images, or for galaxies in cubes of 3 axes.

    Raises
    ------
    UserError : neither the clone nor the installation has it.
    """
    clone = Path(pipeline.__file__).resolve().parent.parent / "resources" / NAMES[axes]
    place = clone if clone.is_file() else _installed(NAMES[axes])
    if place is None:
        what = "is neither in this clone nor among the installed files"
        raise UserError(clone, what, "install Fleming again, or name a model by --model")
    return place


def _installed(name: str) -> Path | None:
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    places = (Path(file.locate()) for file in files if file.name == name)
    return next((place for place in places if place.is_file()), None)
