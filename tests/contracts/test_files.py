"""What holds for every tracked file: sizes, no machine's paths."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from helpers.python_sources import ROOT, git_files

sys.path.insert(0, str(ROOT / "tools"))
from house import code_lines, prose_length

MAX_LINES, MAX_BYTES = 480, 88 * 2**20
# Folders that exist on some machine only, and home folders by name.
MACHINE_PATH = re.compile(r"(?<![\w.~/])/(?:work|root|home/\w+|Users/\w+|mnt/\w+|scratch)/|[A-Z]:\\Users\\")


@cache
def texts() -> list[tuple[Path, str]]:
    """Tracked text files with their contents."""
    found = []
    for path in git_files():
        data = path.read_bytes()
        if b"\0" not in data[:8000]:
            found.append((path.relative_to(ROOT), data.decode("utf-8")))
    return found


def python_files() -> list[tuple[Path, str]]:
    return [(path, text) for path, text in texts() if path.suffix == ".py"]


@pytest.mark.slow
def test_no_file_names_a_machines_folders():
    here = Path(__file__).name
    lines = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts()
        if path.name != here
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert lines == []


def test_files_have_one_subject():
    """Docstrings, comments and blank lines do not count: an explanation is no reason to split a file."""
    long = [(path, text) for path, text in python_files() if text.count("\n") > MAX_LINES]
    sizes = {path: code_lines(text, ast.parse(text)) for path, text in long}
    assert {str(path): size for path, size in sizes.items() if size > MAX_LINES} == {}


def test_words_of_the_documents_are_those_that_people_wrote(tmp_path):
    (tmp_path / "commands.md").write_text("made from the commands")
    page = tmp_path / "page.md"
    tables = "<!-- figures: video -->\n| 1 |\n<!-- /figures -->\n\n| `--format` | files |\n|---|---|\n| `glb` | all |\n"
    page.write_text(f"one <!-- journey: `a`: slow -->two\n\n{tables}\nthree\n")
    assert prose_length(tmp_path.iterdir()) == 3


# Shipped files, those of the machine, and iterators of frames.
UNBOUNDED = re.compile(r"DATA|KEY_POSE|__file__|/proc/|/sys/|frames|journal|markers.c3d|header|distribution|response")


def test_files_from_outside_are_read_by_the_functions_that_bound_them():
    """`files.sniffing.read_bytes` refuses pipes and sizes, `files.text_files.read_text` decodes marked texts."""
    found = []
    for path, text in python_files():
        if path.parts[0] != "humanpose_cli" or path.parts[1] == "engine":
            continue
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", "")
            is_read = name in ("read_bytes", "read_text") or (name == "read" and not call.args)
            if is_read and isinstance(call.func, ast.Attribute) and not UNBOUNDED.search(ast.unparse(call)):
                found.append(f"{path}: {ast.unparse(call)}")
    members = ["humanpose_cli/files/npz_files.py: file.read()"] * 2  # of archives, whose sizes are budgeted
    assert found == [*members, "humanpose_cli/files/sniffing.py: file.read()"]


def test_the_repository_stays_small():
    assert sum(path.stat().st_size for path in git_files()) <= MAX_BYTES
