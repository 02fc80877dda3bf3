"""Pages and exports replace what the same command wrote, and no file that a user has made or changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.errors import raises

from humanpose_cli.batch.items import Item
from humanpose_cli.batch.ledger import read_history
from humanpose_cli.batch.resuming import Batch
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.errors import ExitCode, UsageError
from humanpose_cli.core.result import CommandResult, Status
from humanpose_cli.io.atomic import write_text


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "fit").write_text("fit")
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def run(out: Path, text: str, name: str = "page", known: bool = True, **fields) -> CommandResult:
    """Write a page and a further file, whose names are known beforehand or not."""
    files = (out / f"{name}.html", out / "more" / f"{name}.txt")

    def worker(item: Item) -> Outcome:
        for file in (*files, files[0]):  # one of them twice
            write_text(file, text)
        return Outcome(files)

    item = Item(name, (out.parent / "fit",), outputs=files if known else ())
    options = {"command": "view", "options": {"text": text}, "derived": True, **fields}
    return run_items([item], worker, Batch(out=out, **options))


def texts(out: Path) -> list[str]:
    return [(out / name).read_text() for name in ("page.html", "more/page.txt")]


@pytest.mark.parametrize("known", [True, False])
def test_its_own_results_are_replaced(out, known):
    for text in ("first", "second", "first"):
        assert run(out, text, known=known).exit_code == 0
        assert texts(out) == [text, text]
    assert run(out, "first").items[0].status is Status.SKIPPED


@pytest.mark.parametrize("known", [True, False])
def test_one_that_was_changed_since_is_not(out, known):
    run(out, "first")
    os.utime(out / "page.html", (1e9, 1e9))  # as a copy
    assert run(out, "other", known=known).exit_code == 0
    (out / "page.html").write_text("mine!")  # of the same size
    refused(out, "page.html", "was changed since", known)
    assert run(out, "second", known=known, overwrite=True).exit_code == 0
    (out / "page.html").write_text("")  # an empty file is nobody's
    assert run(out, "third", known=known).exit_code == 0


def refused(out: Path, name: str, problem: str, known: bool) -> None:
    before = (out / name).read_bytes()
    if known:
        with raises(UsageError, subject=Path(name).name, problem=problem, remedy="`overwrite` replaces it"):
            run(out, "second")
    else:
        result = run(out, "second", known=False)
        assert (result.exit_code, problem in str(result.items[0].error)) == (ExitCode.USAGE, True)
    assert (out / name).read_bytes() == before


def test_nor_another_commands(out):
    run(out, "first", command="refine")
    with raises(UsageError, problem="is what hpc refine made of page", remedy="another `out` keeps both, `overwrite`"):
        run(out, "second")


def test_files_of_a_replaced_result_stay_known(out):
    """Such as those of persons that the last export left out."""
    run(out, "first")
    item = Item("page", (out.parent / "fit",))
    run_items([item], lambda _: Outcome(), Batch("view", out, derived=True))
    assert run(out, "second").exit_code == 0


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_killed_run_goes_on(out, monkeypatch, known, before):
    """It may have replaced files that the ledger does not have."""
    if before:
        run(out, "first", known=known)
    monkeypatch.setattr("humanpose_cli.batch.runner._Run._recorded", lambda *_: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        run(out, "second", known=known)
    monkeypatch.undo()
    assert next(iter(read_history(out).entries.values())).outcome == Status.INTERRUPTED
    assert run(out, "third", known=known).exit_code == 0
    assert texts(out) == ["third", "third"]
