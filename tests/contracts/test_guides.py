"""What docs/guides say of options and messages is in the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from helpers.python_sources import ROOT, modules

from humanpose_cli.cli.command import build_command
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
