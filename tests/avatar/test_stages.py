"""The stages from a photograph to a textured body, each by itself, on a painted person whose truth is known."""

from dataclasses import FrozenInstanceError, replace

import cv2
import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, pose

from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import (
    Aligned,
    Baked,
    Dressed,
    PhotographedPerson,
    align,
    bake,
    complete,
    dress,
    take_light_off,
)
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24

OPTIONS = MeshOptions(texture_size=512)


def keypoints_of(stage: Stage, aligned: Aligned, shift: float = 0.0) -> np.ndarray:
    """The body's own landmarks (33, 3), moved to the right by some pixels."""
    points = aligned.body.landmark_points(aligned.rotations, aligned.trans)
    pixels = stage.view.project(points) + torch.tensor([shift, 0.0])
    return torch.cat((pixels, torch.ones(33, 1)), 1).numpy()


@pytest.fixture(scope="module")
def photographed(stage: Stage) -> PhotographedPerson:
    rotations = pose(**STANDING)
    return PhotographedPerson.of(*stage.person(rotations), stage.fitted(rotations))


@pytest.fixture(scope="module")
def aligned(stage: Stage, photographed: PhotographedPerson) -> Aligned:
    return align(photographed, stage.body)


@pytest.fixture(scope="module")
def dressed(aligned: Aligned) -> Dressed:
    return dress(aligned, OPTIONS)


@pytest.fixture(scope="module")
def baked(dressed: Dressed) -> Baked:
    return bake(dressed, OPTIONS)


def test_without_keypoints_the_surface_stays_where_the_fit_has_it(aligned: Aligned) -> None:
    assert aligned.vertices is aligned.posed
    assert aligned.stray == ()
    assert bool((aligned.reliable == 1).all())
    height, width = aligned.crop.box.shape
    assert aligned.crop.pixels.shape == (height, width, 3)
    assert aligned.crop.mask.max() == 1
    with pytest.raises(FrozenInstanceError):
        aligned.posed = aligned.vertices  # type: ignore[misc]


def test_a_stray_foot_belongs_to_others_and_its_vertices_are_not_reliable(
    stage: Stage, photographed: PhotographedPerson, aligned: Aligned
) -> None:
    keypoints = keypoints_of(stage, aligned)
    toes = BLAZEPOSE33.index("right_foot_index")
    keypoints[toes, 0] -= 40
    fit = replace(photographed.fit, keypoints2d=keypoints)
    found = align(replace(photographed, fit=fit), stage.body)
    assert found.stray == ("right_foot",)
    foot, trunk = (stage.body.part_labels == SMPL24.index(name) for name in ("right_foot", "spine2"))
    assert float(found.reliable[foot].max()) < 0.5 < float(found.reliable[trunk].min())
    assert float(found.standing.min()) > 0.99
    x, y = np.rint(keypoints[toes, :2]).astype(int) - (found.crop.box.x0, found.crop.box.y0)
    assert found.crop.others[y, x]
    assert found.crop.mask[y, x] == 0


def test_dressing_follows_a_wider_mask_and_leaves_the_stage_before_as_it_was(
    stage: Stage, photographed: PhotographedPerson, aligned: Aligned, dressed: Dressed
) -> None:
    wide = cv2.dilate(photographed.mask, np.ones((9, 9), np.uint8))
    clothed = dress(align(replace(photographed, mask=wide), stage.body), OPTIONS)
    trunk = np.isin(stage.body.part_labels.numpy(), SMPL24.indices(("spine1", "spine2")))
    assert np.median(clothed.body.displacements.numpy()[trunk]) > 0.01
    assert abs(np.median(dressed.body.displacements.numpy()[trunk])) < 0.003
    assert float(aligned.body.displacements.abs().max()) == 0


def test_light_is_taken_off_a_copy_and_leaves_parts_of_unknown_position_out(
    stage: Stage, photographed: PhotographedPerson, baked: Baked
) -> None:
    before = baked.texture.colour.copy()
    lit = take_light_off(baked)
    np.testing.assert_array_equal(baked.texture.colour, before)
    bright = lit.light.brightness_of(baked.normals).numpy()[:, None]
    on_texels = baked.dressed.texels.fine.interpolate(bright, baked.dressed.texels.faces)
    # Limbs have shadows of their own.
    assert np.isclose(lit.texture.colour * on_texels, before, atol=1e-6)[baked.texture.confidence > 0.9].mean() > 0.85
    assert np.ptp(bright) > 0.02
    confidence = np.ones(24)
    confidence[SMPL24.index("left_knee")] = 0
    fit = replace(photographed.fit, joint_visibility=confidence)
    partial = bake(dress(align(replace(photographed, fit=fit), stage.body), OPTIONS), OPTIONS)
    labels = stage.body.part_labels.numpy()
    texels = partial.dressed.texels
    knee = labels[texels.rows[:, 0]][np.maximum(texels.fine.face, 0)] == SMPL24.index("left_knee")
    left_out = take_light_off(partial).texture
    assert left_out.confidence[knee & texels.fine.covered].max() < 0.5 < baked.texture.confidence[knee].max()
    assert left_out.visible[knee].mean() < 0.2 * baked.texture.visible[knee].mean()


@pytest.mark.extensive
def test_a_completed_texture_has_no_gaps_and_keeps_what_is_visible(baked: Baked) -> None:
    lit = take_light_off(baked)
    completed = complete(lit)
    image, covered = completed.texture.image, baked.dressed.texels.fine.covered
    assert np.isfinite(image).all()
    assert image[covered][:, :3].max(1).min() > 0.02
    trusted = lit.texture.confidence > 0.9
    np.testing.assert_allclose(image[trusted][:, :3], lit.texture.colour[trusted], atol=1e-4)
    assert 0.3 < completed.texture.visible_fraction < 0.5
    assert abs(completed.head_yaw) < 0.1
