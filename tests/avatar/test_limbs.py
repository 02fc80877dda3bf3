"""Arms before the body, and hands in pockets."""

import cv2
import numpy as np
import pytest
import torch
from helpers.repose_stage import FACING, STANDING, Stage, pose

from humanpose_cli.avatar import limbs
from humanpose_cli.avatar.limbs import FoldedForearms, PartsInPhoto, folded_forearms
from humanpose_cli.avatar.photo_crop import crop_photo
from humanpose_cli.avatar.surface import FOREARMS, HANDS, TRUNK
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.body.pose_library import key_poses
from humanpose_cli.core.conventions import SMPL24

SKIN, BLUE = np.array((0.80, 0.60, 0.50)), np.array((0.15, 0.2, 0.6))
# The left forearm lies across the belly.
FOLDED = {"left_shoulder": (0.0, -0.3, -1.2), "left_elbow": (0.0, -1.9, 0.0), "right_shoulder": (0.0, 0.0, 0.9)}


def in_front(stage: Stage, hands: np.ndarray, beside: np.ndarray) -> PartsInPhoto:
    """Somebody in blue with hands of a colour, before a wall of a colour, who is the mask's where `FOLDED` has them."""
    rotations = pose(**FOLDED)
    vertices = stage.body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).vertices[0]
    photo = np.zeros((*stage.wall.shape[:2], 3), np.uint8)
    photo[:] = np.rint(255 * beside)
    mask = np.ones(photo.shape[:2], np.float32)
    crop = crop_photo(photo, stage.view, mask, np.zeros_like(mask), vertices)
    parts = PartsInPhoto(stage.body, vertices, stage.body.faces, crop)
    crop.pixels[parts.part >= 0] = np.rint(255 * BLUE)
    crop.pixels[parts.shows(HANDS)] = np.rint(255 * hands)
    return parts


@pytest.mark.parametrize(
    ("hands", "tone", "pocketed"),
    [(BLUE, SKIN, True), (SKIN, SKIN, False), (BLUE, None, True), (np.array((0.9, 0.9, 0.1)), SKIN, False)],
    ids=["pocket", "bare", "skin not known", "gloves"],
)
def test_a_hand_in_a_pocket_looks_as_the_cloth_around_it(stage: Stage, hands, tone, pocketed) -> None:
    parts = in_front(stage, hands, BLUE)
    found = parts.pocketed(tone, 175.0)
    left = parts_mask(stage.body.part_labels.numpy(), ("left_wrist", "left_hand"))
    assert found[left].all() == found[left].any() == pocketed


def test_dark_gloves_before_snow_are_no_pockets(stage: Stage) -> None:
    parts = in_front(stage, BLUE, np.array((0.95, 0.95, 0.95)))
    parts.crop.mask[parts.part < 0] = 0
    right = parts_mask(stage.body.part_labels.numpy(), ("right_wrist", "right_hand"))
    assert not parts.pocketed(SKIN, 175.0)[right].any()


@pytest.mark.extensive
def test_the_trunk_is_not_trusted_beside_a_forearm_before_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, clothed = in_front(stage, SKIN, BLUE), np.ones(len(SMPL24))

    def trusted(covered: np.ndarray = clothed) -> np.ndarray:
        return parts.trust_near_forearms(SKIN, covered, 175.0)

    trust = trusted()
    with monkeypatch.context() as patch:
        patch.setattr(limbs, "_UNCERTAINTY", (2.0, 3.0))
        behind = trusted() == 0
    arm, trunk = parts.shows(("left_elbow", "left_wrist", "left_hand")), parts.shows(TRUNK)
    assert (trust[arm] == 1).all()
    assert (trust[parts.part < 0] == 1).all()
    away = np.full(trust.shape, np.inf)
    away[behind] = [np.hypot(*(np.argwhere(arm) - at).T).min() / 175.0 for at in np.argwhere(behind)]
    assert (behind & trunk).sum() > 500
    assert (trust[away < 0.015] == 0).all()
    assert (trust[trunk & (away > 0.035 + 0.01)] == 1).all()
    spot = tuple(np.argwhere(trunk & (away > 0.05) & (away < 0.08))[0])
    parts.crop.pixels[spot] = np.rint(255 * SKIN)
    assert trusted()[spot] == 0, "skin on a shirt near an arm is the arm's"
    assert trusted(0 * clothed)[spot] == 1, "a bare belly"


def folded_pose() -> torch.Tensor:
    """Rotations (24, 3, 3) of the library's folded arms, facing the camera."""
    rotations = key_poses().rotations[key_poses().names.index("arms_crossed")].clone()
    rotations[0] = FACING @ rotations[0]
    return rotations


def crossed(stage: Stage, rotations: torch.Tensor, *, sleeves: bool = True, reliable: bool = True):
    """Somebody in grey before grey, and what crosses their trunk."""
    body = stage.body
    vertices = body.pose(rotations[None], torch.zeros(1, 10), stage.trans[None]).vertices[0]
    photo, mask = np.full((*stage.wall.shape[:2], 3), 90, np.uint8), np.ones(stage.wall.shape[:2], np.float32)
    crop = crop_photo(photo, stage.view, mask, np.zeros_like(mask), vertices)
    is_arm = parts_mask(body.part_labels.numpy(), FOREARMS)[body.faces[:, 0].numpy()]
    faces = body.faces if reliable else body.faces[torch.from_numpy(~is_arm)]
    covered = np.full(len(SMPL24), float(sleeves))
    return crop, vertices, folded_forearms(body, vertices, faces, crop, covered, 175.0)


@pytest.mark.slow
def test_forearms_before_the_trunk_hide_as_much_as_their_sleeves_may(stage: Stage) -> None:
    assert crossed(stage, pose(**STANDING))[2] is None
    crop, vertices, arms = crossed(stage, folded_pose())
    parts = PartsInPhoto(stage.body, vertices, stage.body.faces, crop)
    over = parts.shows(FOREARMS) & arms.source
    assert over.sum() > 300
    assert arms.hidden[over].all()
    away = cv2.distanceTransform((~over).astype(np.uint8), cv2.DIST_L2, 5) / 175.0
    assert arms.hidden[arms.source & (away < 0.08 - 0.01)].mean() > 0.95
    assert not arms.hidden[away > 0.08 + 0.01].any()
    bare = crossed(stage, folded_pose(), sleeves=False)[2]
    assert not bare.hidden[away > 0.035 + 0.01].any()
    assert crossed(stage, folded_pose(), reliable=False)[2] is None


@pytest.mark.slow
def test_the_clothes_go_on_behind_folded_forearms(stage: Stage) -> None:
    crop, _, arms = crossed(stage, folded_pose())
    assert isinstance(arms, FoldedForearms)
    stripes = np.where(np.arange(crop.pixels.shape[1]) % 8 < 4, 60, 140).astype(np.uint8)
    crop.pixels[:] = stripes[None, :, None]
    crop.pixels[arms.hidden] = (250, 0, 0)
    image = arms.removed_from(crop, np.ones(arms.hidden.shape, np.float32), 175.0)
    assert np.abs(image.astype(int) - stripes[None, :, None])[arms.hidden].mean() < 10
    np.testing.assert_array_equal(image[~arms.hidden], crop.pixels[~arms.hidden])


@pytest.mark.slow
def test_a_badge_is_not_copied_behind_folded_forearms(stage: Stage) -> None:
    crop, _, arms = crossed(stage, folded_pose())
    assert isinstance(arms, FoldedForearms)
    crop.pixels[:], crop.pixels[arms.hidden] = np.rint(255 * BLUE), (250, 0, 0)
    rows, columns = np.nonzero(arms.source & ~arms.hidden)
    middle = len(rows) // 4
    badge = np.zeros(arms.hidden.shape, np.uint8)
    cv2.circle(badge, (int(columns[middle]), int(rows[middle])), 9, 1, -1)
    crop.pixels[(badge > 0) & ~arms.hidden] = (250, 250, 0)
    image = arms.removed_from(crop, np.ones(arms.hidden.shape, np.float32), 175.0)
    assert np.abs(image[arms.hidden] - np.rint(255 * BLUE)).max() < 20


@pytest.mark.parametrize("tone", [SKIN, None], ids=["skin", "skin not known"])
def test_a_sleeve_shows_no_skin_and_a_bare_hand_no_sleeve(stage: Stage, tone: np.ndarray | None) -> None:
    parts = in_front(stage, SKIN, BLUE)
    sleeve, hand = parts.shows(("left_elbow",)), parts.shows(("left_hand",))
    spot = tuple(np.argwhere(sleeve)[len(np.argwhere(sleeve)) // 2])
    half = hand & (np.arange(hand.shape[1]) < np.median(np.nonzero(hand)[1]))
    parts.crop.pixels[spot], parts.crop.pixels[half] = np.rint(255 * SKIN), np.rint(255 * BLUE)
    trust = parts.trust_of_hands(tone, np.ones(len(SMPL24)), 175.0)
    if tone is None:
        assert (trust == 1).all()
        return
    away = np.hypot(*(np.argwhere(sleeve) - spot).T).reshape(-1) / 175.0
    assert (trust[sleeve][away < 0.03 - 0.01] == 0).all()
    assert (trust[half] == 0).all(), "a sleeve on a hand"
    assert (trust[hand & ~half] == 1).all()
    gloves = in_front(stage, BLUE, BLUE)
    assert (gloves.trust_of_hands(tone, np.ones(len(SMPL24)), 175.0) == 1).all()
    cuff = sleeve & (cv2.dilate(gloves.shows(HANDS).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0)
    gloves.crop.pixels[gloves.shows(HANDS)], gloves.crop.pixels[cuff] = 120, np.rint(255 * SKIN)
    assert (gloves.trust_of_hands(tone, np.ones(len(SMPL24)), 175.0)[hand] == 1).all(), "grey gloves beside skin"
    assert (gloves.trust_of_hands(tone, np.ones(len(SMPL24)), 175.0, gloved=False)[hand] == 0).any()
    gloves.crop.pixels[gloves.shows(HANDS[2:])] = np.rint(255 * SKIN)
    trust = gloves.trust_of_hands(tone, np.ones(len(SMPL24)), 175.0)
    assert (trust[gloves.shows(HANDS[:2])] == 0).any(), "nobody wears one glove: that is the background"
    beige = in_front(stage, SKIN, BLUE)
    beige.crop.pixels[beige.part >= 0] = np.rint(255 * SKIN)
    assert (beige.trust_of_hands(tone, np.ones(len(SMPL24)), 175.0) == 1).all()


def test_the_rim_of_a_part_has_the_colours_further_inside(stage: Stage) -> None:
    parts = in_front(stage, SKIN, BLUE)
    thigh = parts.shows(("left_hip",))
    inside = cv2.erode(thigh.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    spots = np.argwhere(thigh & ~inside)[:9]
    parts.crop.pixels[tuple(spots.T)] = (40, 160, 40)
    np.testing.assert_array_equal(np.argwhere(parts.trust_of_rims(inside) == 0), spots)
