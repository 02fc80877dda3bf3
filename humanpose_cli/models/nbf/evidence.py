"""What is known about a person in a square crop: the one thing that inputs are made of, in training and in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.core.crop import Crop
from humanpose_cli.data.augmentation import Example
from humanpose_cli.detect.person import DetectedPerson

__all__ = ["CropEvidence", "evidence_of_example", "evidence_of_person"]

Array = NDArray[Any]


@dataclass(frozen=True)
class CropEvidence:
    """A crop of `size` pixels square; None for what is not known. Pixels are the crop's.

    image    (size, size, 3) uint8 RGB
    parts      (size, size) uint8: 0, or 1 + the row of SMPL24 whose part is seen
    joints     (24, 3) x, y pixels and confidence of SMPL24
    landmarks  (33, 3) x, y pixels and confidence of BLAZEPOSE33
    world      (33, 3) metres, axes of a camera that looks at the person, origin between the hips
    mask       (size, size) float32 0…1: the person
    """

    size: int
    image: NDArray[np.uint8] | None = None
    parts: NDArray[np.uint8] | None = None
    joints: Array | None = None
    landmarks: Array | None = None
    world: Array | None = None
    mask: NDArray[np.float32] | None = None


def evidence_of_example(example: Example) -> CropEvidence:
    """From a labelled person that is cut out already: true parts and joints, and what the detector said."""
    person, size = example.person, example.image.shape[0]
    parts = example.maps.get("parts")
    if parts is not None and example.mask is not None:
        parts = np.where(example.mask > 0, parts, np.uint8(0))
    world = person.detected_world
    mask = example.detected_mask
    return CropEvidence(
        size,
        example.image,
        parts,
        _known(person.keypoints.get(SMPL24.name)),
        _known(person.detected),
        None if world is None or not np.isfinite(world).all() else np.asarray(world[:, :3], np.float32),
        None if mask is None else mask.astype(np.float32) / np.float32(255),
    )


def evidence_of_person(
    image: NDArray[np.uint8], person: DetectedPerson, crop: Crop, *, with_image: bool = True
) -> CropEvidence:
    """From an image (H, W, 3) and what the detector says about one of its people, in a crop.

    with_image  False leaves the crop out, which takes most of the time

    Keypoints of BLAZEPOSE33 become landmarks, those of SMPL24 joints; no skeleton is made from another.
    """
    size = crop.size[0]
    points = np.concatenate((crop.points(person.keypoints[:, :2]), person.keypoints[:, 2:]), 1).astype(np.float32)
    blazepose = person.skeleton.name == BLAZEPOSE33.name
    mask = None
    if person.mask is not None:
        mask = person.mask.in_view(crop.affine, crop.size)
    return CropEvidence(
        size,
        crop.image(image) if with_image else None,
        joints=points if person.skeleton.name == SMPL24.name else None,
        landmarks=points if blazepose else None,
        world=np.asarray(person.world, np.float32) if blazepose and person.world is not None else None,
        mask=mask,
    )


def _known(points: Array | None) -> Array | None:
    """Points (J, 3) with confidence 0 where a coordinate is not known; None where all are unknown."""
    if points is None:
        return None
    finite = np.asarray(np.isfinite(points).all(1))
    if not finite.any():
        return None
    return np.where(finite[:, None], points, 0).astype(np.float32)
