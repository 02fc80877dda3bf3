"""tools/house.py counts what it says, and an exceeded budget fails `make check`."""

from __future__ import annotations

import ast
import json
import sys

import pytest
from helpers.python_sources import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import house

SOURCE = '''"""A docstring
of two lines."""

from core import option  # a comment


def _share(default, text):
    """One line."""
    return option(default, text)


class Options:
    size: int = option(3, "Size.")
    """An attribute's docstring."""
    share: float = _share(
        0.5,
        "Share.",
    )
    label = """text
    of a value"""

    # a comment
    def many(self, a, b, c, d, e, f, g, h, *, i): ...
'''


def test_code_is_counted_without_docstrings_comments_and_blank_lines():
    assert house.code_lines(SOURCE, ast.parse(SOURCE)) == 12


def test_settings_are_fields_that_option_declares():
    assert house.settings_of(ast.parse(SOURCE)) == 2


def test_a_function_counts_with_decorators_and_without_its_docstring():
    text = '@a\n@b\ndef f(x, *, y):\n    """One.\n\n    Two."""\n    return x\n'
    node = ast.parse(text).body[0]
    assert house.function_size(node) == (4, 2)
    assert house.function_size(ast.parse(SOURCE).body[-1].body[-1]) == (1, 9)


def test_the_figures_are_those_of_the_folders(tmp_path):
    for name, text in {
        "humanpose_cli/a.py": "x = 1\n",
        "humanpose_cli/io/b.py": SOURCE,
        "humanpose_cli/io/c.js": "// a\n\nb();\n",
        "humanpose_cli/lab/cache/d.py": "def long():\n" + "    x = 1\n" * 60,
        "tests/e.py": "# a\ny = 2\n",
        "tools/f.py": "z = 3\n",
        "benchmarks/g.py": "z = 3\nw = 4\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert house.measures(tmp_path) == {
        "lines of code, tool": 16,
        "lines of code, lab": 61,
        "lines of code, tests": 1,
        "lines of code, tools and benchmarks": 3,
        "settings": 2,
        "functions over 60 lines": 1,
        "functions over 8 parameters": 1,
    }


@pytest.mark.parametrize("is_exceeded", [False, True])
def test_an_exceeded_or_missing_budget_fails_the_check(tmp_path, monkeypatch, capsys, is_exceeded):
    budgets = tmp_path / "house.json"
    budgets.write_text(json.dumps({"lines": 10}), "utf-8")
    monkeypatch.setattr(house, "BUDGETS", budgets)
    monkeypatch.setattr(house, "measures", lambda: {"lines": 10 + is_exceeded})
    monkeypatch.setattr(house, "texts", dict)
    assert house.main() == is_exceeded
    assert ("exceeded" in capsys.readouterr().out) is is_exceeded
    assert house.exceeded({"lines": 10, "unknown": 0}, {"lines": 10}) == ["unknown"]


def test_help_is_measured_at_eighty_columns():
    texts = {name: (flags, lines) for name, flags, lines in house.help_texts()}
    flags, lines = texts["fit"]
    assert "--out" in flags
    assert max(map(len, lines)) <= 80
    assert "evaluate fit" in texts
