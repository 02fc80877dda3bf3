"""Dressed people are valid, deterministic meshes whose vertices know the body under them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from wardrobe_people import FLIP, body, dressed, outfit, person, shirt, trousers, vertices_of

from humanpose_cli.bodies.body import default_body
from humanpose_cli.bodies.pose_prior import sample_poses
from humanpose_cli.conventions import SMPL24
from humanpose_cli.data.synthetic.wardrobe import MATERIALS, dress, pose_dressed
from humanpose_cli.errors import UsageError

SEEDS = range(12)


def test_same_seed_same_bytes():
    for seed in (0, 5):
        again = dress(body(), *person(seed), texture_size=64)
        for name, values in vars(dressed(seed)).items():
            assert values.tobytes() == getattr(again, name).tobytes(), name


def test_the_order_of_dressing_changes_nothing():
    first = dress(body(), *person(3), texture_size=64)
    dress(body(), *person(4), texture_size=64)
    assert first.texture.tobytes() == dress(body(), *person(3), texture_size=64).texture.tobytes()


def test_people_differ():
    assert len({dressed(seed).texture.tobytes() for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_meshes_are_valid(seed):
    mesh = dressed(seed)
    count, faces = len(mesh.vertices), len(mesh.faces)
    assert mesh.faces.min() == 0
    assert mesh.faces.max() == count - 1
    assert mesh.uv_faces.shape == mesh.faces.shape
    assert mesh.uv_faces.max() < len(mesh.uv)
    assert mesh.uv_faces.min() >= 0
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    assert mesh.material.shape == (faces,)
    assert mesh.material.max() < len(MATERIALS)
    assert mesh.texture.shape == (64, 96, 3)
    assert np.isfinite(mesh.vertices).all()
    np.testing.assert_allclose(mesh.bone_weights.sum(1), 1, atol=1e-5)
    assert mesh.bone_weights.min() >= 0
    assert 0 <= mesh.bone_indices.min() <= mesh.bone_indices.max() < len(SMPL24)
    assert 0 <= mesh.body_vertex.min() <= mesh.body_vertex.max() < len(body().template)
    kinds = {name: mesh.__dict__[name].dtype for name in ("vertices", "faces", "body_vertex", "material", "texture")}
    assert kinds == {
        "vertices": np.float32,
        "faces": np.int32,
        "body_vertex": np.int32,
        "material": np.uint8,
        "texture": np.uint8,
    }


def test_rest_joints_are_the_bodys():
    identity, _ = person(2)
    rest = body().rest(torch.from_numpy(identity.betas)[None])
    np.testing.assert_allclose(dressed(2).rest_joints, rest.joints[0].numpy(), atol=1e-5)


def test_bare_skin_poses_like_the_body():
    """Nothing worn and no hair: the dressed mesh is the naked body."""
    identity, _ = person(1)
    identity = replace(identity, hair=replace(identity.hair, style="bald"), glasses="")
    mesh = dress(body(), identity, outfit(), texture_size=64)
    poses = sample_poses(2, torch.Generator().manual_seed(1))
    trans = torch.tensor([[0.1, 0.2, 3.0], [0.0, 0.0, 2.0]])
    naked = body().pose(poses, torch.from_numpy(identity.betas)[None], trans).vertices
    posed = pose_dressed(body(), mesh, poses, trans)
    assert len(mesh.faces) == len(body().faces)
    torch.testing.assert_close(posed, naked[:, mesh.body_vertex], atol=2e-5, rtol=0)


# Metres that a vertex may be from the skin under it, in any pose; skirts and tails hang between parted legs, long
# hair swings with the head.
REACH = {
    "skin": 0.06,
    "eye": 1e-4,
    "hair": 0.4,
    "top": 0.13,
    "bottom": 0.12,
    "outer": 0.5,
    "skirt": 0.6,
    "shoe": 0.08,
    "hat": 0.16,
    "accessory": 0.16,
}


@pytest.mark.parametrize("seed", SEEDS)
def test_clothes_stay_with_the_body_in_any_pose(seed):
    mesh, (identity, _) = dressed(seed), person(seed)
    poses = sample_poses(6, torch.Generator().manual_seed(seed))
    poses[:, 0] = FLIP @ poses[:, 0]
    zero = torch.zeros(len(poses), 3)
    naked = body().pose(poses, torch.from_numpy(identity.betas)[None], zero).vertices
    away = (pose_dressed(body(), mesh, poses, zero) - naked[:, mesh.body_vertex]).norm(dim=-1).amax(0).numpy()
    for material in np.unique(mesh.material):
        name = MATERIALS[material]
        assert away[vertices_of(mesh, name)].max() < REACH[name], name


def labels_of(mesh, material):
    return {SMPL24.joint_names[k] for k in body().part_labels.numpy()[mesh.body_vertex[vertices_of(mesh, material)]]}


def test_vertices_carry_the_labels_of_the_parts_they_clothe():
    identity, _ = person(1)
    mesh = dress(body(), identity, outfit(top=shirt(), bottom=trousers()), texture_size=64)
    arms = {f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow")}
    legs = {f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee")}
    assert arms | {"spine1", "spine2", "spine3"} <= labels_of(mesh, "top")
    assert not labels_of(mesh, "top") & {"left_hand", "right_hand", "head", *legs} - {"left_hip", "right_hip"}
    assert legs | {"pelvis"} <= labels_of(mesh, "bottom")
    assert not labels_of(mesh, "bottom") & arms
    assert labels_of(mesh, "hair") <= {"head", "neck", "spine3"}


def test_sides_are_not_swapped():
    identity, _ = person(1)
    mesh = dress(body(), identity, outfit(top=shirt(), bottom=trousers()), texture_size=64)
    names = np.array(SMPL24.joint_names)[body().part_labels.numpy()[mesh.body_vertex]]
    left = np.char.startswith(names, "left_")
    right = np.char.startswith(names, "right_")
    assert mesh.vertices[left, 0].min() > -0.03
    assert mesh.vertices[right, 0].max() < 0.03


def test_covered_skin_is_left_out():
    identity, _ = person(1)
    naked = dress(body(), identity, outfit(), texture_size=64)
    clothed = dress(body(), identity, outfit(top=shirt(), bottom=trousers()), texture_size=64)

    def skin(mesh, joint):
        rows = mesh.body_vertex[vertices_of(mesh, "skin")]
        return (body().part_labels.numpy()[rows] == SMPL24.index(joint)).sum()

    for joint in ("spine2", "left_elbow", "right_knee"):
        assert skin(naked, joint) > 100
        assert skin(clothed, joint) < 0.5 * skin(naked, joint)
    assert skin(clothed, "left_hand") == skin(naked, "left_hand")


def test_a_texture_too_small_is_refused():
    with pytest.raises(UsageError, match="texture size"):
        dress(body(), *person(0), texture_size=8)


def test_only_the_default_body_can_be_dressed():
    other = default_body()
    other.name = "smpl-neutral"
    with pytest.raises(UsageError, match="cannot be dressed"):
        dress(other, *person(0), texture_size=64)
