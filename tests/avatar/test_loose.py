"""Cloth beside the body: what the mask shows and the body does not cover."""

import cv2
import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, pose

from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions

pytestmark = pytest.mark.slow

GREEN = (20, 190, 40)
APART = {"left_hip": (0.0, 0.0, 0.22), "right_hip": (0.0, 0.0, -0.22)}
Photo = tuple[np.ndarray, np.ndarray]


def in_a_skirt(stage: Stage, rotations: torch.Tensor) -> Photo:
    """Somebody in a green skirt from the hips to below the knees, wider than their legs."""
    photo, mask = stage.person(rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    hips, knees = (stage.view.project(joints[[left, left + 1]]).numpy() for left in (1, 4))
    wide = 0.8 * abs(knees[0, 0] - knees[1, 0])
    top, bottom, middle = hips[:, 1].mean(), knees[:, 1].mean() + 12, hips[:, 0].mean()
    corners = [(middle - 24, top), (middle + 24, top), (middle + wide, bottom), (middle - wide, bottom)]
    skirt = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(skirt, [np.rint(corners).astype(np.int32)], 1)
    return np.where(skirt[..., None] > 0, np.uint8(GREEN), photo), np.maximum(mask, skirt).astype(np.float32)


def reposer_of(stage: Stage, photo: Photo, rotations: torch.Tensor) -> MeshReposer:
    options = MeshOptions(grain=False)
    return MeshReposer(*photo, stage.fitted(rotations), stage.body, background="transparent", options=options)


def green(image: np.ndarray) -> np.ndarray:
    return (image[..., 3] > 128) & (image[..., 1] > 150) & (image[..., 0] < 90) & (image[..., 2] < 90)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def skirted(stage: Stage) -> tuple[Photo, MeshReposer]:
    rotations = pose(**STANDING, **APART)
    photo = in_a_skirt(stage, rotations)
    return photo, reposer_of(stage, photo, rotations)


def test_a_skirt_is_drawn_whole(skirted: tuple[Photo, MeshReposer]) -> None:
    (photo, mask), reposer = skirted
    drawn = reposer.render(reposer.rotations).image
    assert overlap(drawn[..., 3] > 128, mask > 0.5) > 0.93
    true = (np.abs(photo.astype(int) - GREEN) < 12).all(-1)
    assert overlap(green(drawn), true) > 0.85


def test_a_skirt_does_not_split_when_the_legs_do(skirted: tuple[Photo, MeshReposer]) -> None:
    (photo, _), reposer = skirted
    wide = pose(**STANDING, left_hip=(0.0, 0.0, 0.35), right_hip=(0.0, 0.0, -0.35))
    skirt = green(reposer.render(wide).image)
    skirt[: np.flatnonzero((photo == GREEN).all(2).any(1))[0]] = False  # painted skin
    rows = np.flatnonzero(skirt[:, skirt.shape[1] // 2])[5:-5]
    assert len(rows) > 50
    for row in rows:
        left, right = np.percentile(np.flatnonzero(skirt[row]), (15, 85)).astype(int)
        assert skirt[row, left:right].mean() > 0.97


def test_a_body_that_fills_its_mask_has_no_cloth_beside_it(stage: Stage) -> None:
    rotations = pose(**STANDING)
    assert reposer_of(stage, stage.person(rotations), rotations).avatar.dressed.loose is None


def test_other_people_are_no_cloth(stage: Stage) -> None:
    rotations = pose(**STANDING, **APART)
    photo, mask = in_a_skirt(stage, rotations)
    alone, _ = stage.person(rotations)
    other = ((photo != alone).any(-1) & (mask > 0.5)).astype(np.float32)
    made = MeshReposer(photo, mask, stage.fitted(rotations), stage.body, others=[np.maximum(other, 0.0) * 1.01])
    assert made.avatar.dressed.loose is None
