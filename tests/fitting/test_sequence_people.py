"""People of a sequence, frame by frame."""

from dataclasses import replace

import numpy as np
import pytest

from humanpose_cli.detect.camera_motion import STILL
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
    builder = SequencePeopleBuilder(FitOptions(), estimates, TrackMasks(False))
    zooms = iter((1.0, 1.5))
    monkeypatch.setattr(builder._motion, "next_frame", lambda *arguments: replace(STILL, zoom=next(zooms)))
    for index in range(2):
        builder.add(Frame(index, f"{index}.png", np.zeros((48, 64, 3), np.uint8), 50.0), [])
    assert [camera.focal for camera in cameras] == pytest.approx([50, 75])
