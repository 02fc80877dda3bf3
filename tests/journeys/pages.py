"""The `hpc` lines of a page as a reader finds them, and what the page prints about their results.

Comments between a block and the one before it say which of its lines are typed otherwise, or not at all, and why:

    <!-- journey: `--count 20000` → `--count 200`: an hour of rendering -->
    <!-- journey: `--cluster slurm`: needs a cluster with Slurm -->

The text in backticks chooses the lines that contain it. `: needs NAME` with the name of a program types the line if
the program is installed.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from helpers.python_sources import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- journey: `(.*?)`(?: → `(.*?)`)?: (.*?) -->", re.DOTALL)
COMMAND = re.compile(r"(?:^|[|&;] *|^!|^parallel )(hpc [^|&;#]*)")
FILE_NAME = r"[\w.*/-]+\.[a-z0-9]+"


@dataclass(frozen=True)
class Line:
    """A line of a block that runs `hpc`.

    Attributes:
        text: The line on the page, joined where it is continued.
        typed: The line as it is typed; "" if it is not.
        reason: Why it is typed otherwise, or not at all; "" without a mark.
    """

    text: str
    typed: str
    reason: str = ""

    @property
    def command(self) -> str:
        """The name of the command, such as `evaluate fit`."""
        found = COMMAND.search(self.text)
        assert found is not None
        words = found[1].split()[1:]
        return " ".join(words[:2]) if words[0] in ("evaluate", "cache", "weights") and words[1].isalpha() else words[0]


@dataclass(frozen=True)
class Block:
    """The lines of a block with what its section says about them.

    Attributes:
        lines: The lines.
        columns: The heads of the table that the page prints below the block; empty without one.
        outputs: Files that the page names, relative to the reader's folder; `*` stands for any characters.
    """

    lines: tuple[Line, ...]
    columns: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass
class Page:
    """The blocks of a page with `hpc` lines, the messages that it explains, and marks that choose no line."""

    name: str
    blocks: list[Block] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    stray_marks: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[Line]:
        return [line for block in self.blocks for line in block.lines]


def read_page(path: Path) -> Page:
    """Read a page."""
    text = path.read_text("utf-8")
    page = Page(path.stem, messages=messages(text))
    end = 0
    for found in BLOCK.finditer(text):
        marks = MARK.findall(text, end, found.start())
        end = found.end()
        lines = [marked(line, marks) for line in commands(found["kind"], found["body"])]
        page.stray_marks += [mark for mark, *_ in marks if not any(mark in line.text for line in lines)]
        if lines:
            below = text[found.end() :]
            section = re.split(r"^## |^```(?:bash|python)$", below, maxsplit=1, flags=re.MULTILINE)[0]
            page.blocks.append(Block(tuple(lines), columns(below), tuple(named_outputs(section, lines))))
    return page


def commands(kind: str, body: str) -> list[str]:
    """List the lines of a block of Bash, or of a notebook, that run `hpc`."""
    if kind not in ("bash", "python"):
        return []
    lines = re.sub(r"\\\n\s*", "", body).splitlines()
    if kind == "python":
        lines = [line[1:] for line in lines if line.startswith("!")]
    return [line for line in lines if COMMAND.search(line)]


def marked(text: str, marks: list[tuple[str, str, str]]) -> Line:
    """Return a line with its marks applied."""
    typed, reasons = text, []
    for chosen, replacement, reason in marks:
        if chosen not in text:
            continue
        program = re.fullmatch(r"needs (\w+)", reason)
        if program and shutil.which(program[1]):
            continue
        typed = typed.replace(chosen, replacement) if replacement else ""
        reasons.append(" ".join(reason.split()))
    return Line(text, typed, "; ".join(dict.fromkeys(reasons)))


def printed(below: str) -> str:
    """Return the block without a language that directly follows a block, else ""."""
    found = re.match(r"\s*```\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def columns(below: str) -> tuple[str, ...]:
    """Return the heads of a printed table: words that two spaces separate."""
    head = printed(below).partition("\n")[0]
    return tuple(re.split(r"\s{2,}", head.strip())) if re.search(r"\S\s{2,}\S", head) else ()


def named_outputs(section: str, lines: list[Line]) -> list[str]:
    """List the files that a section says its lines write.

    These are the names below `results in FOLDER:`, list items that begin with the name of a file, and names in
    backticks inside of `hpc-out` or a folder of `--out`. Items that name an option describe another line.
    """
    names = []
    listing = re.search(r"^results in (\S+):\n((?:  \S+\n)+)", printed(section), re.MULTILINE)
    if listing:
        names += [f"{listing[1]}/{name}" for name in listing[2].split() if name != "…"]
    folders = {"hpc-out", *(word for line in lines for word in re.findall(r"(?:--out|-o) (\S+)", line.text))}
    prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    for item in re.findall(rf"^- (`{FILE_NAME}`(?: and `{FILE_NAME}`)*)", prose, re.MULTILINE):
        names += [f"*{name}" for name in re.findall(r"`(.*?)`", item)]
    names += [name for name in re.findall(r"`([a-z0-9_.*/-]+/[a-z0-9_.*-]+)`", prose) if name.split("/")[0] in folders]
    return list(dict.fromkeys(names))


def messages(text: str) -> list[str]:
    """List the parts of messages that a page explains: code in the first column of tables, or quoted in the text."""
    parts = []
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        for code in re.findall(r"`([^`]+)`", row):
            parts += [part.strip() for part in code.split("…") if len(part.strip()) >= 8]
    return parts
