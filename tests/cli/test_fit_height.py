"""`hpc fit --height`: what is said of people's statures, and that measured ones are kept."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from helpers.blind_detector import BlindDetector
from helpers.standing_people import StandingPeople

import humanpose_cli.fitting.people
from humanpose_cli.body.body import default_body
from humanpose_cli.fitting.stature import statures
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.images import write_image


@pytest.mark.slow
def test_statures_are_said_and_measured_ones_are_kept(hpc, monkeypatch, tmp_path):
    class Crowd(BlindDetector):
        def detect(self, pixels):
            return StandingPeople(tilt=0.6, height=5.0, focal=800.0).detected()

    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", Crowd)
    write_image(tmp_path / "crowd.png", np.zeros((960, 1280, 3), np.uint8))
    line = ("fit", str(tmp_path / "crowd.png"), "--out", str(tmp_path), "--no-overlay", "--method", "keypoints")
    assert re.search(r"crowd\.png: taken to be 1\.\d\d m \(±5%\) tall; --height sets it", hpc(*line).err)
    ran = hpc(*line, "--height", "2=1.9,9=1.5", "--overwrite")
    assert "crowd.png: --height names person 9, who is not in the fit" in ran.err
    assert "tall" not in ran.err
    betas = torch.from_numpy(read_fit(tmp_path / "crowd.png.fit.npz").betas)
    metres = statures(default_body(), betas)
    assert metres[2].item() == pytest.approx(1.9, abs=0.02)
    assert (metres[[0, 1, 3, 4, 5]] < 1.85).all()
