"""`hpc fit` names detections that may be people and have no body."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from helpers.blind_detector import BlindDetector
from helpers.standing_people import StandingPeople

import humanpose_cli.fitting.people
from humanpose_cli.io.images import write_image
from humanpose_cli.io.unfitted_detections import POSE_NOT_CERTAIN


def test_a_detection_that_is_not_certain_is_said(hpc, monkeypatch, tmp_path):
    class Unsure(BlindDetector):
        def detect(self, pixels):
            (person, *_) = StandingPeople(tilt=0.6, height=5.0, focal=800.0).detected()
            reasons = (POSE_NOT_CERTAIN, POSE_NOT_CERTAIN, "hidden by another person")
            return [replace(person, not_fitted=reason) for reason in reasons]

    monkeypatch.setattr(humanpose_cli.fitting.people, "PersonDetector", Unsure)
    write_image(tmp_path / "street.png", np.zeros((960, 1280, 3), np.uint8))
    line = ("fit", str(tmp_path / "street.png"), "--out", str(tmp_path), "--no-overlay", "--json")
    (said,) = json.loads(hpc(*line).out)["messages"]
    assert said == "street.png: 2 more people may be there"
    (said,) = json.loads(hpc(*line, "--detector", "fast", "--overwrite").out)["messages"]
    assert said.startswith("street.png: 2 more people may be there; --detector thorough")
