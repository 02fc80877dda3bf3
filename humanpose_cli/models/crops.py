"""A person in a square crop: where the crop lies, what is known about the person, and imitated errors of it.

The crop shows a person as the fixed camera does (Neural Body Fitting, section 4.2): the regressor's camera never moves,
so a person's size in the crop must be that of a person 20 m before it. In training the size follows from the labels
(`data.fixed_camera`). In use the paper estimates the person's height from 2-D keypoints; so do we where the detector
also gives world landmarks, whose size against the keypoints' gives pixels per metre whatever the pose. With a box alone
its longer side is taken for the height of somebody who stands.

`CropEvidence` is what inputs are made of, in training and in use. Networks that learn from true labels, or from one
detector on rendered people, learn to trust them; so errors of segmenters and detectors are imitated. Widths at strength
1 are of the size that our detector errs by on photographs: 1 % of the crop for a landmark of high confidence, several
centimetres of depth, a limb at a wrong position now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.camera import NBF_CAMERA, FixedCamera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24, Skeleton
from humanpose_cli.core.crop import Crop, crop_around_box
from humanpose_cli.data.augmentation import Example
from humanpose_cli.detect.person import DetectedPerson

Array = NDArray[Any]

BOX_FILL = 440 / 512
_HIPS = BLAZEPOSE33.indices(("left_hip", "right_hip"))
_LEAST_CONFIDENCE = 0.3
_LEAST_POINTS = 4

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SPREAD = (0.229, 0.224, 0.225)
_SCALE = (1 / (255 * np.array(IMAGENET_SPREAD))).astype(np.float32)
_SHIFT = (-np.array(IMAGENET_MEAN) / IMAGENET_SPREAD).astype(np.float32)

_PIXEL_NOISE = 0.008  # of the crop's side, at confidence 1; three times that at confidence 0
_LIMB_LOST = 0.06  # probability that a limb is moved
_LIMB_OFFSET = 0.05  # of the crop's side
_DEPTH_NOISE, _LEAN, _WORLD_SCALE = 0.025, np.deg2rad(5), 0.05  # metres, radians, share
_EDGE = 0.012  # of the crop's side: how far borders of parts wander
_HOLE = 0.35  # probability of a patch without labels, as of something in front

_OWN_SHARE = 0.15  # of the variance of a point's noise, the rest is its face's, hand's or foot's
_FACE = ("nose", "eye", "ear", "mouth")

_BEYOND = {"wrist": ("hand", "pinky", "index", "thumb"), "ankle": ("foot", "heel", "foot_index")}
_LIMB_ENDS = (("elbow", "wrist"), ("wrist",), ("knee", "ankle"), ("ankle",))


def root_pixel(size: int, camera: FixedCamera = NBF_CAMERA) -> NDArray[np.float64]:
    """Where the fixed camera sees the pelvis in a crop of `size` pixels: (2,)."""
    x, y, z = camera.root
    return size / 2 + camera.focal_at(size) * np.array([x, y]) / z


def frame_box(box: Array, size: int) -> Crop:
    """The crop in which the box (4,) x0 y0 x1 y1 is 440 of 512 pixels long, its middle in the middle."""
    return crop_around_box(box, size, fill=BOX_FILL)


def frame_landmarks(landmarks: Array, world: Array, size: int, camera: FixedCamera = NBF_CAMERA) -> Crop | None:
    """The crop in which the person is as large as their world landmarks are 20 m away, hips where the pelvis belongs.

    landmarks (33, ≥3) x, y pixels and confidence; world (33, 3) metres. None where too few are visible.
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


def normalised_image(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB → (3, H, W) of mean 0 and variance 1 over ImageNet."""
    return np.ascontiguousarray((image * _SCALE + _SHIFT).transpose(2, 0, 1))


@dataclass(frozen=True)
class CropEvidence:
    """A crop of `size` pixels square; None for what is not known. Pixels are the crop's.

    image      (size, size, 3) uint8 RGB
    parts      (size, size) uint8: 0, or 1 + the row of SMPL24 whose part is visible
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
    """From a labelled person that is cut out already: true parts and joints, and the stored detections."""
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
    """From an image (H, W, 3) and what the detector found of one of its people, in a crop.

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


def imitate_errors(evidence: CropEvidence, random: np.random.Generator, strength: float = 1.0) -> CropEvidence:
    """The evidence with errors of that strength; 0 leaves it as it is."""
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
    """Noise that grows with doubt, and now and then an arm or leg that is elsewhere."""
    confidence = np.clip(points[:, 2:], 0, 1)
    moved = points[:, :2] + strength * _PIXEL_NOISE * size * (3 - 2 * confidence) * _shared_noise(skeleton, random, 2)
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
                moved[rows] += offset
                confidence[rows] *= random.uniform(0.2, 1)
    doubt = 1 - 0.3 * strength * random.random() * random.random(len(points))[:, None]
    return np.concatenate((moved, confidence * doubt), 1).astype(np.float32)


def _shared_noise(skeleton: Skeleton, random: np.random.Generator, axes: int) -> Array:
    """Standard normal numbers (J, axes); points of one face, hand or foot err mostly alike."""
    groups, own = _groups(skeleton), random.normal(size=(len(skeleton), axes))
    together = random.normal(size=(len(skeleton), axes))[groups]
    return np.asarray(np.sqrt(1 - _OWN_SHARE) * together + np.sqrt(_OWN_SHARE) * own)


@lru_cache(maxsize=4)
def _groups(skeleton: Skeleton) -> NDArray[np.int64]:
    """For each point a number that those which err alike share: the row of the first of them."""
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
    """Depth that wavers, leans forward or back, and is too deep or too flat."""
    lean = strength * _LEAN * random.normal()
    c, s = np.cos(lean), np.sin(lean)
    turned = world @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    turned[:, 2] *= 1 + 2 * strength * _WORLD_SCALE * random.normal()
    turned *= 1 + strength * _WORLD_SCALE * random.normal()
    noise = strength * _DEPTH_NOISE * _shared_noise(BLAZEPOSE33, random, 3) * (0.4, 0.4, 1.0)
    return np.asarray(turned + noise, np.float32)


def _wandering(image: Array, random: np.random.Generator, pixels: float) -> Array:
    """Borders moved by smooth random offsets of that standard deviation; values are moved, never mixed."""
    height, width = image.shape[:2]
    coarse = random.normal(size=(12, 12, 2)).astype(np.float32) * np.float32(pixels)
    offset = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(image, x + offset[..., 0], y + offset[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(moved)


def _patch(evidence: CropEvidence, random: np.random.Generator) -> NDArray[np.bool_]:
    """An ellipse somewhere in the crop's middle."""
    size = evidence.size
    patch = np.zeros((size, size), np.uint8)
    centre = (size * random.uniform(0.25, 0.75, 2)).astype(int).tolist()
    axes = (size * random.uniform(0.02, 0.1, 2)).astype(int).tolist()
    cv2.ellipse(patch, centre, axes, random.uniform(0, 180), 0, 360, 1, -1)
    return patch > 0
