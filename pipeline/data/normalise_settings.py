"""What a user may ask of the normalisation; no numbers are touched here."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.settings import Settings

Name = Literal["none", "centre", "standardise", "minmax", "minmax_symmetric", "tanh", "asinh", "continuum", "mask"]

# the option that {name: value} sets, and its default
_MAIN = {"tanh": ("scale", 1.0), "asinh": ("softening", 1.0), "continuum": ("window", 151)}
_OPTIONS = {
    "none": (),
    "mask": (),
    "centre": ("per", "clip"),
    "standardise": ("per", "clip"),
    "minmax": ("per", "clip"),
    "minmax_symmetric": ("per", "clip"),
    "tanh": ("per", "clip", "scale"),
    "asinh": ("per", "clip", "softening"),
    "continuum": ("window", "percentile"),
}


class Step(Settings):
    """One normalisation; written as `name`, `{name: value}` or `{name: {option: value, ...}}`."""

    name: Name = Field(description="which normalisation")
    per: Literal["sample", "set", "feature"] = Field(
        "sample",
        description="what shares its constants: each sample by itself, a channel over the training set, "
        "or each value of a sample over the training set",
    )
    clip: tuple[float, float] | None = Field(None, description="percentiles to clip at before, such as [1, 99] [%]")
    scale: float | None = Field(None, gt=0, description="tanh: width [standard deviations]")
    softening: float | None = Field(None, gt=0, description="asinh: end of the linear part [standard deviations]")
    window: int | None = Field(None, ge=3, description="continuum: length of the running window [pixels]")
    percentile: float = Field(50.0, ge=0, le=100, description="continuum: percentile of the window [%]")

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        elif isinstance(value, dict) and "name" not in value and len(value) == 1:
            name, options = next(iter(value.items()))
            if options is None:
                options = {}
            elif not isinstance(options, dict):
                if name not in _MAIN:
                    raise ValueError(f"{name} takes no value; write {name}, or {name}: {{per: set}}")
                options = {_MAIN[name][0]: options}
            value = {"name": name, **options}
        if not isinstance(value, dict):
            raise ValueError("expected a name such as standardise, or {tanh: 1.5}")
        name = value.get("name")
        if name in _MAIN and value.get(_MAIN[name][0]) is None:
            value = {**value, _MAIN[name][0]: _MAIN[name][1]}
        return value

    @model_validator(mode="after")
    def _check(self) -> "Step":
        defaults = {key: field.default for key, field in type(self).model_fields.items()}
        for key, value in self:
            if key != "name" and value != defaults[key] and key not in _OPTIONS[self.name]:
                raise ValueError(f"{self.name} has no option {key}")
        if self.clip is not None and not 0 <= self.clip[0] < self.clip[1] <= 100:
            raise ValueError("clip is two increasing percentiles between 0 and 100")
        return self


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, dict, Step)) else value


Normalisation = Annotated[list[Step], BeforeValidator(_as_list), Field(min_length=1)]
