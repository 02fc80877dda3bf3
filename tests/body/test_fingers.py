"""The layer of fingers: it bends what it should, keeps all the rest, and agrees with one layer of bones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import Body
from humanpose_cli.body.fingers import ROOTS, FingerLayer
from humanpose_cli.core.conventions import FINGERS, HAND21, SMPL24, SMPL24_FINGERS
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

pytestmark = pytest.mark.slow

T_POSE = torch.eye(3).expand(1, 24, 3, 3)
BETAS = torch.linspace(-1, 1, 10)[None]


@pytest.fixture(scope="module")
def layer(body: Body) -> FingerLayer:
    assert body.fingers is not None
    return body.fingers


def random_hands(seed: int = 0) -> torch.Tensor:
    """(1, 2, 15, 3, 3)."""
    angles = 0.6 * torch.randn(1, 2, 15, 3, generator=torch.Generator().manual_seed(seed))
    return axis_angle_to_matrix(angles)


def bent(**joints: float) -> torch.Tensor:
    """Hands whose joints of the left hand flex towards the palm, which looks down in the T pose."""
    angles = torch.zeros(1, 2, 15, 3)
    for name, angle in joints.items():
        angles[0, 0, FINGERS.index(name), 2] = -angle
    return axis_angle_to_matrix(angles)


def in_t_pose(body: Body, layer: FingerLayer, hands: torch.Tensor | None = None) -> torch.Tensor:
    """(2, 21, 3): the landmarks of both hands in the T pose, relative to the wrists."""
    wrists = SMPL24.indices(["left_wrist", "right_wrist"])
    origin = body.rest_joints(BETAS)[0, wrists, None]
    points = torch.cat((origin, layer.points(BETAS, hands)[0]), 1) - origin
    return torch.einsum("sij,spj->spi", body.rest_rotations[wrists], points)


def test_unbent_hands_change_nothing(body: Body, layer: FingerLayer) -> None:
    still = body.pose(T_POSE, BETAS).vertices
    posed = body.pose(T_POSE, BETAS, hands=bent()).vertices
    torch.testing.assert_close(posed, still, atol=1e-6, rtol=0)


def test_fingers_point_outwards_and_the_thumb_forwards(body: Body, layer: FingerLayer) -> None:
    left, right = in_t_pose(body, layer)
    tips = HAND21.indices([f"{finger}4" for finger in ("index", "middle", "ring", "pinky")])
    assert (left[tips, 0] > 0.12).all()
    assert (np.diff(left[tips, 2]) < 0).all(), "from the index finger backwards"
    assert left[HAND21.index("thumb4"), 2] > left[tips, 2].max()
    torch.testing.assert_close(right, left * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-5, rtol=0)


def test_a_finger_turns_about_its_joint_alone(body: Body, layer: FingerLayer) -> None:
    still, moved = in_t_pose(body, layer)[0], in_t_pose(body, layer, bent(index2=1.0))[0]
    changed = (moved - still).norm(dim=-1) > 1e-6
    assert [name for name, is_changed in zip(HAND21.joint_names, changed, strict=True) if is_changed] == [
        "index3",
        "index4",
    ]
    joint = still[HAND21.index("index2")]
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, -1.0]))
    expected = joint + (still[HAND21.index("index4")] - joint) @ turn.T
    torch.testing.assert_close(moved[HAND21.index("index4")], expected, atol=1e-6, rtol=0)
    assert moved[HAND21.index("index4"), 1] < still[HAND21.index("index4"), 1] - 0.02, "towards the palm"


def test_only_hands_move_with_fingers(body: Body, layer: FingerLayer) -> None:
    still = body.pose(T_POSE, BETAS).vertices[0]
    fingers = body.pose(T_POSE, BETAS, hands=random_hands()).vertices[0]
    labels = [SMPL24.joint_names[part] for part in body.part_labels[(fingers - still).norm(dim=-1) > 1e-5].unique()]
    assert set(labels) == {"left_wrist", "right_wrist", "left_hand", "right_hand"}


def test_the_mesh_follows_the_landmarks(body: Body, layer: FingerLayer) -> None:
    """Each fingertip's landmark keeps its distance to the vertices around it, which turn with it."""
    rest, hands = body.rest(BETAS).vertices, random_hands(3)
    before, after = layer.points(BETAS)[0].flatten(0, 1), layer.points(BETAS, hands)[0].flatten(0, 1)
    moved = layer.bend(rest, BETAS, hands)
    for tip in [row for row, name in enumerate(2 * HAND21.joint_names[1:]) if name.endswith("4")]:
        near = (rest[0] - before[tip]).norm(dim=-1).argsort()[:3]
        distances = [(mesh[0, near] - point[tip]).norm(dim=-1) for mesh, point in ((rest, before), (moved, after))]
        torch.testing.assert_close(*distances, atol=2e-4, rtol=0)


def test_one_layer_of_bones_gives_the_same_hands(body: Body, layer: FingerLayer) -> None:
    """The skin of the exports: every bone's map by hand, from the roots on, weighted by `skin`."""
    hands = random_hands(1)
    indices, weights = layer.skin(body.bone_indices, body.bone_weights)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    joints = torch.cat((body.rest_joints(BETAS)[0], layer.joints(BETAS)[0]))
    maps = torch.eye(4).repeat(len(SMPL24_FINGERS), 1, 1)
    for row, rotation in enumerate(hands[0].flatten(0, 1), len(SMPL24)):
        rest = body.rest_rotations[ROOTS[row - len(SMPL24)]]
        about = torch.eye(4)
        about[:3, :3] = rest.T @ rotation @ rest
        about[:3, 3] = joints[row] - about[:3, :3] @ joints[row]
        maps[row] = maps[SMPL24_FINGERS.parents[row]] @ about
    rest_vertices = torch.nn.functional.pad(body.rest(BETAS).vertices[0], (0, 1), value=1.0)
    posed = torch.einsum("vk,vkij,vj->vi", weights, maps[indices.long()], rest_vertices)[:, :3]
    expected = layer.bend(body.rest(BETAS).vertices, BETAS, hands)[0]
    assert (posed - expected).norm(dim=-1).max() < 0.002
    assert (posed - expected).norm(dim=-1).mean() < 1e-5


def test_a_body_without_fingers_ignores_hands(smpl_body: Body) -> None:
    betas = torch.zeros(1, smpl_body.shape_count)
    still = smpl_body.pose(T_POSE, betas).vertices
    torch.testing.assert_close(smpl_body.pose(T_POSE, betas, hands=random_hands()).vertices, still)
