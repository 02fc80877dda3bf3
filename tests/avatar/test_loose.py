"""Cloth and hair beside the body: what the mask shows and the body does not cover."""

import cv2
import numpy as np
import pytest
import torch
from helpers.repose_stage import STANDING, Stage, mesh_reposer, pose

from humanpose_cli.avatar.loose import _cloth_and_hair, _Surroundings
from humanpose_cli.avatar.mesh import MeshReposer
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.core.conventions import SMPL24

pytestmark = pytest.mark.slow

GREEN = (20, 190, 40)
Photo = tuple[np.ndarray, np.ndarray]


def reposer_of(stage: Stage, photo: Photo, rotations: torch.Tensor) -> MeshReposer:
    options = MeshOptions(grain=False)
    return mesh_reposer(*photo, stage.fitted(rotations), stage.body, background="transparent", options=options)


def green(image: np.ndarray) -> np.ndarray:
    return (image[..., 3] > 128) & (image[..., 1] > 150) & (image[..., 0] < 90) & (image[..., 2] < 90)


@pytest.mark.extensive
def test_a_body_that_fills_its_mask_has_no_cloth_beside_it(stage: Stage) -> None:
    rotations = pose(**STANDING)
    assert reposer_of(stage, stage.person(rotations), rotations).person.avatar.dressed.loose is None


def with_hair(stage: Stage, rotations: torch.Tensor) -> Photo:
    """Somebody whose green hair falls beside the neck."""
    photo, mask = stage.person(rotations)
    joints = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).joints[0]
    x, y = stage.view.project(joints[[SMPL24.index("head")]])[0].tolist()
    hair = np.zeros(mask.shape, np.uint8)
    cv2.ellipse(hair, (round(x), round(y)), (26, 24), 0, 0, 360, 1, -1)
    return np.where(hair[..., None] > 0, np.uint8(GREEN), photo), np.maximum(mask, hair).astype(np.float32)


def test_hair_beside_the_head_is_drawn(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo = with_hair(stage, rotations)
    made = reposer_of(stage, photo, rotations)
    assert made.person.avatar.dressed.loose is not None
    assert made.person.avatar.dressed.skirt is None
    drawn = made.render(made.person.pose.rotations).image
    shown = (photo[0] == GREEN).all(2)
    assert (green(drawn) & shown).sum() > 0.75 * shown.sum()


@pytest.mark.extensive
def test_other_people_are_no_cloth(stage: Stage) -> None:
    rotations = pose(**STANDING)
    photo, mask = with_hair(stage, rotations)
    alone, _ = stage.person(rotations)
    other = ((photo != alone).any(-1) & (mask > 0.5)).astype(np.float32)
    made = mesh_reposer(photo, mask, stage.fitted(rotations), stage.body, others=[np.maximum(other, 0.0) * 1.01])
    assert made.person.avatar.dressed.loose is None


def surroundings(piece_colour, *, hair: bool = False, tone=(0.9, 0.7, 0.6)) -> tuple[np.ndarray, _Surroundings]:
    """A blue body on the left half of a green wall, with a piece of another colour at its right edge."""
    covered = np.zeros((60, 60), bool)
    covered[10:50, :30] = True
    piece = np.zeros_like(covered)
    piece[20:40, 30:38] = True
    colours = np.full((60, 60, 3), (0.35, 0.5, 0.2), np.float32)
    colours[covered], colours[piece] = (0.1, 0.3, 0.7), piece_colour
    tone = None if tone is None else np.array(tone)
    return piece, _Surroundings(colours, covered | piece, covered, piece & hair, tone)


@pytest.mark.parametrize(
    ("colour", "more", "remains"),
    [
        ((0.8, 0.1, 0.1), {}, True),  # a coat
        ((0.1, 0.3, 0.7), {}, True),  # as the body's cloth
        ((0.35, 0.5, 0.2), {}, False),  # the wall
        ((0.88, 0.68, 0.58), {}, False),  # an arm that the fit has elsewhere
        ((0.88, 0.68, 0.58), {"hair": True}, True),  # fair hair
        ((0.88, 0.68, 0.58), {"tone": None}, True),
    ],
)
def test_pieces_that_are_skin_or_the_wall_are_no_cloth(colour, more, remains):
    piece, around = surroundings(colour, **more)
    result = _cloth_and_hair(piece, around)
    assert np.array_equal(result, piece) if remains else result is None or not result.any()
