"""Figures of speed and accuracy on pages come from the benchmarks' results, at marks (benchmarks/figures.py)."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from helpers.python_sources import ROOT

NOTES = ROOT / "docs" / "research"
# Pages that state figures of today. Notes are dated experiments.
TODAYS = [
    ROOT / "README.md",
    ROOT / "docs" / "index.md",
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
    NOTES / "figures.md",
]
ANY_MARK = re.compile(r"<!-- /?figures?\b.*?-->")
WHEN = re.compile(r"\b20\d\d-\d\d-\d\d\b|\bcommit [0-9a-f]{8}\b")
NOTE = re.compile(r"\]\([\w./-]*research/\w[\w-]*\.md|\]\((?:repose|warp3d|nbf)\.md")
NUMBER = r"(?<![\w.,:×])\d[\d.,]*"
QUANTITY = re.compile(rf"(?<!at )(?:{NUMBER} ?(?:frames/s|images/s|mm)|{NUMBER} ?s an? (?:frame|photograph|image))\b")
COSTS = re.compile(rf"{NUMBER} ?(?:frames/s|images/s|mm|m?s)\b")


@pytest.fixture(scope="module")
def benchmarks():
    """run.py, its results, and the pages with figures."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import figures
        import run

        yield figures, run.read_results(run.FOLDER / "results"), run.pages()
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in ("run", "figures"):
            sys.modules.pop(name, None)


def test_figures_of_all_pages_are_those_of_the_results(benchmarks):
    """`python benchmarks/run.py --pages` writes them."""
    figures, results, pages = benchmarks
    texts = {path: path.read_text("utf-8") for path in pages}
    assert [path.name for path, text in texts.items() if figures.filled(text, results) != text] == []
    written = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    assert written == figures.page(results)


def test_a_figure_has_one_value_on_all_pages(benchmarks):
    """Also one that was not measured yet, which keeps what it had."""
    figures, _, pages = benchmarks
    found = defaultdict(set)
    for path in pages:
        for _, name, value, _ in figures.MARK.findall(path.read_text("utf-8")):
            found[name].add(value)
    assert {name: values for name, values in found.items() if len(values) > 1} == {}
    assert {name for name in found if name != "machine" and not figures.named(name.partition(".")[0])} == set()
    assert {"accuracy", "real-video", "video"} <= set(found)


def test_marks_are_complete_and_begin_no_line(benchmarks):
    """A comment at the beginning of a line is a block of its own on GitHub, and what follows is no Markdown."""
    figures, _, pages = benchmarks
    for path in pages:
        text = path.read_text("utf-8")
        rest = figures.TABLE.sub("", figures.MARK.sub("", text))
        assert ANY_MARK.findall(rest) == [], path.name
        assert re.findall(r"^[\s>*+\-\d.]*<!-- figure: .*$", text, re.MULTILINE) == [], path.name


def by_hand(text: str, quantities: re.Pattern[str], table: re.Pattern[str], mark: re.Pattern[str]) -> list[str]:
    """Quantities outside of marks and code, in paragraphs without a date and rows that name no note."""
    text = re.sub(r"^```.*?^```$", "", table.sub("", text), flags=re.MULTILINE | re.DOTALL)
    found, above = [], ""
    for block in re.split(r"\n\s*\n", text):
        dated = WHEN.search(block) or (block.startswith("|") and WHEN.search(above))
        rows = [line for line in block.splitlines() if not (line.startswith("|") and NOTE.search(line))]
        plain = re.sub(r"`[^`]*`", "", mark.sub("", "\n".join(rows)))
        found += [] if dated else quantities.findall(plain)
        above = block
    return found


@pytest.mark.parametrize("path", TODAYS, ids=lambda path: path.name)
def test_no_page_states_speed_or_accuracy_by_hand(benchmarks, path: Path):
    """Use a mark, or say when it was measured, with what and on what."""
    figures, *_ = benchmarks
    text = path.read_text("utf-8")
    assert by_hand(text, QUANTITY, figures.TABLE, figures.MARK) == []
    cost = text.partition("\n## Cost\n")[2].partition("\n## ")[0]
    assert by_hand(cost, COSTS, figures.TABLE, figures.MARK) == []
