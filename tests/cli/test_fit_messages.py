"""Messages of `hpc fit` about people's heights, detections without a body, and options without effect."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.blind_detector import BlindDetector
from helpers.standing_people import StandingPeople

import humanpose_cli.fitting.people
from humanpose_cli.body.body import default_body
from humanpose_cli.core.device import resolve_device
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.stature import statures
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.images import write_image
from humanpose_cli.io.unfitted_detections import POSE_NOT_CERTAIN


@pytest.mark.extensive
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


@pytest.mark.extensive
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
    assert said == "street.png: 2 more people may be there; mark the person with --boxes, or try a crop"
    (said,) = json.loads(hpc(*line, "--detector", "fast", "--overwrite").out)["messages"]
    assert said.startswith("street.png: 2 more people may be there; --detector thorough")


@pytest.mark.slow
def test_who_marks_the_people_is_not_told_to_search(hpc, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((64, 48, 3), np.uint8))
    people = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}
    (tmp_path / "people.json").write_text(json.dumps(people))
    for name in ("keypoints", "boxes"):
        line = ("fit", str(tmp_path / "a.png"), f"--{name}", str(tmp_path / "people.json"), "--no-overlay")
        said = hpc(*line, "--out", str(tmp_path / name)).err
        assert f"a.png: no person was found; check that the {name} are of this input" in said


@pytest.mark.slow
def test_options_of_videos_are_not_recorded_with_photographs(hpc, tmp_path):
    write_image(tmp_path / "a.png", np.full((64, 48, 3), 128, np.uint8))
    line = ("fit", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--detector", "fast", "--no-overlay")
    ran = hpc(*line, "--frames", "0:10", "--frame-rate", "30")
    assert (ran.code, "only images" in ran.err) == (0, True)
    again = hpc(*line)
    assert (again.code, "done before" in again.out) == (0, True)


@pytest.mark.parametrize(
    ("count", "options", "device"),
    [
        (15, (), "cpu"),
        (16, (), "cuda:0"),
        (2, ("--sequence",), "cuda:0"),
        (2, ("--precision", "tf32"), "cuda:0"),  # which CPUs do not have
    ],
)
def test_a_gpu_is_used_for_many_photographs_and_for_sequences(hpc, tmp_path, monkeypatch, count, options, device):
    def start(*_, device, **__):
        raise UsageError("device", resolve_device(device))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    monkeypatch.setattr("humanpose_cli.fitting.fitter.Fitter", start)
    for number in range(count):
        write_image(tmp_path / f"{number}.png", np.full((20, 20, 3), 10 * number, np.uint8))
    assert device in hpc("fit", str(tmp_path), "--independent", *options, "--out", str(tmp_path / "out")).err
