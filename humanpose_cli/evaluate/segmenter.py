"""Judging a segmenter: IoU and F1 of the parts, over all pixels and for each person.

Report on a segmenter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.data.loader import BatchLoader, LoaderOptions
from humanpose_cli.evaluate.contact_sheets import quartile_contact_sheet, segmentation_panel, worst_contact_sheet
from humanpose_cli.evaluate.report import Cell, Report, Summary, Table, summarise
from humanpose_cli.metrics.bodies import class_f1, class_iou, confusion, mean_of_visible
from humanpose_cli.models.people import People
from humanpose_cli.models.segmenter.network import Segmenter, SegmenterOptions
from humanpose_cli.models.segmenter.recipe import SegmenterCrops

__all__ = [
    "EvaluatedSegmenter",
    "measure_segmenter",
    "segmented_images",
    "segmenter_report",
]


@dataclass(frozen=True)
class EvaluatedSegmenter:
    """N people and C classes, the background first.

    counts  (N, C, C) pixels by true and predicted class
    """

    options: SegmenterOptions
    counts: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """(C,) over all pixels of all people, as the paper counts."""
        return class_iou(self.counts.sum(0))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(C,) over all pixels of all people."""
        return class_f1(self.counts.sum(0))

    @property
    def people_iou(self) -> NDArray[np.float64]:
        """(N,) mean over the parts that a person shows or is said to show."""
        return mean_of_visible(class_iou(self.counts))

    @property
    def people_f1(self) -> NDArray[np.float64]:
        """(N,) likewise."""
        return mean_of_visible(class_f1(self.counts))


def measure_segmenter(
    people: People,
    segmenter: Segmenter,
    *,
    batch_size: int = 16,
    guided: bool = True,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedSegmenter:
    """How a segmenter does on people with true parts.

    guided  False hides the detector's guide from a guided segmenter
    """
    classes, counts = segmenter.options.parts + 1, []
    make = SegmenterCrops(people, segmenter.options, guided=guided)
    loading = LoaderOptions(min(batch_size, len(people)), shuffle=False, drop_last=False)
    for batch in BatchLoader(range(len(people)), make, loading):
        with torch.no_grad():
            found = segmenter.probabilities(batch["segmenter_input"].to(segmenter.device)).argmax(1).cpu().numpy()
        counts.append(confusion(found, batch["labels"].numpy(), classes))
        progress(sum(len(part) for part in counts), len(people), "people")
        if stop():
            raise InterruptedRun()
    return EvaluatedSegmenter(segmenter.options, np.concatenate(counts))


def segmented_images(
    people: People, segmenter: Segmenter, numbers: NDArray[np.integer]
) -> list[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
    """Crop, true labels and found labels of some people."""
    make, shown = SegmenterCrops(people, segmenter.options), []
    for number in numbers:
        example = make(int(number), np.random.default_rng(0))
        with torch.no_grad():
            image = torch.from_numpy(example["segmenter_input"])[None].to(segmenter.device)
            found = segmenter.probabilities(image).argmax(1)[0].cpu().numpy()
        shown.append((example["shown"], example["labels"], found))
    return shown


def segmenter_report(
    people: People,
    segmenter: Segmenter,
    judged: EvaluatedSegmenter,
    facts: Mapping[str, Any],
    unguided: EvaluatedSegmenter | None = None,
    *,
    images: bool = True,
) -> Report:
    """Of N people; `unguided` is the same segmenter without the detector's guide."""
    shown = {"IoU %": judged.iou, "F1 %": judged.f1}
    if unguided is not None:
        shown["IoU % without a guide"] = unguided.iou
    with_means = [100 * np.append(values, mean_of_visible(values)) for values in shown.values()]
    names = (*judged.options.class_names, "mean of the parts")
    rows: list[list[Cell]] = [[name, *map(float, cells)] for name, *cells in zip(names, *with_means, strict=True)]
    note = "IoU and F1 of the table are over all pixels, as the paper counts; intervals are of people's means."
    table = Table("parts", "Parts", ("part", *shown), rows, notes=[note])
    metrics = {
        "iou": _over_pixels(float(mean_of_visible(judged.iou)), judged.people_iou),
        "f1": _over_pixels(float(mean_of_visible(judged.f1)), judged.people_f1),
    }
    if unguided is not None:
        metrics["iou_unguided"] = _over_pixels(float(mean_of_visible(unguided.iou)), unguided.people_iou)
    facts = {**facts, "people": len(people)}
    sheets = _sheets(people, segmenter, judged) if images else {}
    return Report("Segmenter", facts, metrics, [table], sheets)


def _over_pixels(value: float, people: np.ndarray) -> Summary:
    """The figure over all pixels, with median and interval of the people's own."""
    spread = summarise(people)
    return Summary(value, spread.n, spread.median, spread.low, spread.high)


def _sheets(people: People, segmenter: Segmenter, judged: EvaluatedSegmenter) -> dict[str, Any]:
    quality = judged.people_iou

    def panel(number: int) -> np.ndarray:
        (shown,) = segmented_images(people, segmenter, np.array([number]))
        return segmentation_panel(*shown, segmenter.options.parts)

    def words(number: int) -> str:
        return f"IoU {100 * quality[number]:.0f} %, F1 {100 * judged.people_f1[number]:.0f} %"

    return {
        "quartiles.jpg": (quartile_contact_sheet(-quality, panel, words), "Quartiles: person, true parts, found parts"),
        "worst.jpg": (worst_contact_sheet(-quality, panel, words), "Least IoU: person, true parts, found parts"),
    }
