"""Fits without keypoints get the detector's, around their joints and only of the person who is fitted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from helpers.errors import raises

import humanpose_cli as hp
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.detections import read_keypoints
from humanpose_cli.io.detections.joint_orders import ORDERS
from humanpose_cli.io.fit_files import COLUMNS
from humanpose_cli.refining.frames import FitFrames, cameras_of
from humanpose_cli.refining.items import keypoints_note
from humanpose_cli.refining.keypoints import check_frames_show, detected_keypoints, keypoints_of_file
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.refiner import Refiner

pytestmark = pytest.mark.slow

PHOTO = skimage.data.astronaut()
SHARED = BLAZEPOSE33.indices([name for name in ORDERS["BODY_25"] if name in BLAZEPOSE33])


@pytest.fixture(scope="module")
def fit() -> Fit:
    return hp.fit(PHOTO, people="largest", detector="fast", method="keypoints", device="cpu", threads=1)


def test_the_detectors_keypoints_are_found_again(fit: Fit) -> None:
    with ModelPool(1) as pool:
        found = detected_keypoints(fit, FitFrames.of(fit, PHOTO), pool)
        reliable = (fit.keypoints2d[0, :, 2] > 0.8) & (found[0, :, 2] > 0.8)
        assert reliable.sum() > 8
        assert np.median(np.linalg.norm(found[0, reliable, :2] - fit.keypoints2d[0, reliable, :2], axis=-1)) < 10
        aside = replace(fit, joints2d=fit.joints2d + np.float32([300, 0]))
        assert not detected_keypoints(aside, FitFrames.of(aside, PHOTO), pool).any()


def test_refinement_of_a_fit_without_keypoints_has_them_then(fit: Fit) -> None:
    bare = replace(fit, keypoints2d=np.zeros_like(fit.keypoints2d), reprojection_error=np.zeros(1, np.float32))
    options = RefineOptions(correspondence="keypoints", size=128, points=100, rounds=1)
    with Refiner(options, threads=1, device="cpu") as refiner:
        refined = refiner.refine(bare, FitFrames.of(bare, PHOTO))
    assert refined.keypoints2d[0, 0, 2] > 0.5
    assert 0 < refined.reprojection_error[0] < 20


def openpose(path: Path, fit: Fit, *shifts: float) -> Path:
    """Write OpenPose's file of an image: the fit's person, once for each shift to the right, in pixels."""
    people = []
    for shift in shifts:
        rows = np.zeros((25, 3))
        for row, name in enumerate(ORDERS["BODY_25"]):
            if name in BLAZEPOSE33:
                rows[row] = fit.keypoints2d[0, BLAZEPOSE33.index(name)] + [shift, 0, 0]
        people.append({"pose_keypoints_2d": rows.ravel().tolist()})
    path.write_text(json.dumps({"version": 1.3, "people": people}))
    return path


def test_keypoints_of_openpose_go_to_the_body_that_they_show(fit: Fit, tmp_path: Path) -> None:
    path = openpose(tmp_path / "000000_keypoints.json", fit, 300, 5)
    keypoints = keypoints_of_file(fit, FitFrames.of(fit, PHOTO), read_keypoints(path))
    np.testing.assert_allclose(keypoints[0, SHARED], fit.keypoints2d[0, SHARED] + [5, 0, 0], atol=1e-3)
    assert not np.delete(keypoints[0], SHARED, axis=0).any()
    # Their names are the array's frame numbers.
    others = read_keypoints(openpose(tmp_path / "000000_keypoints.json", fit, 300))
    with raises(InputError, problem="shows none of the fit's people"):
        keypoints_of_file(fit, FitFrames.of(fit, PHOTO), others)


@pytest.mark.extensive
def test_refinement_follows_the_keypoints_of_a_file(fit: Fit, tmp_path: Path) -> None:
    path = openpose(tmp_path / "000000_keypoints.json", fit, 12)
    settings = {"correspondence": "keypoints", "device": "cpu", "threads": 1}
    usual, moved = (hp.refine(fit, PHOTO, keypoints=file, **settings) for file in (None, path))
    difference = moved.keypoints2d[0, SHARED] - fit.keypoints2d[0, SHARED]
    np.testing.assert_allclose(difference, np.tile([12, 0, 0], (len(SHARED), 1)), atol=1e-3)
    assert keypoints_note(moved) == ""
    lacking = replace(moved.options, refinement={**moved.options.refinement, "without_keypoints": 1})
    assert keypoints_note(replace(moved, options=lacking)) == "1 of 1 bodies have no keypoints in their frames"
    assert usual.options.refinement["settings"] != moved.options.refinement["settings"]
    with raises(UsageError, subject="keypoints"):
        Refiner(RefineOptions(with_keypoints=False), keypoints=read_keypoints(path))


def test_frames_with_people_elsewhere_are_refused(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 frames of a photograph; the wrong ones are mirrored. An empty frame is no evidence."""
    search = "humanpose_cli.refining.keypoints.search"
    monkeypatch.setattr(search, lambda pool, pyramid, scheme: ["a person"] if pyramid.image.any() else [])
    frames = np.tile(PHOTO, (24, 1, 1, 1))
    columns = {name: np.repeat(getattr(fit, name), 24, 0) for name in COLUMNS}
    columns |= {"frame_index": np.arange(24), "frame_names": np.array([f"{n:06d}" for n in range(24)])}
    columns |= {"shot_id": np.zeros(24, int), "world_to_camera": np.tile(np.eye(4), (24, 1, 1))}
    clip = Fit.build(**columns)
    wrong = np.ascontiguousarray(frames[:, :, ::-1])
    with ModelPool(1) as pool:

        def check(pixels: np.ndarray, of: Fit = clip) -> None:
            check_frames_show(cameras_of(of, FitFrames.of(of, pixels)), pool)

        check(frames)
        check(np.concatenate((wrong[:16], frames[16:])))
        check(np.zeros_like(frames))
        check(wrong, replace(clip, keypoints2d=np.zeros_like(clip.keypoints2d)))
        with raises(InputError, problem="shows other people than the fit"):
            check(wrong)
