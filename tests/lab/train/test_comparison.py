"""Curves of several trainings in one picture."""

from __future__ import annotations

from helpers.errors import raises

from humanpose_cli.core.errors import InputError
from humanpose_cli.io.images import read_image
from humanpose_cli.lab.train.comparison import compare_runs, read_run, write_comparison
from humanpose_cli.lab.train.history import TrainingHistory, pixels_of


def a_run(folder, **metrics):
    folder.mkdir()
    history = TrainingHistory(folder / "metrics.jsonl")
    for step in (1, 2):
        history.add("train", step, 0, {"loss": 3.0 / step})
        history.add("validation", step, 0, {name: value * step for name, value in metrics.items()})
    return folder


def test_each_number_has_a_panel_with_the_curves_of_the_runs_that_have_it(tmp_path):
    runs = a_run(tmp_path / "$a", iou=0.3), a_run(tmp_path / "b", iou=0.4, error_mm=9.0)
    columns, rows = write_comparison(runs, tmp_path / "out" / "curves.png")
    assert columns == ("run", "steps", "iou", "error_mm")
    assert rows == [(str(runs[0]), "2", "0.6", "–"), (str(runs[1]), "2", "0.8", "18")]
    figure = compare_runs({run.name: read_run(run) for run in runs})
    drawn = {
        panel.get_title(): {line.get_label(): [*line.get_ydata()] for line in panel.lines}
        for panel in figure.axes
        if panel.axison
    }
    assert drawn == {
        "loss, training data": {"$a": [3.0, 1.5], "b": [3.0, 1.5]},
        "iou, held-out data": {"$a": [0.3, 0.6], "b": [0.4, 0.8]},
        "error, held-out data": {"b": [9.0, 18.0]},
    }
    assert (read_image(tmp_path / "out" / "curves.png").pixels == pixels_of(figure)).mean() > 0.8


def test_a_folder_without_curves_is_refused(tmp_path):
    with raises(InputError, subject="nothing", problem="has no curves"):
        read_run(tmp_path / "nothing")
