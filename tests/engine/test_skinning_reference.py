"""The reference of kinematics and skinning: gradients, invariants, and smplx as an oracle."""

from __future__ import annotations

import pytest
import torch
from skinning_cases import PARENTS, assert_close, random_body
from smplx.lbs import batch_rigid_transform, lbs

from humanpose_cli.conventions import SMPL24
from humanpose_cli.engine.skinning import forward_kinematics, skin_vertices
from humanpose_cli.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix


@pytest.mark.parametrize("absolute", [False, True])
def test_kinematics_passes_gradcheck(absolute):
    parents = (2, 2, -1, 1, 0)  # parents after their children, two branches
    body = random_body(2, 1, joints=5, dtype=torch.float64)

    def run(rotations, joints, scales, rest):
        return tuple(
            forward_kinematics(rotations, joints, parents, scales, rest, absolute=absolute, backend="reference")
        )

    assert torch.autograd.gradcheck(
        run, (body.rotations, body.joints, body.scales, body.rest_rotations.requires_grad_())
    )


@pytest.mark.parametrize("shared", [False, True])
def test_skinning_passes_gradcheck(shared):
    body = random_body(2, 4, joints=3, dtype=torch.float64)
    vertices = (body.vertices[:1] if shared else body.vertices).detach().requires_grad_()
    linear = torch.randn(2, 3, 3, 3, dtype=torch.float64).requires_grad_()
    positions = torch.randn(2, 3, 3, dtype=torch.float64).requires_grad_()

    def run(vertices, joints, linear, positions, weights):
        return skin_vertices(vertices, joints, linear, positions, body.bone_indices, weights, backend="reference")

    inputs = (vertices, body.joints, linear, positions, body.bone_weights.requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_agrees_with_smplx_forwards_and_backwards(backend):
    torch.manual_seed(0)
    batch, count, joints = 5, 300, len(PARENTS)
    template, shapes = torch.randn(count, 3), torch.randn(count, 3, 10)
    pose_shapes = 0.01 * torch.randn(207, count * 3)
    regressor = torch.softmax(torch.randn(joints, count), -1)
    weights = torch.softmax(3 * torch.randn(count, joints), -1)
    betas, pose = torch.randn(batch, 10).requires_grad_(), torch.randn(batch, joints * 3).requires_grad_()
    expected = lbs(betas, pose, template, shapes, pose_shapes, regressor, torch.tensor(PARENTS), weights)

    shaped = template + torch.einsum("bs,vcs->bvc", betas, shapes)
    rest = torch.einsum("jv,bvc->bjc", regressor, shaped)
    rotations = axis_angle_to_matrix(pose.view(batch, joints, 3))
    features = (rotations[:, 1:] - torch.eye(3)).flatten(1)
    shaped = shaped + (features @ pose_shapes).view(batch, count, 3)
    posed = forward_kinematics(rotations, rest, PARENTS, backend=backend)
    bones = torch.arange(joints, dtype=torch.int32).expand(count, joints)
    vertices = skin_vertices(shaped, rest, posed.linear, posed.positions, bones, weights, backend=backend)

    assert_close(vertices, expected[0])
    assert_close(posed.positions, expected[1])
    upstream = torch.randn(batch, count, 3)
    gradients = torch.autograd.grad(vertices, (betas, pose), upstream)
    for found, wanted in zip(gradients, torch.autograd.grad(expected[0], (betas, pose), upstream), strict=True):
        assert_close(found, wanted, 1e-4)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_positions_are_those_of_smplx_rigid_transforms(backend):
    body = random_body(2)
    expected, _ = batch_rigid_transform(body.rotations, body.joints, torch.tensor(PARENTS))
    found = forward_kinematics(body.rotations, body.joints, PARENTS, backend=backend)
    assert_close(found.positions, expected)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_a_bent_elbow_moves_the_hand_where_it_must(backend):
    """T pose, left upper arm along x; the left elbow turns by 90° about y, which takes x to −z."""
    shoulder, elbow, wrist = SMPL24.indices(["left_shoulder", "left_elbow", "left_wrist"])
    joints = torch.zeros(1, 24, 3)
    joints[0, [shoulder, elbow, wrist], 0] = torch.tensor([0.2, 0.5, 0.7])
    turns = torch.zeros(1, 24, 3)
    turns[0, elbow, 1] = torch.pi / 2
    rotations = axis_angle_to_matrix(turns)
    posed = forward_kinematics(rotations, joints, PARENTS, backend=backend)
    torch.testing.assert_close(posed.positions[0, wrist], torch.tensor([0.5, 0.0, -0.2]), atol=1e-6, rtol=0)
    point = torch.tensor([[[0.8, 0.1, 0.0]]])  # beyond the wrist, fixed to it
    skinned = skin_vertices(
        point,
        joints,
        posed.linear,
        posed.positions,
        torch.tensor([[wrist]], dtype=torch.int32),
        torch.ones(1, 1),
        backend=backend,
    )
    torch.testing.assert_close(skinned[0, 0], torch.tensor([0.5, 0.1, -0.3]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_scales_lengthen_their_own_segment_only(backend):
    hip, knee, ankle, foot = SMPL24.indices(["left_hip", "left_knee", "left_ankle", "left_foot"])
    body = random_body(1)
    scales = torch.ones(1, 24)
    scales[0, knee] = 2.0
    plain = forward_kinematics(body.rotations, body.joints, PARENTS, backend=backend).positions[0]
    longer = forward_kinematics(body.rotations, body.joints, PARENTS, scales, backend=backend).positions[0]

    def bone(positions, child, parent):
        return positions[child] - positions[parent]

    assert_close(bone(longer, ankle, knee), 2 * bone(plain, ankle, knee))
    assert_close(bone(longer, knee, hip), bone(plain, knee, hip))
    assert_close(bone(longer, foot, ankle), bone(plain, foot, ankle))


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_absolute_rotations_are_the_relative_ones_composed(backend):
    body = random_body(2)
    relative = forward_kinematics(
        body.rotations, body.joints, PARENTS, body.scales, body.rest_rotations, backend=backend
    )
    absolute = forward_kinematics(
        relative.rotations, body.joints, PARENTS, body.scales, body.rest_rotations, absolute=True, backend=backend
    )
    for a, b in zip(relative, absolute, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_turning_the_root_turns_the_whole_body(backend):
    body = random_body(1)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5]))
    pelvis = SMPL24.index("pelvis")
    turned_rotations = body.rotations.detach().clone()
    turned_rotations[:, pelvis] = turn @ turned_rotations[:, pelvis]

    def skinned(rotations):
        posed = forward_kinematics(rotations, body.joints, PARENTS, body.scales, body.rest_rotations, backend=backend)
        arguments = (body.vertices, body.joints, posed.linear, posed.positions, body.bone_indices, body.bone_weights)
        return skin_vertices(*arguments, backend=backend)

    root = body.joints[:, pelvis : pelvis + 1]
    assert_close(skinned(turned_rotations) - root, (skinned(body.rotations) - root) @ turn.mT)


def test_several_roots_are_trees_of_their_own():
    body = random_body(1, joints=3)
    posed = forward_kinematics(body.rotations, body.joints, (-1, -1, 1))
    torch.testing.assert_close(posed.positions[:, :2], body.joints[:, :2], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": torch.zeros(2, 24, 3)}, r"joints: has the wrong shape, expected \(3, 24, 3\), found \(2, 24, 3\)"),
        ({"rotations": torch.zeros(3, 23, 3, 3)}, r"rotations: .*expected \(B, 24, 3, 3\)"),
        ({"scales": torch.zeros(3, 24, dtype=torch.float64)}, "scales: has another dtype"),
        ({"rest_rotations": torch.zeros(24, 9)}, "rest_rotations: has the wrong shape"),
        ({"parents": (*PARENTS[:-1], 24)}, "joint 23 has no such parent"),
        ({"parents": (23, *PARENTS[1:])}, "not connected to a root"),
        ({"backend": "fastest"}, "backend: is not known"),
    ],
)
def test_kinematics_refuses_what_does_not_fit(change, message):
    body = random_body(3)
    arguments = {"rotations": body.rotations, "joints": body.joints, "parents": PARENTS} | change
    with pytest.raises(UsageError, match=message):
        forward_kinematics(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.zeros(2, 200, 3)}, r"vertices: has the wrong shape, expected \(3, V, 3\)"),
        ({"positions": torch.zeros(3, 23, 3)}, "positions: has the wrong shape"),
        ({"bone_weights": torch.zeros(200, 3)}, "bone_weights: has the wrong shape"),
        ({"bone_indices": torch.full((200, 4), 24, dtype=torch.int32)}, "bone_indices: points outside.*0 to 23"),
        ({"bone_indices": torch.full((200, 4), -1)}, "bone_indices: points outside"),
        ({"bone_indices": torch.zeros(200, 4)}, "must be integers"),
    ],
)
@pytest.mark.parametrize("backend", ["reference", "kernel"])
def test_skinning_refuses_what_does_not_fit(backend, change, message):
    body = random_body(3)
    arguments = {
        "vertices": body.vertices,
        "joints": body.joints,
        "linear": torch.zeros(3, 24, 3, 3),
        "positions": torch.zeros(3, 24, 3),
        "bone_indices": body.bone_indices,
        "bone_weights": body.bone_weights,
    } | change
    with pytest.raises(UsageError, match=message):
        skin_vertices(**arguments, backend=backend)
