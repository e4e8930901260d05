"""The reference of every setting, made from the settings classes themselves.

python -m pipeline.reference > config/README.md
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import RunSettings

_HEAD = """# Settings

One YAML file describes a run; `demo.yaml` is a worked example, `fleming check FILE` says what is wrong with one. Every
key, its default and its unit are below. Paths are relative to the folder that the command is run in, paths in a
manifest to the manifest. This page is made from the code: `python -m pipeline.reference > config/README.md`.
"""


@dataclass(frozen=True)
class _Part:
    """A settings class where it occurs: its path, the kind of task it is for, its values where it is left out."""

    path: str
    kind: str
    model: type[BaseModel]
    defaults: BaseModel | None


def reference() -> str:
    """The page as Markdown: a section a settings class with its defaults, a row a key."""
    same: dict[tuple, list[_Part]] = {}
    for part in _parts(_Part("", "", RunSettings, None)):
        same.setdefault((part.model, part.defaults and part.defaults.model_dump_json()), []).append(part)
    return "\n".join([_HEAD, *(_section(parts) for parts in same.values())])


def _parts(part: _Part) -> Iterator[_Part]:
    """The part, and everything in it."""
    yield part
    for name, field in part.model.model_fields.items():
        found = list(_settings_classes(field.annotation))
        given = _given(part, name)
        path = f"{part.path}.{name}" if part.path else name
        path += ".NAME" if get_origin(field.annotation) is dict else ""
        for inner in found:
            kind = _told_apart_by(inner) if len(found) > 1 else part.kind
            yield from _parts(_Part(path, kind, inner, given if isinstance(given, inner) else None))


def _told_apart_by(model: type[BaseModel]) -> str:
    """The kind of a task, or the name of a method."""
    return next(
        get_args(model.model_fields[key].annotation)[0] for key in ("kind", "name") if key in model.model_fields
    )


def _given(part: _Part, name: str) -> Any:
    """The value of a key that is left out; what encloses a section may have defaults of its own for it."""
    if part.defaults is not None:
        return getattr(part.defaults, name)
    return part.model.model_fields[name].get_default(call_default_factory=True)


def _settings_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _settings_classes(part)


def _section(parts: list[_Part]) -> str:
    model = parts[0].model
    paths = " and ".join(dict.fromkeys(part.path or "the run" for part in parts))
    kinds = " and ".join(dict.fromkeys(part.kind for part in parts))
    lines = [
        f"## {paths}, kind: {kinds}" if kinds else f"## {paths}",
        "",
        " ".join((model.__doc__ or "").partition("\n\n")[0].split()),
        "",
        "| key | value | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in model.model_fields.items():
        cells = [f"`{name}`", _type(field.annotation), _default(_given(parts[0], name)), field.description or ""]
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
    if isinstance(value, tuple):
        value = list(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts if part is not type(None)))
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
