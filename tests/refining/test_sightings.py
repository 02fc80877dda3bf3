"""Which frames a person's texture is made of."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from helpers.repose_stage import pose

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.progress import no_progress
from humanpose_cli.fitting.result import Fit
from humanpose_cli.geometry.rotations import matrix_to_axis_angle
from humanpose_cli.refining.frames import FitFrames, cameras_of
from humanpose_cli.refining.sightings import sharpest_frames, sightings

COUNT, SIZE = 41, (120, 160)
BOX = (20, 10, 100, 150)


def turning(visibility: np.ndarray | None = None, **columns: np.ndarray) -> Fit:
    """One person who turns once round, from behind, over the frames."""
    poses = torch.stack([pose(np.pi + 2 * np.pi * frame / COUNT) for frame in range(COUNT)])
    keypoints = np.ones((COUNT, len(BLAZEPOSE33), 3))
    keypoints[..., 2] = (np.ones(COUNT) if visibility is None else visibility)[:, None]
    values = {
        "track_id": np.zeros(COUNT),
        "frame_index": np.arange(COUNT),
        "interpolated": np.zeros(COUNT, bool),
        "poses": matrix_to_axis_angle(poses).flatten(1).numpy(),
        "betas": np.zeros((COUNT, 10)),
        "trans": np.tile((0, 0, 3.0), (COUNT, 1)),
        "segment_scales": np.ones((COUNT, len(SMPL24))),
        "joints3d": np.tile((0, 0, 3.0), (COUNT, len(SMPL24), 1)),
        "joints2d": np.zeros((COUNT, len(SMPL24), 2)),
        "keypoints2d": keypoints,
        "boxes": np.tile(BOX, (COUNT, 1)),
        "confidence": np.ones(COUNT),
        "joint_confidence": np.ones((COUNT, len(SMPL24))),
        "reprojection_error": np.zeros(COUNT),
        "frame_names": [f"{frame:06d}" for frame in range(COUNT)],
        "shot_id": np.zeros(COUNT),
        "image_size": [SIZE] * COUNT,
        "focal": np.full(COUNT, 150.0),
        "principal_point": [(60.0, 80.0)] * COUNT,
        "world_to_camera": np.tile(np.eye(4), (COUNT, 1, 1)),
    }
    return Fit.build(**{**values, **columns})


def middles(fit: Fit, count: int) -> list[int]:
    frames = FitFrames.of(fit, np.zeros((COUNT, *SIZE[::-1], 3), np.uint8))
    return [int(np.median(sighting.rows)) for sighting in sightings(cameras_of(fit, frames), 0, count)]


def test_the_front_is_first_and_the_opposite_view_second():
    first, second, *others = middles(turning(), 4)
    assert abs(first - COUNT // 2) <= 1
    assert min(second, COUNT - 1 - second) <= 1  # from behind
    assert sorted(np.abs(np.array(others) - COUNT // 2)) == pytest.approx([COUNT / 4, COUNT / 4], abs=2)


def test_frames_that_show_little_or_nothing_are_not_taken():
    visibility = np.ones(COUNT)
    visibility[COUNT // 2 - 3 : COUNT // 2 + 4] = 0.05
    interpolated = np.arange(COUNT) < COUNT // 2
    chosen = middles(turning(visibility, interpolated=interpolated), 6)
    assert len(chosen) == 6
    assert min(chosen) >= COUNT // 2
    assert chosen[0] > COUNT // 2 + 3
    still = turning(poses=np.tile(turning().poses[0], (COUNT, 1)))
    assert len(set(middles(still, 8))) == 8  # apart in time


def test_of_neighbours_the_sharpest_frame_is_taken():
    fit = turning()
    frames = np.random.default_rng(0).integers(0, 255, (COUNT, *SIZE[::-1], 3), np.uint8)
    for frame in range(COUNT):
        if frame % 3:
            frames[frame] = cv2.GaussianBlur(frames[frame], (0, 0), 2)
    cameras = cameras_of(fit, FitFrames.of(fit, frames))
    chosen = sightings(cameras, 0, 6)
    results = list(sharpest_frames(cameras, chosen, no_progress))
    assert {sighting for sighting, _, _ in results} == set(chosen)
    for sighting, row, pixels in results:
        assert row in sighting.rows
        assert (pixels == frames[row]).all()
        assert row % 3 == 0 or len(sighting.rows) < 3
