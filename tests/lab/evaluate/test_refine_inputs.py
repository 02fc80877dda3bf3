"""The ablation of the displacement network's inputs: which networks are trained, and what the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import UsageError
from humanpose_cli.lab.evaluate import refine_inputs
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.evaluate.people import EvaluationRun, PeopleSelection
from humanpose_cli.lab.evaluate.registry import evaluate_study
from humanpose_cli.lab.evaluate.studies import STUDIES
from humanpose_cli.lab.evaluate.trainings import SharedTraining, Trainings
from humanpose_cli.lab.recipes.refiner.recipe import RefinerTraining
from humanpose_cli.lab.train.recipe import TrainOptions
from humanpose_cli.models.refiner.network import DisplacementOptions


@pytest.mark.slow
def test_every_variant_lacks_one_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained: list[DisplacementOptions] = []
    checked: list[tuple[tuple[str, ...], int]] = []

    def run_all(self: Trainings, trainer: Any) -> dict[str, list[Path]]:
        trained.extend(one.options.network for one in self.planned)
        return {one.name: [tmp_path / "a", tmp_path / "b"] for one in self.planned}

    def errors(
        trainings: Trainings, options: Any, path: Path, batch_size: int
    ) -> tuple[dict[str, np.ndarray], Clusters]:
        error = 3.0 + (path.name == "b") - options.network.texture
        columns = [quantity.figure for quantity in STUDIES["refine inputs"].quantities]
        found = dict.fromkeys(columns, error + np.array([0.0, 0.0, 0.0, 1.0] * 2) - 0.25)
        return found, Clusters.of("rendered people", [*"aabcddef"])

    def check(self: Trainings, plan: Any) -> None:
        checked.extend((one.options.body, one.loop.steps) for one in self.planned)

    monkeypatch.setattr(Trainings, "run", run_all)
    monkeypatch.setattr(Trainings, "check", check)
    monkeypatch.setattr(refine_inputs, "_held_out_errors", errors)
    run = EvaluationRun(PeopleSelection(tmp_path / "cache", body="smpl:FILE"), tmp_path)
    shared = SharedTraining(RefinerTraining(start="run"), TrainOptions(steps=7))
    report = evaluate_study("refine inputs", run, seeds=2, tune=lambda _: shared)
    assert checked == [(("smpl:FILE",), 7)] * 5
    assert (report.facts["steps"], report.facts["start"]) == (7, "run")
    table, figures = report.tables
    assert [(*row[:2], row[-1]) for row in table.rows] == [
        ("all inputs", 2.5, None),
        ("without texture", 3.5, "+1.00 (+0.00 to +2.00)"),
        ("without depth", 2.5, "+0.00 (-1.00 to +1.00)"),
        ("without normals", 2.5, "+0.00 (-1.00 to +1.00)"),
        ("without vertex colours", 2.5, "+0.00 (-1.00 to +1.00)"),
    ]
    assert figures.rows[0][:4] == ["all inputs", "endpoint error %", 2.5, 2.25]
    assert figures.rows[0][4] < 2.5 < figures.rows[0][5]
    assert figures.notes == [
        "n counts each value, intervals are over 6 different rendered people: too few for a reliable interval."
    ]
    assert "over seeds and 6 different rendered people" in table.notes[0]
    assert [sorted(name for name, on in vars(one).items() if on is False) for one in trained] == [
        [], ["texture"], ["depth"], ["normals"], ["colours"],
    ]  # fmt: skip
    with raises(UsageError, subject="preset"):
        evaluate_study("refine inputs", run, "paper")
