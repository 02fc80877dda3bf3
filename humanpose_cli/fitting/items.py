"""Inputs as items of a batch: each is fitted, and its fit file and overlay are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.core.progress import Progress, no_progress, part_of
from humanpose_cli.fitting.detection_journal import journal_of
from humanpose_cli.fitting.fitter import IMAGE_STEPS, Fitter
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.inputs import InputItem

_FITTED = 0.8  # fraction of the work on an item that is done when it is fitted and the overlay is not drawn


def fit_item(
    fitter: Fitter,
    item: InputItem,
    outputs: Sequence[Path],
    *,
    progress: Progress = no_progress,
    **drawn: Any,
) -> Fit:
    """Fit the people of an item and write its fit file and, if there is a second path, the overlay.

    drawn  how the overlay is drawn, as of `Fit.save_overlay`
    The journal of a sequence's people (`people_journal`) stays: the caller removes it when the item is recorded.
    """
    journal = journal_of(item, outputs[0], fitter.identity)
    fit = fitter.fit(item, progress=part_of(progress, 0, _FITTED), journal=journal)
    fit.save(outputs[0])
    drawing = part_of(progress, _FITTED, 1)
    for path in outputs[1:]:
        if not item.is_sequence:
            drawing(IMAGE_STEPS - 1, IMAGE_STEPS, "drawing the overlay")
        fit.save_overlay(path, drawing, **drawn)
    return fit
