"""What trainings see of a labelled person in a crop, with the errors that detectors and segmenters make.

Networks that learn from true labels, or from one detector on rendered people, learn to trust them. Widths at strength 1
are of the size that our detector errs by on photographs: 1 % of the crop for a landmark of high confidence, several
centimetres of depth, a limb at a wrong position now and then.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.lab.cache.augmentation import Example
from humanpose_cli.models.crops import CropEvidence

Array = NDArray[Any]

_PIXEL_NOISE = 0.008  # of the crop's side, at confidence 1; three times that at confidence 0
_LIMB_LOST = 0.06  # probability that a limb is moved
_LIMB_OFFSET = 0.05  # of the crop's side
_DEPTH_NOISE, _LEAN, _WORLD_SCALE = 0.025, np.deg2rad(5), 0.05  # metres, radians, share
_EDGE = 0.012  # of the crop's side: how far borders of parts wander
_HOLE = 0.35  # probability of a patch without labels, as of something in front

_INDEPENDENT_SHARE = 0.15  # of the variance of a point's noise, the rest is its face's, hand's or foot's
_FACE = ("nose", "eye", "ear", "mouth")

_BEYOND = {"wrist": ("hand", "pinky", "index", "thumb"), "ankle": ("foot", "heel", "foot_index")}
_LIMB_ENDS = (("elbow", "wrist"), ("wrist",), ("knee", "ankle"), ("ankle",))


def evidence_of_example(example: Example) -> CropEvidence:
    """Take the evidence of a labelled person that is cut out already: true parts and joints, and the stored
    detections.
    """
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
        _finite_points(person.keypoints.get(SMPL24.name)),
        _finite_points(person.detected),
        None if world is None or not np.isfinite(world).all() else np.asarray(world[:, :3], np.float32),
        None if mask is None else mask.astype(np.float32) / np.float32(255),
    )


def _finite_points(points: Array | None) -> Array | None:
    """Set the confidence of points (J, 3) to 0 where a coordinate is not known; None if all are unknown."""
    if points is None:
        return None
    finite = np.asarray(np.isfinite(points).all(1))
    if not finite.any():
        return None
    return np.where(finite[:, None], points, 0).astype(np.float32)


def imitate_errors(evidence: CropEvidence, random: np.random.Generator, strength: float = 1.0) -> CropEvidence:
    """Add errors of that strength to the evidence; 0 changes nothing."""
    if strength <= 0:
        return evidence
    size, hole = evidence.size, _patch(evidence, random) if random.random() < _HOLE * min(strength, 1) else None
    parts, mask, landmarks, world = evidence.parts, evidence.mask, evidence.landmarks, evidence.world
    if parts is not None:
        parts = _wandering(parts, random, strength * _EDGE * size)
        parts = parts if hole is None else np.where(hole, np.uint8(0), parts)
    if mask is not None:
        mask = _wandering(mask, random, strength * _EDGE * size)
        mask = mask if hole is None else np.where(hole, np.float32(0), mask)
    if landmarks is not None:
        landmarks = _points(landmarks, BLAZEPOSE33, random, strength, size)
    joints = evidence.joints
    if joints is not None:
        joints = _points(joints, SMPL24, random, strength, size)
    if world is not None:
        world = _leaning(world, random, strength)  # BLAZEPOSE33's, as the landmarks
    return replace(evidence, parts=parts, mask=mask, landmarks=landmarks, joints=joints, world=world)


def _points(points: Array, skeleton: Skeleton, random: np.random.Generator, strength: float, size: int) -> Array:
    """Add noise that grows with doubt, and now and then move an arm or leg elsewhere."""
    confidence = np.clip(points[:, 2:], 0, 1)
    positions = points[:, :2] + strength * _PIXEL_NOISE * size * (3 - 2 * confidence) * _shared_noise(
        skeleton, random, 2
    )
    for ends in _LIMB_ENDS:
        for side in ("left", "right"):
            offset = strength * _LIMB_OFFSET * size * random.normal(size=2)
            if random.random() < _LIMB_LOST * strength / 2:
                # The hand or foot goes with its wrist or ankle.
                rows = [
                    row
                    for row, name in enumerate(skeleton.joint_names)
                    if name.startswith(side) and name.split("_", 1)[1] in (*ends, *_BEYOND[ends[-1]])
                ]
                positions[rows] += offset
                confidence[rows] *= random.uniform(0.2, 1)
    doubt = 1 - 0.3 * strength * random.random() * random.random(len(points))[:, None]
    return np.concatenate((positions, confidence * doubt), 1).astype(np.float32)


def _shared_noise(skeleton: Skeleton, random: np.random.Generator, axes: int) -> Array:
    """Draw standard normal numbers (J, axes); points of one face, hand or foot err mostly alike."""
    groups, independent = _groups(skeleton), random.normal(size=(len(skeleton), axes))
    together = random.normal(size=(len(skeleton), axes))[groups]
    return np.asarray(np.sqrt(1 - _INDEPENDENT_SHARE) * together + np.sqrt(_INDEPENDENT_SHARE) * independent)


@lru_cache(maxsize=4)
def _groups(skeleton: Skeleton) -> NDArray[np.int64]:
    """Give points that err alike the same number: the row of the first of them."""
    first_rows: dict[str, int] = {}
    rows = []
    for row, name in enumerate(skeleton.joint_names):
        word = name.removeprefix("left_").removeprefix("right_").split("_")[0]
        group = next((f"{name[:5]} {end}" for end, names in _BEYOND.items() if word in (end, *names)), name)
        if word in _FACE:
            group = "face"
        rows.append(first_rows.setdefault(group, row))
    return np.array(rows, np.int64)


def _leaning(world: Array, random: np.random.Generator, strength: float) -> Array:
    """Make depth waver, lean forward or back, and too deep or too flat."""
    lean = strength * _LEAN * random.normal()
    c, s = np.cos(lean), np.sin(lean)
    points = world @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    points[:, 2] *= 1 + 2 * strength * _WORLD_SCALE * random.normal()
    points *= 1 + strength * _WORLD_SCALE * random.normal()
    noise = strength * _DEPTH_NOISE * _shared_noise(BLAZEPOSE33, random, 3) * (0.4, 0.4, 1.0)
    return np.asarray(points + noise, np.float32)


def _wandering(image: Array, random: np.random.Generator, pixels: float) -> Array:
    """Move borders by smooth random offsets of that standard deviation; values are moved, never mixed."""
    height, width = image.shape[:2]
    coarse = random.normal(size=(12, 12, 2)).astype(np.float32) * np.float32(pixels)
    offset = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    result = cv2.remap(image, x + offset[..., 0], y + offset[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(result)


def _patch(evidence: CropEvidence, random: np.random.Generator) -> NDArray[np.bool_]:
    """Draw an ellipse somewhere in the crop's middle."""
    size = evidence.size
    patch = np.zeros((size, size), np.uint8)
    centre = (size * random.uniform(0.25, 0.75, 2)).astype(int).tolist()
    axes = (size * random.uniform(0.02, 0.1, 2)).astype(int).tolist()
    cv2.ellipse(patch, centre, axes, random.uniform(0, 180), 0, 360, 1, -1)
    return patch > 0
