"""Arms in front of the body in a photograph, and hands in pockets.

A fit places an arm some centimetres beside its image. Pixels of the arm would become a print on the shirt below it, so
pixels near an arm in front of something else are not used for that. If arms cross the trunk, the clothes that they hide
are continued from the clothes around. A hand in a pocket would become a glove of the trousers' colour: it counts as
hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from humanpose_cli.avatar.garment_labels import garments_mask
from humanpose_cli.avatar.inpainting import inpaint
from humanpose_cli.avatar.photo_crop import PhotoCrop
from humanpose_cli.avatar.surface import FOREARMS, HANDS, LEGS, SLEEVES, TRUNK
from humanpose_cli.body.body import Body
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.conventions import SMPL24
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
_HANDS_OF_SIDES = (HANDS[:2], HANDS[2:])
_MIN_CORE = 0.25  # share of a part's pixels inside from which they decide about its rim
_MIN_OF_CORE = 0.04  # share of them from which a colour counts
_LIKE_CORE = 0.35  # maximum distance of the rim's colours from one of theirs
_GLOVED = 0.5  # share of each hand without skin from which they wear gloves
_SKIN_REACH = 0.1  # metres: distance in which skin on clothes is the arm's
_HAND_SURROUNDINGS = 0.05  # metres: width of the surroundings of a hand
_MIN_SURROUNDED = 0.6  # share of a pocket's surroundings that are the person
_LIKE_CLOTH = 0.7  # share of a hand's image that is as its surroundings
_MIN_PIXELS = 12  # minimum number of pixels of a hand


class PartsInPhoto:
    """The part of a body that is in front at each pixel of a photo.

    Attributes:
        part: (h, w) int. The row of SMPL24; −1 off the body.
        depth: (h, w) float32, metres. inf off the body.
        labels: (V,) int. The part of each vertex.

    Args:
        body: The body model.
        vertices: (V, 3) float, metres in camera axes. The surface aligned with the photo.
        faces: (F', 3) int. The faces of parts of known position.
        crop: The photo.
    """

    def __init__(self, body: Body, vertices: Tensor, faces: Tensor, crop: PhotoCrop) -> None:
        raster = rasterise_view(vertices[None], faces, crop.view)
        face = raster.face[0].cpu().numpy()
        self.depth = raster.depth[0].cpu().numpy()
        self.labels = body.part_labels.cpu().numpy()
        first = self.labels[faces[:, 0].cpu().numpy()]
        self.part = np.where(face >= 0, first[np.maximum(face, 0)], -1)
        self.crop = crop

    def shows(self, names: tuple[str, ...]) -> Mask:
        """Select the pixels (h, w) that show one of the parts."""
        return (self.part >= 0) & parts_mask(self.part, names)

    def pocketed(self, tone: Array | None, pixels_per_metre: float) -> Mask:
        """Select the vertices of hands where the photo shows the surrounding cloth and no skin.

        Args:
            tone: (3,) RGB. The skin's colour; None if unknown.
            pixels_per_metre: The scale at the person.

        Returns:
            (V,) bool.
        """
        result = np.zeros(len(self.labels), bool)
        arms = self.shows(FOREARMS)
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
                cloth_features(self.crop.pixels[region] / 255) for region in (visible, cover)
            )
            like_cloth = np.linalg.norm(hand_features - np.median(cover_features, axis=0), axis=1) < SAME_CLOTH
            if like_cloth.mean() < _LIKE_CLOTH:
                continue
            if tone is None or like_colour(self.crop.pixels[visible] / 255, tone).mean() <= 0.3:
                result |= parts_mask(self.labels, names)
        return result

    def trust_near_forearms(self, tone: Array | None, covered: Array, pixels_per_metre: float) -> Array:
        """Estimate the trust that a pixel shows the body and not a forearm in front of it, whose position is inexact.

        Args:
            tone: (3,) RGB. The skin's colour, which on clothes near a forearm belongs to the arm; None if unknown.
            covered: (24,) float, 0…1. The share of each part that clothes cover.
            pixels_per_metre: The scale at the person.

        Returns:
            (h, w) float32, 0…1.
        """
        arms = self.shows(FOREARMS)
        trust = np.ones(arms.shape, np.float32)
        if not arms.any():
            return trust
        distance, nearest = cv2.distanceTransformWithLabels(
            (~arms).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        depths = np.zeros(int(nearest.max()) + 1, np.float32)
        depths[nearest[arms]] = self.depth[arms]
        metres = distance / pixels_per_metre
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

    def trust_of_rims(self, inside: Mask) -> Array:
        """Trust pixels near the outline of a part only if the part has their colour further inside.

        Args:
            inside: (h, w) bool. Pixels far from outlines.

        Returns:
            (h, w) float32, 0 or 1.
        """
        trust = np.ones(self.part.shape, np.float32)
        for names in (TRUNK, *((name,) for name in LEGS + SLEEVES)):
            here = self.shows(names)
            core, rim = here & inside, here & ~inside
            if core.sum() > _MIN_CORE * here.sum():
                centres, sizes = cluster_centres(cloth_features(self.crop.pixels[core] / 255))
                centres = centres[sizes > _MIN_OF_CORE * core.sum()]
                apart = cloth_features(self.crop.pixels[rim] / 255)[:, None] - centres
                trust[rim] = np.linalg.norm(apart, axis=2).min(1, initial=np.inf) < _LIKE_CORE
        return trust

    def trust_of_hands(
        self, tone: Array | None, covered: Array, pixels_per_metre: float, *, gloved: bool | None = None
    ) -> Array:
        """Estimate the trust that a pixel of an arm shows the part at which the fit places it.

        The trust is 0 for skin and cuffs on a sleeve, and for a sleeve on a hand beside skin, but not for gloves: hands
        that mostly have neither the skin's colour nor the sleeves'.

        Args:
            tone: (3,) RGB. The skin's colour; None if unknown.
            covered: (24,) float, 0…1. The share of each part that clothes cover.
            pixels_per_metre: The scale at the person.
            gloved: Whether the hands wear gloves; None to guess.

        Returns:
            (h, w) float32, 0 or 1.
        """
        trust = np.ones(self.part.shape, np.float32)
        arms = self.shows(FOREARMS + SLEEVES)
        if tone is None or not self.shows(HANDS).any():
            return trust
        colours = self.crop.pixels[arms] / 255
        skin = np.zeros(arms.shape, bool)
        skin[arms] = like_colour(colours, tone) & skin_hued(colours)
        near = cv2.distanceTransform((~self.shows(HANDS)).astype(np.uint8), cv2.DIST_L2, 5) / pixels_per_metre
        skin &= near < _SKIN_REACH
        distance = cv2.distanceTransform((~skin).astype(np.uint8), cv2.DIST_L2, 5) / pixels_per_metre
        sleeves = arms & ~self.shows(HANDS) & (covered[np.maximum(self.part, 0)] > 0.5)
        if sleeves.any() and skin[sleeves].mean() > _LIKE_SKIN:
            return trust
        hands = self.shows(HANDS) & ~skin
        if gloved is None:
            pair = [mask for mask in map(self.shows, _HANDS_OF_SIDES) if mask.any()]
            gloved = all(hands[mask].mean() > _GLOVED for mask in pair)  # nobody wears one glove
        if sleeves.any() and gloved:
            sleeve = np.median(self.crop.pixels[sleeves] / 255, axis=0)
            hands[hands] = like_colour(self.crop.pixels[hands] / 255, sleeve)
        trust[(sleeves & (distance < _CUFF)) | (hands & (distance > 0) & (distance < _SKIN_REACH))] = 0
        return trust


@dataclass(frozen=True, eq=False)
class FoldedForearms:
    """Forearms that cross the trunk in a photo.

    Attributes:
        depth: (h, w) float32, metres. The body without forearms; inf off it.
        hidden: (h, w) bool. Pixels of that body that may show the forearms.
        source: (h, w) bool. Pixels of trunk and upper arms, from which hidden clothes are continued.
    """

    depth: Array
    hidden: Mask
    source: Mask

    def removed_from(self, crop: PhotoCrop, trust: Array, pixels_per_metre: float) -> NDArray[np.uint8]:
        """Continue the clothes behind the forearms.

        If most of the clothes have one colour, only this colour is continued: ties, badges and the shirt in an open
        jacket stay where they are.

        Args:
            crop: The photo.
            trust: (h, w) float, 0…1. The trust in each pixel.
            pixels_per_metre: The scale at the person.

        Returns:
            (h, w, 3) uint8 RGB. The photo without the forearms.
        """
        source = self.source & (trust > 0.9) & (crop.mask > 0.9)
        colours = crop.pixels[source] / np.float32(255)
        alike = dominant_colour(colours)
        if alike.size and alike.mean() > PLAIN_SHARE:
            usual = np.median(colours[alike], axis=0)
            alike &= np.linalg.norm(colours - usual, axis=1) < _SHADES
            different: Array = np.zeros(source.shape, np.uint8)
            different[source] = ~alike
            border = 2 * round(_CUFF * pixels_per_metre / 2) + 1
            different = cv2.morphologyEx(different, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
            plain = source & (cv2.dilate(different, np.ones((border, border), np.uint8)) == 0)
            if plain.sum() > _MIN_PLAIN * source.sum():  # others have patterns
                source = plain
        # What the labels call cloth of the legs is no arm, wherever the fit has it.
        legs = garments_mask(crop.garments, "hanging", "trousers")
        return inpaint(crop.pixels, self.hidden & ~legs, ~source)


def folded_forearms(
    body: Body,
    vertices: Tensor,
    faces: Tensor,
    crop: PhotoCrop,
    covered: Array,
    pixels_per_metre: float,
) -> FoldedForearms | None:
    """Find forearms that cross the trunk.

    Args:
        body: The body model.
        vertices: (V, 3) float, metres in camera axes. The surface aligned with the photo.
        faces: (F', 3) int. The faces of parts of known position.
        crop: The photo.
        covered: (24,) float, 0…1. The share of each part that clothes cover.
        pixels_per_metre: The scale at the person.

    Returns:
        The forearms; None if they hide little of the trunk.
    """
    arm = parts_mask(body.part_labels.cpu().numpy(), FOREARMS)[faces[:, 0].long().cpu().numpy()]
    if arm.all() or not arm.any():
        return None
    is_arm = torch.from_numpy(arm).to(faces.device)
    arms, rest = (PartsInPhoto(body, vertices, faces[rows], crop) for rows in (is_arm, ~is_arm))
    trunk = rest.shows(TRUNK)
    crossing = (rest.part >= 0) & (arms.depth < rest.depth - _DEPTH_BEFORE)
    if (crossing & trunk).sum() <= _MIN_CROSSING * trunk.sum():
        return None
    sleeves = covered[SMPL24.indices(("left_elbow", "right_elbow"))].max() > 0.5
    reach = _SLEEVE if sleeves else _UNCERTAINTY[1]
    distance = cv2.distanceTransform((~crossing).astype(np.uint8), cv2.DIST_L2, 5) / pixels_per_metre
    source = rest.shows((*TRUNK, *SLEEVES, "left_hip", "right_hip"))
    return FoldedForearms(rest.depth, source & (distance < reach) & (crop.mask > 0.5), source)
