"""Judging a segmenter: IoU and F1 of the parts, over all pixels and for each person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.data.loader import BatchLoader, LoaderOptions
from humanpose_cli.fitting.nbf.segmenter import Segmenter, SegmenterOptions
from humanpose_cli.metrics.segmentation import class_f1, class_iou, confusion, mean_of_seen
from humanpose_cli.training.recipes.people import People
from humanpose_cli.training.recipes.segmenter import SegmenterCrops

__all__ = ["JudgedSegmenter", "judge_segmenter", "segmented_pictures"]


@dataclass(frozen=True)
class JudgedSegmenter:
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
        return mean_of_seen(class_iou(self.counts))

    @property
    def people_f1(self) -> NDArray[np.float64]:
        """(N,) likewise."""
        return mean_of_seen(class_f1(self.counts))


def judge_segmenter(
    people: People,
    segmenter: Segmenter,
    *,
    batch_size: int = 16,
    guided: bool = True,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> JudgedSegmenter | None:
    """How a segmenter does on people with true parts; None where `stop` said so.

    guided  False hides the detector's guide from a guided segmenter
    """
    classes, counts = segmenter.options.parts + 1, []
    make = SegmenterCrops(people, segmenter.options, guided=guided)
    loading = LoaderOptions(min(batch_size, len(people)), shuffle=False, drop_last=False)
    for batch in BatchLoader(range(len(people)), make, loading):
        with torch.no_grad():
            found = segmenter.probabilities(batch["picture"].to(segmenter.device)).argmax(1).cpu().numpy()
        counts.append(confusion(found, batch["labels"].numpy(), classes))
        on_step(sum(len(part) for part in counts), len(people))
        if stop():
            return None
    return JudgedSegmenter(segmenter.options, np.concatenate(counts))


def segmented_pictures(
    people: People, segmenter: Segmenter, numbers: NDArray[np.integer]
) -> list[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
    """Crop, true labels and found labels of some people."""
    make, shown = SegmenterCrops(people, segmenter.options), []
    for number in numbers:
        example = make(int(number), np.random.default_rng(0))
        with torch.no_grad():
            picture = torch.from_numpy(example["picture"])[None].to(segmenter.device)
            found = segmenter.probabilities(picture).argmax(1)[0].cpu().numpy()
        shown.append((example["shown"], example["labels"], found))
    return shown
