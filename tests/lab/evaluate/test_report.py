"""Numbers and tables of evaluations: known answers and scipy as the oracle."""

import json

import numpy as np

from humanpose_cli.lab.evaluate.bodies import match_boxes
from humanpose_cli.lab.evaluate.intervals import Clusters, summarise
from humanpose_cli.lab.evaluate.report import Report, Table, figures_table, quartiles, write_report


def test_quartiles_are_in_order_and_leave_no_person_out():
    errors = np.array([5.0, 1, np.nan, 3, 2, 4, 0, 6, 7])
    parts = quartiles(errors)
    assert [errors[part].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_boxes_are_matched_once_each_the_best_first():
    true = [np.array([0, 0, 10, 10.0]), np.array([20, 0, 30, 10.0])]
    found = [np.array([21, 0, 31, 10.0]), np.array([1, 0, 11, 10.0]), np.array([0, 0, 10, 9.0])]
    assert sorted(match_boxes(true, found, (40, 40))) == [(0, 2), (1, 0)]
    assert match_boxes(true, [], (9, 9)) == match_boxes([], found, (9, 9)) == []
    assert match_boxes([true[0]], [np.array([8, 8, 18, 18.0])], (40, 40)) == []  # hardly touching


def test_a_report_has_the_same_values_for_people_and_programs(tmp_path):
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


def test_small_test_sets_and_weights_that_know_the_data_are_named_first(tmp_path):
    """Of metrics and of tables, once for each unit: an ablation has tables alone."""
    few = {("a", "error"): summarise(np.arange(12.0), Clusters("people", np.arange(12) // 2))}
    many = {("a", "error"): summarise(np.arange(12.0), Clusters.single("clips", 12))}
    report = Report("R", {"caution": "the weights learned from all"}, tables=[figures_table(few), figures_table(many)])
    assert report.cautions == ["6 different people: these figures mean little", "the weights learned from all"]
    text = write_report(report, tmp_path)[0].read_text()
    assert "**6 different people: these figures mean little.**\n\n**The weights learned from all.**" in text
    assert text.index("mean little") < text.index("## Every figure")
    assert json.loads((tmp_path / "report.json").read_text())["cautions"] == report.cautions
    assert Report("R", {}, {"m": few["a", "error"]}).cautions == ["6 different people: these figures mean little"]
    assert Report("R", {}, {"m": many["a", "error"], "n": summarise([np.nan])}).cautions == []


def test_a_report_states_what_its_numbers_of_people_count(tmp_path):
    """Of 12 values of six people, in images of which each shows one or two."""
    few = {("a", "error"): summarise(np.arange(12.0), Clusters("people", np.arange(12) // 2))}
    text = write_report(Report("R", {"people": 12}, tables=[figures_table(few)]), tmp_path)[0].read_text()
    assert "- people: 12, each counted in every image\n" in text
    assert "**6 different people: these figures mean little.**" in text
    assert "\nn counts each value, intervals are over 6 different people: too few for a reliable interval.\n" in text
    assert json.loads((tmp_path / "report.json").read_text())["facts"] == {"people": 12}


def test_a_long_table_stands_in_the_values_alone(tmp_path):
    table = Table("t", "Every figure", ("row",), [[f"row {i}"] for i in range(256)], notes=["over people"])
    readable, values = write_report(Report("R", {}, tables=[table]), tmp_path)
    text = readable.read_text()
    assert "## Every figure" in text
    assert "256" in text
    assert "over people" in text
    assert "row 7" not in text
    assert len(json.loads(values.read_text())["tables"][0]["rows"]) == 256
