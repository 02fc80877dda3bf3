"""Figures over the pixels of all people, and their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from humanpose_cli.lab.evaluate import segmenter as evaluation
from humanpose_cli.lab.evaluate.intervals import Clusters
from humanpose_cli.lab.metrics.bodies import class_f1, class_iou, mean_of_visible
from humanpose_cli.models.segmenter.network import SegmenterOptions


@pytest.mark.parametrize("guided", [False, True])
def test_intervals_are_of_what_they_stand_beside(monkeypatch: pytest.MonkeyPatch, guided: bool) -> None:
    """Large people are segmented well and small ones badly: people's means are far below the pixels' of all."""
    monkeypatch.setattr(evaluation, "error_sheets", lambda *_: {})
    count = 40
    monkeypatch.setattr(evaluation, "clusters_of", lambda _: Clusters("sequences", np.arange(count) // 2))
    random = np.random.default_rng(0)
    size = np.where(np.arange(count) % 4 == 0, 10_000, 300)
    right = np.where(size > 1000, random.uniform(0.7, 0.9, count), random.uniform(0.2, 0.5, count))
    counts = np.zeros((count, 4, 4), np.int64)
    for part in range(4):
        counts[:, part, part] = size * right
        counts[:, part, (part + 1) % 4] = size * (1 - right)
    people: Any = range(count)
    evaluated = evaluation.EvaluatedSegmenter(SegmenterOptions("tiny", parts=3), counts)
    report = evaluation.segmenter_report(people, None, evaluated, {}, evaluated if guided else None)  # type: ignore[arg-type]
    pooled = {"iou": class_iou(counts.sum(0)), "f1": class_f1(counts.sum(0))}
    for name, summary in report.metrics.items():
        assert summary.value == pytest.approx(float(mean_of_visible(pooled[name.removesuffix("_unguided")])))
        assert summary.low < summary.value < summary.high
        assert summary.high - summary.low < 0.2
        assert (summary.n, summary.clusters, summary.unit) == (count, 20, "sequences")
    assert ("iou_unguided" in report.metrics) == guided
    assert mean_of_visible(class_f1(counts)).mean() < report.metrics["f1"].low  # what the interval was of
