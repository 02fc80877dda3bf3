"""Lines and what pages say about them are read from a page, and everything that a line leaves behind is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from journeys import shell
from journeys.journey import problems
from journeys.pages import Line, read_page
from journeys.shell import Outcome, type_line

PAGE = """
# Page
```bash
hpc fit photo.jpg
```
```
input       status   2-D error (px)
photo.jpg   done     3
results in hpc-out/fit:
  photo.jpg.fit.npz
  …
```
- `photo.jpg.overlay.jpg` is named, `--masks` and a `name.of.no.list` are not; `hpc-out/fit/run.json` is.
- `--masks` writes `photo.jpg.person0.mask.png`.

## More
<!-- journey: `--count 20000` → `--count 20`: hours -->
<!-- journey: `slurm`: needs a cluster -->
<!-- journey: `find`: needs bash -->
<!-- journey: `stray`: no such line -->

```bash
hpc preprocess synthetic --count 20000 \\
    --out people  # a cache
hpc fit people --cluster slurm
find . -name "*.png" | hpc fit -
# hpc fit of a comment, and another program:
pip install hpc
```
```toml
# hpc fit photos
```
| message | cause |
|---|---|
| `already holds the results of … made` | an earlier run |
"""


def test_lines_marks_columns_outputs_and_messages_are_read(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    page = read_page(tmp_path / "page.md")
    first, second = page.blocks
    assert first.lines == (Line("hpc fit photo.jpg", "hpc fit photo.jpg"),)
    assert first.columns == ("input", "status", "2-D error (px)")
    assert first.outputs == ("hpc-out/fit/photo.jpg.fit.npz", "*photo.jpg.overlay.jpg", "hpc-out/fit/run.json")
    assert [(line.command, line.typed, line.reason) for line in second.lines] == [
        ("preprocess", "hpc preprocess synthetic --count 20 --out people  # a cache", "hours"),
        ("fit", "", "needs a cluster"),
        ("fit", 'find . -name "*.png" | hpc fit -', ""),
    ]
    assert page.stray_marks == ["stray"]
    assert page.messages == ["already holds the results of"]


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


@pytest.mark.posix("lines are typed in Bash")
def test_a_line_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "GRACE", 0.0)
    outcome = type_line("sleep 62", tmp_path, 0.3)
    assert isinstance(outcome, Outcome)
    assert [problem.split(" in ")[0] for problem in problems(outcome, [])] == ["does not end"]
