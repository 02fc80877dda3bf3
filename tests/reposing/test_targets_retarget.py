"""Target poses on somebody else's body."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import Body
from humanpose_cli.body.pose_library import pose_library
from humanpose_cli.core.conventions import COCO17, SKELETONS, SMPL24, Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.geometry.rotations import geodesic_angle
from humanpose_cli.io.pose_files import JointTarget, RotationTarget
from humanpose_cli.reposing.targets import motion_on, retarget_joints, root_positions

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def motion(count: int) -> torch.Tensor:
    """Rotations (count, 24, 3, 3) of real poses, in camera axes."""
    library = pose_library()
    rows = torch.randperm(len(library), generator=torch.Generator().manual_seed(3))[:count]
    rotations = library.rotations(rows).clone()
    rotations[:, 0] = FACING @ rotations[:, 0]
    return rotations


def joints_of(body: Body, skeleton: Skeleton, rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    shape = betas[None].expand(len(rotations), -1)
    posed = body.pose(rotations, shape, vertices=False)
    return posed.joints if skeleton is SMPL24 else body.pose_landmarks(skeleton.name, posed, shape)


def bone_angles(skeleton: Skeleton, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Degrees between the bones of two sets of joints."""

    def directions(points: torch.Tensor) -> torch.Tensor:
        bones = torch.stack([points[:, child] - points[:, parent] for parent, child in skeleton.bones], 1)
        return torch.nn.functional.normalize(bones, dim=-1)

    return torch.rad2deg(torch.arccos((directions(a) * directions(b)).sum(-1).clamp(-1, 1)))


@pytest.mark.parametrize("name", list(SKELETONS))
def test_limbs_of_a_differently_built_person_point_the_same_way(body: Body, name: str) -> None:
    skeleton = SKELETONS[name]
    rotations = motion(12)
    giant, betas = torch.zeros(10), torch.linspace(1.5, -1.5, 10)
    giant[0] = 2.0
    target = joints_of(body, skeleton, rotations, giant)
    motion_ = retarget_joints(body, target.numpy(), skeleton, betas.numpy())
    angles = bone_angles(skeleton, target, joints_of(body, skeleton, motion_, betas))
    assert angles.mean() < 1.5
    assert angles.quantile(0.95) < 4


def test_parts_turn_as_they_did_where_the_skeleton_determines_it(body: Body) -> None:
    rotations = motion(12)
    betas = torch.zeros(10)
    target = joints_of(body, SMPL24, rotations, betas)
    found = retarget_joints(body, target.numpy(), SMPL24, betas.numpy())
    truth = body.pose(rotations, betas[None].expand(12, -1), vertices=False).rotations
    got = body.pose(found, betas[None].expand(12, -1), vertices=False).rotations
    angles = torch.rad2deg(geodesic_angle(truth, got))
    assert angles[:, SMPL24.indices(("pelvis", "spine3"))].mean() < 2
    assert angles[:, SMPL24.indices(("left_hip", "right_hip", "left_knee", "right_knee"))].mean() < 8


def test_missing_joints_are_left_out_and_missing_hips_refused(body: Body) -> None:
    target = joints_of(body, COCO17, motion(3), torch.zeros(10)).numpy()
    target[:, COCO17.index("left_wrist")] = np.nan
    found = retarget_joints(body, target, COCO17, np.zeros(10))
    assert torch.isfinite(found).all()
    got = joints_of(body, COCO17, found, torch.zeros(10))
    points = torch.from_numpy(np.nan_to_num(target))
    angles = bone_angles(COCO17, points, got)
    arm = [b for b, (_, child) in enumerate(COCO17.bones) if child == COCO17.index("left_wrist")]
    keep = [b for b in range(len(COCO17.bones)) if b not in arm]
    assert angles[:, keep].mean() < 1.5
    target[1, COCO17.index("right_hip")] = np.inf
    with raises(InputError, problem="frame 1 lacks a hip"):
        retarget_joints(body, target, COCO17, np.zeros(10))
    with raises(InputError, problem="wrong shape"):
        retarget_joints(body, target[:, :9], COCO17, np.zeros(10))


def test_no_frames_give_no_frames(body: Body) -> None:
    found = retarget_joints(body, np.zeros((0, 17, 3)), COCO17, np.zeros(10))
    assert found.shape == (0, 24, 3, 3)
    assert motion_on(JointTarget(np.zeros((0, 17, 3)), COCO17), body, np.zeros(10)).trans.shape == (0, 3)


def test_the_pelvis_starts_at_the_person_and_follows_the_target(body: Body) -> None:
    path = np.float32([[5.0, 0.0, 9.0], [6.0, 0.0, 9.0]])
    target = RotationTarget(BodyParams(np.zeros((2, 72), np.float32), np.zeros((2, 10)), path))
    rest = body.rest_joints(torch.ones(1, 10))[0, SMPL24.index("pelvis")]
    placed = motion_on(target, body, np.ones(10), np.float32([0.0, 0.2, 3.0]))
    np.testing.assert_allclose(placed.trans + rest, [[0.0, 0.2, 3.0], [1.0, 0.2, 3.0]], atol=1e-6)
    np.testing.assert_array_equal(placed.betas, np.ones((2, 10)))
    np.testing.assert_allclose(motion_on(target, body, np.ones(10)).trans, path, atol=1e-6)
    # In place only the steps' rise and fall is left of a path.
    rising = RotationTarget(replace(target.params, trans=path + np.float32([[0, 0, 0], [0, -0.3, 2]])))
    held = motion_on(rising, body, np.ones(10), np.float32([0, 0.2, 3]), torch.tensor([0.0, 1.0, 0.0]), in_place=True)
    np.testing.assert_allclose(held.trans + rest, [[0, 0.2, 3], [0, -0.1, 3]], atol=1e-6)
    points = np.zeros((1, len(COCO17), 3))
    points[0, COCO17.index("left_hip"), 0] = 1.0
    np.testing.assert_allclose(root_positions(points, COCO17), [[0.5, 0.0, 0.0]])
