"""Pages of an evaluation of refinement: fits of a clip before and after, by several methods, beside the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.fitting.comparison_page import write_comparison_page
from humanpose_cli.fitting.result import Fit

_MAX_FITS = 5  # on a page, with the one before


@dataclass
class RefinementPages:
    """Writes a page for the first clip of each kind of initial fit.

    folder  of the report; None: no pages are written
    pages   file name of each page → a line on what it shows, as `Report.pages`
    """

    folder: Path | None
    pages: dict[str, str] = field(default_factory=dict)

    def wants(self, base: str) -> bool:
        """Return whether there is no page of this kind of initial fit yet."""
        return self.folder is not None and page_name(base) not in self.pages

    def add(
        self, base: str, clip: str, images: NDArray[np.uint8], fits: Mapping[str, Fit], truth: Fit, body: Body
    ) -> None:
        """Write a page.

        images  (T, H, W, 3) uint8, the frames of the clip
        fits    the one before, then those after, by their names; truth: with rows for the people whose truth is known
        """
        assert self.folder is not None, "`wants` says so"
        rows = _rows_like(truth, fits["before"])
        fits_of_rows = {name: replace(fit.select(rows), model=body) for name, fit in list(fits.items())[:_MAX_FITS]}
        name = page_name(base)
        write_comparison_page(
            self.folder / name, fits_of_rows, enumerate(images), truth=truth, title=f"{clip}, refined from {base}"
        )
        self.pages[name] = f"Fits of {clip} before and after, from {base}, and the truth."


def page_name(base: str) -> str:
    """Name the file of the page of a kind of initial fit."""
    return f"refine-{base}.html"


def _rows_like(part: Fit, fit: Fit) -> NDArray[np.int64]:
    """List the rows of a fit whose person and frame another one has, too."""
    keys = set(zip(part.track_id.tolist(), part.frame_index.tolist(), strict=True))
    pairs = zip(fit.track_id.tolist(), fit.frame_index.tolist(), strict=True)
    return np.array([row for row, pair in enumerate(pairs) if pair in keys], np.int64)
