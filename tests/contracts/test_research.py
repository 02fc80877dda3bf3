"""Every table of the research notes names its date or commit, and a command that exists or that its tool is gone."""

from __future__ import annotations

import functools
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from humanpose_cli.cli.command import build_command
from humanpose_cli.cli.table import COMMANDS, command_in, command_names

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "research"
NOTES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
WHEN = re.compile(r"\b20\d\d-\d\d-\d\d\b|\bcommit [0-9a-f]{8}\b")
COMMAND = re.compile(r"(?:hpc|torchrun) |python (?:benchmarks|tools)/\w+\.py(?: |$)")
GONE = re.compile(r"\bcommit [0-9a-f]{8}\b.*\bno longer kept\b", re.DOTALL)
FIGURE = re.compile(r"\| *(?:\*\*)?[+−-]?\.?\d")


def blocks(text: str) -> list[str]:
    """What blank lines separate; a code block is one block."""
    parts = re.split(r"(^```\w*\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return [
        block for part in parts for block in ([part] if part.startswith("```") else re.split(r"\n\s*\n", part.strip()))
    ]


def tables(text: str) -> list[tuple[str, str]]:
    """Each table of figures with the paragraph above it, and the code block above or between them."""
    found = blocks(text)
    result = []
    for index, block in enumerate(found):
        if block.startswith("|") and FIGURE.search(block):
            above = found[max(0, index - 2) : index]
            code_is_near = any(part.startswith("```") for part in above)
            result.append((block.splitlines()[0], "\n".join(above if code_is_near else above[-1:])))
    return result


def commands(text: str) -> list[str]:
    """Command lines in code blocks and in backticks; the name of a command alone is none."""
    code = [
        line
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    outside = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", outside)]
    return [line for line in (*code, *inline) if COMMAND.match(line) and not is_name(line)]


def is_name(line: str) -> bool:
    program, *parts = line.split()
    return program == "hpc" and " ".join(parts) in {*COMMANDS, *command_names(), "--help"}


@functools.cache
def built(name: str):
    return build_command(name, lambda invocation: 0)


def missing(line: str) -> str:
    """What of a command line does not exist."""
    parts = shlex.split(line, comments=True)
    if parts[0] == "python":
        return "" if (ROOT / parts[1]).is_file() else parts[1]
    if parts[0] == "torchrun":
        parts = parts[parts.index("humanpose_cli") :]
    name = command_in(parts[1:3])
    try:
        built(name).make_context(name, parts[1 + len(name.split()) :])
    except Exception as error:
        return f"{line}: {error}"
    return ""


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.name)
def test_every_table_has_a_date_and_the_command_that_makes_it(note: Path):
    found = tables(note.read_text("utf-8"))
    assert found
    assert [head for head, context in found if not WHEN.search(context)] == []
    assert [head for head, context in found if not (commands(context) or GONE.search(context))] == []


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.name)
def test_commands_of_the_notes_exist(note: Path):
    assert [wrong for line in commands(note.read_text("utf-8")) if (wrong := missing(line))] == []


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.name)
def test_notes_name_modules_that_exist(note: Path):
    names = re.findall(r"`(\w+(?:/\w+)+\.py)`", note.read_text("utf-8"))
    assert [
        name for name in names if not any((folder / name).is_file() for folder in (ROOT, ROOT / "humanpose_cli"))
    ] == []


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.name)
def test_notes_have_results_first_then_the_method_then_limits(note: Path):
    sections = re.findall(r"^## (.+)$", note.read_text("utf-8"), re.MULTILINE)
    assert sections[0] == "Results"
    assert sections[-1] == "Limits"
    assert "Method" in sections


@pytest.mark.parametrize("note", [*NOTES, FOLDER / "index.md"], ids=lambda note: note.name)
def test_tables_and_lists_follow_an_empty_line(note: Path):
    """The site's Markdown takes them for text otherwise."""
    lines = ["", *note.read_text("utf-8").splitlines()]
    started = [
        after
        for before, after in pairwise(lines)
        for marker in ("|", "- ")
        if after.startswith(marker) and before and not before.startswith((marker, "  ", "#"))
    ]
    assert started == []


def test_the_index_names_every_note():
    index = (FOLDER / "index.md").read_text("utf-8")
    assert [note.name for note in NOTES if f"]({note.name}" not in index] == []
