"""Reading a run's YAML: every problem at once, each with its file, line, key, value and what is allowed."""

import difflib
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from pipeline.classify.settings import ClassifySettings
from pipeline.detect.task_settings import DetectSettings
from pipeline.errors import UserError, UserErrors
from pipeline.generate.method_settings import MethodSettings
from pipeline.generate.methods import SETTINGS as METHODS
from pipeline.generate.task_settings import GenerateSettings
from pipeline.hi.task_settings import HiTaskSettings
from pipeline.settings import Settings
from pipeline.sky.archive import source_exists

# A few lines of aliases to aliases can stand for more values than any memory holds.
_MOST_NODES = 100_000
# the keys that name a folder, not a file
_FOLDERS = {"shapes", "galaxies"}
_FRAME_FILES = ("image", "truth", "primary_beam")

# Snakemake takes braces for wildcards and a doubled slash for a mistake
RunFolder = Annotated[str, StringConstraints(pattern=r"^[^{}*?]+$"), AfterValidator(os.path.normpath)]
TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
TaskSettings = ClassifySettings | DetectSettings | HiTaskSettings | GenerateSettings
KINDS: dict[str, type[Settings]] = {
    "classify": ClassifySettings,
    "detect": DetectSettings,
    "hi": HiTaskSettings,
    "generate": GenerateSettings,
}


class RunSettings(Settings):
    """A whole run: the folder it writes, its seed, and its tasks."""

    run: RunFolder = Field(min_length=1, description="the folder that this run writes")
    seed: int = Field(default=42, ge=0, description="the seed of everything random")
    tasks: dict[TaskName, Annotated[TaskSettings, Field(discriminator="kind")]] = Field(
        min_length=1, description="the tasks by name"
    )


def load_config(path: str | Path) -> RunSettings:
    """Read and validate the YAML file `path`.

    Raises
    ------
    UserError : the file is absent, is not YAML, or has wrong keys or values (all of them, as UserErrors).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(path, "does not exist", "name a YAML file, such as config/demo.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, "cannot be read as text", "name a YAML file, such as config/demo.yaml") from error
    node, values = _parse(text, path)
    lines = dict(_lines(node)) if node is not None else {}
    repeated = [
        UserError(f"{path} line {line}, key {'.'.join(map(str, key))}", "is given twice", "keep one of the two")
        for key, line in _repeated(node)
    ]
    if repeated:
        raise UserErrors(repeated)
    return validate(values, path, lines)


def _parse(text: str, path: str | Path) -> tuple[yaml.Node | None, Any]:
    """The tree of the YAML `text`, which knows its lines, and its plain values."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and _written_out(node, {}) > _MOST_NODES:
            raise UserError(path, f"has aliases that stand for more than {_MOST_NODES} values", "write them out")
        return node, yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path} line {mark.line + 1}" if mark else path
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(
            where, f"is not valid YAML ({reason})", "mend the line, mostly its indent or a colon"
        ) from error
    except RecursionError as error:
        raise UserError(path, "is nested too deeply", "start from config/demo.yaml") from error


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """The nodes that `node` stands for when every alias is written out: infinitely many where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        items = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
        known[id(node)] = 1 + sum(_written_out(item, known) for item in items)
    return known[id(node)]


def validate(values: Any, source: str | Path, lines: dict[tuple, int] | None = None) -> RunSettings:
    """Validate plain `values` that came from `source`; `lines` maps a key's path to its line.

    Raises
    ------
    UserErrors : every unknown key, wrong type, wrong value and missing file, one problem each.
    """
    if not isinstance(values, dict):
        raise UserError(source, "holds no settings", "start from config/demo.yaml")
    try:
        settings = RunSettings.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise UserErrors(_problem(detail, source, lines or {}) for detail in details) from error
    missing = [
        UserError(_place(source, location, lines or {}), f"names {path!r}, which does not exist", "mend the path")
        for location, path in _inputs(settings)
        if not source_exists(path) and not (location[-1] in _FOLDERS and Path(path).is_dir())
    ]
    if missing:
        raise UserErrors(missing)
    return settings


def key_lines(path: str | Path) -> dict[tuple, int]:
    """The line of every key in the YAML file `path`; empty when there is no such file."""
    if not Path(path).is_file():
        return {}
    node, _ = _parse(Path(path).read_text(encoding="utf-8"), path)
    return dict(_lines(node)) if node is not None else {}


def dump_config(settings: RunSettings) -> str:
    """The settings as YAML, without those that were left out."""
    return yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False, width=110)


def task_settings(
    settings: RunSettings, name: str, source: str | Path, kinds: Collection[str] = tuple(KINDS)
) -> TaskSettings:
    """The task called `name`, which is of one of `kinds`.

    Raises
    ------
    UserError : there is no such task, or it is of another kind.
    """
    if name not in settings.tasks:
        raise UserError(source, f"has no task {name!r}", f"choose one of {', '.join(settings.tasks)}")
    task = settings.tasks[name]
    if task.kind not in kinds:
        fitting = [other for other, settings_of in settings.tasks.items() if settings_of.kind in kinds]
        remedy = f"choose one of {', '.join(fitting)}" if fitting else f"add a task of kind {' or '.join(kinds)}"
        raise UserError(source, f"task {name!r} is of kind {task.kind}, which this stage does not do", remedy)
    return task


def _inputs(settings: RunSettings) -> Iterator[tuple[tuple, str]]:
    """Every file or folder that the settings name for reading, with the place that names it."""
    for name, task in settings.tasks.items():
        found = _INPUTS[task.kind](task)
        for location, path in found:
            if path is not None:
                yield ("tasks", name, *location), path


def _classify_inputs(task: ClassifySettings) -> Iterator[tuple[tuple, str | None]]:
    yield ("input", "manifest"), task.input.manifest
    if task.simulate is not None:
        yield ("simulate", "sources"), task.simulate.sources


def _detect_inputs(task: DetectSettings) -> Iterator[tuple[tuple, str | None]]:
    for part in ("train", "test"):
        for index, frame in enumerate(getattr(task.frames, part)):
            for key in _FRAME_FILES:
                yield ("frames", part, index, key), getattr(frame, key)
    for index, path in enumerate(task.frames.detect):
        yield ("frames", "detect", index), path
    yield ("model",), task.model
    if task.simulate is not None:
        yield ("simulate", "shapes"), task.simulate.shapes


def _hi_inputs(task: HiTaskSettings) -> Iterator[tuple[tuple, str | None]]:
    for part in ("train", "test", "detect"):
        for index, frame in enumerate(getattr(task.frames, part)):
            for key in ("cube", "continuum", "truth"):
                yield ("frames", part, index, key), getattr(frame, key, None)
    yield ("model",), task.model
    if task.simulate is not None:
        yield ("simulate", "galaxies"), task.simulate.galaxies


def _generate_inputs(task: GenerateSettings) -> Iterator[tuple[tuple, str | None]]:
    yield ("input", "manifest"), task.input.manifest
    yield ("features",), task.features


_INPUTS = {"classify": _classify_inputs, "detect": _detect_inputs, "hi": _hi_inputs, "generate": _generate_inputs}


def _lines(node: yaml.Node, path: tuple = ()) -> Iterator[tuple[tuple, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _lines(value, (*path, key.value))
            yield (*path, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _repeated(node: yaml.Node | None, path: tuple = ()) -> Iterator[tuple[tuple, int]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield (*path, key.value), key.start_mark.line + 1
            seen.add(key.value)
            yield from _repeated(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated(value, (*path, index))


def _place(source: str | Path, location: tuple, lines: dict[tuple, int]) -> str:
    known = next((location[:n] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    line = f" line {lines[known]}" if known else ""
    key = ".".join(str(part) for part in location)
    return f"{source}{line}, key {key}" if key else f"{source}{line}"


def _problem(detail: dict, source: str | Path, lines: dict[tuple, int]) -> UserError:
    model, location, value = _task_model(detail["loc"]), _without_branches(detail["loc"], lines), detail["input"]
    where = _place(source, location, lines)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        if location[2:3] == ("methods",):
            return _wrong_method(source, location, value, lines)
        return _wrong_kind(source, (*location, "kind"), value, lines)
    if detail["type"] == "model_attributes_type":
        what = f"has the value {_short(value)}: a task is a mapping of keys to values"
        return UserError(where, what, "start from a task in config/demo.yaml")
    if detail["type"] == "extra_forbidden":
        allowed = _allowed_keys(location[:-1], model)
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.6)
        hint = f"write {near[0]!r} instead" if near else "remove it"
        return UserError(where, f"is not a known key (allowed here: {', '.join(allowed)})", hint)
    if detail["type"] == "missing":
        return UserError(where, "is missing", f"give it: {_description(location, model)}")
    reason = detail["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    named = _named(location, reason, lines)
    where = _place(source, named, lines)
    description = _description(named, model) or _description(location, model)
    remedy = f"mend it: {description}" if description else "mend the value"
    if isinstance(value, dict):
        return UserError(where, f"is wrong: {reason}", remedy)
    return UserError(where, f"has the value {_short(value)}: {reason}", remedy)


def _wrong_kind(source: str | Path, location: tuple, value: Any, lines: dict[tuple, int]) -> UserError:
    where, known = _place(source, location, lines), " or ".join(map(repr, KINDS))
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind is None:
        return UserError(where, "is missing", f"give it: the kind of task, {known}")
    near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
    hint = f"write {near[0]!r} instead" if near else f"write {known}"
    return UserError(where, f"has the value {_short(kind)}: a task is of the kind {known}", hint)


def _wrong_method(source: str | Path, location: tuple, value: Any, lines: dict[tuple, int]) -> UserError:
    name = str(value.get("name")) if isinstance(value, dict) else str(value)
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
    hint = f"write {near[0]!r} instead" if near else "choose one, and give it as the key or as its name"
    what = f"asks for the method {_short(name)}: the methods are {', '.join(METHODS)}"
    return UserError(_place(source, location, lines), what, hint)


def _named(location: tuple, reason: str, lines: dict[tuple, int]) -> tuple:
    """The place to mend: what concerns several keys begins with the key, or its path, as far as the file has it."""
    path = reason.partition(" ")[0].rstrip(":").split(".")
    places = ((*location, *path[:n]) for n in range(len(path), 0, -1))
    return next((place for place in places if place in lines), location)


def _task_model(location: tuple) -> type[Settings] | None:
    """The settings class that a location of pydantic's is in: of a task, or of one of the methods of a task.

    It has the kind behind the name of the task, and the method behind the key that the user gave it.
    """
    if _in_method(location):
        return METHODS[location[5]]
    return KINDS.get(location[2]) if location[:1] == ("tasks",) and len(location) > 2 else None


def _in_method(location: tuple) -> bool:
    return location[2:4] == ("generate", "methods") and len(location) > 5 and location[5] in METHODS


def _without_branches(location: tuple, lines: dict[tuple, int]) -> tuple:
    """Drop what pydantic adds to a location for the branches of a union: a task's kind, `list[str]` and the like."""
    if _in_method(location):
        location = (*location[:5], *location[6:])
    if _task_model(location) is not None:
        location = (*location[:2], *location[3:])
    kept: list = []
    for part in location:
        if isinstance(part, int) or str(part).replace("_", "").replace("-", "").isalnum():
            branch = str(part) in {"str", "int", "float", "bool"} and lines and (*kept, part) not in lines
            kept += [] if branch else [part]
    return tuple(kept)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _field(location: tuple, task: type[Settings] | None) -> tuple[type[BaseModel] | None, Any]:
    """The settings class at `location` and the field there; None where there is none.

    task : the class of the task that it is in, or of the method.
    """
    model, field = RunSettings, None
    if location[:1] == ("tasks",) and len(location) > 1:
        of_method = task is not None and issubclass(task, MethodSettings)
        model, location = task, location[4 if of_method else 2 :]
    for part in location:
        if isinstance(part, int):  # an item of the list that the field holds
            continue
        if model is None:
            return None, None
        field = model.model_fields.get(str(part))
        if field is None:
            return model, None
        model = next((kind for kind in _classes(field.annotation) if issubclass(kind, BaseModel)), None)
    return model, field


def _classes(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _classes(part)]


def _allowed_keys(location: tuple, task: type[Settings] | None) -> list[str]:
    model, _ = _field(location, task)
    return list(model.model_fields) if model is not None else []


def _description(location: tuple, task: type[Settings] | None) -> str:
    _, field = _field(location, task)
    return (field.description or "") if field is not None else ""
