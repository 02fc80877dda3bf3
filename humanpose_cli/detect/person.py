"""What detection says about one person."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from humanpose_cli.core.conventions import BLAZEPOSE33, Skeleton
from humanpose_cli.core.crop import Affine2D

__all__ = ["DetectedPerson", "PersonMask"]


@dataclass(frozen=True)
class PersonMask:
    """Where the person is seen: a square crop and its place in the image.

    crop (S, S) uint8, 255 = surely the person; crop_to_image from pixels of the crop to pixels of the image
    """

    crop: np.ndarray
    crop_to_image: Affine2D

    def in_image(self, height: int, width: int) -> np.ndarray:
        """(height, width) float32, 0..1, zero outside the crop."""
        return self.in_view(Affine2D.identity(), (width, height))

    def in_view(self, image_to_view: Affine2D, size: tuple[int, int]) -> np.ndarray:
        """(height, width) float32, 0..1, as a scaled, turned or shifted view of the image shows it.

        image_to_view  from pixels of the image to those of the view; size (width, height) of the view
        """
        affine = image_to_view @ self.crop_to_image
        return affine.warp(self.crop.astype(np.float32), size, cv2.INTER_LINEAR) / np.float32(255)


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
