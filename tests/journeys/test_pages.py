"""Every `hpc` line of the README and the guides, typed as it stands there; see CONTRIBUTING.md, Journeys."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest
from helpers.extensive import extensive
from journeys import reproduction
from journeys.journey import Journey
from journeys.pages import PAGES, Block, Page, read_page

from humanpose_cli.cli.table import COMMANDS

ALL = [page for page in map(read_page, PAGES) if page.blocks]
AT_EACH_CHANGE = ("README", "fit", "video", "repose", "training")
pytestmark = pytest.mark.posix("pages have lines of Bash")


def other_commands() -> dict[str, tuple[Page, list[Block]]]:
    """Each command that those pages do not have, with the first block that has it, up to its line.

    The page of the command's name comes first: lines of other pages may need earlier blocks.
    """
    covered = {line.command.split()[0] for page in ALL if page.name in AT_EACH_CHANGE for line in page.lines}
    found = {}
    for name in sorted(set(COMMANDS) - covered):
        for page in sorted(ALL, key=lambda page: page.name != name):
            for block in page.blocks:
                lines = [line for line in block.lines if line.typed and line.command.split()[0] == name]
                if lines and name not in found:
                    before = tuple(takewhile(lambda line, last=lines[0]: line is not last, block.lines))
                    found[name] = (page, [Block((*before, lines[0]))])
    return found


@pytest.fixture
def travel(
    tmp_path: Path, shared_folder: Path, record_property: Callable[[str, object], None]
) -> Callable[..., Journey]:
    """Type a page in the test's folder; its lines are listed at the end of the tests."""

    def go(page: Page, blocks: list[Block] | None = None) -> Journey:
        journey = Journey(page.name, shared_folder / "prepared")
        record_property("journey", {"typed": journey.typed, "changed": journey.changed})
        if page.name in reproduction.TREES:
            programs = reproduction.build(page.name, tmp_path)
            journey.go(page, tmp_path, blocks, reproduction.smaller, programs)
        else:
            journey.go(page, tmp_path, blocks)
        return journey

    return go


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page if page.name in AT_EACH_CHANGE else extensive(page)[0] for page in ALL],
    ids=lambda page: page.name,
)
def test_the_lines_of_a_page_do_what_it_says(page: Page, tmp_path: Path, travel: Callable[..., Journey]) -> None:
    journey = travel(page)
    for folder, title in reproduction.TABLES.get(page.name, {}).items():
        if title not in reproduction.titles(tmp_path / folder):
            journey.problems.append(f"{folder}: the report has no table “{title}”")
    assert not journey.problems, "\n" + "\n".join(journey.problems)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "found"), other_commands().items(), ids=other_commands())
def test_a_line_of_each_other_command(
    name: str, found: tuple[Page, list[Block]], travel: Callable[..., Journey]
) -> None:
    journey = travel(*found)
    assert not journey.problems, "\n" + "\n".join(journey.problems)


def test_every_line_is_typed_or_has_a_reason() -> None:
    assert [line.text for page in ALL for line in page.lines if not line.typed and not line.reason] == []
    assert [(page.name, mark) for page in ALL for mark in page.stray_marks] == []
    assert sum(len(page.lines) for page in ALL) > 130
    assert sum(bool(block.columns and block.outputs) for page in ALL for block in page.blocks) > 3
