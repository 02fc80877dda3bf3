"""Report on a segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from humanpose_cli.evaluation.report import Report
from humanpose_cli.evaluation.segmenters import JudgedSegmenter, segmented_pictures
from humanpose_cli.evaluation.sheets import quartile_sheet, segmentation_panel, worst_sheet
from humanpose_cli.evaluation.statistics import Summary, summarise
from humanpose_cli.evaluation.tables import Cell, Table
from humanpose_cli.fitting.nbf.segmenter import Segmenter
from humanpose_cli.metrics.segmentation import mean_of_seen
from humanpose_cli.training.recipes.people import People

__all__ = ["segmenter_report"]


def segmenter_report(
    people: People,
    segmenter: Segmenter,
    judged: JudgedSegmenter,
    facts: Mapping[str, Any],
    unguided: JudgedSegmenter | None = None,
    *,
    pictures: bool = True,
) -> Report:
    """Of N people; `unguided` is the same segmenter without the detector's guide."""
    shown = {"IoU %": judged.iou, "F1 %": judged.f1}
    if unguided is not None:
        shown["IoU % without a guide"] = unguided.iou
    with_means = [100 * np.append(values, mean_of_seen(values)) for values in shown.values()]
    names = (*judged.options.class_names, "mean of the parts")
    rows: list[list[Cell]] = [[name, *map(float, cells)] for name, *cells in zip(names, *with_means, strict=True)]
    note = "IoU and F1 of the table are over all pixels, as the paper counts; intervals are of people's means."
    table = Table("parts", "Parts", ("part", *shown), rows, notes=[note])
    metrics = {
        "iou": _over_pixels(float(mean_of_seen(judged.iou)), judged.people_iou),
        "f1": _over_pixels(float(mean_of_seen(judged.f1)), judged.people_f1),
    }
    if unguided is not None:
        metrics["iou_unguided"] = _over_pixels(float(mean_of_seen(unguided.iou)), unguided.people_iou)
    facts = {**facts, "people": len(people)}
    sheets = _sheets(people, segmenter, judged) if pictures else {}
    return Report("Segmenter", facts, metrics, [table], sheets)


def _over_pixels(value: float, people: np.ndarray) -> Summary:
    """The figure over all pixels, with median and interval of the people's own."""
    spread = summarise(people)
    return Summary(value, spread.n, spread.median, spread.low, spread.high)


def _sheets(people: People, segmenter: Segmenter, judged: JudgedSegmenter) -> dict[str, Any]:
    quality = judged.people_iou

    def panel(number: int) -> np.ndarray:
        (shown,) = segmented_pictures(people, segmenter, np.array([number]))
        return segmentation_panel(*shown, segmenter.options.parts)

    def words(number: int) -> str:
        return f"IoU {100 * quality[number]:.0f} %, F1 {100 * judged.people_f1[number]:.0f} %"

    return {
        "quartiles.jpg": (quartile_sheet(-quality, panel, words), "Quartiles: person, true parts, found parts"),
        "worst.jpg": (worst_sheet(-quality, panel, words), "Least IoU: person, true parts, found parts"),
    }
