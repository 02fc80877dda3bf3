"""How far a target's keypoints move the landmarks of the person who takes its pose."""

import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, pose

from humanpose_cli.avatar.dressing import landmark_points
from humanpose_cli.body.body import default_body
from humanpose_cli.core.camera import Camera
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from humanpose_cli.io.pose_files import JointTarget, RotationTarget
from humanpose_cli.io.pose_files.target_pose import DetectedKeypoints
from humanpose_cli.reposing.keypoint_shifts import keypoint_shifts

CAMERA = Camera(500.0, (150.0, 200.0), (300, 400))
BODY = default_body()
OFF = torch.tensor([0.03, -0.02])  # metres in the image plane, from the fit to the detections


def motion(frames: int, betas: float = 0.0) -> BodyParams:
    poses = matrix_to_axis_angle(pose(**STANDING)).reshape(1, 72).repeat(frames, 1)
    shape = torch.zeros(frames, 10)
    shape[:, 0] = betas
    return BodyParams(poses, shape, torch.tensor([[0.1, 0.2, 3.0]]).repeat(frames, 1))


def target_of(params: BodyParams, off: torch.Tensor = OFF) -> RotationTarget:
    """A fit whose every keypoint is off (T, 33, 2) metres from its body."""
    posed = BODY.pose(params.rotations, params.betas, params.trans, vertices=False)
    points = landmark_points(BODY, posed, params.betas)
    pixels = CAMERA.project(points) + off * CAMERA.focal / points[..., 2:]
    keypoints = torch.cat((pixels, torch.ones(*pixels.shape[:2], 1)), 2).numpy()
    count = len(keypoints)
    middle = np.tile(np.float32(CAMERA.principal_point), (count, 1))
    plain = BodyParams(params.poses.numpy(), params.betas.numpy(), params.trans.numpy())
    detected = DetectedKeypoints(keypoints, np.full(count, CAMERA.focal, np.float32), middle, BODY.name)
    return RotationTarget(plain, detected=detected)


def shifts_of(target: RotationTarget, params: BodyParams) -> torch.Tensor:
    shifts = keypoint_shifts(target, params, BODY)
    return torch.stack([shift for shift in shifts if shift is not None])


def test_shifts_are_what_detections_are_off() -> None:
    params = motion(1)
    shifts = shifts_of(target_of(params), params)
    np.testing.assert_allclose(shifts, OFF.expand(1, 33, 2), atol=1e-5)


def test_taller_people_are_moved_further() -> None:
    short, tall = motion(1), motion(1, 2.0)
    heights = [float(np.ptp(BODY.rest(p.betas).vertices[0, :, 1].numpy())) for p in (short, tall)]
    shifts = shifts_of(target_of(short), tall)
    np.testing.assert_allclose(shifts, (OFF * heights[1] / heights[0]).expand(1, 33, 2), atol=1e-5)


def test_shifts_turn_with_the_person() -> None:
    params = motion(1)
    rotations = params.rotations.clone()
    rotations[:, 0] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, np.pi / 2])) @ rotations[:, 0]
    turned = BodyParams.from_rotations(rotations, params.betas, params.trans)
    shifts = shifts_of(target_of(params), turned)
    np.testing.assert_allclose(shifts, torch.tensor([-OFF[1], OFF[0]]).expand(1, 33, 2), atol=1e-5)


def test_motions_are_smooth_and_lose_undetected_landmarks_slowly() -> None:
    params = motion(40)
    target = target_of(params)
    target.detected.keypoints[20:, 3, 2] = 0.1
    shifts = shifts_of(target, params)
    np.testing.assert_allclose(shifts[:, 5], OFF.expand(40, 2), atol=1e-5)
    lost = shifts[:, 3].norm(dim=1)
    np.testing.assert_allclose(lost[:10], OFF.norm(), atol=1e-4)
    assert torch.isnan(lost[-10:]).all()
    fading = torch.nan_to_num(lost[10:30])
    assert (fading.diff() < 1e-6).all()
    assert fading.diff().abs().max() < 0.3 * OFF.norm()


@pytest.mark.parametrize("kind", ["far", "unsure", "none", "joints", "other body"])
def test_no_shift_without_a_detection_nearby(kind: str) -> None:
    params = motion(1)
    target = target_of(params, torch.full((1, 33, 2), 0.3) if kind == "far" else OFF)
    if kind == "unsure":
        target.detected.keypoints[..., 2] = 0.2
    if kind in ("far", "unsure"):
        assert torch.isnan(shifts_of(target, params)).all()
        return
    detected = None if kind == "none" else DetectedKeypoints(**{**vars(target.detected), "body": "other"})
    unlike = RotationTarget(target.params, detected=detected)
    joints = JointTarget(np.zeros((1, 24, 3)), BODY.skeleton)
    assert keypoint_shifts(joints if kind == "joints" else unlike, params, BODY) == (None,)
