"""The form of the code does not become worse unnoticed: tools/house.py measures it, house.json records it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.python_sources import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import house
from house import House, Measure


@pytest.mark.slow
def test_no_figure_of_the_code_is_worse_than_recorded():
    recorded = house.read_table()
    measures = House().measures()
    assert measures.keys() == recorded.keys()
    worse = {
        name: f"{measure.value:g}, recorded {recorded[name]:g}"
        for name, measure in measures.items()
        if measure.is_worse_than(recorded[name])
    }
    assert worse == {}, 'make it better, or say why: python tools/house.py --record --why "…"'


@pytest.mark.parametrize(
    ("measure", "worse"),
    [
        (Measure(5), False),
        (Measure(5.01), True),
        (Measure(4.99), False),
        (Measure(4.99, lower_is_better=False), True),
        (Measure(5.01, lower_is_better=False), False),
    ],
)
def test_worse_is_anything_worse(measure, worse):
    assert measure.is_worse_than(5) is worse


def test_a_worse_figure_is_recorded_with_a_reason_only(tmp_path, monkeypatch):
    table = tmp_path / "house.json"
    table.write_text('{"a": {"value": 2}, "gone": {"value": 1}}', "utf-8")
    monkeypatch.setattr(house, "TABLE", table)
    with pytest.raises(SystemExit, match="--why"):
        house.record({"a": Measure(3)}, "")
    house.record({"a": Measure(3)}, "a format more")
    assert json.loads(table.read_text("utf-8")) == {"a": {"value": 3, "why": "a format more"}}
    house.record({"a": Measure(1)}, "")
    assert house.read_table() == {"a": 1}


SOURCE = '''
from typing import Any

def many(a, b, c, d, e, f, g, h, i):
    """Return nothing."""

def f(options: dict[str, Any], used: dict[str, Any]):
    """The form of a noun."""
    found = [1, 2, 3, 4]
    many(*found)
    many(**options)
    return used["key"], many(**used)
'''


def test_the_figures_find_what_they_should(tmp_path, monkeypatch):
    (tmp_path / "humanpose_cli").mkdir()
    (tmp_path / "humanpose_cli" / "a.py").write_text(SOURCE + "\n\ndef long():\n" + "    x = 1\n" * 60, "utf-8")
    monkeypatch.setattr(house, "ROOT", tmp_path)
    found = House(tmp_path)
    assert found.packed_calls() == ["humanpose_cli/a.py:10"]
    assert found.unpacked_dictionaries() == ["humanpose_cli/a.py:7"]
    assert found.participles() == {"found": 1, "used": 1}
    assert found.docstrings() == (1, 2)
    assert found.long_functions() == ["humanpose_cli/a.py:15 long 61"]
    assert found.many_parameters() == ["humanpose_cli/a.py:4 many 9"]


@pytest.mark.slow
def test_the_script_needs_neither_an_installation_nor_torch(tmp_path):
    code = "import house, sys; h = house.House(); h.fit_flags(); h.refusals(); print('torch' in sys.modules)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); {code}"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed == "False\n"
