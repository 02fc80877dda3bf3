"""docs/architecture.md: the ways through `hpc fit` and `hpc repose` exist, so do the files that changes touch, and the
drawing has every room.
"""

from __future__ import annotations

import re
from functools import reduce
from importlib import import_module
from inspect import getdoc

import pytest
from helpers.python_sources import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## "))}
FIT, REPOSE = SECTIONS["A photograph through `hpc fit`"], SECTIONS["A photograph and a pose through `hpc repose`"]
CHANGES = SECTIONS[next(title for title in SECTIONS if "changes" in title)].split("\n- **")[1:]


def types_of(walk):
    return re.findall(r"^\| `([\w.]+)` \|", walk, re.MULTILINE)


def functions_of(walk):
    return re.findall(r"^\| \d+ \| `([\w.]+)` \|", walk, re.MULTILINE)


@pytest.mark.parametrize("name", [name for walk in (FIT, REPOSE) for name in (*types_of(walk), *functions_of(walk))])
def test_every_station_exists_and_has_a_description(name):
    module, members = re.fullmatch(r"([a-z_.]+)\.(\w+(?:\.\w+)?)", name).groups()
    assert getdoc(reduce(getattr, members.split("."), import_module(f"humanpose_cli.{module}")))


def test_the_changes_name_files_that_exist():
    named = [path for change in CHANGES for path in re.findall(r"`((?:\w+/)+[\w.-]+|NOTICE)`", change)]
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_drawing_has_every_room():
    rooms = {
        path.stem
        for wing in ("humanpose_cli", "humanpose_cli/lab")
        for path in (ROOT / wing).iterdir()
        if (path.is_dir() or path.suffix == ".py") and not path.name.startswith("__")
    } - {"lab"}
    drawn = re.findall(r'font-weight="600"[^>]*>(\w+)<', (ROOT / "docs" / "assets" / "rooms.svg").read_text("utf-8"))
    assert sorted(drawn) == sorted(rooms)
