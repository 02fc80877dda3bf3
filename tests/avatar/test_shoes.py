"""Shoes on the body's bare feet."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, mesh_reposer, pose
from scipy.spatial import ConvexHull

from humanpose_cli.avatar.completion import skin_tone
from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.photo_crop import crop_photo
from humanpose_cli.avatar.shoes import photo_colours, shoe_offsets, wears_shoes
from humanpose_cli.avatar.surface import body_texels
from humanpose_cli.body.body import default_body
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.conventions import SMPL24

SKIN, DARK_SKIN, BLUE = (0.80, 0.60, 0.50), (0.40, 0.26, 0.19), (0.15, 0.2, 0.6)
FEET = ("left_ankle", "right_ankle", "left_foot", "right_foot")
LEGS = ("left_knee", "right_knee", "left_hip", "right_hip", "pelvis")


@pytest.mark.parametrize("size", [0.0, -3.0, 3.0])
def test_shoes_are_convex_and_leave_all_but_the_front_of_the_feet(stage: Stage, size: float) -> None:
    body, betas = stage.body, torch.zeros(1, 10)
    betas[0, 0] = size
    rest, labels = body.rest(betas).vertices[0].numpy(), body.part_labels.numpy()
    offsets = shoe_offsets(body, rest)
    moved = np.abs(offsets).max(1) > 0
    assert not moved[~parts_mask(labels, FEET)].any()
    assert moved[np.isin(labels, SMPL24.indices(("left_foot", "right_foot")))].mean() > 0.99
    assert np.linalg.norm(offsets, axis=1).max() < 0.07
    faces = body.faces.numpy()
    for side in (1, -1):
        foot = moved & (side * rest[:, 0] > 0)
        shod = rest[foot] + offsets[foot]
        hull = ConvexHull(shod)
        depth = -(shod @ hull.equations[:, :3].T + hull.equations[:, 3]).max(1)
        # On the hull, but for where it ends: there the surface goes on into the foot.
        ahead = shod[:, 2] > np.quantile(shod[:, 2], 0.4)
        assert np.quantile(depth[ahead], 0.98) < 0.002
        bare = ConvexHull(rest[foot])
        assert bare.volume < hull.volume < 1.35 * bare.volume
        corners = (rest + offsets)[faces[foot[faces].all(1)]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        inwards = ((corners.mean(1) - shod.mean(0)) * normals).sum(1) < 0
        assert np.linalg.norm(normals[inwards], axis=1).sum() < 0.01 * np.linalg.norm(normals, axis=1).sum()


def test_bodies_without_toes_stay_as_they_are() -> None:
    body = copy.deepcopy(default_body())
    for side in ("left", "right"):
        body.part_labels[body.part_labels == SMPL24.index(f"{side}_foot")] = SMPL24.index(f"{side}_ankle")
    assert not shoe_offsets(body, body.template.numpy()).any()


def test_offsets_turn_with_the_bones(stage: Stage) -> None:
    dressed, trans = DressedBody.of(stage.body, torch.zeros(10)), torch.tensor([0.0, 0.0, 2.4])
    bent = pose(left_hip=(-0.8, 0.0, 0.0), left_knee=(1.1, 0.0, 0.0))
    bare = dressed.pose(bent, trans)
    toes = torch.from_numpy(stage.body.part_labels.numpy() == SMPL24.index("left_foot"))
    offsets = torch.zeros_like(bare)
    offsets[toes] = torch.tensor([0.0, 0.0, 0.02])
    moved = replace(dressed, offsets=offsets).pose(bent, trans) - bare
    turned = dressed.posed(bent, trans).linear[0, SMPL24.index("left_foot")]
    rigid = stage.body.bone_weights[toes].max(1).values > 0.999
    expected = (turned @ torch.tensor([0.0, 0.0, 0.02])).expand(int(rigid.sum()), 3)
    assert rigid.any()
    torch.testing.assert_close(moved[toes][rigid], expected, atol=1e-5, rtol=0)
    assert moved[~toes].abs().max() == 0


def painted(stage: Stage, skin: tuple[float, ...], cloth: tuple[float, ...], names: tuple[str, ...]) -> Stage:
    """The stage with somebody of one colour, who has another on some parts."""
    texels = body_texels(stage.body, stage.texture.shape[0])
    part = parts_mask(stage.body.part_labels.numpy(), names).astype(np.float32)
    share = texels.fine.interpolate(part[:, None], stage.body.faces)
    colours = np.where(share > 0.5, np.float32(cloth), np.float32(skin))
    texels.fine.bleed(colours)
    return replace(stage, texture=colours)


def shod(stage: Stage, unknown: tuple[str, ...] = ()) -> bool | None:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    vertices = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).vertices[0]
    crop = crop_photo(photo, stage.view, mask, np.zeros_like(mask), vertices)
    others = torch.from_numpy(~parts_mask(stage.body.part_labels.numpy(), unknown))
    faces = stage.body.faces[others[stage.body.faces.long()].all(1)]
    surface = body_texels(stage.body, 512)
    visible = photo_colours(vertices, faces, crop)
    tone = skin_tone(surface, visible.colour, visible.shown)
    return wears_shoes(surface, visible, tone)


@pytest.mark.extensive
@pytest.mark.parametrize(
    ("skin", "cloth", "parts", "expected"),
    [
        (SKIN, SKIN, (), False),
        (DARK_SKIN, DARK_SKIN, (), False),
        (SKIN, BLUE, FEET, True),
        (DARK_SKIN, BLUE, FEET, True),
        (SKIN, BLUE, LEGS, False),
        ((0.6,) * 3, (0.15,) * 3, FEET, True),
        ((0.6,) * 3, (0.6,) * 3, (), False),
    ],
    ids=["bare", "dark and bare", "shoes", "dark, shoes", "trousers and bare feet", "grey shoes", "grey and bare"],
)
def test_shoes_are_what_has_not_the_skins_colour(stage: Stage, skin, cloth, parts, expected) -> None:
    assert shod(painted(stage, skin, cloth, parts)) is expected


@pytest.mark.slow
@pytest.mark.parametrize("parts", [LEGS, ("pelvis",)], ids=["trousers", "bare legs"])
def test_whether_feet_outside_the_image_wear_shoes_is_unknown(stage: Stage, parts: tuple[str, ...]) -> None:
    # The camera looks at the chest: the image ends at the shins.
    assert shod(replace(painted(stage, SKIN, BLUE, parts), trans=torch.tensor([0.0, 0.35, 1.9]))) is None


@pytest.mark.slow
def test_feet_that_are_not_where_the_fit_has_them_are_unknown(stage: Stage) -> None:
    bare = painted(stage, SKIN, BLUE, LEGS)
    assert shod(bare) is False
    assert shod(bare, FEET) is None


@pytest.mark.parametrize(
    ("colour", "expected"), [(BLUE, True), ((0.4,) * 3, True), (SKIN, False)], ids=["blue", "grey", "skin"]
)
def test_without_skin_to_compare_with_its_hue_decides(stage: Stage, colour: tuple[float, ...], expected: bool) -> None:
    upper = ("neck", "head", "left_hand", "right_hand", "left_wrist", "right_wrist", "left_elbow", "right_elbow")
    assert shod(painted(stage, colour, (0.1, 0.5, 0.2), upper), upper) is expected


@pytest.mark.extensive
def test_bare_feet_stay_as_they_are(stage: Stage) -> None:
    rotations, names = pose(**STANDING), {"bare": (), "shod": FEET}
    for kind, parts in names.items():
        person = painted(stage, SKIN, BLUE, parts)
        photo, mask = person.person(rotations)
        found = mesh_reposer(photo, mask, person.fitted(rotations), person.body, options=MeshOptions())
        assert (found.person.body.offsets is None) == (kind == "bare")


@pytest.mark.extensive
def test_heels_have_the_colour_of_the_feet(stage: Stage) -> None:
    rotations = pose(**STANDING)
    person = painted(stage, SKIN, BLUE, LEGS)
    photo, mask = person.person(rotations)
    found = mesh_reposer(photo, mask, person.fitted(rotations), person.body, options=MeshOptions())
    texels = body_texels(stage.body, found.person.texture.image.shape[0])
    rest = stage.body.template.numpy()
    heel = parts_mask(stage.body.part_labels.numpy(), FEET) & (rest[:, 2] < -0.02)
    where = texels.fine.interpolate(heel[:, None].astype(np.float32), stage.body.faces)[..., 0] > 0.99
    hidden = where & (found.person.texture.image[..., 3] < 0.05)
    assert hidden.sum() > 100
    colours = found.person.texture.image[hidden][:, :3]
    away = [
        np.linalg.norm(colours / colours.max(1, keepdims=True) - np.divide(one, max(one)), axis=1)
        for one in (SKIN, BLUE)
    ]
    assert (away[0] < away[1]).mean() > 0.95
