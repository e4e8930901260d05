"""The plan of the house: each room imports only from its own floor or below."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline"
GROUND = {"errors", "files", "settings", "provenance", ""}
COMMAND = {
    "config", "reference", "stages", "detect_stages", "generate_stages", "hi_stages", "inject_stages", "option_parts",
    "detect_options", "generate_options", "options", "cli",
}  # fmt: skip
FLOORS = [
    GROUND,
    {"sky", "nn"},
    {"data", "simulate", "score"},
    {"learn"},
    {"classify", "detect", "generate", "hi", "report"},
    COMMAND,
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pipeline":
            if node.module == "pipeline":
                yield from (alias.name if alias.name in FLOOR else "" for alias in node.names)
            else:
                yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_its_floor_or_below(path):
    room = room_of(path)
    above = [name for name in imports(path) if FLOOR[name] > FLOOR[room]]
    assert not above, f"{room} (floor {FLOOR[room]}) imports {above}"


def test_every_room_is_on_a_floor():
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} == set(FLOOR)
