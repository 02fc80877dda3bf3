"""Steps that make a fit from fits: refinement, and the combination of several cameras.

`hpc fit --refine`, `hpc refine` and `hpc combine` read or make fits, apply steps to them, and write the last one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.result import Fit


class FitStep(ABC):
    """Makes one fit from one or several."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything besides the fits and their frames that determines the results, as JSON values."""
        return {}

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return the files that the step writes next to the fit file `output` for these tracks."""
        return ()

    @abstractmethod
    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Make a fit.

        Args:
            fits: The fits.
            output: The fit file that will be written, next to which a step writes its own files. None: no files.
            progress: Called with (done, total, unit).

        Raises:
            UsageError: If the step takes another number of fits.
        """


def only_fit(fits: Sequence[Fit]) -> Fit:
    """Return the only fit.

    Raises:
        UsageError: If there are several fits.
    """
    if len(fits) != 1:
        raise UsageError("fits", "are several", expected="one fit", got=str(len(fits)), remedy="combine them first")
    return fits[0]
