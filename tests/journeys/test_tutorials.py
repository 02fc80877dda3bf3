"""Every notebook runs, and its `!hpc` lines are typed in a shell; counts are those of `small` in its metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.python_sources import ROOT
from journeys.journey import Journey
from journeys.pages import Line, Page, messages
from journeys.shell import Outcome

from tools.run_tutorials import executed, read, tutorials

pytestmark = pytest.mark.posix("commands are typed in Bash")
TYPE_COMMANDS = f"""
import sys
sys.path[:0] = ["{ROOT}", "{ROOT}/tests"]
from journeys.test_tutorials import type_in_notebook as _typed
get_ipython().system = lambda line: _typed(get_ipython().var_expand(line))
"""
OUTCOMES = "outcomes.jsonl"


def type_in_notebook(line: str) -> None:
    """Type a line in the notebook's folder, show its screen, and add its outcome to a file beside the folder."""
    from journeys.journey import LIMIT
    from journeys.shell import type_line

    outcome = type_line(line, Path.cwd(), LIMIT)
    with (Path.cwd().parent / OUTCOMES).open("a") as file:
        file.write(json.dumps([line, vars(outcome)]) + "\n")
    print(outcome.screen)  # noqa: T201
    if outcome.code:
        raise RuntimeError(f"exit code {outcome.code}: {line}")


@pytest.mark.extensive
@pytest.mark.parametrize("path", tutorials(), ids=lambda path: path.stem)
def test_a_tutorial_runs_and_its_lines_leave_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = read(path)
    text = "\n".join(cell.source for cell in notebook.cells)
    page, journey = Page(path.stem, messages=messages(text)), Journey(path.stem, tmp_path)
    record_property("journey", {"typed": journey.typed, "changed": journey.changed})
    journey.changed.append((f"{path.stem}.ipynb", f"with {notebook.metadata['small']}", "less to wait for"))
    executed(notebook, tmp_path, small=True, first_cell=TYPE_COMMANDS)
    for outcome in (tmp_path / OUTCOMES).read_text("utf-8").splitlines():
        line, values = json.loads(outcome)
        if line.startswith("hpc "):
            journey.add(Line(line, line), line, Outcome(**values), page)
    assert not journey.problems, "\n" + "\n".join(journey.problems)
