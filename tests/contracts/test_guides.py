"""What docs/guides say of options and messages is in the code, and each guide has the sections of the pattern.

tests/contracts/test_commands.py parses the command lines of all documents.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from helpers.python_sources import ROOT, modules

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.render import _LABELS
from humanpose_cli.cli.table import command_names

GUIDES = sorted(path for path in (ROOT / "docs" / "guides").glob("*.md") if path.name != "index.md")
NAMES = [path.stem for path in GUIDES]
# Options of other programs, and of `hpc` itself.
OTHERS = {
    "--install-completion",
    "--help",
    "--index-url",
    "--no-binary",
    "--array",
    "--requeue",
    "--wrap",
    *("--torch-backend", "--from", "--pypi"),  # of uv and pixi
}


@cache
def flags() -> set[str]:
    """Of all commands, hidden ones left out."""
    return {
        flag
        for name in command_names()
        for parameter in build_command(name, lambda invocation: 0).params
        if not getattr(parameter, "hidden", False)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


def unknown_flags(text: str) -> list[str]:
    """Options that stand in backticks and belong to no command."""
    quoted = re.findall(r"`([^`\n]+)`", text)
    named = [flag for code in quoted for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)]
    return [flag for flag in named if flag not in flags() | OTHERS]


def messages(text: str) -> list[str]:
    """The quoted text of the first column of tables whose first heading is "message"."""
    found = []
    for table in re.findall(r"^\| message \|.*\n\|[-| ]+\n((?:\|.*\n?)+)", text, re.MULTILINE):
        for row in table.splitlines():
            found += re.findall(r"`([^`]+)`", row.split(" | ")[0])
    return found


@cache
def printed() -> str:
    """All texts of the code, with … for values, one a line."""
    lines = []
    for tree in modules().values():
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
                lines.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                lines.append("".join(parts))
    return "\n".join(lines)


def not_printed(message: str) -> list[str]:
    """Parts of a message, between … and colons, that no text of the code has."""
    parts = [part.strip() for part in re.split(r"…|: ", message)]
    return [part for part in parts if part and part not in printed()]


@pytest.mark.parametrize("path", [ROOT / "README.md", *GUIDES], ids=["README", *NAMES])
def test_options_in_backticks_exist(path: Path) -> None:
    assert unknown_flags(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", GUIDES, ids=NAMES)
def test_messages_are_those_that_the_code_prints(path: Path) -> None:
    assert {message: parts for message in messages(path.read_text("utf-8")) if (parts := not_printed(message))} == {}


@pytest.mark.parametrize("path", GUIDES, ids=NAMES)
def test_guides_have_the_sections_of_the_pattern(path: Path) -> None:
    headings = re.findall(r"^## (.*)", path.read_text("utf-8"), re.MULTILINE)
    assert [heading for heading in ("What goes wrong", "Next") if heading not in headings] == []
    assert headings[0] == "First command" or path.stem == "python" or path.stem.startswith("reproduce-")


@pytest.mark.parametrize("path", GUIDES, ids=NAMES)
def test_guides_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").split()) <= 1200


def test_the_reference_lists_what_tables_call_a_status() -> None:
    labels = {name: build_command(name, lambda invocation: 0).info.labels for name in command_names()}
    rows = []
    for status, usual in _LABELS.items():
        named: dict[str, list[str]] = {}
        for name, by_status in labels.items():
            if (word := by_status.get(status, usual)) != usual:
                named.setdefault(word, []).append(name)
        others = "; ".join(f"{', '.join(names)}: {word}" for word, names in named.items())
        rows.append(f"| `{status.value}` | {usual} | {others} |".replace("|  |", "| |"))
    text = (ROOT / "docs" / "reference" / "files.md").read_text("utf-8")
    assert [row for row in rows if row not in text] == []
    assert len(rows) == 6


@pytest.mark.parametrize("word", ["fbx", "webcam", "colab"])
def test_what_people_search_for_has_a_heading(word: str) -> None:
    headings = [line for path in GUIDES for line in re.findall(r"^## .*", path.read_text("utf-8"), re.MULTILINE)]
    assert [heading for heading in headings if word in heading.lower()]


def test_the_first_example_is_of_a_person_from_head_to_feet() -> None:
    """Nothing about it is doubtful; see tools/guide_pictures.py."""
    first = (ROOT / "docs" / "guides" / "fit.md").read_text("utf-8").split("\n## ")[1]
    header, row = re.search(r"^(input .*)\n(photo\.jpg .*)", first, re.MULTILINE).groups()
    column = slice(header.index("doubtful"), header.index("seconds"))
    assert row[column].strip() == ""
    (image,) = re.findall(r"!\[A photograph of .* from head to feet; .*\]\((.*)\)", first)
    assert (ROOT / "docs" / "guides" / image).is_file()
