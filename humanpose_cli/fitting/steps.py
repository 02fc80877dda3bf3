"""The steps that make a fit of fits: refinement, and the combination of several cameras.

`hpc fit --refine`, `hpc refine` and `hpc combine` read or make fits, apply steps to them, and write the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.result import Fit


class FitStep(Protocol):
    """Makes one fit of one or several."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the results beside the fits and their frames, as JSON values."""
        ...

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return the files that the step writes beside the fit file `output`, those of people by their tracks."""
        ...

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Make a fit.

        Raises UsageError if the step takes another number of fits.

        Args:
            output: The fit file that will be written, beside which a step writes its own files; None: no files.
        """
        ...


def only_fit(fits: Sequence[Fit]) -> Fit:
    """Return the one fit of a step that takes one. Raises UsageError for several."""
    if len(fits) != 1:
        raise UsageError("fits", "are several", expected="one fit", got=str(len(fits)), remedy="combine them first")
    return fits[0]
