"""`tests/` mirrors the rooms: tests/ROOM/test_MODULE.py tests humanpose_cli/ROOM/MODULE.py.

A module of a package within a room has both names (`models/nbf/body.py`: `test_nbf_body.py`), and what has several test
modules an aspect behind its name (`test_launching_gpu.py`). `tests/contracts`, `tests/helpers` and `tests/journeys`
mirror nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.python_sources import ROOT

TESTS = ROOT / "tests"
MIRRORED = {"tools": ROOT / "tools", "benchmarks": ROOT / "benchmarks"}
NO_MIRROR = ("contracts", "helpers", "journeys")
# Behaviour of several modules, which none of them has alone.
ACROSS_MODULES = {
    "engine/test_torch_contexts.py": "every operation inside torch's other machinery",
    "lab/datasets/test_splits_of_sources.py": "data sets' splits in trainings and evaluations",
}


def room_of(path: Path) -> Path:
    """The folder of modules that a folder of tests mirrors."""
    room, *below = path.relative_to(TESTS).parts or ("",)
    return MIRRORED.get(room, ROOT / "humanpose_cli" / room).joinpath(*below)


def subjects(room: Path) -> set[str]:
    """The names that test modules of a room may begin with: its modules and packages, joined by `_`."""
    modules = [path.relative_to(room).with_suffix("").parts for path in room.rglob("*.py")]
    return {"_".join(parts[:depth]) for parts in modules for depth in range(1, len(parts) + 1)} - {"__init__"}


def has_subject(name: str, names: set[str]) -> bool:
    return any(name == subject or name.startswith(f"{subject}_") for subject in names)


def test_test_modules_are_named_after_the_modules_that_they_test():
    strays = []
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS)
        if name.parts[0] in NO_MIRROR or name.as_posix() in ACROSS_MODULES:
            continue
        room = room_of(path.parent)
        if not room.is_dir() or not has_subject(path.stem.removeprefix("test_"), subjects(room)):
            strays.append(name.as_posix())
    assert strays == []


@pytest.mark.parametrize(
    "document",
    [".ci/run", "Makefile", "CONTRIBUTING.md", ".github/workflows/checks.yml", "benchmarks/gpu_tests.py"]
    + [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))],
)
def test_the_paths_that_documents_name_are_there(document):
    pattern = r"(?<![\w/])(?:tests/[a-z_/0-9]+(?:\.\w+)?|(?<=python )(?:tools|benchmarks)/\w+\.py)"
    named = set(re.findall(pattern, (ROOT / document).read_text("utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
