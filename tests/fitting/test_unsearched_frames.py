"""Bodies of frames between searched ones, of motions whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.detect.camera_motion import CameraPose
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.tracks import FrameCamera
from humanpose_cli.fitting.unsearched_frames import complete_bodies

COUNT = 31
SECONDS = np.arange(COUNT) / 60


def moving_cameras() -> list[FrameCamera]:
    """A camera that turns by 60 degrees a second, walks and zooms."""
    cameras = []
    for frame, time in enumerate(SECONDS):
        turn = Rotation.from_euler("y", 60 * time, degrees=True).as_matrix()
        pose = CameraPose(turn, translation=np.array([0.4 * time, 0.1, -0.5 * time]))
        cameras.append(FrameCamera(str(frame), Camera.of_image((640, 480), 500.0 + 100 * time), time, turn=pose))
    return cameras


def motion(body: Body, cameras: list[FrameCamera]) -> KeypointFit:
    """A person who turns round once a second, waves, and moves up and down, before those cameras."""
    rotations = np.tile(np.eye(3), (COUNT, 24, 1, 1))
    rotations[:, 0] = Rotation.from_rotvec(360 * SECONDS[:, None] * [0, 1, 0], degrees=True).as_matrix()
    wave = 60 * np.sin(2 * np.pi * SECONDS)
    rotations[:, SMPL24.index("left_shoulder")] = Rotation.from_rotvec(
        wave[:, None] * [0, 0, 1], degrees=True
    ).as_matrix()
    world = np.stack([0 * SECONDS, 0.3 * np.sin(2 * np.pi * SECONDS), 4 + 0 * SECONDS], 1)
    to_camera = np.stack([camera.turn.rotation for camera in cameras])
    rotations[:, 0] = to_camera @ rotations[:, 0]
    pelvis = np.einsum("tij,tj->ti", to_camera, world) + [camera.turn.translation for camera in cameras]
    betas, scales = torch.zeros(COUNT, body.shape_count), torch.ones(COUNT, 24)
    moved = torch.from_numpy(rotations).float()
    offset = body.pose(moved, betas, torch.zeros(COUNT, 3), scales, vertices=False).joints[:, 0].numpy()
    trans = torch.from_numpy(pelvis - offset).float()
    joints = body.pose(moved, betas, trans, scales, vertices=False).joints.numpy()
    pixels = [camera.camera.project(points) for camera, points in zip(cameras, joints, strict=True)]
    return KeypointFit(
        poses=Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(COUNT, 72).astype(np.float32),
        betas=betas.numpy(),
        trans=trans.numpy(),
        segment_scales=scales.numpy(),
        joints3d=joints,
        joints2d=np.asarray(pixels, np.float32),
        confidence=np.linspace(0, 1, COUNT, dtype=np.float32),
        joint_confidence=np.tile(np.linspace(0, 1, COUNT, dtype=np.float32)[:, None], (1, 24)),
        reprojection_error=np.ones(COUNT, np.float32),
    )


def rows_of(tracks: list[int]) -> list[DetectedPerson]:
    column = np.zeros(33, np.float32)
    person = DetectedPerson(np.zeros(4, np.float32), np.zeros((33, 3), np.float32), None, column, None, None, 1.0)
    return [replace(person, frame=frame, track=track) for track in tracks for frame in range(COUNT)]


@pytest.mark.parametrize("gap", [2, 3])
def test_a_smooth_motion_before_a_moving_camera_is_recovered(body: Body, gap: int) -> None:
    """Two people, the second with the first one's motion; searched frames keep their bits."""
    cameras = moving_cameras()
    truth = KeypointFit.joined(2 * [motion(body, cameras)])
    people, searched = rows_of([0, 1]), [*range(0, COUNT, gap), *range(COUNT, 2 * COUNT, gap)]
    completed = complete_bodies(body, people, cameras, searched, truth.rows(searched))
    for name, expected in truth.columns.items():
        values = getattr(completed, name)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values[searched], expected[searched])
        if name not in ("poses", "joints2d"):
            np.testing.assert_allclose(values, expected, atol=0.001, err_msg=name)
    np.testing.assert_allclose(completed.joints2d, truth.joints2d, atol=0.2)
    turns = [Rotation.from_rotvec(fit.poses.reshape(-1, 3)) for fit in (completed, truth)]
    assert (turns[0].inv() * turns[1]).magnitude().max() < np.radians(0.2)


def test_two_searched_frames_give_an_even_motion(body: Body) -> None:
    cameras = moving_cameras()[:4]
    truth = motion(body, moving_cameras())
    completed = complete_bodies(body, rows_of([0])[:4], cameras, [0, 3], truth.rows([0, 3]))
    turns = Rotation.from_rotvec(completed.poses[:, :3])
    world = Rotation.from_matrix(np.stack([camera.turn.rotation for camera in cameras])).inv() * turns
    np.testing.assert_allclose((world[0].inv() * world[1]).magnitude(), np.radians(6), atol=0.01)
    np.testing.assert_allclose(completed.joints3d, truth.joints3d[:4], atol=0.01)
