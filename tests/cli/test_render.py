"""What goes to stdout."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from humanpose_cli.cli import render
from humanpose_cli.cli.render import json_text, json_values
from humanpose_cli.core.result import CommandResult, ItemResult, Status


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


def table(items: tuple[ItemResult, ...], **options: object) -> str:
    values = {"columns": (), "words": render._WORDS, "terminal": False, **options}
    return render._table_text(CommandResult("fit", Status.SUCCESS, items), **values)


def test_names_are_not_read_as_markup():
    assert "[red]a[/red].jpg" in table((ItemResult("[red]a[/red].jpg", Status.SUCCESS),))


def test_a_long_list_shows_the_first_and_all_that_went_wrong():
    items = [ItemResult(f"{i:04}.jpg", Status.SUCCESS) for i in range(1000)]
    items[700] = ItemResult("bad.jpg", Status.ERROR, error="bad.jpg: is empty")
    lines = table(tuple(items)).splitlines()
    assert len(lines) < 40
    assert any(line.startswith("bad.jpg") for line in lines)
    assert lines[-1] == "1000 items: 999 done, 1 failed"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminals_table_fits_into_it(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    outputs = ("hpc-out/fit/a long folder name/another one/picture number one.jpg.fit.npz",) * 2
    item = ItemResult("a long folder name/another one/picture.jpg", Status.SUCCESS, outputs, 3.0)
    text = re.sub(r"\x1b\[[\d;]*m", "", table((item,), terminal=True))
    lines = text.splitlines()
    assert lines[-2:] == [f"result: {output}" for output in outputs]  # whole, to be copied
    assert max(map(len, lines[:-2])) <= width


def test_many_files_are_named_by_their_folder(monkeypatch):
    items = tuple(ItemResult(f"{i}", Status.SUCCESS, (f"out/a/{i}.npz", f"out/a/{i}.jpg")) for i in range(9))
    assert table(items, terminal=True).splitlines()[-1].endswith("results: 18 files in out/a")


def test_details_are_shown_in_words():
    details = {"people": 3, "error": 0.123456, "ok": True, "ids": [1, 2], "none": None}
    columns = tuple((key, key) for key in details)
    row = table((ItemResult("a", Status.SUCCESS, details=details),), columns=columns).splitlines()[1]
    assert row.split() == ["a", "done", "3", "0.123", "yes", "1,", "2"]
