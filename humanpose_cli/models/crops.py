"""Square crops of persons, and the evidence about a person in a crop.

The crop shows a person as the fixed camera does (Neural Body Fitting, section 4.2): the regressor's camera never moves,
so a person in the crop must have the size of a person 20 m away. In training the size follows from the labels
(`lab.cache.fixed_camera`). In use, the paper estimates the person's height from 2-D keypoints. If the detector also
gives world landmarks, their size relative to the keypoints gives pixels per metre for any pose. With a
box alone, its longer side is taken as the height of a standing person.

Training and use both make a network's inputs from `CropEvidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.core.camera import NBF_CAMERA
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.detect.person import DetectedPerson

Array = NDArray[Any]

BOX_FILL = 440 / 512
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_MIN_CONFIDENCE = 0.3
_MIN_POINTS = 4

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
_SCALE = (1 / (255 * np.array(IMAGENET_SPREAD))).astype(np.float32)
_SHIFT = (-np.array(IMAGENET_MEAN) / IMAGENET_SPREAD).astype(np.float32)


def root_pixel(size: int) -> NDArray[np.float64]:
    """Project the pelvis into a crop by the fixed camera.

    Args:
        size: The side of the crop in pixels.

    Returns:
        (2,) float64, pixels. The position x, y.
    """
    x, y, z = NBF_CAMERA.root
    return size / 2 + NBF_CAMERA.focal_at(size) * np.array([x, y]) / z


def frame_box(box: Array, size: int) -> Crop:
    """Return the crop in which a box is 440 of 512 pixels long, in the middle.

    Args:
        box: (4,) pixels. x0, y0, x1, y1 in the image.
        size: The side of the crop in pixels.
    """
    return crop_around_box(box, size, fill=BOX_FILL)


def frame_landmarks(landmarks: Array, world: Array, size: int) -> Crop | None:
    """Return the crop in which the person is as large as their world landmarks are at a distance of 20 m.

    The hips are at the pelvis of the fixed camera.

    Args:
        landmarks: (33, ≥3) float. x, y in pixels of the image, and confidence.
        world: (33, 3) float, metres. The world landmarks.
        size: The side of the crop in pixels.

    Returns:
        The crop, or None if too few landmarks are visible.
    """
    confidence = np.where(landmarks[:, 2] >= _MIN_CONFIDENCE, landmarks[:, 2], 0.0)
    if (confidence > 0).sum() < _MIN_POINTS or not np.isfinite(landmarks[:, :2]).all():
        return None
    weight = confidence[:, None] / confidence.sum()
    flat, metres = landmarks[:, :2].astype(np.float64), world[:, :2].astype(np.float64)
    middle, centre = (weight * flat).sum(0), (weight * metres).sum(0)
    across = (weight * (metres - centre) * (flat - middle)).sum()
    spread = (weight * (metres - centre) ** 2).sum()
    pixels_per_metre = across / max(spread, 1e-9)
    if pixels_per_metre <= 0 or spread < 1e-4:
        return None
    scale = NBF_CAMERA.focal_at(size) / NBF_CAMERA.root[2] / pixels_per_metre
    hips = middle + pixels_per_metre * (metres[_HIPS].mean(0) - centre)
    shift = root_pixel(size) - scale * hips
    return Crop(float(scale), 0.0, (float(shift[0]), float(shift[1])), (size, size))


def frame_person(person: DetectedPerson, size: int) -> Crop:
    """Return the crop for a detected person, by landmarks if the detector gave both kinds, otherwise by the box.

    Args:
        person: The person.
        size: The side of the crop in pixels.
    """
    crop = None
    if person.world is not None and person.skeleton.name == BLAZEPOSE33.name:
        crop = frame_landmarks(person.keypoints, person.world, size)
    return frame_box(person.box, size) if crop is None else crop


def normalised_image(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalise (H, W, 3) uint8 RGB to (3, H, W) with mean 0 and variance 1 over ImageNet."""
    channels = np.ascontiguousarray(image.transpose(2, 0, 1))
    return channels * _SCALE[:, None, None] + _SHIFT[:, None, None]


def pixels_of_normalised(images: Tensor) -> Tensor:
    """Invert `normalised_image`: (N, 3, H, W) → (N, H, W, 3) uint8, on the same device."""
    scale, shift = (torch.as_tensor(values, device=images.device) for values in (_SCALE, _SHIFT))
    return ((images.permute(0, 2, 3, 1) - shift) / scale).clamp(0, 255).round().to(torch.uint8)


@dataclass(frozen=True)
class CropEvidence:
    """The evidence about a person in a square crop, in pixels of the crop. None means unknown.

    Attributes:
        size: The side of the crop in pixels.
        image: (size, size, 3) uint8 RGB. The pixels.
        parts: (size, size) uint8. 0, or 1 + the row of SMPL24 whose part is visible.
        joints: (24, 3) float. x, y in pixels and confidence of SMPL24's joints.
        landmarks: (33, 3) float. x, y in pixels and confidence of BLAZEPOSE33's landmarks.
        world: (33, 3) float, metres in axes of a camera that looks at the person. The landmarks relative to the hips.
        mask: (size, size) float32, 0 to 1. The person.
    """

    size: int
    image: NDArray[np.uint8] | None = None
    parts: NDArray[np.uint8] | None = None
    joints: Array | None = None
    landmarks: Array | None = None
    world: Array | None = None
    mask: NDArray[np.float32] | None = None

    def mirrored(self) -> CropEvidence:
        """Return the evidence of the mirror image, with left and right of the person swapped."""
        other_parts = np.array([0, *(1 + row for row in SMPL24.mirror)], np.uint8)
        layers: tuple[Any, ...] = (self.image, self.parts, self.mask)
        image, parts, mask = (None if x is None else np.ascontiguousarray(x[:, ::-1]) for x in layers)
        joints = _mirrored_points(self.joints, SMPL24.mirror, self.size)
        landmarks = _mirrored_points(self.landmarks, BLAZEPOSE33.mirror, self.size)
        world = _mirrored_points(self.world, BLAZEPOSE33.mirror, 0)
        return CropEvidence(
            self.size, image, None if parts is None else other_parts[parts], joints, landmarks, world, mask
        )


def _mirrored_points(points: Array | None, rows: Sequence[int], width: float) -> Array | None:
    """Map x to width - x and swap left and right."""
    signs, shift = np.array([[-1, 1, 1], [width, 0, 0]], np.float32)
    return None if points is None else points[list(rows)] * signs + shift


def evidence_of_person(
    image: NDArray[np.uint8], person: DetectedPerson, crop: Crop, *, with_image: bool = True
) -> CropEvidence:
    """Collect the evidence about a detected person in a crop.

    Keypoints of BLAZEPOSE33 become landmarks, keypoints of SMPL24 become joints. Skeletons are not converted.

    Args:
        image: (H, W, 3) uint8. The image.
        person: The person.
        crop: The crop of the image.
        with_image: Whether to cut out the pixels, which takes most of the time.
    """
    size = crop.size[0]
    points = np.concatenate((crop.points(person.keypoints[:, :2]), person.keypoints[:, 2:]), 1).astype(np.float32)
    blazepose = person.skeleton.name == BLAZEPOSE33.name
    mask = None if person.mask is None else person.mask.in_view(crop.affine, crop.size)
    return CropEvidence(
        size,
        crop.image(image) if with_image else None,
        joints=points if person.skeleton.name == SMPL24.name else None,
        landmarks=points if blazepose else None,
        world=np.asarray(person.world, np.float32) if blazepose and person.world is not None else None,
        mask=mask,
    )
