"""The base of every settings class: a room of the package declares its own, config.py composes them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Settings that refuse unknown keys and cannot be changed after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, values: Any) -> Any:
        """A section given in part keeps, for the rest, the defaults that it has here rather than its class's own."""
        if not isinstance(values, dict):
            return values
        sections = {
            name: field.default.model_dump(exclude_unset=True) | values[name]
            for name, field in cls.model_fields.items()
            if isinstance(values.get(name), dict) and isinstance(field.default, BaseModel)
        }
        return values | sections
