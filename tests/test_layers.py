"""Rooms stand on floors, and imports only go down: no circle, and no way back up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "embprobe"
FLOORS = (
    {"errors", "version"},
    {"system", "statistics"},
    {"images", "encoders", "measures"},
    {"interventions"},
    {"embeddings"},
    {"search", "probing", "comparing"},
    {"vlm"},
    {"claims", "selftest", "benchmarking"},
    {"plots"},
    {"pretraining", "report", "export"},
    {"api"},
    {"cli"},
)
"""Rooms by floor, the lowest first. Those on one floor do not know of each other."""
BACK_UP = {("probing/results.py", "plots"), ("comparing/result.py", "plots"), ("comparing/layer_result.py", "plots")}
"""A result or a comparison draws itself when it is asked to; docs/architecture.md says why."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> Iterator[str]:
    """The rooms a module imports from, at its head or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module == "embprobe":
            names = [f"embprobe.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("embprobe."))


def test_every_room_stands_on_a_floor() -> None:
    there = {path.stem for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    there |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert there - {"probes", "datasets"} == FLOOR.keys()


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_a_room_imports_only_from_floors_below(room: str) -> None:
    files = [*(PACKAGE / room).rglob("*.py")] or [PACKAGE / f"{room}.py"]
    upwards = {
        (path.relative_to(PACKAGE).as_posix(), other)
        for path in files
        for other in imported_rooms(path)
        if other != room and other in FLOOR and FLOOR[other] >= FLOOR[room]
    }
    assert upwards == {(path, other) for path, other in BACK_UP if path.split("/")[0] == room}
