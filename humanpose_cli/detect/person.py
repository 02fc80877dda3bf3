"""What detection says about one person."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, Skeleton

__all__ = ["DetectedPerson", "PersonMask"]


@dataclass(frozen=True)
class PersonMask:
    """Where the person is seen: a square crop and its place in the image.

    crop (S, S) uint8, 255 = surely the person; crop_to_image (2, 3) affine map from crop coordinates (origin at the
    top-left corner, pixel centres at +0.5) to pixels of the image.
    """

    crop: np.ndarray
    crop_to_image: np.ndarray

    def in_image(self, height: int, width: int) -> np.ndarray:
        """(height, width) float32, 0..1, zero outside the crop."""
        return self.in_view(np.eye(2, 3), (width, height))

    def in_view(self, image_to_view: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(height, width) float32, 0..1, as a scaled, turned or shifted view of the image shows it.

        image_to_view  (2, 3) affine map of pixels; size (width, height) of the view
        """
        affine = self.crop_to_image.astype(np.float64)
        affine = image_to_view @ np.concatenate((affine, [[0.0, 0.0, 1.0]]))
        affine[:, 2] += affine[:, :2].sum(1) * 0.5 - 0.5
        width, height = size
        placed = cv2.warpAffine(
            self.crop.astype(np.float32),
            affine,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return placed / np.float32(255)


@dataclass(frozen=True)
class DetectedPerson:
    """A person found in an image.

    box           (4,) x0 y0 x1 y1 pixels, within the image
    keypoints     (L, 3) x, y in pixels of the full image (they may lie outside) and confidence 0..1
    world         (L, 3) metres, origin between the hips, camera axes (x right, y down, z forward); None if unknown
    spread        (L,) pixels: standard deviation of the keypoints over several crops
    world_spread  (L,) metres, the same for `world`; None if unknown
    mask          where the person is seen; None if unknown
    score         0..1: how sure it is that this is a person
    skeleton      names of the L rows
    """

    box: np.ndarray
    keypoints: np.ndarray
    world: np.ndarray | None
    spread: np.ndarray
    world_spread: np.ndarray | None
    mask: PersonMask | None
    score: float
    skeleton: Skeleton = BLAZEPOSE33

    @property
    def area(self) -> float:
        """Of the box, square pixels."""
        return float(np.prod(self.box[2:] - self.box[:2]))
