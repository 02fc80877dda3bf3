"""Results of hpc are replaced, but no file that a user has made or changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from humanpose_cli.batch.batch import Batch
from humanpose_cli.batch.items import Item
from humanpose_cli.batch.runner import Outcome, run_items
from humanpose_cli.core.errors import ExitCode
from humanpose_cli.core.result import CommandResult, Status
from humanpose_cli.outputs.atomic import write_text


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
    options = {"command": "view", "options": {"text": text}, **fields}
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
    for text in ("second", "first"):  # with other options, and with the same
        result = run(out, text, known=known)
        assert (result.exit_code, problem in str(result.items[0].error)) == (ExitCode.USAGE, True)
        assert "`overwrite` replaces it" in str(result.items[0].error)
    assert (out / name).read_bytes() == before


def test_a_users_file_of_one_item_stops_no_other(out):
    (out / "page.html").write_text("mine")
    assert run(out, "first").exit_code is ExitCode.USAGE
    assert os.listdir(out) == ["page.html"]  # where nothing is done, nothing is recorded
    items = [Item(name, (out.parent / "fit",), outputs=(out / f"{name}.html",)) for name in ("page", "other")]

    def worker(item: Item) -> Outcome:
        write_text(item.outputs[0], "made")
        return Outcome(item.outputs)

    result = run_items(items, worker, Batch("view", out))
    assert [item.status for item in result.items] == [Status.ERROR, Status.SUCCESS]
    assert (out / "page.html").read_text() == "mine"


def test_results_of_another_command_are_replaced(out):
    run(out, "first", command="refine")
    assert run(out, "second").exit_code == 0
    assert texts(out) == ["second", "second"]


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
    assert run(out, "third", known=known).exit_code == 0
    assert texts(out) == ["third", "third"]
