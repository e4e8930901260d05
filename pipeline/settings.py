"""The base of every settings class: a room of the package declares its own, config.py composes them."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings that refuse unknown keys and cannot be changed after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
