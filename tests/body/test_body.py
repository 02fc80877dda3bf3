"""Posing: conventions pinned, identities, an independent oracle in plain numpy, gradients, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.errors import raises

from humanpose_cli.body.body import Body, BodyArrays
from humanpose_cli.core.camera import project
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

pytestmark = pytest.mark.slow

MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))


def turned(**joints: tuple[float, float, float]) -> torch.Tensor:
    """(1, 24, 3, 3): the T pose with some joints turned by axis-angles."""
    poses = torch.zeros(1, 24, 3)
    for name, axis_angle in joints.items():
        poses[0, SMPL24.index(name)] = torch.tensor(axis_angle)
    return axis_angle_to_matrix(poses)


def random_pose(batch: int, body: Body, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = body.template.dtype
    poses = 0.5 * torch.randn(batch, 24, 3, generator=generator, dtype=dtype)
    betas = torch.randn(batch, 10, generator=generator, dtype=dtype)
    trans = torch.randn(batch, 3, generator=generator, dtype=dtype)
    return axis_angle_to_matrix(poses), betas, trans


def test_left_shoulder_turned_minus_90_about_z_lets_the_hand_hang(body: Body) -> None:
    betas = torch.zeros(1, 10)
    joints = body.pose(turned(left_shoulder=(0, 0, -math.pi / 2)), betas).joints[0]
    shoulder, hand, right = (joints[SMPL24.index(name)] for name in ("left_shoulder", "left_hand", "right_hand"))
    assert shoulder[0] > 0.1, "the left is at positive x"
    assert (hand - shoulder)[1] < -0.5
    assert abs((hand - shoulder)[0]) < 0.01
    assert right[0] < -0.5, "the other arm stays where it was"


def test_facing_the_camera_the_left_hand_is_on_the_right_of_the_image(body: Body) -> None:
    facing = turned(pelvis=(math.pi, 0, 0))
    torch.testing.assert_close(facing[0, 0], torch.diag(torch.tensor([1.0, -1.0, -1.0])), atol=1e-6, rtol=0)
    posed = body.pose(facing, torch.zeros(1, 10), torch.tensor([[0.0, 0.0, 4.0]]))
    pixels = project(posed.joints, torch.tensor([800.0]), torch.tensor([[320.0, 240.0]]))[0]
    x, y = pixels[SMPL24.index("left_hand")]
    assert x > 320 + 100
    assert pixels[SMPL24.index("right_hand")][0] < 320 - 100
    assert pixels[SMPL24.index("head")][1] < pixels[SMPL24.index("left_foot")][1]
    torch.testing.assert_close(pixels[0], torch.tensor([320.0, 240.0]))
    nose = body.pose_landmarks("face13", posed, torch.zeros(1, 10))[0, 0]
    assert nose[2] < 4, "the face is nearer to the camera than the pelvis"
    assert y < 240


def test_pose_agrees_with_a_plain_loop(any_body: Body) -> None:
    rotations, betas, trans = random_pose(2, any_body)
    scales = 1 + 0.1 * torch.rand(2, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    posed = any_body.pose(rotations, betas, trans, scales)
    rest = any_body.rest(betas)
    for b in range(2):
        absolute, position, linear = {}, {}, {}
        for j, parent in enumerate(SMPL24.parents):
            absolute[j] = rotations[b, j] if parent < 0 else absolute[parent] @ rotations[b, j]
            linear[j] = scales[b, j] * absolute[j] @ any_body.rest_rotations[j]
            offset = rest.joints[b, j] - rest.joints[b, parent]
            position[j] = rest.joints[b, j] if parent < 0 else position[parent] + linear[parent] @ offset
        vertices = rest.vertices[b]
        if any_body.pose_directions is not None:
            feature = (rotations[b, 1:] - torch.eye(3)).flatten()
            vertices = vertices + any_body.pose_directions @ feature
        for v in range(0, len(vertices), 997):
            expected = torch.zeros(3, dtype=torch.float64)
            for bone, weight in zip(any_body.bone_indices[v].tolist(), any_body.bone_weights[v], strict=True):
                expected += weight * (position[bone] + linear[bone] @ (vertices[v] - rest.joints[b, bone]))
            torch.testing.assert_close(posed.vertices[b, v], expected + trans[b], atol=1e-6, rtol=0)
        joints = torch.stack([position[j] for j in range(24)]) + trans[b]
        torch.testing.assert_close(posed.joints[b], joints, atol=1e-9, rtol=0)


def test_root_is_the_rest_pelvis_plus_trans(any_body: Body) -> None:
    rotations, betas, trans = random_pose(3, any_body)
    posed = any_body.pose(rotations, betas, trans, vertices=False)
    assert posed.vertices is None
    torch.testing.assert_close(posed.joints[:, 0], any_body.rest(betas).joints[:, 0] + trans)
    torch.testing.assert_close(any_body.translation_of_root(posed.joints[:, 0], betas), trans)


def test_absolute_rotations_give_the_same_body(any_body: Body) -> None:
    rotations, betas, trans = random_pose(2, any_body)
    relative = any_body.pose(rotations, betas, trans)
    absolute = any_body.pose(relative.rotations, betas, trans, absolute=True)
    torch.testing.assert_close(absolute.vertices, relative.vertices, atol=1e-9, rtol=0)
    torch.testing.assert_close(absolute.joints, relative.joints, atol=1e-9, rtol=0)


def test_one_row_of_betas_serves_the_complete_batch(any_body: Body) -> None:
    rotations, betas, trans = random_pose(3, any_body)
    one = any_body.pose(rotations, betas[:1], trans)
    each = any_body.pose(rotations, betas[:1].expand(3, -1), trans)
    torch.testing.assert_close(one.vertices, each.vertices)
    for name in ("blazepose33", "face13"):
        torch.testing.assert_close(
            any_body.pose_landmarks(name, one, betas[:1]), any_body.pose_landmarks(name, each, betas[:1].expand(3, -1))
        )


def test_turning_the_pelvis_turns_the_complete_body(any_body: Body) -> None:
    rotations, betas, _ = random_pose(1, any_body)
    R = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64))
    before = any_body.pose(rotations, betas)
    after = any_body.pose(torch.cat((R @ rotations[:, :1], rotations[:, 1:]), 1), betas)
    root = before.joints[:, :1]
    torch.testing.assert_close(after.vertices, (before.vertices - root) @ R.mT + root, atol=1e-9, rtol=0)


def test_mirrored_pose_gives_the_mirrored_body(body: Body) -> None:
    rotations, betas, _ = random_pose(1, body)
    mirrored = MIRROR @ rotations[:, list(SMPL24.mirror)] @ MIRROR
    left, right = body.pose(rotations, betas), body.pose(mirrored, betas)
    torch.testing.assert_close(right.vertices, left.vertices[:, body.mirror_vertices] @ MIRROR, atol=2e-6, rtol=0)


def test_segment_scale_lengthens_one_bone_and_shifts_what_hangs_on_it(body: Body) -> None:
    betas, scales = torch.zeros(1, 10), torch.ones(1, 24)
    scales[0, SMPL24.index("left_hip")] = 1.2
    rotations, _, _ = random_pose(1, body)
    before, after = (body.pose(rotations, betas, None, s, vertices=False).joints[0] for s in (None, scales))
    hip, knee, ankle = SMPL24.indices(("left_hip", "left_knee", "left_ankle"))
    torch.testing.assert_close(after[knee] - after[hip], 1.2 * (before[knee] - before[hip]))
    torch.testing.assert_close(after[ankle] - after[knee], before[ankle] - before[knee])
    others = [j for j in range(24) if "left_" not in SMPL24.joint_names[j]]
    torch.testing.assert_close(after[others], before[others])


def test_landmarks_at_joints_follow_the_joints(any_body: Body) -> None:
    rotations, betas, trans = random_pose(2, any_body)
    posed = any_body.pose(rotations, betas, trans, vertices=False)
    marks = any_body.landmarks("coco17")
    positions = any_body.pose_landmarks(marks, posed, betas)
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        name = f"left_{joint}"
        torch.testing.assert_close(
            positions[:, marks.skeleton.index(name)], posed.joints[:, SMPL24.index(name)], atol=1e-6, rtol=0
        )


def test_gradients_reach_every_input(body: Body) -> None:
    rotations, betas, trans = (t.clone().requires_grad_() for t in random_pose(2, body))
    scales = torch.ones(2, 24, requires_grad=True)
    posed = body.pose(rotations, betas, trans, scales)
    (posed.vertices.square().mean() + body.pose_landmarks("face13", posed, betas).square().mean()).backward()
    for tensor in (rotations, betas, trans, scales):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


@pytest.mark.extensive
def test_gradient_of_landmarks_is_right(any_body: Body) -> None:
    rotations, betas, _ = random_pose(1, any_body)

    def nose(r: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return any_body.pose_landmarks("face13", any_body.pose(r, b, vertices=False), b)[:, :1]

    assert torch.autograd.gradcheck(nose, (rotations.requires_grad_(), betas.requires_grad_()), atol=1e-6)


def test_wrong_arguments_are_refused(body: Body) -> None:
    rotations = turned()
    with raises(UsageError, subject="betas", expected="(B, 10)", got="(1, 5)"):
        body.pose(rotations, torch.zeros(1, 5))
    with raises(UsageError, subject="rotations"):
        body.pose(torch.zeros(1, 22, 3, 3), torch.zeros(1, 10))
    with raises(UsageError, problem="no set named 'mpii'", expected="blazepose33"):
        body.landmarks("mpii")


def test_values_that_are_not_finite_are_refused(body: Body) -> None:
    good = {
        name: buffer.numpy()
        for name, buffer in body.named_buffers(recurse=False)
        if name not in ("pose_directions", "mirror_vertices", "_directions", "_joint_rows")
    } | {"mirror_vertices": body.mirror_vertices.int().numpy()}
    BodyArrays(name="b", source="file", **good)
    with raises(InputError, subject="file", problem="template holds values that are not finite"):
        BodyArrays(name="b", source="file", **{**good, "template": good["template"] * np.float32(np.nan)})
