"""What goes to stdout."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from humanpose_cli.cli import render
from humanpose_cli.cli.render import json_text, json_values, result_text
from humanpose_cli.cli.session import ResultColumn
from humanpose_cli.core.errors import InputError
from humanpose_cli.core.result import CommandResult, ItemResult, ResultTable, Status


@dataclass(frozen=True)
class Point:
    x: float


def test_everything_becomes_json():
    value = {
        "nan": float("nan"),
        "inf": np.float32("inf"),
        "array": np.array([[1, 2], [3, 4]], np.int32),
        "nan array": np.array([1.5, np.nan]),
        "scalar": np.float64(0.5),
        "bool": np.bool_(True),
        "path": Path("a/b"),
        "tuple": (1, None),
        "status": Status.PARTIAL,
        "point": Point(2.0),
        3: True,
    }
    assert json_values(value) == {
        "nan": None,
        "inf": None,
        "array": [[1, 2], [3, 4]],
        "nan array": [1.5, None],
        "scalar": 0.5,
        "bool": True,
        "path": "a/b",
        "tuple": [1, None],
        "status": "partial",
        "point": {"x": 2.0},
        "3": True,
    }
    json.dumps(json_values(value), allow_nan=False)


def test_json_is_one_line():
    text = json_text(CommandResult("fit", Status.SUCCESS, (ItemResult("a\nb.jpg", Status.SUCCESS),)))
    assert "\n" not in text
    assert json.loads(text)["items"][0]["input"] == "a\nb.jpg"


def table(items: tuple[ItemResult, ...], columns: tuple[ResultColumn, ...] = (), *, terminal: bool = True) -> str:
    result = CommandResult("fit", Status.SUCCESS, items)
    text = result_text(result, columns, render._LABELS, terminal=terminal)
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_names_are_not_read_as_markup():
    assert "[red]a[/red].jpg" in table((ItemResult("[red]a[/red].jpg", Status.SUCCESS),))


def test_a_long_list_shows_the_first_and_all_that_went_wrong():
    items = [ItemResult(f"{i:04}.jpg", Status.SUCCESS) for i in range(1000)]
    items[700] = ItemResult("bad.jpg", Status.ERROR, error="bad.jpg: is empty")
    items[800] = ItemResult("0800.jpg", Status.SUCCESS, details={"doubtful": "low confidence", "note": "x"})
    columns = (ResultColumn("doubtful", "doubtful", is_counted=True), ResultColumn("note", "note"))
    lines = table(tuple(items), columns).splitlines()
    assert len(lines) < 40
    assert any(line.startswith("bad.jpg") for line in lines)
    assert lines[-2] == "not shown: 979 more that went well; --json and a pipe list all"
    assert lines[-1] == "1000 items: 999 done, 1 failed, 1 doubtful"
    assert not any(line.startswith("not shown") for line in table(tuple(items[:30]), columns).splitlines())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_column_that_an_option_asks_for_is_there_where_an_item_has_it(terminal):
    columns = (ResultColumn("people", "people"), ResultColumn("accepted", "accepted", on_request=True))
    plain = ItemResult("a.jpg", Status.SUCCESS, details={"people": 1})
    refined = ItemResult("b.jpg", Status.SUCCESS, details={"people": 1, "accepted": 0.5})
    one = table((plain,), columns, terminal=terminal).split()
    assert (one[:3], "accepted" in one) == (["input", "status", "people"], False)
    both = table((plain, refined), columns, terminal=terminal).split()
    assert (both[:4], "0.5" in both) == (["input", "status", "people", "accepted"], True)


@pytest.mark.parametrize(("width", "headings"), [(200, 5), (60, 3), (40, 3)])
def test_values_stand_below_headings_where_there_is_room_and_behind_them_elsewhere(monkeypatch, width, headings):
    monkeypatch.setenv("COLUMNS", str(width))
    columns = (ResultColumn("about", "what"), ResultColumn("mb", "MB"), ResultColumn("held", "held out"))
    columns += (ResultColumn("use", "in use", piped=True),)
    details = {"about": "body parts to shape, pose and how sure they are", "mb": 3.93, "use": "everywhere"}
    item = ItemResult("imagenet-resnet101", Status.SUCCESS, details=details)
    lines = table((item,), columns).splitlines()
    assert len(re.split(r" {3,}", lines[0].rstrip())) == headings
    assert max(map(len, lines)) <= width
    assert all(word in " ".join(lines) for word in ("imagenet", "shape,", "3.93"))
    assert table((item,), columns, terminal=False).splitlines()[1].split("\t")[5] == "everywhere"


def test_results_are_named_completely_in_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"picture number {number}.jpg.fit.npz" for number in ("one", "two")]
    folder = "hpc-out/fit/a long folder name/another one"
    item = ItemResult("picture.jpg", Status.SUCCESS, tuple(f"{folder}/{name}" for name in names), 3.0)
    assert table((item,)).splitlines()[-3:] == [f"results in {folder}:", *(f"  {name}" for name in names)]


def test_cells_and_results_are_relative_and_the_folder_of_results_is_named_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = ItemResult("/data/photos/a.jpg", Status.SUCCESS, ("/data/fits/a.npz", "/data/fits/b/a.jpg"), name="a.jpg")
    text = table((done,))
    assert text.count("/data") == 1
    assert text.splitlines()[2].startswith("a.jpg ")
    assert text.splitlines()[-3:] == ["results in /data/fits:", "  a.npz", "  b/a.jpg"]
    assert "/data/photos/a.jpg" in table((done,), terminal=False)  # of programs, which need the paths
    assert table((replace(done, outputs=("x/a.npz",)),) * 2).splitlines()[-1] == "result: x/a.npz"


def test_a_pipe_gets_every_item_on_one_line_of_tabs():
    items = tuple(ItemResult(f"{i}\t{i}.jpg", Status.SUCCESS, ("a", "b"), 0.25) for i in range(99))
    lines = table(items, terminal=False).splitlines()
    assert lines[0].split("\t") == ["input", "status", "seconds", "outputs"]
    assert len(lines) == 100
    assert lines[-1].split("\t") == [r"98\t98.jpg", "done", "0.2", "a b"]


def test_a_cell_and_an_error_are_cut_in_their_middle():
    long = f"begin{'x' * 10_000}end"
    cut = f"begin{'x' * 95} … {'x' * 194}end"
    columns = (ResultColumn("gender", "gender"),)
    item = ItemResult("a", Status.SUCCESS, details={"gender": long})
    assert table((item,), columns, terminal=False).splitlines()[1].split("\t")[2] == cut
    assert str(InputError("a", "is wrong", got=long, remedy="mend it")) == f"a: is wrong, found {cut}; mend it"
    whole = "x" * 300
    assert str(InputError("a", "is wrong", got=whole)) == f"a: is wrong, found {whole}"


def test_a_pipe_gets_other_tables_as_tabs_too():
    other = ResultTable("how far", ("what", "mm"), (("ours", "71"), ("a b", "80")), ("n 100",))
    result = CommandResult("evaluate", Status.SUCCESS, (ItemResult("a", Status.SUCCESS),), tables=(other,))
    text = result_text(result, (), render._LABELS, terminal=False)
    assert text.startswith("# how far\nwhat\tmm\nours\t71\na b\t80\n# n 100\n\ninput\t")


def test_many_files_are_named_by_their_folder():
    items = tuple(ItemResult(f"{i}", Status.SUCCESS, (f"out/a/{i}.npz", f"out/a/{i}.jpg")) for i in range(9))
    assert table(items).splitlines()[-1] == "results: 18 files in out/a"


def test_details_are_shown_as_text():
    details = {"people": 3, "error": 0.123456, "ok": True, "ids": [1, 2], "none": None}
    columns = tuple(ResultColumn(key, key) for key in details)
    row = table((ItemResult("a", Status.SUCCESS, details=details),), columns, terminal=False).splitlines()[1]
    assert row.split("\t") == ["a", "done", "3", "0.123", "yes", "1, 2", "", "0.0", ""]
