"""The debugging image of an avatar's stages."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from helpers.python_sources import ROOT
from helpers.repose_stage import STANDING, painted_stage, pose

from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import PhotographedPerson


@pytest.mark.extensive
def test_the_stages_are_drawn_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    from show_avatar_stages import sheet_of_stages

    stage, rotations = painted_stage(), pose(**STANDING)
    photographed = PhotographedPerson.of(*stage.person(rotations), stage.fitted(rotations))
    sheet = sheet_of_stages(photographed, stage.body, MeshOptions(texture_size=512), height=120)
    assert sheet.shape[0] == 240
    columns = np.split(sheet, 6, axis=1)
    for left, right in pairwise(columns[:4]):
        assert (np.abs(left.astype(int) - right).max(2) > 10).mean() > 0.01

    def hidden(column: np.ndarray) -> float:
        """Share of the view from behind that is magenta."""
        return float((np.abs(column[120:].astype(int) - (255, 0, 255)).max(2) < 30).mean())

    assert min(hidden(columns[3]), hidden(columns[4])) > 0.1, "the photograph shows nothing of the back"
    assert hidden(columns[5]) == 0
