"""The lines of a page typed one after the other, and what is wrong with what they did."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from helpers.python_sources import ROOT
from journeys.inputs import OF_PAGES, missing_inputs
from journeys.pages import Block, Line, Page, messages
from journeys.shell import Outcome, type_line

LIMIT = 1800.0  # seconds that a line may take on a busy machine
TABLE = re.compile(r"^(\S.*)\n─+$", re.MULTILINE)
WARNING = re.compile(r"^warning: |\b\w*Warning\b: |leaked |^Exception ignored|\[W:onnx", re.MULTILINE)
GUIDES = ROOT / "docs" / "guides"
EXPLAINED_FOR_ALL = messages((GUIDES / "troubleshooting.md").read_text("utf-8"))


@dataclass
class Journey:
    """What a test reports of a page at the end.

    Attributes:
        prepared: A folder for inputs that pages share.
        typed: The lines typed, each with its processor seconds.
        changed: Lines typed otherwise, and lines not typed, each with its reason.
        problems: What is wrong.
    """

    page: str
    prepared: Path
    typed: list[tuple[str, float]] = field(default_factory=list)
    changed: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def go(
        self,
        page: Page,
        folder: Path,
        blocks: Sequence[Block] | None = None,
        smaller: Callable[[str], str] = str,
        bin_folder: Path | None = None,
    ) -> None:
        """Type the lines of a page, or of some of its blocks.

        Args:
            page: The page.
            folder: The reader's folder.
            blocks: The blocks. Default: all.
            smaller: Returns a line with smaller sizes.
            bin_folder: A folder that is searched for programs first.
        """
        outputs: list[str] = []
        for block in page.blocks if blocks is None else blocks:
            outcome = None
            for line in block.lines:
                typed = smaller(line.typed)
                if typed != line.text:
                    self.changed.append((line.text, typed, line.reason or "small networks and few steps"))
                if not typed:
                    continue
                self._make_inputs(page.name, typed, folder)
                outcome = type_line(typed, folder, LIMIT, bin_folder)
                self.add(line, typed, outcome, page)
            if outcome is not None:
                self._check_columns(block, outcome)
                outputs += block.outputs
        if absent := [name for name in dict.fromkeys(outputs) if not any(folder.glob(f"**/{name}"))]:
            self.problems.append(f"the page names files that are not there: {', '.join(absent)}")

    def _make_inputs(self, page: str, line: str, folder: Path) -> None:
        """Make what a line names and the folder lacks; what a command makes for all pages is made once."""
        for name, maker in missing_inputs(page, line, folder):
            if not isinstance(maker, str):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                maker(folder / name)
            elif name in OF_PAGES.get(page, ()):
                self._prepare(page, maker, folder)
            else:
                key = hashlib.sha256(f"{maker} {sorted(OF_PAGES.get(page, ()))}".encode()).hexdigest()[:12]
                ready = self.prepared / key
                if not ready.is_dir():
                    draft = self.prepared / f"{key}.{uuid.uuid4().hex}"
                    draft.mkdir(parents=True)
                    self._prepare(page, maker, draft)
                    with suppress(OSError):  # another process has made it, too
                        draft.rename(ready)
                for path in filter(Path.is_file, ready.rglob("*")):
                    target = folder / path.relative_to(ready)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if not target.exists():
                        shutil.copy2(path, target)

    def _prepare(self, page: str, line: str, folder: Path) -> None:
        """Type a line that makes an input."""
        self._make_inputs(page, line, folder)
        outcome = type_line(line, folder, LIMIT)
        if outcome.code != 0:
            self.problems.append(f"{line} (before the page): exit code {outcome.code}\n{ending(outcome.screen)}")

    def add(self, line: Line, typed: str, outcome: Outcome, page: Page) -> None:
        """Note a line and what is wrong with what it did."""
        self.typed.append((typed, round(outcome.processor_seconds, 1)))
        explained = page.messages + EXPLAINED_FOR_ALL
        if page.name == "README":  # it has no room, and links to the guides
            explained += [part for guide in GUIDES.glob("*.md") for part in messages(guide.read_text("utf-8"))]
        found = problems(outcome, explained)
        if found:
            self.problems.append(f"{line.text}: {'; '.join(found)}\n{ending(outcome.screen)}")

    def _check_columns(self, block: Block, outcome: Outcome) -> None:
        """Compare the table of the page with the last one on the screen, which may be too narrow for all columns.

        Pages may leave out the seconds, which depend on the machine.
        """
        if not block.columns:
            return
        heads = TABLE.findall(outcome.screen)
        shown = set(re.split(r"\s{2,}", heads[-1].strip())) if heads else set()
        if "result" in shown:  # wide rows have their values there, without those that are empty
            screen = " ".join(outcome.screen.split())
            named = {name for name in block.columns if name == "doubtful" or f"{name}:" in screen}
            shown = (shown - {"result"}) | named
        if not shown - {"seconds"} <= set(block.columns) <= shown | {"seconds"}:
            text = block.lines[-1].text
            self.problems.append(f"{text}: the page's table has the columns {block.columns}, the screen {heads[-1:]}")


def problems(outcome: Outcome, explained: Sequence[str]) -> list[str]:
    """List what is wrong with what a line did.

    Args:
        outcome: What it did.
        explained: Parts of the messages that the page explains.
    """
    found = []
    if outcome.code is None:
        found.append(f"does not end in {outcome.seconds:.0f} s")
    elif outcome.code:
        found.append(f"exit code {outcome.code}")
    if outcome.processes:
        found.append(f"leaves processes: {', '.join(outcome.processes)}")
    if outcome.temporary:
        found.append(f"leaves temporary files: {', '.join(outcome.temporary)}")
    if "Traceback (most recent call last)" in outcome.screen:
        found.append("a traceback")
    for warning in WARNING.finditer(outcome.screen):
        text = " ".join(outcome.screen[warning.start() :].partition("\nwarning: ")[0][:400].split())
        if not any(part in text for part in explained):
            found.append(f"a warning that the page does not explain: {text[:160]}")
    return found


def ending(screen: str) -> str:
    """Return the last lines of a screen."""
    return "\n".join(f"    {line}" for line in screen.strip().splitlines()[-12:])
