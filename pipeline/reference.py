"""The reference of every setting, made from the settings classes themselves.

python -m pipeline.reference > config/README.md
"""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import RunSettings

_HEAD = """# Settings

One YAML file describes a run; `demo.yaml` is a worked example, `fleming check FILE` says what is wrong with one. Every
key, its default and its unit are below. Paths are relative to the folder that the command is run in, paths in a
manifest to the manifest. This page is made from the code: `python -m pipeline.reference > config/README.md`.
"""


def reference() -> str:
    """The page as Markdown: a section a settings class, a row a key."""
    sections = [_section(title, model) for title, model in _models("", RunSettings)]
    return "\n".join([_HEAD, *sections])


def _models(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path or "the run", model
    for name, field in model.model_fields.items():
        inner = next(iter(_settings_classes(field.annotation)), None)
        if inner is not None:
            place = f"{path}.{name}" if path else name
            yield from _models(f"{place}.NAME" if get_origin(field.annotation) is dict else place, inner)


def _settings_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _settings_classes(part)


def _section(title: str, model: type[BaseModel]) -> str:
    lines = [
        f"## {title}",
        "",
        (model.__doc__ or "").strip().splitlines()[0],
        "",
        "| key | value | default | meaning |",
    ]
    lines.append("| --- | --- | --- | --- |")
    for name, field in model.model_fields.items():
        default = _default(field.get_default(call_default_factory=True))
        cells = [f"`{name}`", _type(field.annotation), default, field.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if isinstance(value, BaseModel):
        return "see below"
    if value is None:
        return "none"
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        return f"`{[step.name for step in value]}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if origin in (list, tuple):
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping of {_type(parts[0])} to {_type(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping, see below"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


if __name__ == "__main__":
    print(reference(), end="")
