"""Arms before the body, and hands in pockets."""

import numpy as np
import pytest
import torch
from helpers.repose_stage import Stage, pose

from humanpose_cli.avatar.colours import ClothColours
from humanpose_cli.avatar.limbs import PartsInPhoto
from humanpose_cli.avatar.loose import crop_photo
from humanpose_cli.avatar.options import LimbOptions
from humanpose_cli.avatar.surface import HANDS, TRUNK, parts_mask
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
    found = parts.pocketed(tone, 175.0, ClothColours(), LimbOptions())
    left = parts_mask(stage.body.part_labels.numpy(), ("left_wrist", "left_hand"))
    assert found[left].all() == found[left].any() == pocketed


def test_dark_gloves_before_snow_are_no_pockets(stage: Stage) -> None:
    parts = in_front(stage, BLUE, np.array((0.95, 0.95, 0.95)))
    parts.crop.mask[parts.part < 0] = 0
    right = parts_mask(stage.body.part_labels.numpy(), ("right_wrist", "right_hand"))
    assert not parts.pocketed(SKIN, 175.0, ClothColours(), LimbOptions())[right].any()


@pytest.mark.extensive
def test_the_trunk_is_not_trusted_beside_a_forearm_before_it(stage: Stage) -> None:
    parts, options, clothed = in_front(stage, SKIN, BLUE), LimbOptions(), np.ones(len(SMPL24))

    def trusted(options: LimbOptions, covered: np.ndarray = clothed) -> np.ndarray:
        return parts.trust_near_forearms(SKIN, covered, 175.0, ClothColours(), options)

    trust, behind = trusted(options), trusted(LimbOptions(uncertainty=(2.0, 3.0))) == 0
    arm, trunk = parts.shows(("left_elbow", "left_wrist", "left_hand")), parts.shows(TRUNK)
    assert (trust[arm] == 1).all()
    assert (trust[parts.part < 0] == 1).all()
    away = np.full(trust.shape, np.inf)
    away[behind] = [np.hypot(*(np.argwhere(arm) - at).T).min() / 175.0 for at in np.argwhere(behind)]
    assert (behind & trunk).sum() > 500
    assert (trust[away < options.uncertainty[0]] == 0).all()
    assert (trust[trunk & (away > options.uncertainty[1] + 0.01)] == 1).all()
    spot = tuple(np.argwhere(trunk & (away > 0.05) & (away < 0.08))[0])
    parts.crop.pixels[spot] = np.rint(255 * SKIN)
    assert trusted(options)[spot] == 0, "skin on a shirt near an arm is the arm's"
    assert trusted(options, 0 * clothed)[spot] == 1, "a bare belly"
    assert trusted(LimbOptions(skin_reach=0.04))[spot] == 1
