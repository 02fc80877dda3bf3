"""Fits without keypoints get the detector's, around their joints and only of the person who is fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.data

import humanpose_cli as hp
from humanpose_cli.detect.models import ModelPool
from humanpose_cli.fitting.result import Fit
from humanpose_cli.refining.frames import FitFrames
from humanpose_cli.refining.keypoints import detected_keypoints
from humanpose_cli.refining.options import RefineOptions
from humanpose_cli.refining.refiner import Refiner

pytestmark = pytest.mark.slow

PHOTO = skimage.data.astronaut()


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
