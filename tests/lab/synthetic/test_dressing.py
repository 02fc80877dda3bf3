"""Dressed people: meshes that hold together in any pose; clothes cover what they should and are cut where they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.cached_body import body
from helpers.errors import raises
from helpers.synthetic_people import FLIP, PLAIN, dressed, outfit, person, shirt, trousers, vertices_of, wearing

from humanpose_cli.body.body import default_body
from humanpose_cli.body.cloth import top_field
from humanpose_cli.body.cloth_surface import cloth_base
from humanpose_cli.body.joint_angles import angles_from_named, angles_to_rotations
from humanpose_cli.body.pose_prior import sample_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.engine.rasterising.op import rasterise
from humanpose_cli.lab.synthetic.dressing import dress_identity
from humanpose_cli.lab.synthetic.garments import bottom_field
from humanpose_cli.lab.synthetic.mesh import MATERIALS, pose_dressed
from humanpose_cli.lab.synthetic.people import Headwear, Shoes, Skirt

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_meshes_are_valid(seed):
    mesh = dressed(seed)
    assert (mesh.faces.min(), mesh.faces.max()) == (0, len(mesh.vertices) - 1)
    assert mesh.uv_faces.shape == mesh.faces.shape
    assert 0 <= mesh.uv_faces.min() <= mesh.uv_faces.max() < len(mesh.uv)
    assert 0 <= mesh.uv.min() <= mesh.uv.max() <= 1
    assert mesh.material.shape == (len(mesh.faces),)
    assert mesh.material.max() < len(MATERIALS)
    assert mesh.texture.shape == (64, 96, 3)
    assert np.isfinite(mesh.vertices).all()
    np.testing.assert_allclose(mesh.bone_weights.sum(1), 1, atol=1e-5)
    assert mesh.bone_weights.min() >= 0
    assert 0 <= mesh.bone_indices.min() <= mesh.bone_indices.max() < len(SMPL24)
    assert 0 <= mesh.body_vertex.min() <= mesh.body_vertex.max() < len(body().template)
    kinds = {"vertices": np.float32, "faces": np.int32, "body_vertex": np.int32, "material": np.uint8}
    assert {name: vars(mesh)[name].dtype for name in (*kinds, "texture")} == {**kinds, "texture": np.uint8}


def test_rest_joints_are_the_bodys():
    identity, _ = person(2)
    rest = body().rest(torch.from_numpy(identity.betas)[None])
    np.testing.assert_allclose(dressed(2).rest_joints, rest.joints[0].numpy(), atol=1e-5)


def test_bare_skin_poses_like_the_body():
    """Nothing worn and no hair: the dressed mesh is the naked body."""
    identity, _ = person(1)
    identity = replace(identity, hair=replace(identity.hair, style="bald"), glasses="")
    mesh = dress_identity(body(), identity, outfit(), texture_size=64)
    poses = sample_poses(2, torch.Generator().manual_seed(1))
    trans = torch.tensor([[0.1, 0.2, 3.0], [0.0, 0.0, 2.0]])
    body_vertices = body().pose(poses, torch.from_numpy(identity.betas)[None], trans).vertices
    vertices = pose_dressed(body(), mesh, poses, trans)
    assert len(mesh.faces) == len(body().faces)
    torch.testing.assert_close(vertices, body_vertices[:, mesh.body_vertex], atol=2e-5, rtol=0)


# Metres that a vertex may be from the skin under it, in any pose; skirts and tails hang between parted legs, long
# hair swings with the head.
REACH = {"skin": 0.06, "eye": 1e-4, "hair": 0.4, "top": 0.13, "bottom": 0.12, "outer": 0.5, "skirt": 0.6}
REACH |= {"tail": 0.5, "shoe": 0.08, "hat": 0.16, "accessory": 0.16}


@pytest.mark.parametrize("seed", SEEDS)
def test_clothes_stay_with_the_body_in_any_pose(seed):
    mesh, (identity, _) = dressed(seed), person(seed)
    poses = sample_poses(6, torch.Generator().manual_seed(seed))
    poses[:, 0] = FLIP @ poses[:, 0]
    zero = torch.zeros(len(poses), 3)
    body_vertices = body().pose(poses, torch.from_numpy(identity.betas)[None], zero).vertices
    distance_to_body = (
        (pose_dressed(body(), mesh, poses, zero) - body_vertices[:, mesh.body_vertex]).norm(dim=-1).amax(0).numpy()
    )
    for material in np.unique(mesh.material):
        name = MATERIALS[material]
        assert distance_to_body[vertices_of(mesh, name)].max() < REACH[name], name


def labels_of(mesh, material):
    return {SMPL24.joint_names[k] for k in body().part_labels.numpy()[mesh.body_vertex[vertices_of(mesh, material)]]}


def test_vertices_carry_the_labels_of_the_parts_they_clothe():
    mesh = wearing(top=shirt(), bottom=trousers())
    arms = {f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow")}
    legs = {f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee")}
    assert arms | {"spine1", "spine2", "spine3"} <= labels_of(mesh, "top")
    assert not labels_of(mesh, "top") & {"left_hand", "right_hand", "head", *legs} - {"left_hip", "right_hip"}
    assert legs | {"pelvis"} <= labels_of(mesh, "bottom")
    assert not labels_of(mesh, "bottom") & arms
    assert labels_of(mesh, "hair") <= {"head", "neck", "spine3"}


def test_sides_are_not_swapped():
    mesh = wearing(top=shirt(), bottom=trousers())
    names = np.array(SMPL24.joint_names)[body().part_labels.numpy()[mesh.body_vertex]]
    assert mesh.vertices[np.char.startswith(names, "left_"), 0].min() > -0.03
    assert mesh.vertices[np.char.startswith(names, "right_"), 0].max() < 0.03


@pytest.mark.slow
def test_covered_skin_is_left_out():
    bare, dressed_mesh = wearing(), wearing(top=shirt(), bottom=trousers())

    def skin(mesh, joint):
        rows = mesh.body_vertex[vertices_of(mesh, "skin")]
        return (body().part_labels.numpy()[rows] == SMPL24.index(joint)).sum()

    for joint in ("spine2", "left_elbow", "right_knee"):
        assert skin(bare, joint) > 100
        assert skin(dressed_mesh, joint) < 0.5 * skin(bare, joint)
    assert skin(dressed_mesh, "left_hand") == skin(bare, "left_hand")


def test_small_textures_and_other_bodies_are_refused():
    with raises(UsageError, subject="texture size"):
        dress_identity(body(), *person(0), texture_size=8)
    other = default_body()
    other.name = "smpl-neutral"
    with raises(UsageError, problem="cannot be dressed"):
        dress_identity(other, *person(0), texture_size=64)


SKIRT = Skirt(PLAIN, top=0.08, hem=-0.45, ease=0.01, flare=0.2, folds=0.01, pleats=9)


@pytest.mark.parametrize("sleeve", [0.12, 0.3, 0.46])
def test_sleeves_end_where_they_are_cut(sleeve):
    base = cloth_base(body())
    mesh = wearing(top=shirt(sleeve))
    reach = base.coordinates.arm[mesh.body_vertex[vertices_of(mesh, "top")]].max()
    assert reach == pytest.approx(sleeve, abs=0.025)


def test_clothes_stand_off_the_skin():
    """The silhouette grows: cloth lies outside the body's surface, loose cloth further out."""
    identity, _ = person(1)
    normals = cloth_base(body()).shaped(identity.betas).normals
    rest = body().rest(torch.from_numpy(identity.betas)[None]).vertices[0].numpy()
    off = []
    for looseness in (0.0, 0.05):
        mesh = dress_identity(body(), identity, outfit(top=replace(shirt(), looseness=looseness)), texture_size=64)
        rows = vertices_of(mesh, "top")
        under = mesh.body_vertex[rows]
        off.append(((mesh.vertices[rows] - rest[under]) * normals[under]).sum(1))
    assert np.quantile(off[0], 0.05) > -0.003
    assert np.median(off[1]) > np.median(off[0]) + 0.01


def visible_materials(mesh, pose, yaw, size=200):
    """Faces seen by a camera 3 m away: (n,) rows."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    turn = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=torch.float32)
    rotations = pose[None].clone()
    rotations[:, 0] = FLIP @ turn @ rotations[:, 0]
    vertices = pose_dressed(body(), mesh, rotations, torch.tensor([[0.0, 0.0, 3.2]]))
    camera = torch.tensor([1.4 * size]), torch.tensor([[size / 2, size / 2]])
    face = rasterise(vertices, torch.from_numpy(mesh.faces), *camera, (size, size)).face.numpy()
    return face[face >= 0]


@pytest.mark.slow
def test_no_skin_shows_through_clothes():
    """Over many people and poses; a rolled-up edge may show a little of what lies right under it."""
    base, count = cloth_base(body()), len(body().template)
    poses = sample_poses(24, torch.Generator().manual_seed(5))
    through = pixels = 0
    for i, pose in enumerate(poses):
        seed = i % 12
        _, outfit = person(seed)
        mesh = dressed(seed)
        cover = np.full(count, -1.0)
        for top in filter(None, (outfit.top, outfit.outer)):
            cover = np.maximum(cover, top_field(top.edges, base.coordinates)[:count])
        if outfit.bottom is not None:
            cover = np.maximum(cover, bottom_field(outfit.bottom, base.coordinates)[:count])
        materials = visible_materials(mesh, pose, 0.7 * i)
        skin = materials[mesh.material[materials] == MATERIALS.index("skin")]
        bad = (cover[mesh.body_vertex[mesh.faces[skin]]].min(1) > 0.01).sum()
        assert bad < 0.01 * len(materials), f"person {seed}, pose {i}"
        through, pixels = through + bad, pixels + len(materials)
    assert through < 0.0015 * pixels


def test_a_shirt_over_trousers_hides_their_waist():
    mesh = wearing(top=replace(shirt(), hem=-0.06), bottom=replace(trousers(), waist=0.12))
    rows = vertices_of(mesh, "bottom")
    assert cloth_base(body()).coordinates.y[mesh.body_vertex[rows]].max() < 0.02


def stance(**angles: float):
    angles_of_joints = {name.replace("__", "."): value for name, value in angles.items()}
    return angles_to_rotations(angles_from_named(angles_of_joints)[None])


@pytest.mark.parametrize(
    "angles",
    [
        {"hip__abduction": 45.0},
        {"left_hip__flexion": 75.0, "left_knee__flexion": 40.0, "right_hip__flexion": -15.0},
        {"hip__flexion": 90.0, "knee__flexion": 90.0},
    ],
    ids=["wide", "step", "sitting"],
)
def test_skirts_do_not_tear(angles):
    """No edge of the cloth grows to a multiple of what it was, in a wide stance, a step or sitting."""
    mesh = wearing(top=replace(shirt(), hem=0.05), skirt=SKIRT)
    vertices = pose_dressed(body(), mesh, stance(**angles), torch.zeros(1, 3))[0].numpy()
    faces = mesh.faces[mesh.material == MATERIALS.index("skirt")]
    edges = np.concatenate((faces[:, :2], faces[:, 1:]))
    rest_lengths, posed_lengths = (
        np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1) for v in (mesh.vertices, vertices)
    )
    assert posed_lengths.max() < 0.16
    assert np.quantile(posed_lengths / rest_lengths, 0.98) < 2.6


def test_a_skirt_goes_round_both_legs_and_hides_them():
    mesh = wearing(skirt=SKIRT)
    rows = vertices_of(mesh, "skirt")
    edges = np.sort(mesh.faces[mesh.material == MATERIALS.index("skirt")][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 1).sum() == 2 * 48  # open at waist and hem alone
    hem = mesh.vertices[rows, 1] < mesh.vertices[rows, 1].min() + 0.03
    assert np.ptp(mesh.vertices[rows][hem, 0]) > 0.3
    where = cloth_base(body()).coordinates
    skin = mesh.body_vertex[vertices_of(mesh, "skin")]
    legs = ~where.is_arm[skin]
    assert not (legs & (where.y[skin] < 0.0) & (where.y[skin] > SKIRT.hem + 0.15)).any()


def test_hats_have_no_ears_under_them_and_hide_hair():
    """The cloth surface spans the ears; with a beanie no hair is left above its edge."""
    base = cloth_base(body())
    ears = base.is_head & (np.abs(base.coordinates.x) > 0.07) & (np.abs(base.coordinates.y - 0.661) < 0.02)
    assert ears.sum() > 50
    assert np.abs(base.template[ears, 0]).max() < 0.073
    identity, _ = person(1)
    identity = replace(identity, hair=replace(identity.hair, style="short"))
    crown = {}
    for name, wear in (("bare", None), ("beanie", Headwear("beanie", PLAIN, (10.0, 10.0, 10.0)))):
        mesh = dress_identity(body(), identity, outfit(headwear=wear), texture_size=64)
        crown[name] = base.coordinates.y[mesh.body_vertex[vertices_of(mesh, "hair")]].max()
    assert crown["bare"] > 0.78
    assert crown["beanie"] < 0.76


@pytest.mark.parametrize("style", ["short", "curly", "bob", "long", "bun", "ponytail", "afro"])
def test_hair_stands_off_the_head_and_spares_the_face(style):
    identity, _ = person(1)
    identity = replace(identity, glasses="", hair=replace(identity.hair, style=style, hairline=0.0))
    mesh = dress_identity(body(), identity, outfit(), texture_size=64)
    rows = vertices_of(mesh, "hair")
    bald = replace(identity, hair=replace(identity.hair, style="bald"))
    bare = dress_identity(body(), bald, outfit(), texture_size=64)
    assert mesh.vertices[rows, 1].max() > bare.vertices[:, 1].max() + 0.002
    materials = visible_materials(mesh, stance()[0], 0.0, size=400)
    points = cloth_base(body()).template[mesh.body_vertex[mesh.faces[materials]]].mean(1)
    face = (np.abs(points[:, 0]) < 0.04) & (points[:, 1] > 0.6) & (points[:, 1] < 0.7) & (points[:, 2] > 0.09)
    assert face.sum() > 100
    assert (mesh.material[materials[face]] != MATERIALS.index("hair")).all()


@pytest.mark.parametrize("kind", ["sandals", "shoes", "sneakers", "boots"])
def test_shoes_go_round_the_feet(kind):
    shoes = Shoes(kind, (50.0, 40.0, 30.0), (20.0, 20.0, 20.0), (200.0, 0.0, 0.0), 0.02, 0.2 * (kind == "boots"))
    mesh = wearing(shoes=shoes)
    rest = body().rest(torch.from_numpy(person(1)[0].betas)[None]).vertices[0].numpy()
    shoe = mesh.vertices[vertices_of(mesh, "shoe")]
    assert shoe[:, 1].min() == pytest.approx(rest[:, 1].min() - 0.02, abs=0.012)
    assert shoe[:, 2].max() > rest[rest[:, 1] < rest[:, 1].min() + 0.08, 2].max() - 0.002
    toes = mesh.body_vertex[vertices_of(mesh, "skin")]
    assert (cloth_base(body()).coordinates.y[toes].min() < -0.87) == (kind == "sandals")
    tall = 0.33 if kind == "boots" else 0.15
    assert np.ptp(shoe[:, 1]) < tall + 0.03
