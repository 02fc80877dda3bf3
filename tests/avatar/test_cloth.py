"""Close clothes over the body."""

import numpy as np
import pytest
import torch
from helpers.repose_stage import Stage

from humanpose_cli.avatar.cloth import Worn, cloth_form, clothed_parts
from humanpose_cli.avatar.shoes import VertexColours
from humanpose_cli.avatar.surface import FEET, HANDS, body_texels, parts_mask
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.rendering.surfaces import vertex_normals

SKIN, BLUE = (0.80, 0.60, 0.50), (0.15, 0.2, 0.6)
LEGS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee"))


def test_cloth_lies_outside_the_trunk_and_leaves_head_hands_and_feet(stage: Stage) -> None:
    labels, normals = stage.body.part_labels.numpy(), vertex_normals(stage.body.template, stage.body.faces).numpy()
    offsets = cloth_form(stage.body).offsets
    distance = np.linalg.norm(offsets, axis=1)
    assert distance[parts_mask(labels, ("head", *HANDS, *FEET))].max() < 1e-3
    assert 0.015 < distance.max() <= 0.06
    assert np.abs(offsets[:, 1]).max() < 1e-3, "horizontal"
    assert (offsets * normals).sum(1).min() > -0.004, "not into the body"
    # The fold between the buttocks is as good as closed: nothing lies far below the hull of its height.
    rest = stage.body.template.numpy()
    behind = parts_mask(labels, ("pelvis", "left_hip", "right_hip"))
    behind &= (rest[:, 2] < rest[parts_mask(labels, ("pelvis",)), 2].mean()) & (np.abs(rest[:, 0]) < 0.1)
    height = np.median(rest[parts_mask(labels, ("pelvis",)), 1])
    level = behind & (np.abs(rest[:, 1] - height) < 0.02)

    def depth(points: np.ndarray) -> float:
        middle = np.abs(points[level, 0]) < 0.01
        return float(points[level][middle][:, 2].mean() - points[level, 2].min())

    assert depth(rest + offsets) < 0.5 * depth(rest)


def test_cloth_is_smoother_than_the_body(stage: Stage) -> None:
    trunk = parts_mask(stage.body.part_labels.numpy(), ("pelvis", "spine1", "spine2"))
    faces, rest = stage.body.faces, stage.body.template
    edges = faces[:, :2].numpy()
    edges = edges[trunk[edges].all(1)]

    def roughness(points: torch.Tensor) -> float:
        normals = vertex_normals(points, faces).numpy()
        return float((1 - (normals[edges[:, 0]] * normals[edges[:, 1]]).sum(1)).mean())

    assert roughness(rest + torch.from_numpy(cloth_form(stage.body).offsets)) < 0.8 * roughness(rest)


def test_bare_legs_are_not_clothed_and_hidden_shins_are_as_the_thighs(stage: Stage) -> None:
    surface, labels = body_texels(stage.body, 512), stage.body.part_labels.numpy()
    colour = np.tile(np.array(BLUE, np.float32), (len(labels), 1))
    colour[parts_mask(labels, ("head", "neck", *HANDS, *LEGS, *FEET))] = SKIN
    visible = ~parts_mask(labels, ("left_knee", "right_knee"))
    parts = clothed_parts(surface, VertexColours(colour, visible), np.array(SKIN))
    clothed = {name for name, share in zip(SMPL24.joint_names, parts, strict=True) if share}
    bare = {"head", "neck", *HANDS, *LEGS, *FEET}
    assert clothed == set(SMPL24.joint_names) - bare
    everything = clothed_parts(surface, VertexColours(colour, visible), None)
    assert everything[SMPL24.indices(LEGS)].all(), "without skin to compare with"


@pytest.mark.parametrize("shod", [True, False])
def test_feet_are_covered_by_shoes_alone(stage: Stage, shod: bool) -> None:
    labels, parts = stage.body.part_labels.numpy(), np.ones(24, np.float32)
    worn = Worn(None, parts, shod, np.zeros(len(labels), bool))
    covered = worn.covered(stage.body)
    assert (covered[parts_mask(labels, FEET)] == shod).all()
    np.testing.assert_allclose(covered[parts_mask(labels, ("spine1",))], 1, atol=1e-5)
