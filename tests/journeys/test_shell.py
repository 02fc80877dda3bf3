"""Everything that a typed line leaves behind is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from journeys import shell
from journeys.journey import problems
from journeys.shell import type_line


@pytest.mark.posix("lines are typed in Bash")
def test_what_a_line_leaves_behind_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "GRACE", 0.2)
    left = "echo in > here; mkdir $TMPDIR/a; sleep 61 &"
    outcome = type_line(f"stty size; {left} echo 'warning: told'; echo 'warning: new'; exit 3", tmp_path, 60)
    assert outcome.screen.splitlines() == ["24 80", "warning: told", "warning: new"]
    assert (tmp_path / "here").read_text() == "in\n"
    assert problems(outcome, ["told"]) == [
        "exit code 3",
        "leaves processes: sleep 61",
        "leaves temporary files: a",
        "a warning that the page does not explain: warning: new",
    ]
    crash = type_line("python -c 'raise ValueError'", tmp_path, 60)
    assert problems(crash, []) == ["exit code 1", "a traceback"]
    assert problems(type_line("true", tmp_path, 60), []) == []
