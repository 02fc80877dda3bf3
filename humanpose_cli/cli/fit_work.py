"""The work on an item of `hpc fit`, `hpc refine` and `hpc combine`: make fits, apply steps, write the last fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from humanpose_cli.cli.session import Session
from humanpose_cli.core.progress import Progress, part_of
from humanpose_cli.fitting.options import FitOutputs

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.fitting.steps import FitStep
    from humanpose_cli.io.fit_files import FitRecord


@dataclass(frozen=True)
class FitWork:
    """The worker of a batch of fits.

    Attributes:
        session: The session.
        read: Makes or reads the fits of an item.
        outputs: The files to write.
        steps: Returns the steps to apply to the fits of an item.
        report: Writes messages about a result to stderr.
        contents: Returns further details of a result for the JSON document.
        share: Fraction of the work that is done when the fits are read.
        fail_if_doubtful: Whether doubtful fits count as partly done.
        max_error: Maximum 2-D error in pixels; items above it count as partly done.
    """

    session: Session
    read: Callable[[Item, Progress], Sequence[Fit]]
    outputs: FitOutputs
    steps: Callable[[Item], Sequence[FitStep]] = lambda item: ()
    report: Callable[[Item, Fit], None] = lambda item, fit: None
    contents: Callable[[FitRecord], Mapping[str, Any]] = lambda fit: {}
    share: float = 0.8
    fail_if_doubtful: bool = False
    max_error: float = math.inf

    def __call__(self, item: Item) -> Outcome:
        """Make the fit of an item and write its files."""
        from humanpose_cli.batch.runner import Outcome
        from humanpose_cli.fitting.records import loss_sentences, record_summary
        from humanpose_cli.refining.acceptance import OTHER_CLIP
        from humanpose_cli.refining.outputs import apply_steps

        progress = self.session.reporter.step
        fits = self.read(item, part_of(progress, 0, self.share))
        fit, files = apply_steps(
            fits,
            self.steps(item),
            item.outputs[0],
            self.outputs,
            progress=part_of(progress, self.share, 1),
        )
        self.report(item, fit)
        summary = record_summary(fit)
        # A doubt about the user's keypoints is in the table; the exit code does not change.
        doubts = [text for text in fit.options.doubts or () if text == OTHER_CLIP or fit.views is not None]
        if self.fail_if_doubtful:
            doubts = [*filter(None, [summary["doubtful"]]), *loss_sentences(fit)]
        problem = f"doubtful: {'; '.join(doubts)}" if doubts else None
        if (error := summary["error_px"] or 0.0) > self.max_error:
            problem = (
                f"wrong: its bodies are {error:.0f} px from what the cameras show, expected {self.max_error:g} or less"
            )
        return Outcome(files, summary, self.contents(fit), problem)
