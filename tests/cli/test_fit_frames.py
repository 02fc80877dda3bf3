"""`hpc fit --frames` and `--frame-rate` with photographs, on which they have no effect."""

from __future__ import annotations

import numpy as np
import pytest

from humanpose_cli.io.images import write_image


@pytest.mark.slow
def test_options_of_videos_are_not_recorded_with_photographs(hpc, tmp_path):
    write_image(tmp_path / "a.png", np.full((64, 48, 3), 128, np.uint8))
    line = ("fit", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--detector", "fast", "--no-overlay")
    ran = hpc(*line, "--frames", "0:10", "--frame-rate", "30")
    assert (ran.code, "only images" in ran.err) == (0, True)
    again = hpc(*line)
    assert (again.code, "done before" in again.out) == (0, True)
