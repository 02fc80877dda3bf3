"""The way through `hpc fit` in CONTRIBUTING.md: its names exist, and it stays short."""

from __future__ import annotations

import re
from functools import reduce
from importlib import import_module
from inspect import getdoc

import pytest
from helpers.python_sources import ROOT

WALK = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("The way through `hpc fit`")[1].split("\n## ")[0]
TYPES = re.findall(r"^\| `([\w.]+)` \|", WALK, re.MULTILINE)
FUNCTIONS = re.findall(r"^\| \d+ \| `([\w.]+)` \|", WALK, re.MULTILINE)


def test_the_way_is_short():
    assert len(TYPES) == 6
    assert 15 < len(FUNCTIONS) <= 20
    assert len({name.split(".")[0] for name in FUNCTIONS}) <= 8


@pytest.mark.parametrize("name", [*TYPES, *FUNCTIONS])
def test_every_station_exists_and_says_what_it_does(name):
    module, members = re.fullmatch(r"([a-z_.]+)\.(\w+(?:\.\w+)?)", name).groups()
    assert getdoc(reduce(getattr, members.split("."), import_module(f"humanpose_cli.{module}")))
