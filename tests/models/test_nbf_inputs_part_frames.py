"""What the detector's world landmarks say about how each part stands."""

import numpy as np
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.geometry.rotations import geodesic_angle
from humanpose_cli.models.crops import CropEvidence
from humanpose_cli.models.nbf.body import part_frames, relative_to_absolute, zero_pose_joints
from humanpose_cli.models.nbf.inputs import InputOptions, encode_numbers, world_of_numbers

UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def people(count=24):
    """Absolute rotations, world landmarks."""
    body = default_body()
    generator = torch.Generator().manual_seed(3)
    rotations = sample_poses(count, generator)
    rotations[:, 0] = UPRIGHT @ rotations[:, 0]
    betas = torch.zeros(count, 10)
    posed = body.pose(rotations, betas, vertices=False)
    world = body.pose_landmarks(BLAZEPOSE33.name, posed, betas)
    hips = BLAZEPOSE33.indices(("left_hip", "right_hip"))
    return relative_to_absolute(rotations), world - world[:, hips].mean(1, keepdim=True)


def test_frames_of_true_landmarks_are_near_the_true_rotations():
    true, world = people()
    frames = part_frames(zero_pose_joints(), world, torch.ones(world.shape[:2]))
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(frames.shape[:2]), atol=1e-4, rtol=0)
    for joints, limit in ((("pelvis", "spine3"), 20), (("left_hip", "right_knee"), 30), (("left_shoulder",), 45)):
        rows = SMPL24.indices(joints)
        assert np.rad2deg(geodesic_angle(frames[:, rows], true[:, rows]).median().item()) < limit, joints


def test_a_mirrored_person_has_mirrored_frames():
    _, world = people(6)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    confidence = torch.ones(world.shape[:2])
    zero = zero_pose_joints()
    zero = (zero + zero[list(SMPL24.mirror)] * flip) / 2  # a body is not quite the same on both sides
    mirrored = part_frames(zero, world[:, list(BLAZEPOSE33.mirror)] * flip, confidence)[:, list(SMPL24.mirror)]
    torch.testing.assert_close(mirrored * flip * flip[:, None], part_frames(zero, world, confidence), atol=1e-4, rtol=0)


def test_the_regressor_reads_them_from_its_numbers():
    _, world = people(1)
    options = InputOptions("proxy")
    landmarks = np.ones((33, 3), np.float32)
    vector = encode_numbers(CropEvidence(64, landmarks=landmarks, world=world[0].numpy()), options)["vector"]
    found, confidence = world_of_numbers(torch.from_numpy(vector)[None])
    torch.testing.assert_close(found, world)
    assert (confidence == 1).all()
    silent = encode_numbers(CropEvidence(64, landmarks=landmarks), options)["vector"]
    assert (world_of_numbers(torch.from_numpy(silent)[None])[1] == 0).all()
