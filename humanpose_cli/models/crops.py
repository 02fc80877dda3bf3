"""Which crop shows a person as the fixed camera would: Neural Body Fitting, section 4.2.

The regressor's camera never moves, so a person's size in the crop must be that of a person 20 m before it. In training
the labels tell (`data.fixed_camera`). In use the paper estimates the person's height from 2-D keypoints; so do
we where the detector also gives world landmarks, whose size against the keypoints' tells pixels per metre whatever the
pose. With a box alone its longer side is taken for the height of somebody who stands.

Images as networks that were trained on ImageNet expect them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.data.fixed_camera import NBF_CAMERA, FixedCamera
from humanpose_cli.detect.person import DetectedPerson

__all__ = [
    "BOX_FILL",
    "IMAGENET_MEAN",
    "IMAGENET_SPREAD",
    "frame_box",
    "frame_landmarks",
    "frame_person",
    "normalised_image",
    "root_pixel",
]


Array = NDArray[Any]

BOX_FILL = 440 / 512
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_LEAST_CONFIDENCE = 0.3
_LEAST_POINTS = 4


def root_pixel(size: int, camera: FixedCamera = NBF_CAMERA) -> NDArray[np.float64]:
    """Where the fixed camera sees the pelvis in a crop of `size` pixels: (2,)."""
    x, y, z = camera.root
    return size / 2 + camera.focal_at(size) * np.array([x, y]) / z


def frame_box(box: Array, size: int) -> Crop:
    """The crop in which the box (4,) x0 y0 x1 y1 is 440 of 512 pixels long, its middle in the middle."""
    return crop_around_box(box, size, fill=BOX_FILL)


def frame_landmarks(landmarks: Array, world: Array, size: int, camera: FixedCamera = NBF_CAMERA) -> Crop | None:
    """The crop in which the person is as large as their world landmarks are 20 m away, hips where the pelvis belongs.

    landmarks (33, ≥3) x, y pixels and confidence; world (33, 3) metres. None where too little is seen to tell.
    """
    confidence = np.where(landmarks[:, 2] >= _LEAST_CONFIDENCE, landmarks[:, 2], 0.0)
    if (confidence > 0).sum() < _LEAST_POINTS or not np.isfinite(landmarks[:, :2]).all():
        return None
    weight = confidence[:, None] / confidence.sum()
    flat, metres = landmarks[:, :2].astype(np.float64), world[:, :2].astype(np.float64)
    middle, centre = (weight * flat).sum(0), (weight * metres).sum(0)
    across = (weight * (metres - centre) * (flat - middle)).sum()
    spread = (weight * (metres - centre) ** 2).sum()
    pixels_per_metre = across / max(spread, 1e-9)
    if pixels_per_metre <= 0 or spread < 1e-4:
        return None
    scale = camera.focal_at(size) / camera.root[2] / pixels_per_metre
    hips = middle + pixels_per_metre * (metres[_HIPS].mean(0) - centre)
    shift = root_pixel(size, camera) - scale * hips
    return Crop(float(scale), 0.0, (float(shift[0]), float(shift[1])), (size, size))


def frame_person(person: DetectedPerson, size: int) -> Crop:
    """The crop for a detected person: by landmarks where the detector gave both kinds, else by the box."""
    framed = None
    if person.world is not None and person.skeleton.name == BLAZEPOSE33.name:
        framed = frame_landmarks(person.keypoints, person.world, size)
    return frame_box(person.box, size) if framed is None else framed


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
_SCALE = (1 / (255 * np.array(IMAGENET_SPREAD))).astype(np.float32)
_SHIFT = (-np.array(IMAGENET_MEAN) / IMAGENET_SPREAD).astype(np.float32)


def normalised_image(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB → (3, H, W) of mean 0 and variance 1 over ImageNet."""
    return np.ascontiguousarray((image * _SCALE + _SHIFT).transpose(2, 0, 1))
