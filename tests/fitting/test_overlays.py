"""Overlays of doubtful limbs, and of sequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.errors import raises
from helpers.reference_people import ReferencePeople, true_person

from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.fitting.fitter import Fitter
from humanpose_cli.fitting.overlays import body_vertices, doubtful_parts, overlay_image
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.video import VideoReader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fit(clip, clip_frames) -> Fit:
    source = ReferencePeople({t: [true_person(clip, t)] for t in range(3)})
    with Fitter(people_source=source, method="keypoints") as fitter:
        return fitter.fit(np.stack(list(clip_frames)[:3]))


def test_a_doubtful_limb_is_hatched_and_no_other_surface(fit, clip_frames):
    certain = replace(fit, joint_confidence=np.ones_like(fit.joint_confidence))
    confidence = np.ones_like(fit.joint_confidence)
    confidence[1, SMPL24.index("left_wrist")] = 0.1
    unsure, body = replace(fit, joint_confidence=confidence), fit.body_model()
    parts = doubtful_parts(body, unsure)
    arm = np.isin(
        body.part_labels.numpy(), SMPL24.indices([f"left_{n}" for n in ("shoulder", "elbow", "wrist", "hand")])
    )
    np.testing.assert_array_equal(parts.numpy(), [np.zeros_like(arm), arm, np.zeros_like(arm)])
    assert not doubtful_parts(body, certain).any()
    frame = clip_frames[1]
    changed = (overlay_image(body, unsure, frame, 1) != overlay_image(body, certain, frame, 1)).any(-1)
    x, y = fit.camera(1).project(body_vertices(body, fit, np.array([1]))[0].numpy()[arm]).T
    rows, columns = np.nonzero(changed)
    assert len(rows)
    assert ((columns > x.min() - 2) & (columns < x.max() + 2) & (rows > y.min() - 2) & (rows < y.max() + 2)).all()


def test_the_overlay_of_a_sequence_is_a_video(fit, clip_frames, tmp_path):
    fit.save_overlay(tmp_path / "a.mp4")
    frames = [pixels for _, pixels in VideoReader(tmp_path / "a.mp4")]
    assert len(frames) == 3
    expected = fit.overlay(0)
    height, width = expected.shape[:2]
    assert frames[0].shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(frames[0][:height, :width].astype(int) - expected).mean() < 8
    with raises(UsageError, problem="is not in the fit"):
        fit.overlay(3)
