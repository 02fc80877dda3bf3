"""What a photograph shows of arms before the body, and of hands in pockets.

A fit has an arm some centimetres beside its image: pixels of the arm would become a print on the shirt below it, so
pixels near an arm that lies before something else are not used for it. Where arms cross the trunk, what they hide of it
is continued in the photo from the clothes around them. A hand in a pocket would become a glove of the trousers' colour:
it counts as hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.colours import (
    PLAIN_SHARE,
    SAME_CLOTH,
    cloth_features,
    cluster_centres,
    dominant_colour,
    like_colour,
    skin_hued,
)
from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.photo_crop import PhotoCrop
from humanpose_cli.avatar.surface import FOREARMS, HANDS, SLEEVES, TRUNK, limb_groups, parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.rasterising.op import interpolate
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_UNCERTAINTY = (0.015, 0.035)  # metres: distances from a forearm within which pixels show it, and may
_SLEEVE = 0.08  # metres: distance from a sleeved forearm that crosses the trunk within which pixels may show it
_MIN_CROSSING = 0.06  # share of the trunk that forearms which cross it hide
_LIKE_SKIN = 0.3  # share of sleeves in the skin's colour above which that is theirs
_SHADES = 0.2  # difference of colour of the folds of a plain cloth
_MIN_PLAIN = 0.3  # share of clothes in one colour that goes on alone behind arms
_CUFF = 0.03  # metres: distance from skin within which a sleeve shows cuffs
_DEPTH_BEFORE = 0.02  # metres: depth by which a forearm lies before the body
_SKIN_REACH = 0.1  # metres: distance in which skin on clothes is the arm's
_OUTLINE_WIDTH = 0.035  # metres: distance from an outline before another limb within which it may lie
_RIM_WIDTH = 0.025  # metres: the same before the background
_MIN_APART = 0.01  # metres: way between both sides of an outline on the resting body
_MORE_FREQUENT = 3.0  # how many times as frequent beyond an outline a colour is that does not show the part there
_MAX_SAMPLES = 2000  # number of a part's pixels whose colours are compared
_HAND_SURROUNDINGS = 0.05  # metres: width of the surroundings of a hand
_MIN_SURROUNDED = 0.6  # share of a pocket's surroundings that are the person
_LIKE_CLOTH = 0.7  # share of a hand's image that is as its surroundings
_MIN_PIXELS = 12  # minimum number of pixels of a hand


class PartsInPhoto:
    """Which part of a body lies in front in each pixel of the photo around the person.

    part   (h, w) row of SMPL24, −1 off the body; depth (h, w) metres, inf off the body
    rest   (h, w, 3) metres: where the surface lies in the body's template
    """

    def __init__(self, body: Body, vertices: Tensor, faces: Tensor, crop: PhotoCrop) -> None:
        raster = rasterise_view(vertices[None], faces, crop.view)
        face, self.depth = raster.face[0].cpu().numpy(), raster.depth[0].cpu().numpy()
        self.labels = body.part_labels.cpu().numpy()
        first = self.labels[faces[:, 0].cpu().numpy()]
        self.part = np.where(face >= 0, first[np.maximum(face, 0)], -1)
        self.rest = interpolate(raster, faces, body.template[None])[0].cpu().numpy()
        self.crop = crop

    def shows(self, names: tuple[str, ...]) -> Mask:
        """Select pixels (h, w) in which one of the parts is in front."""
        return (self.part >= 0) & parts_mask(self.part, names)

    def pocketed(self, tone: Array | None, pixels_per_metre: float) -> Mask:
        """Select vertices (V,) of hands where the photo shows the cloth that is around them, and no skin (3,)."""
        result, arms = np.zeros(len(self.labels), bool), self.shows(FOREARMS)
        width = 2 * max(1, round(_HAND_SURROUNDINGS * pixels_per_metre)) + 1
        for side in ("left", "right"):
            names = (f"{side}_wrist", f"{side}_hand")
            hand = self.shows(names)
            around = cv2.dilate(hand.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
            around &= ~arms & ~self.crop.others
            cover = around & (self.crop.mask > 0.5)
            visible = hand & (self.crop.mask > 0.5)
            if visible.sum() < _MIN_PIXELS or cover.sum() < _MIN_SURROUNDED * around.sum():
                continue
            hand_features, cover_features = (
                cloth_features(self.crop.pixels[where] / 255) for where in (visible, cover)
            )
            like_cloth = np.linalg.norm(hand_features - np.median(cover_features, axis=0), axis=1) < SAME_CLOTH
            if like_cloth.mean() < _LIKE_CLOTH:
                continue
            if (
                tone is None
                or not (np.linalg.norm(hand_features - cloth_features(tone[None]), axis=1) < SAME_CLOTH).mean() > 0.3
            ):
                result |= parts_mask(self.labels, names)
        return result

    def trust_near_forearms(self, tone: Array | None, covered: Array, pixels_per_metre: float) -> Array:
        """Estimate how far (h, w) 0…1 a pixel shows the body and not a forearm before it, whose place is not exactly
        known.

        Args:
            tone: (3,) of skin: its colour on clothes near a forearm is the arm's; None where it is not known.
            covered: (24,) share of each part that clothes cover.
        """
        arms = self.shows(FOREARMS)
        trust = np.ones(arms.shape, np.float32)
        if not arms.any():
            return trust
        away, nearest = cv2.distanceTransformWithLabels(
            (~arms).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        depths = np.zeros(int(nearest.max()) + 1, np.float32)
        depths[nearest[arms]] = self.depth[arms]
        metres = away / pixels_per_metre
        behind = (self.part >= 0) & ~self.shows(FOREARMS + SLEEVES) & (depths[nearest] < self.depth - _DEPTH_BEFORE)
        rise = np.clip((metres - _UNCERTAINTY[0]) / (_UNCERTAINTY[1] - _UNCERTAINTY[0]), 0, 1)
        trust[behind] = rise[behind]
        if tone is not None:
            near = behind & (metres < _SKIN_REACH) & (covered[np.maximum(self.part, 0)] > 0.5)
            colours = self.crop.pixels[near] / 255
            skin = np.zeros(arms.shape, np.uint8)
            skin[near] = like_colour(colours, tone) & skin_hued(colours)
            trust[cv2.dilate(skin, np.ones((3, 3), np.uint8)) * near > 0] = 0
        return trust

    def trust_at_outlines(self, pixels_per_metre: float) -> Array:
        """Estimate how far (h, w) 0…1 a pixel at an upper arm's outline shows the part that the fit has there.

        It does not if its colour is frequent beyond the outline, on trunk, arm or background, and rare on that part, as
        a shirt's on the bare arm beside it. Forearms lie where fits are less exact: no colours are certainly theirs.
        """
        part, beyond, near = self._outlines(pixels_per_metre)
        background, palettes = (self.crop.mask <= 0.5) & ~self.crop.others, {}
        for row in np.unique((part[near], beyond[near])):
            colours = self.crop.pixels[background if row < 0 else ~near & (part == row)]
            palettes[row] = cluster_centres(cloth_features(colours[:: 1 + len(colours) // _MAX_SAMPLES] / 255))
        doubtful: Array = np.zeros(part.shape, np.uint8)
        for row, other in product(palettes, palettes):
            pixels = near & (part == row) & (beyond == other)
            if pixels.any() and len(palettes[row][0]):
                features = cloth_features(self.crop.pixels[pixels] / 255)[:, None]
                here, there = (
                    (np.linalg.norm(features - centres, axis=2) < SAME_CLOTH) @ sizes / max(sizes.sum(), 1)
                    for centres, sizes in (palettes[row], palettes[other])
                )
                doubtful[pixels] = there > _MORE_FREQUENT * here
        # Pixels beside them are mixtures of both.
        doubtful = cv2.dilate(cv2.medianBlur(doubtful, 3), np.ones((5, 5), np.uint8))
        return np.where(near & (doubtful > 0), np.float32(0), np.float32(1))

    def _outlines(self, pixels_per_metre: float) -> tuple[NDArray[np.int64], Array, Mask]:
        """Find the part (h, w) that a pixel shows, the one beyond the nearest outline, −1 for none, and the pixels near
        the outlines of upper arms.
        """
        part = np.where(self.crop.mask > 0.5, self.part, -1)
        limb = np.where(part >= 0, limb_groups()[part], -1)
        beyond, away = part.copy(), np.full(part.shape, np.inf)
        for other in np.unique(limb):
            pixels, label = cv2.distanceTransformWithLabels(
                (limb != other).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
            )
            index = np.zeros(int(label.max()) + 1, np.int64)
            index[label[limb == other]] = np.flatnonzero(limb == other)
            nearest, metres = index[label], pixels / pixels_per_metre
            # Limb and trunk have no outline between them where they are joined.
            along = np.linalg.norm(self.rest - self.rest.reshape(-1, 3)[nearest], axis=2)
            apart = (along > _MIN_APART + 1.5 * metres) | (other < 0)
            metres = metres / (_RIM_WIDTH if other < 0 else _OUTLINE_WIDTH)
            nearer = (part >= 0) & (limb != other) & apart & (metres < away)
            away[nearer], beyond[nearer] = metres[nearer], part.ravel()[nearest[nearer]]
        arms = SMPL24.indices(("left_shoulder", "right_shoulder"))
        return part, beyond, (away < 1) & (np.isin(part, arms) | np.isin(beyond, arms))

    def trust_of_hands(self, tone: Array | None, covered: Array, pixels_per_metre: float) -> Array:
        """Estimate how far (h, w) 0…1 a pixel of an arm shows the part that the fit has there: no skin and no cuff on a
        sleeve, and no sleeve on a hand beside skin.

        Args:
            tone, covered: As of `trust_near_forearms`.
        """
        trust, arms = np.ones(self.part.shape, np.float32), self.shows(FOREARMS + SLEEVES)
        if tone is None or not self.shows(HANDS).any():
            return trust
        colours = self.crop.pixels[arms] / 255
        skin = np.zeros(arms.shape, bool)
        skin[arms] = like_colour(colours, tone) & skin_hued(colours)
        near = cv2.distanceTransform((~self.shows(HANDS)).astype(np.uint8), cv2.DIST_L2, 5) / pixels_per_metre
        skin &= near < _SKIN_REACH
        away = cv2.distanceTransform((~skin).astype(np.uint8), cv2.DIST_L2, 5) / pixels_per_metre
        sleeves = arms & ~self.shows(HANDS) & (covered[np.maximum(self.part, 0)] > 0.5)
        if sleeves.any() and skin[sleeves].mean() > _LIKE_SKIN:
            return trust
        hands = self.shows(HANDS) & ~skin
        trust[(sleeves & (away < _CUFF)) | (hands & (away > 0) & (away < _SKIN_REACH))] = 0
        return trust


@dataclass(frozen=True, eq=False)
class FoldedForearms:
    """Forearms that cross the trunk in the photo. Made by `folded_forearms`.

    Attributes:
        depth: (h, w) metres of the body without forearms, inf off it.
        hidden: (h, w) bool: pixels of that body that show, or may show, the forearms.
        source: (h, w) bool: pixels of trunk and upper arms, from which what is hidden is continued.
    """

    depth: Array
    hidden: Mask
    source: Mask

    def removed_from(self, crop: PhotoCrop, trust: Array, pixels_per_metre: float) -> NDArray[np.uint8]:
        """Continue the clothes in the photo (h, w, 3) where the forearms hide them, from pixels of trust (h, w) 0…1.

        Of clothes that are mostly of one colour, only this goes on: ties, badges and the shirt in an open jacket are
        where they are.
        """
        source = self.source & (trust > 0.9) & (crop.mask > 0.9)
        colours = crop.pixels[source] / np.float32(255)
        alike = dominant_colour(colours)
        if alike.size and alike.mean() > PLAIN_SHARE:
            usual = np.median(colours[alike], axis=0)
            alike &= np.linalg.norm(colours - usual, axis=1) < _SHADES
            other: Array = np.zeros(source.shape, np.uint8)
            other[source] = ~alike
            border = 2 * round(_CUFF * pixels_per_metre / 2) + 1
            other = cv2.morphologyEx(other, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
            plain = source & (cv2.dilate(other, np.ones((border, border), np.uint8)) == 0)
            if plain.sum() > _MIN_PLAIN * source.sum():  # others have patterns
                source = plain
        return inpaint(crop.pixels, self.hidden, ~source)


def folded_forearms(
    body: Body,
    vertices: Tensor,
    faces: Tensor,
    crop: PhotoCrop,
    covered: Array,
    pixels_per_metre: float,
) -> FoldedForearms | None:
    """Find forearms that cross the trunk; None if they hide little of it.

    Args:
        faces: (F', 3) of parts of known position.
        covered: (24,) share of each part that clothes cover.
    """
    arm = parts_mask(body.part_labels.cpu().numpy(), FOREARMS)[faces[:, 0].long().cpu().numpy()]
    if arm.all() or not arm.any():
        return None
    is_arm = torch.from_numpy(arm).to(faces.device)
    arms, others = (PartsInPhoto(body, vertices, faces[some], crop) for some in (is_arm, ~is_arm))
    trunk = others.shows(TRUNK)
    before = (others.part >= 0) & (arms.depth < others.depth - _DEPTH_BEFORE)
    if (before & trunk).sum() <= _MIN_CROSSING * trunk.sum():
        return None
    sleeves = covered[SMPL24.indices(("left_elbow", "right_elbow"))].max() > 0.5
    reach = _SLEEVE if sleeves else _UNCERTAINTY[1]
    away = cv2.distanceTransform((~before).astype(np.uint8), cv2.DIST_L2, 5) / pixels_per_metre
    source = others.shows((*TRUNK, *SLEEVES, "left_hip", "right_hip"))
    return FoldedForearms(others.depth, source & (away < reach) & (crop.mask > 0.5), source)
