"""Shoes on the body's bare feet."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from repose_stage import STANDING, Stage, pose
from scipy.spatial import ConvexHull

from humanpose_cli.avatar.dressing import DressedBody
from humanpose_cli.avatar.loose import crop_photo
from humanpose_cli.avatar.mesh import MeshOptions, MeshReposer
from humanpose_cli.avatar.shoes import shoe_offsets, wears_shoes
from humanpose_cli.avatar.surface import body_texels, parts_mask
from humanpose_cli.core.conventions import SMPL24

SKIN, DARK_SKIN, BLUE = (0.80, 0.60, 0.50), (0.40, 0.26, 0.19), (0.15, 0.2, 0.6)
FEET = ("left_ankle", "right_ankle", "left_foot", "right_foot")
LEGS = ("left_knee", "right_knee", "left_hip", "right_hip", "pelvis")


def test_shoes_are_convex_and_leave_all_but_the_front_of_the_feet(stage: Stage) -> None:
    body = stage.body
    template, labels = body.template.numpy(), body.part_labels.numpy()
    offsets = shoe_offsets(body)
    moved = np.abs(offsets).max(1) > 0
    assert not moved[~parts_mask(labels, FEET)].any()
    assert moved[np.isin(labels, SMPL24.indices(("left_foot", "right_foot")))].mean() > 0.99
    assert np.linalg.norm(offsets, axis=1).max() < 0.06
    faces = body.faces.numpy()
    for side in (1, -1):
        foot = moved & (side * template[:, 0] > 0)
        shod = template[foot] + offsets[foot]
        hull = ConvexHull(shod)
        depth = -(shod @ hull.equations[:, :3].T + hull.equations[:, 3]).max(1)
        # On the hull, but for where it ends: there the surface goes on into the foot.
        ahead = shod[:, 2] > np.quantile(shod[:, 2], 0.4)
        assert np.quantile(depth[ahead], 0.98) < 0.002
        bare = ConvexHull(template[foot])
        assert bare.volume < hull.volume < 1.35 * bare.volume
        corners = (template + offsets)[faces[foot[faces].all(1)]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        inwards = ((corners.mean(1) - shod.mean(0)) * normals).sum(1) < 0
        assert np.linalg.norm(normals[inwards], axis=1).sum() < 0.02 * np.linalg.norm(normals, axis=1).sum()
    assert shoe_offsets(body) is offsets


def test_offsets_turn_with_the_bones(stage: Stage) -> None:
    dressed, place = DressedBody(stage.body, torch.zeros(10)), torch.tensor([0.0, 0.0, 2.4])
    bent = pose(left_hip=(-0.8, 0.0, 0.0), left_knee=(1.1, 0.0, 0.0))
    bare = dressed.pose(bent, place)
    dressed.offsets = torch.zeros_like(bare)
    toes = torch.from_numpy(stage.body.part_labels.numpy() == SMPL24.index("left_foot"))
    dressed.offsets[toes] = torch.tensor([0.0, 0.0, 0.02])
    moved = dressed.pose(bent, place) - bare
    turned = dressed.posed(bent, place).linear[0, SMPL24.index("left_foot")]
    own = stage.body.bone_weights[toes].max(1).values > 0.999
    expected = (turned @ torch.tensor([0.0, 0.0, 0.02])).expand(int(own.sum()), 3)
    assert own.any()
    torch.testing.assert_close(moved[toes][own], expected, atol=1e-5, rtol=0)
    assert moved[~toes].abs().max() == 0


def painted(stage: Stage, skin: tuple[float, ...], cloth: tuple[float, ...], names: tuple[str, ...]) -> Stage:
    """The stage with somebody of one colour, who has another on some parts."""
    texels = body_texels(stage.body, stage.texture.shape[0])
    part = parts_mask(stage.body.part_labels.numpy(), names).astype(np.float32)
    share = texels.fine.interpolate(part[:, None], stage.body.faces)
    colours = np.where(share > 0.5, np.float32(cloth), np.float32(skin))
    texels.fine.bleed(colours)
    return replace(stage, texture=colours)


def shod(stage: Stage) -> bool:
    rotations = pose(**STANDING)
    photo, mask = stage.person(rotations)
    vertices = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).vertices[0]
    crop = crop_photo(photo, stage.view, mask, np.zeros_like(mask), vertices)
    return wears_shoes(body_texels(stage.body, 512), vertices, crop)


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


@pytest.mark.parametrize(("parts", "expected"), [(LEGS, True), (("pelvis",), False)], ids=["trousers", "bare legs"])
def test_legs_tell_of_feet_outside_the_image(stage: Stage, parts: tuple[str, ...], expected: bool) -> None:
    # The camera looks at the chest: the image ends at the shins.
    cut = replace(painted(stage, SKIN, BLUE, parts), trans=torch.tensor([0.0, 0.35, 1.9]))
    assert shod(cut) is expected


def test_bare_feet_stay_as_they_are(stage: Stage) -> None:
    rotations, names = pose(**STANDING), {"bare": (), "shod": FEET}
    for kind, parts in names.items():
        person = painted(stage, SKIN, BLUE, parts)
        photo, mask = person.person(rotations)
        found = MeshReposer(photo, mask, person.fitted(rotations), person.body, options=MeshOptions(grain=False))
        assert (found.dressed.offsets is None) == (kind == "bare")
