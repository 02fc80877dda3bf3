"""People of a sequence, frame by frame."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.coloured_figures import RED, frame_of, person_at

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.detect.camera_motion import STILL
from humanpose_cli.detect.hands import HandDetector
from humanpose_cli.fitting.networks import Estimates
from humanpose_cli.fitting.options import FitOptions
from humanpose_cli.fitting.people import TrackMasks
from humanpose_cli.fitting.sequence_people import SequencePeopleBuilder
from humanpose_cli.io.inputs import Frame


def test_the_body_network_gets_the_camera_of_the_fit(monkeypatch):
    """With its zoom: otherwise bodies are at the distance of another lens."""
    cameras = []
    estimates = Estimates(None)
    monkeypatch.setattr(estimates, "add", lambda pixels, people, camera: cameras.append(camera))
    builder = SequencePeopleBuilder(FitOptions(), estimates, TrackMasks(False), HandDetector(False))
    zooms = iter((1.0, 1.5))
    monkeypatch.setattr(builder._motion, "next_frame", lambda *arguments: replace(STILL, zoom=next(zooms)))
    for index in range(2):
        builder.add(Frame(index, f"{index}.png", np.zeros((48, 64, 3), np.uint8), 50.0), [])
    assert [camera.focal for camera in cameras] == pytest.approx([50, 75])


def test_a_joint_of_two_people_belongs_to_the_one_who_is_surer():
    people = [person_at(100), person_at(300)]
    wrist = BLAZEPOSE33.index("left_wrist")
    people[1].keypoints[wrist] = people[0].keypoints[wrist] * (1, 1, 0.8)
    builder = SequencePeopleBuilder(FitOptions(), Estimates(None), TrackMasks(False), HandDetector(False))
    builder.add(Frame(0, "0.png", frame_of((100, RED), (300, RED))), people)
    for hide, confidence in ((False, 0.8), (True, 0.0)):
        claims = [person.keypoints[wrist, 2] for person in builder.finish(25.0, hide_shared=hide).people]
        assert claims == pytest.approx([1.0, confidence])
