"""Which joints and landmarks the label maps say are seen."""

import numpy as np
import pytest
import torch
from cached_body import body, labels

from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.data.label_maps import LabelledMesh, joint_visibility, landmark_visibility, render_label_maps
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

VIEW = Camera(110.0, (64.0, 64.0), (128, 128))
CARD = (torch.tensor([[-2.0, -2, 1], [2, -2, 1], [0, 3, 1]]), torch.tensor([[0, 1, 2]], dtype=torch.int32))


def standing(turn: float, at: tuple[float, float, float] = (0.0, 0.2, 3.0)):
    """Mesh, joints (24, 3) and landmarks (33, 3) of the body in T pose; no turn looks at the camera."""
    rotations = torch.eye(3).repeat(1, 24, 1, 1)
    towards_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotations[:, 0] = towards_camera @ axis_angle_to_matrix(torch.tensor([0.0, turn, 0.0]))
    with torch.no_grad():
        made = body().pose(rotations, torch.zeros(1, 10), torch.tensor([at]))
        points = body().pose_landmarks("blazepose33", made, torch.zeros(1, 10))[0]
    assert made.vertices is not None
    return LabelledMesh(made.vertices[0], body().faces, labels()), made.joints[0].numpy(), points.numpy()


@pytest.mark.parametrize("turn", [0.0, np.pi])
def test_everything_is_seen_of_somebody_who_stands_free(turn):
    mesh, joints, _ = standing(turn)
    assert joint_visibility(joints, 0, VIEW, render_label_maps([mesh], VIEW)).min() > 0.5


def test_what_lies_outside_the_image_or_behind_something_is_not_seen():
    mesh, joints, _ = standing(0.0, at=(1.3, 0.2, 3.0))
    seen = joint_visibility(joints, 0, VIEW, render_label_maps([mesh], VIEW))
    assert seen[SMPL24.index("right_elbow")] > 0.6
    assert seen[SMPL24.index("left_wrist")] == 0
    assert not joint_visibility(joints, 0, VIEW, render_label_maps([mesh], VIEW, occluders=[CARD])).any()
    assert not joint_visibility(joints, 1, VIEW, render_label_maps([mesh], VIEW)).any()


def test_a_leg_hides_the_other_one():
    mesh, joints, _ = standing(np.pi / 2)
    seen = dict(
        zip(SMPL24.joint_names, joint_visibility(joints, 0, VIEW, render_label_maps([mesh], VIEW)), strict=True)
    )
    near, far = sorted(["left", "right"], key=lambda side: joints[SMPL24.index(f"{side}_knee"), 2])
    assert seen[f"{near}_knee"] > 0.6
    assert seen[f"{far}_knee"] < 0.3


def test_a_nose_is_seen_from_the_front_only():
    found = []
    for turn in (0.0, np.pi):
        mesh, _, points = standing(turn, at=(0.0, 0.7, 2.0))
        seen = landmark_visibility(body(), "blazepose33", points, 0, VIEW, render_label_maps([mesh], VIEW))
        found.append(seen[BLAZEPOSE33.index("nose")])
    assert found[0] > 0.6
    assert found[1] == 0
