"""What a classifier's model file says about itself, checked before any of it is used."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pipeline.data.normalise import Normaliser
from pipeline.data.settings import InputSettings
from pipeline.errors import UserError

Size = Annotated[int, Field(gt=0)]


class _Origin(BaseModel):
    """The parts of the provenance that a catalogue repeats."""

    fleming: str
    commit: str
    torch: str
    seed: int | None


class _Description(BaseModel):
    """The parts of the description that prediction and evaluation use."""

    model_config = ConfigDict(strict=True)

    kind: Literal["classify"]
    classes: list[str]
    outputs: int
    multilabel: bool
    symmetries: bool
    temperature: float = Field(gt=0)
    normaliser: dict[str, Any]
    input: Annotated[InputSettings, Field(strict=False)]
    sample_shape: list[Size] = Field(min_length=2, max_length=4)
    input_shape: list[Size]
    unit: str
    provenance: _Origin

    @model_validator(mode="after")
    def _agrees(self) -> "_Description":
        if len(self.classes) != self.outputs:
            raise ValueError(f"{len(self.classes)} classes for a network of {self.outputs} outputs")
        return self


_CHECK = TypeAdapter(_Description)


def check_description(path: str | Path, description: dict[str, Any]) -> Normaliser:
    """Check the description in the model file `path`, and give its normalisation.

    Raises
    ------
    UserError : the model is of another kind than a classifier, or its description is not whole or contradicts itself.
    """
    kind = description.get("kind")
    if kind != "classify":
        raise UserError(path, f"is a model of kind {kind!r}, not a classifier", "name a classifier's model file")
    again = "train the model again with this version"
    try:
        _CHECK.validate_python(description)
        normaliser = Normaliser.from_dict(description["normaliser"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(["description", *(str(part) for part in first["loc"])])
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(path, f"has a wrong {key} ({reason[:1].lower()}{reason[1:]})", again) from error
    except UserError as error:
        raise UserError(path, f"has a wrong {error.where} ({error.what})", again) from error
    channels, *axes = description["sample_shape"]
    if [normaliser.channels(channels), *axes] != description["input_shape"]:
        raise UserError(path, "has a network that does not take what its normalisation gives", again)
    return normaliser
