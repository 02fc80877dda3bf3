"""Pages of an evaluation: one for each kind of initial fit, of the people whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.walking_person import Walk

from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.fit_files import ROW_COLUMNS
from humanpose_cli.lab.evaluate.refine_pages import RefinementPages


def with_somebody_else(fit: Fit) -> Fit:
    """The fit with track 1, whose truth is not known."""
    columns = {name: np.concatenate([getattr(fit, name)] * 2) for name in ROW_COLUMNS}
    columns["track_id"] = np.repeat(np.int32([0, 1]), len(fit))
    per_frame = ("frame_names", "shot_id", "image_size", "focal", "principal_point", "world_to_camera")
    return Fit.build(**columns, **{name: getattr(fit, name) for name in per_frame}, frame_rate=25.0)


@pytest.mark.slow
def test_the_first_clip_of_each_kind_has_a_page(walk: Walk, tmp_path: Path) -> None:
    pages = RefinementPages(tmp_path)
    assert pages.wants("noise")
    truth = walk.fit().select([0, 1, 3])
    fits = {"before": with_somebody_else(walk.off()), "flow": with_somebody_else(walk.fit())}
    pages.add("noise", "clip <7>", walk.frames, fits, truth, walk.body)
    assert not pages.wants("noise")
    assert pages.wants("nbf")
    assert list(pages.pages) == ["refine-noise.html"]
    page = (tmp_path / "refine-noise.html").read_text("utf-8")
    assert "1 person in 5 frames" in page  # nobody whose truth is not known
    assert "3 frames" in page
    assert "clip &lt;7&gt;, refined from noise" in page
    assert "after Procrustes</th>" in page
    assert ">0.0 mm</td>" in page  # of the fit that is the truth


def test_without_a_folder_there_are_no_pages() -> None:
    assert not RefinementPages(None).wants("noise")
