"""Standing on the ground of a photograph."""

import numpy as np
import torch
from repose_stage import STANDING, Stage, pose

from humanpose_cli.avatar.ground import contact_shadow, standing_height
from humanpose_cli.avatar.mesh import MeshOptions, MeshReposer


def vertices(stage: Stage, rotations: torch.Tensor, trans: torch.Tensor) -> torch.Tensor:
    return stage.body.pose(rotations[None], torch.zeros(1, 10), trans[None]).vertices[0]


KNEELING = pose(left_knee=(1.6, 0.0, 0.0), right_knee=(1.6, 0.0, 0.0), **STANDING)
STEP = pose(left_hip=(-1.0, 0.0, 0.0), right_hip=(0.7, 0.0, 0.0), **STANDING)


def test_only_who_stands_on_their_feet_has_a_ground(stage: Stage) -> None:
    upright = vertices(stage, pose(**STANDING), stage.trans)
    assert standing_height(upright, stage.body) == float(upright[:, 1].max())
    assert standing_height(vertices(stage, KNEELING, stage.trans), stage.body) is None
    assert standing_height(upright, stage.body, torch.zeros(len(upright))) is None


def test_a_pose_is_set_down_where_the_feet_stood(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    reposer = MeshReposer(photo, mask, stage.fitted(rotations), stage.body, options=MeshOptions(grain=False))
    down = reposer.set_down(STEP, stage.trans)
    assert down[1] > stage.trans[1] + 0.03  # legs apart reach less deep, so the pelvis sinks
    assert abs(standing_height(reposer.dressed.pose(STEP, down), stage.body) - reposer.ground) < 1e-4
    for still in (KNEELING, rotations):
        torch.testing.assert_close(reposer.set_down(still, stage.trans), stage.trans)


def test_shadow_lies_below_the_feet_and_fades(stage: Stage) -> None:
    body = vertices(stage, pose(**STANDING), torch.tensor([0.0, 0.2, 3.5]))
    height = standing_height(body, stage.body)
    box, light = contact_shadow(body, height, stage.view)
    assert light.max() <= 1
    assert 0.3 < light.min() < 0.6
    y, x = np.unravel_index(light.argmin(), light.shape)
    sole = body[body[:, 1] > height - 0.02]
    near = (stage.view.project(sole) - torch.tensor([box.x0 + x + 0.5, box.y0 + y + 0.5])).norm(dim=1).min()
    assert near < 4
    assert light[0].min() > 0.8
    assert light[:, 0].min() > 0.9
    assert contact_shadow(body, 0.1, stage.view) is None
    assert contact_shadow(body - torch.tensor([0.0, 0.5, 0.0]), height, stage.view) is None
