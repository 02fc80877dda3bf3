"""The world of a take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from humanpose_cli.body.body import default_body
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.views.bodies import PersonBodies
from humanpose_cli.views.records import _world_to_first


@pytest.mark.parametrize("names", [("sitting_on_chair",), ("sitting_cross_legged", "kneeling"), ("standing", "bow")])
def test_the_world_of_a_take_is_upright_with_seated_people(names: tuple[str, ...]) -> None:
    """People in key poses, each turned to four sides, before a camera that looks down by 0.3 radians."""
    body, camera = default_body(), axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0]))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    people = []
    for name in names:
        headings = axis_angle_to_matrix(torch.tensor([[0.0, 0.2 * turn, 0.0] for turn in range(4)]))
        rotations = key_poses()[name].repeat(4, 1, 1, 1)
        rotations[:, 0] = camera @ flip @ headings @ rotations[:, 0]
        posed = body.pose(rotations, torch.zeros(4, 10), torch.tensor([[0.0, 0.0, 4.0]]).expand(4, 3))
        landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed, torch.zeros(4, 10)).double().numpy()
        people.append(PersonBodies(None, SimpleNamespace(joints3d=posed.joints.numpy()), landmarks))
    down = _world_to_first(people, 1.0)[:3, 1]
    assert np.degrees(np.arccos(down @ camera.numpy()[:, 1])) < 10
