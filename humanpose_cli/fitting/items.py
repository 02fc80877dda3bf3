"""Input items of a batch."""

from __future__ import annotations

from pathlib import Path

from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.detection_journal import journal_of
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.inputs import InputItem


def fit_item(fitter: Fitter, item: InputItem, output: Path, progress: Progress = no_progress) -> Fit:
    """Fit the people of an item whose fit file will be `output`.

    The people of a sequence are kept in a journal, so that an interrupted run continues. The caller removes it when the
    item is recorded.
    """
    return fitter.fit(item, progress=progress, journal=journal_of(item, output, fitter.identity))
