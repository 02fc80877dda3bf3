"""Numbers and tables of evaluations: known answers and scipy as the oracle."""

import json

import numpy as np

from humanpose_cli.lab.evaluate.bodies import matched
from humanpose_cli.lab.evaluate.intervals import summarise
from humanpose_cli.lab.evaluate.report import Report, Table, quartiles, write_report


def test_quartiles_are_in_order_and_leave_nobody_out():
    errors = np.array([5.0, 1, np.nan, 3, 2, 4, 0, 6, 7])
    parts = quartiles(errors)
    assert [errors[part].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_boxes_are_matched_once_each_the_best_first():
    true = [np.array([0, 0, 10, 10.0]), np.array([20, 0, 30, 10.0])]
    found = [np.array([21, 0, 31, 10.0]), np.array([1, 0, 11, 10.0]), np.array([0, 0, 10, 9.0])]
    assert sorted(matched(true, found, (40, 40))) == [(0, 2), (1, 0)]
    assert matched(true, [], (9, 9)) == matched([], found, (9, 9)) == []
    assert matched([true[0]], [np.array([8, 8, 18, 18.0])], (40, 40)) == []  # hardly touching


def test_a_report_says_the_same_to_people_and_programs(tmp_path):
    table = Table("t", "A table", ("name", "value"), [["a", 1.25], ["b", None], ["c", float("nan")]], notes=["so"])
    image = np.zeros((4, 4, 3), np.uint8)
    report = Report("Title", {"data": "x"}, {"m": summarise([1.0, 3.0])}, [table], {"p.png": (image, "black")})
    written = write_report(report, tmp_path / "out")
    assert [path.name for path in written] == ["report.md", "report.json", "p.png"]
    text = written[0].read_text()
    for part in (
        "# Title",
        "- data: x",
        "## A table",
        "| a | 1.2 |",
        "| b | – |",
        "| c | – |",
        "so",
        "![black](p.png)",
    ):
        assert part in text
    document = json.loads(written[1].read_text())
    assert document["metrics"]["m"]["value"] == 2
    assert document["tables"][0]["rows"] == [["a", 1.25], ["b", None], ["c", None]]
