"""Evidence of a labelled person in a crop, with imitated errors of detectors and segmenters.

Networks that learn from true labels, or from one detector on rendered people, learn to trust them. The errors at
strength 1 are about as large as the errors of our detector on photographs: 1 % of the crop for a landmark of high
confidence, several centimetres of depth, and sometimes a limb at a wrong position.
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

_PIXEL_NOISE = 0.008  # standard deviation relative to the crop's side at confidence 1, three times that at 0
_LIMB_MOVED = 0.06  # probability that a limb is moved
_LIMB_OFFSET = 0.05  # standard deviation relative to the crop's side
_DEPTH_NOISE = 0.025  # metres
_LEAN = np.deg2rad(5)  # radians
_WORLD_SCALE = 0.05  # standard deviation of the relative size
_EDGE_NOISE = 0.012  # displacement of the borders of parts relative to the crop's side
_HOLE_PROBABILITY = 0.35  # of a patch without labels, as if something stood in front

_INDEPENDENT_SHARE = 0.15  # of the variance of a point's noise; the rest is common to the face, hand or foot
_FACE = ("nose", "eye", "ear", "mouth")

_EXTREMITIES = {"wrist": ("hand", "pinky", "index", "thumb"), "ankle": ("foot", "heel", "foot_index")}
_LIMB_ENDS = (("elbow", "wrist"), ("wrist",), ("knee", "ankle"), ("ankle",))


def evidence_of_example(example: Example) -> CropEvidence:
    """Return the evidence of a cropped example: true parts and joints, and the stored detections."""
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
    """Set unknown points (J, 3) to confidence 0; None if all are unknown."""
    if points is None:
        return None
    finite = np.asarray(np.isfinite(points).all(1))
    if not finite.any():
        return None
    return np.where(finite[:, None], points, 0).astype(np.float32)


def imitate_errors(evidence: CropEvidence, random: np.random.Generator, strength: float = 1.0) -> CropEvidence:
    """Add errors to the evidence.

    Args:
        evidence: The evidence.
        random: Source of the random numbers.
        strength: Factor on all errors; 0 changes nothing.
    """
    if strength <= 0:
        return evidence
    size = evidence.size
    hole = _patch(size, random) if random.random() < _HOLE_PROBABILITY * min(strength, 1) else None
    changes: dict[str, Any] = {}
    for name in ("parts", "mask"):
        if (labels := getattr(evidence, name)) is not None:
            labels = _move_borders(labels, random, strength * _EDGE_NOISE * size)
            changes[name] = labels if hole is None else np.where(hole, labels.dtype.type(0), labels)
    for name, skeleton in (("landmarks", BLAZEPOSE33), ("joints", SMPL24)):
        if (points := getattr(evidence, name)) is not None:
            changes[name] = _move_points(points, skeleton, random, strength, size)
    if evidence.world is not None:
        changes["world"] = _lean(evidence.world, random, strength)
    return replace(evidence, **changes)


def _move_points(points: Array, skeleton: Skeleton, random: np.random.Generator, strength: float, size: int) -> Array:
    """Add noise that decreases with the confidence, and sometimes move an arm or leg."""
    confidence = np.clip(points[:, 2:], 0, 1)
    noise = _shared_noise(skeleton, random, 2)
    positions = points[:, :2] + strength * _PIXEL_NOISE * size * (3 - 2 * confidence) * noise
    for ends in _LIMB_ENDS:
        for side in ("left", "right"):
            offset = strength * _LIMB_OFFSET * size * random.normal(size=2)
            # Each limb is drawn twice: with its middle joint, and its end alone.
            if random.random() < _LIMB_MOVED * strength / 2:
                # The hand or foot goes with its wrist or ankle.
                rows = [
                    row
                    for row, name in enumerate(skeleton.joint_names)
                    if name.startswith(side) and name.split("_", 1)[1] in (*ends, *_EXTREMITIES[ends[-1]])
                ]
                positions[rows] += offset
                confidence[rows] *= random.uniform(0.2, 1)
    doubt = 1 - 0.3 * strength * random.random() * random.random(len(points))[:, None]
    return np.concatenate((positions, confidence * doubt), 1).astype(np.float32)


def _shared_noise(skeleton: Skeleton, random: np.random.Generator, axes: int) -> Array:
    """Draw standard normal numbers (J, axes) that are correlated within a face, hand or foot."""
    independent = random.normal(size=(len(skeleton), axes))
    common = random.normal(size=(len(skeleton), axes))[_groups(skeleton)]
    return np.asarray(np.sqrt(1 - _INDEPENDENT_SHARE) * common + np.sqrt(_INDEPENDENT_SHARE) * independent)


@lru_cache(maxsize=4)
def _groups(skeleton: Skeleton) -> NDArray[np.int64]:
    """Return (J,) the row of the first point in each point's group of correlated points."""
    first_rows: dict[str, int] = {}
    rows = []
    for row, name in enumerate(skeleton.joint_names):
        word = name.removeprefix("left_").removeprefix("right_").partition("_")[0]
        group = next((f"{name[:5]} {end}" for end, names in _EXTREMITIES.items() if word in (end, *names)), name)
        if word in _FACE:
            group = "face"
        rows.append(first_rows.setdefault(group, row))
    return np.array(rows, np.int64)


def _lean(world: Array, random: np.random.Generator, strength: float) -> Array:
    """Rotate world landmarks (33, 3) forward or back, scale them and their depth, and add noise."""
    lean = strength * _LEAN * random.normal()
    cosine, sine = np.cos(lean), np.sin(lean)
    points = world @ np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    points[:, 2] *= 1 + 2 * strength * _WORLD_SCALE * random.normal()
    points *= 1 + strength * _WORLD_SCALE * random.normal()
    noise = strength * _DEPTH_NOISE * _shared_noise(BLAZEPOSE33, random, 3) * (0.4, 0.4, 1.0)
    return np.asarray(points + noise, np.float32)


def _move_borders(image: Array, random: np.random.Generator, pixels: float) -> Array:
    """Displace pixels by smooth random offsets with this standard deviation, without interpolation."""
    height, width = image.shape[:2]
    coarse = random.normal(size=(12, 12, 2)).astype(np.float32) * np.float32(pixels)
    offset = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    result = cv2.remap(image, x + offset[..., 0], y + offset[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(result)


def _patch(size: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Draw an ellipse in the middle of a crop."""
    patch = np.zeros((size, size), np.uint8)
    centre = (size * random.uniform(0.25, 0.75, 2)).astype(int).tolist()
    axes = (size * random.uniform(0.02, 0.1, 2)).astype(int).tolist()
    cv2.ellipse(patch, centre, axes, random.uniform(0, 180), 0, 360, 1, -1)
    return patch > 0
