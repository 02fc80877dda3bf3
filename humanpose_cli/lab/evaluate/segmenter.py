"""Evaluation of a segmenter: IoU and F1 of the parts, over all pixels and for each person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.core.errors import InterruptedRun
from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.lab.evaluate.intervals import summarise_figures
from humanpose_cli.lab.evaluate.people import EvaluationRun, clusters_of
from humanpose_cli.lab.evaluate.report import Cell, Report, Table, error_sheets, figures_table, segmentation_panel
from humanpose_cli.lab.evaluate.weights import weights_facts
from humanpose_cli.lab.metrics.bodies import class_f1, class_iou, confusion, mean_of_visible
from humanpose_cli.lab.recipes.people import People
from humanpose_cli.lab.recipes.segmenter.recipe import SegmenterCrops, segmenter_needs
from humanpose_cli.lab.train.recipe import held_out_batches
from humanpose_cli.models.segmenter.network import Segmenter, SegmenterOptions
from humanpose_cli.networks.weights import find_weights, shipped_weights

_RESAMPLES = 1000


@dataclass(frozen=True)
class EvaluatedSegmenter:
    """The confusions of N people and C classes, the background first.

    Attributes:
        options: Options of the segmenter.
        counts: (N, C, C) pixels by true and predicted class.
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


def measure_segmenter(
    people: People,
    segmenter: Segmenter,
    *,
    batch_size: int = 16,
    guided: bool = True,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> EvaluatedSegmenter:
    """Measure the predicted parts of people.

    Args:
        people: People with true parts.
        segmenter: The segmenter.
        batch_size: People per batch.
        guided: False hides the detector's guide from a guided segmenter.
        stop: Called before every batch; True ends with InterruptedRun.
        progress: Called after every batch.
    """
    classes = segmenter.options.parts + 1
    counts = []
    make = SegmenterCrops(people, segmenter.options, guided=guided)
    for batch in held_out_batches(make, range(len(people)), batch_size):
        if stop():
            raise InterruptedRun()
        with torch.no_grad():
            parts = segmenter.probabilities(batch["segmenter_input"].to(segmenter.device)).argmax(1).cpu().numpy()
        counts.append(confusion(parts, batch["labels"].numpy(), classes))
        progress(sum(len(part) for part in counts), len(people), "people")
    return EvaluatedSegmenter(segmenter.options, np.concatenate(counts))


def evaluate_segmenter(run: EvaluationRun, weights: str, *, batch_size: int = 16) -> Report:
    """Evaluate a segmenter's parts by IoU and F1; a guided segmenter also without its guide.

    Args:
        run: The evaluation.
        weights: Name or file; "" for the shipped segmenter.
        batch_size: People per batch.
    """
    path = find_weights(weights) if weights else shipped_weights("segmenter")
    segmenter = Segmenter.load(path, run.device)
    people = run.selection.labelled(*segmenter_needs(segmenter.options))
    measure = partial(measure_segmenter, people, segmenter, batch_size=batch_size, stop=run.stop)
    guided = segmenter.options.guided
    with_guidance = measure(progress=part_of(run.progress, 0, 0.5 if guided else 1))
    without_guidance = measure(guided=False, progress=part_of(run.progress, 0.5, 1)) if guided else None
    facts = {**run.selection.facts(), **weights_facts(path, people.cache, people.images)}
    return segmenter_report(people, segmenter, with_guidance, facts, without_guidance)


def segmenter_report(
    people: People,
    segmenter: Segmenter,
    result: EvaluatedSegmenter,
    facts: Mapping[str, Any],
    without_guidance: EvaluatedSegmenter | None = None,
) -> Report:
    """Report on the segmentation of N people.

    Args:
        people: The people.
        segmenter: The segmenter.
        result: Its confusions.
        facts: Lines of the report.
        without_guidance: Confusions of the same segmenter without the detector's guide.
    """
    columns = {"IoU %": result.iou, "F1 %": result.f1}
    sources = {"iou": (result, class_iou), "f1": (result, class_f1)}
    if without_guidance is not None:
        columns["IoU % without a guide"] = without_guidance.iou
        sources["iou_unguided"] = without_guidance, class_iou

    def means(rows: NDArray[np.int64]) -> dict[str, float]:
        return {name: float(mean_of_visible(of(part.counts[rows].sum(0)))) for name, (part, of) in sources.items()}

    metrics = summarise_figures(means, clusters_of(people), _RESAMPLES)
    with_means = [100 * np.append(values, mean_of_visible(values)) for values in columns.values()]
    names = (*result.options.class_names, "mean of the parts")
    rows: list[list[Cell]] = [[name, *map(float, cells)] for name, *cells in zip(names, *with_means, strict=True)]
    note = "IoU and F1 are over the pixels of all people, as the paper counts, and so are those of their intervals."
    table = Table("parts", "Parts", ("part", *columns), rows, notes=[note])
    figures = figures_table({("the parts' mean", name): summary for name, summary in metrics.items()}, digits=3)
    quality, f1 = (mean_of_visible(of(result.counts)) for of in (class_iou, class_f1))  # of each person

    def panel(index: int) -> np.ndarray:
        crop = SegmenterCrops(people, segmenter.options)(index, np.random.default_rng(0))
        with torch.no_grad():
            image = torch.from_numpy(crop["segmenter_input"])[None].to(segmenter.device)
            prediction = segmenter.probabilities(image).argmax(1)[0].cpu().numpy()
        return segmentation_panel(crop["shown"], crop["labels"], prediction, segmenter.options.parts)

    def title(index: int) -> str:
        return f"IoU {100 * quality[index]:.0f} %, F1 {100 * f1[index]:.0f} %"

    caption = "person, true parts, found parts"
    images = error_sheets(panel, title, caption, -quality, {"worst.jpg": (-quality, "Least IoU")})
    return Report("Segmenter", {**facts, "people": len(people)}, metrics, [table, figures], images)
