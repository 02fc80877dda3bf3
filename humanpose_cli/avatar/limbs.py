"""What a photograph shows of arms before the body, and of hands in pockets.

A fit has an arm some centimetres beside its image: pixels of the arm would become a print on the shirt below it, so
pixels near an arm that lies before something else are not used for it. A hand in a pocket would become a glove of
the trousers' colour: it counts as hidden.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.avatar.colours import ClothColours, skin_hued
from humanpose_cli.avatar.loose import PhotoCrop
from humanpose_cli.avatar.options import LimbOptions
from humanpose_cli.avatar.surface import FOREARMS, SLEEVES, parts_mask
from humanpose_cli.body.body import Body
from humanpose_cli.rendering.shading import rasterise_view

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class PartsInPhoto:
    """Which part of a body lies in front in each pixel of the photo around the person.

    part   (h, w) row of SMPL24, −1 off the body; depth (h, w) metres, inf off the body
    """

    def __init__(self, body: Body, vertices: Tensor, faces: Tensor, crop: PhotoCrop) -> None:
        raster = rasterise_view(vertices[None], faces, crop.view)
        face, self.depth = raster.face[0].cpu().numpy(), raster.depth[0].cpu().numpy()
        self.labels = body.part_labels.cpu().numpy()
        first = self.labels[faces[:, 0].cpu().numpy()]
        self.part = np.where(face >= 0, first[np.maximum(face, 0)], -1)
        self.crop = crop

    def shows(self, names: tuple[str, ...]) -> Mask:
        """Select pixels (h, w) in which one of the parts is in front."""
        return (self.part >= 0) & parts_mask(self.part, names)

    def pocketed(self, tone: Array | None, pixels_per_metre: float, cloth: ClothColours, options: LimbOptions) -> Mask:
        """Select vertices (V,) of hands where the photo shows the cloth that is around them, and no skin (3,)."""
        result, arms = np.zeros(len(self.labels), bool), self.shows(FOREARMS)
        width = 2 * max(1, round(options.around * pixels_per_metre)) + 1
        for side in ("left", "right"):
            names = (f"{side}_wrist", f"{side}_hand")
            hand = self.shows(names)
            around = cv2.dilate(hand.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
            around &= ~arms & ~self.crop.others
            cover = around & (self.crop.mask > 0.5)
            visible = hand & (self.crop.mask > 0.5)
            if visible.sum() < options.min_pixels or cover.sum() < options.surrounded * around.sum():
                continue
            hand_features, cover_features = (
                cloth.features(self.crop.pixels[where] / 255) for where in (visible, cover)
            )
            like_cloth = np.linalg.norm(hand_features - np.median(cover_features, axis=0), axis=1) < cloth.same
            if like_cloth.mean() < options.like_cloth:
                continue
            if (
                tone is None
                or not (np.linalg.norm(hand_features - cloth.features(tone[None]), axis=1) < cloth.same).mean() > 0.3
            ):
                result |= parts_mask(self.labels, names)
        return result

    def trust_near_forearms(
        self, tone: Array | None, covered: Array, pixels_per_metre: float, cloth: ClothColours, options: LimbOptions
    ) -> Array:
        """Estimate how far (h, w) 0…1 a pixel shows the body and not a forearm before it, whose place is not exactly
        known.

        tone     (3,) of skin: its colour on clothes near a forearm is the arm's; None where it is not known
        covered  (24,) share of each part that clothes cover
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
        behind = (self.part >= 0) & ~self.shows(FOREARMS + SLEEVES) & (depths[nearest] < self.depth - options.before)
        rise = np.clip((metres - options.uncertainty[0]) / (options.uncertainty[1] - options.uncertainty[0]), 0, 1)
        trust[behind] = rise[behind]
        if tone is not None:
            near = behind & (metres < options.skin_reach) & (covered[np.maximum(self.part, 0)] > 0.5)
            colours = self.crop.pixels[near] / 255
            alike = np.linalg.norm(cloth.features(colours) - cloth.features(tone[None]), axis=1) < cloth.same
            skin = np.zeros(arms.shape, np.uint8)
            skin[near] = alike & skin_hued(colours)
            trust[cv2.dilate(skin, np.ones((3, 3), np.uint8)) * near > 0] = 0
        return trust
