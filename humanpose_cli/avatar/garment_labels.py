"""Labels of garments in a photograph, and whether what hangs is closed across the legs.

A small network labels the frozen maps of the pose network (`models.segmenter.network.MapSegmenter`). It learned from
rendered people alone; the maps come from photographs. The part of the legs that counts was not chosen on photographs;
the threshold is above those of loose shorts below a hanging shirt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import GARMENTS
from humanpose_cli.core.crop import Crop
from humanpose_cli.models.segmenter.network import Segmenter
from humanpose_cli.networks.weights import shipped_weights

Array = NDArray[Any]

CLOSED = 0.8
"""Share of hanging cloth on the thighs from which a garment is closed across the legs."""
_FROM, _TO = 0.15, 0.65  # of the way from hip to knee
_THIGH_WIDTH = 0.375  # of the way from hip to knee: width that counts
_MIN_PIXELS = 40  # of the crop, whose side is 256


@dataclass(frozen=True, eq=False)
class GarmentLabels:
    """Garments of a person in an image.

    Attributes:
        probabilities: (7, S, S) float32. The probabilities of the background and `GARMENTS` in a crop.
        crop: The crop of the image.
    """

    probabilities: NDArray[np.float32]
    crop: Crop

    @classmethod
    def of(cls, segmenter: Segmenter, image: NDArray[np.uint8], box: Array) -> GarmentLabels:
        """Label a person: the mean of the image and its mirror image.

        Args:
            segmenter: A segmenter of garments.
            image: (H, W, 3) uint8 RGB.
            box: (4,) x0, y0, x1, y1, pixels. The person.
        """
        result = segmenter.segment(image, box)
        mirrored_box = np.array([image.shape[1] - box[2], box[1], image.shape[1] - box[0], box[3]])
        mirrored = segmenter.segment(np.ascontiguousarray(image[:, ::-1]), mirrored_box)
        return cls(np.float32(0.5) * (result.probabilities + mirrored.probabilities[..., ::-1]), result.crop)

    @classmethod
    def of_mask(cls, image: NDArray[np.uint8], mask: Array) -> GarmentLabels:
        """Label the person of a mask (H, W) in an image (H, W, 3) uint8 RGB by the shipped segmenter."""
        ys, xs = np.nonzero(mask >= 0.5)
        height, width = mask.shape
        box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(ys) else (0, 0, width, height)
        return cls.of(garment_segmenter(), image, np.array(box, np.float32))

    def in_image(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the labels (H, W) uint8 in an image of a size (W, H): 0 background, then `GARMENTS`."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        best = self.crop.affine.warp(self.probabilities[0], size, flags, border=1)
        result = np.zeros(best.shape, np.uint8)
        for number, layer in enumerate(self.probabilities[1:], 1):
            values = self.crop.affine.warp(layer, size, flags)
            result[values > best] = number
            np.maximum(best, values, out=best)
        return result

    def closed(self, legs: Array, mask: Array) -> float:
        """Return the share of hanging cloth on the upper thighs and between them; see `CLOSED`.

        Args:
            legs: (4, 2) float, pixels of the image. The left and right hip, then the knees.
            mask: (H, W) float, 0…1. The person in the image.

        Returns:
            The share in hanging cloth, trousers and skin, 0…1; NaN if too little of the thighs is visible.
        """
        return self.hanging_share(thighs(self.crop.points(legs), self.crop.warp(mask, cv2.INTER_LINEAR) > 0.5))

    def hanging_share(self, region: NDArray[np.bool_]) -> float:
        """Return the share of hanging cloth in hanging cloth, trousers and skin of a region; NaN if it is too small."""
        if region.sum() < _MIN_PIXELS:
            return float("nan")
        sums = self.probabilities[:, region].sum(1)
        hanging, trousers, skin = (float(sums[1 + GARMENTS.index(name)]) for name in ("hanging", "trousers", "skin"))
        return hanging / max(hanging + trousers + skin, 1e-6)


def garments_mask(labels: NDArray[np.uint8], *names: str) -> NDArray[np.bool_]:
    """Select the labels, 0 for the background and then `GARMENTS`, of the named garments."""
    return np.isin(labels, [1 + GARMENTS.index(name) for name in names])


def thighs(legs: Array, person: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels (S, S) of a person that show the upper thighs or what is between them.

    Args:
        legs: (4, 2) float, pixels. The left and right hip, then the knees.
        person: (S, S) bool.
    """
    hips, knees = legs[:2], legs[2:]
    start, end = hips + _FROM * (knees - hips), hips + _TO * (knees - hips)
    width = max(1, round(_THIGH_WIDTH * float(np.linalg.norm(knees - hips, axis=1).max())))
    region = np.zeros(person.shape, np.uint8)
    cv2.fillConvexPoly(region, cv2.convexHull(np.rint(np.concatenate((start, end))).astype(np.int32)), 1)
    for one, other in zip(np.rint(start).astype(int).tolist(), np.rint(end).astype(int).tolist(), strict=True):
        cv2.line(region, one, other, 1, width)
    return (region > 0) & person


@cache
def garment_segmenter() -> Segmenter:
    """Load the shipped network once."""
    return Segmenter.load(shipped_weights("garments"))
