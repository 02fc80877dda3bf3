"""Training examples of the lifter: landmarks of posed bodies before random cameras, with imitated detection errors.

Bodies are posed once, into a pool; cameras and detection errors are drawn for every batch. Nothing is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import default_body
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.lab.synthetic.poses import FAMILIES, PoseBank
from humanpose_cli.models.lifter.metric import (
    INPUT_LANDMARKS,
    LIFTED_JOINTS,
    MIRRORED_POINTS,
    NormalisedRays,
    normalise_rays,
)

Array = NDArray[np.float32]

# Share of each family of poses. Poses that differ most from standing are the hardest and more frequent than in reality.
_SHARES = {"library": 0.50, "upright": 0.12, "stepping": 0.04, "bending": 0.05, "crouching": 0.06, "kneeling": 0.04}
_SHARES |= {"chair": 0.09, "floor": 0.05, "crawling": 0.02, "lying": 0.03}
_MAX_BETA = 2.5
_BATCH = 4096  # bodies that are posed at once

# Standard deviation of a landmark's x and of its y, relative to the person's size in the image.
_NOISE = {"nose": 0.008, "ear": 0.009, "shoulder": 0.012, "elbow": 0.016, "wrist": 0.020, "index": 0.026, "hip": 0.016}
_NOISE |= {"knee": 0.016, "ankle": 0.019, "heel": 0.023, "foot_index": 0.025}
_PARENT_KINDS = {"ear": "nose", "elbow": "shoulder", "wrist": "elbow", "index": "wrist"}
_PARENT_KINDS |= {"knee": "hip", "ankle": "knee", "heel": "ankle", "foot_index": "ankle"}


def _kind(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


def _parent(name: str) -> int:
    """Return the row of the landmark whose error a landmark shares, −1 for none."""
    parent = _PARENT_KINDS.get(_kind(name))
    if parent is None:
        return -1
    return INPUT_LANDMARKS.index(parent if parent == "nose" else f"{name.split('_')[0]}_{parent}")


_LEVEL = np.array([_NOISE[_kind(name)] for name in INPUT_LANDMARKS], np.float32)
_PARENTS = [_parent(name) for name in INPUT_LANDMARKS]


def _rows(*kinds: str) -> list[int]:
    return [row for row, name in enumerate(INPUT_LANDMARKS) if _kind(name) in kinds]


_UPPER_LIMBS = _rows("elbow", "wrist", "index")
_LOWER_LIMBS = _rows("hip", "knee", "ankle", "heel", "foot_index")
_BELOW_HIPS = _rows("knee", "ankle", "heel", "foot_index")
_ENDS = _rows("index", "heel", "foot_index")
_HEAD = _rows("nose", "ear")
_LIMBS = [
    [row for row in group if INPUT_LANDMARKS[row].startswith(side)]
    for group in (_rows("wrist", "index"), _UPPER_LIMBS, _rows("ankle", "heel", "foot_index"), _LOWER_LIMBS)
    for side in ("left", "right")
]
_SHOULDERS = _rows("shoulder")
_HIPS = _rows("hip")


@dataclass(frozen=True)
class CameraRanges:
    """Ranges of the random cameras around a person; lengths in metres, angles in degrees.

    Attributes:
        distance: Min and max, uniform in the logarithm.
        pitch: Min and max of the angle by which the camera looks down.
        usual_pitch: Most frequent pitch.
        roll: Standard deviation.
        max_roll: Max roll of one camera in eight.
        off_centre: Max angle between the optical axis and the person, horizontal and vertical.
        focal_error: Standard deviation of the error in the logarithm of the focal length.
    """

    distance: tuple[float, float] = (1.6, 14.0)
    pitch: tuple[float, float] = (-20.0, 60.0)
    usual_pitch: float = 6.0
    roll: float = 4.0
    max_roll: float = 35.0
    off_centre: tuple[float, float] = (25.0, 15.0)
    focal_error: float = 0.15


@dataclass(frozen=True)
class DetectionErrors:
    """Errors of 2-D landmarks as measured on photographs; probabilities are per person if not stated otherwise.

    Attributes:
        level: Median factor on the noise of landmarks (0.8 to 2.6 % of the person's size). More noise makes the lifter
            steadier and less accurate.
        spread: Standard deviation of the logarithm of that factor over people.
        shared: Correlation of a landmark's error with the previous landmark's on the limb.
        outliers: Probability per landmark of an outlier.
        outlier: Standard deviation of outliers, relative to the person's size.
        hidden: Factor on the noise of landmarks behind the trunk.
        dropped: Probability per landmark that it is missing.
        limbs: Probability that a limb is missing.
        legs: Probability that both legs are missing below the hips.
        ends: Probability that hands and feet are missing, as in COCO's skeleton.
        swapped: Probability that left and right are swapped, for arms and for legs.
        cut: Probability that the image's edge cuts the person.
    """

    level: float = 1.0
    spread: float = 0.5
    shared: float = 0.5
    outliers: float = 0.01
    outlier: float = 0.12
    hidden: float = 2.0
    dropped: float = 0.02
    limbs: float = 0.03
    legs: float = 0.06
    ends: float = 0.1
    swapped: float = 0.03
    cut: float = 0.15


class PosePool(NamedTuple):
    """N posed bodies.

    Attributes:
        points: (N, 47, 3) float32, metres from the pelvis, y up, facing +z. `LIFTED_JOINTS`, then BLAZEPOSE33.
        cumulative: (N,) float64. Cumulative probability of being drawn.
        family: Family of each pose.
    """

    points: Array
    cumulative: NDArray[np.float64]
    family: tuple[str, ...]

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw `count` rows with the probabilities of their families."""
        return np.minimum(np.searchsorted(self.cumulative, random.random(count)), len(self.points) - 1)


@lru_cache(maxsize=4)
def pose_pool(count: int, seed: int, split: str, library: Path | None = None) -> PosePool:
    """Pose `count` bodies of random shape in poses of a split.

    Args:
        count: Number of bodies.
        seed: Seed of poses and shapes.
        split: "train" or "held_out".
        library: File of the pose library. None means the library that comes with the package.
    """
    body = default_body()
    random = np.random.default_rng((seed, count))
    points = np.empty((count, len(LIFTED_JOINTS) + len(BLAZEPOSE33), 3), np.float32)
    families: list[str] = []
    joints, pelvis = SMPL24.indices(LIFTED_JOINTS), SMPL24.index("pelvis")
    for start in range(0, count, _BATCH):
        poses = PoseBank(seed, split, library).poses(start, min(start + _BATCH, count))
        betas = np.clip(random.normal(size=(len(poses), body.shape_count)), -_MAX_BETA, _MAX_BETA)
        shape = torch.from_numpy(betas.astype(np.float32))
        with torch.no_grad():
            bodies = body.pose(torch.stack([pose.rotations for pose in poses]), shape, vertices=False)
            landmarks = body.pose_landmarks(BLAZEPOSE33.name, bodies, shape)
            relative = torch.cat((bodies.joints[:, joints], landmarks), 1) - bodies.joints[:, pelvis : pelvis + 1]
        points[start : start + len(poses)] = relative.numpy()
        families += [pose.family for pose in poses]
    counts = {family: families.count(family) for family in FAMILIES}
    share = np.array([_SHARES[family] / counts[family] for family in families])
    return PosePool(points, np.cumsum(share / share.sum()), tuple(families))


class LifterBatch(NamedTuple):
    """B examples of the lifter.

    Attributes:
        rays: Input of the network.
        points: (B, 47, 3) float32, metres from the pelvis, axes of the centre ray. The true points.
    """

    rays: NormalisedRays
    points: Tensor


def lifter_batch(
    pool: PosePool,
    rows: NDArray[np.int64],
    random: np.random.Generator,
    cameras: CameraRanges,
    errors: DetectionErrors | None,
) -> LifterBatch:
    """Make examples from rows of a pool.

    Args:
        pool: The posed bodies.
        rows: (B,) int64. Rows of the pool.
        random: Source of the random numbers.
        cameras: Ranges of the cameras.
        errors: Errors of the landmarks; None gives the true landmarks and focal length.
    """
    points = pool.points[rows]
    is_mirrored = random.random(len(rows)) < 0.5
    flip = np.where(is_mirrored, -1, 1).astype(np.float32)[:, None]
    points = np.where(is_mirrored[:, None, None], points[:, MIRRORED_POINTS], points)
    points[..., 0] *= flip
    to_camera, pelvis = _cameras(len(rows), random, cameras)
    relative = points @ to_camera.transpose(0, 2, 1)
    landmarks = relative[:, _INPUT_POINTS] + pelvis[:, None]
    rays = landmarks[..., :2] / np.maximum(landmarks[..., 2:], 0.2)
    confidence = np.ones(rays.shape[:2], np.float32)
    if errors is not None:
        rays, confidence = detected(rays, landmarks[..., 2], random, errors)
        rays = rays * np.exp(cameras.focal_error * random.standard_normal((len(rows), 1, 1), np.float32))
    normal_rays = normalise_rays(torch.from_numpy(rays), torch.from_numpy(confidence))
    return LifterBatch(normal_rays, torch.from_numpy(relative) @ normal_rays.to_camera)


_INPUT_POINTS = [len(LIFTED_JOINTS) + row for row in BLAZEPOSE33.indices(INPUT_LANDMARKS)]


def _cameras(count: int, random: np.random.Generator, o: CameraRanges) -> tuple[Array, Array]:
    """Draw rotations (B, 3, 3) from y-up world axes to camera axes, and the pelvis (B, 3) in metres, camera axes."""
    yaw = random.uniform(-np.pi, np.pi, count)
    pitch = np.deg2rad(random.triangular(o.pitch[0], o.usual_pitch, o.pitch[1], count))
    roll = np.deg2rad(o.roll) * random.standard_normal(count)
    roll = np.where(random.random(count) < 0.125, np.deg2rad(random.uniform(-o.max_roll, o.max_roll, count)), roll)
    upright = np.diag((1.0, -1.0, -1.0))
    gaze = _turn(2, roll) @ _turn(0, pitch) @ upright @ _turn(1, yaw)
    azimuth, elevation = (np.deg2rad(limit) * random.uniform(-1, 1, count) for limit in o.off_centre)
    turn = _turn(1, azimuth) @ _turn(0, -elevation)
    low, high = np.log(o.distance).tolist()
    distance = np.exp(random.uniform(low, high, count))
    return (turn @ gaze).astype(np.float32), (turn[..., 2] * distance[:, None]).astype(np.float32)


def _turn(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right-handed rotations (B, 3, 3) about a coordinate axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    result = np.zeros((len(angle), 3, 3))
    result[:, axis, axis] = 1
    result[:, first, first] = result[:, second, second] = cosine
    result[:, second, first], result[:, first, second] = sine, -sine
    return result


def detected(rays: Array, depth: Array, random: np.random.Generator, errors: DetectionErrors) -> tuple[Array, Array]:
    """Add a detector's errors to landmarks.

    Args:
        rays: (B, 21, 2) float32. x / z and y / z of the true landmarks.
        depth: (B, 21) float32, metres. Their depths, which decide what is hidden.
        random: Source of the random numbers.
        errors: Sizes and probabilities of the errors.

    Returns:
        (B, 21, 2) float32 rays with errors, and (B, 21) float32 confidence, 0 for missing landmarks.
    """
    count, landmarks = depth.shape

    def chance(probability: float, *shape: int) -> NDArray[np.bool_]:
        return random.random((count, *shape)) < probability

    size = np.ptp(rays, axis=1).max(-1)[:, None]  # (B, 1) of each person
    # Landmarks behind the trunk or the head are detected less accurately.
    hidden_mask = _behind_trunk(rays, depth) & chance(0.8, landmarks)
    hidden_mask[:, _HEAD] |= (depth[:, _HEAD].mean(1) > depth[:, _SHOULDERS].mean(1) + 0.04)[:, None] & chance(
        0.5, len(_HEAD)
    )
    level = errors.level * np.exp(errors.spread * random.standard_normal((count, 1), np.float32)) * _LEVEL
    level = level * np.where(hidden_mask, errors.hidden, 1.0)
    # Student's t with 4 degrees of freedom, of variance 1: detectors have heavier tails than a normal distribution.
    noise = random.standard_normal((count, landmarks, 2), np.float32)
    noise /= np.sqrt(random.chisquare(4, (count, landmarks, 1)) / 4).astype(np.float32) * np.sqrt(2)
    # Errors are correlated along a limb.
    independent = np.float32(np.sqrt(1 - errors.shared**2))
    for row, parent in enumerate(_PARENTS):
        if parent >= 0:
            noise[:, row] = independent * noise[:, row] + np.float32(errors.shared) * noise[:, parent]
    noise *= level[..., None]
    # Outliers, and confidence that reflects errors only in part.
    outlier = chance(errors.outliers, landmarks)
    noise += np.where(outlier[..., None], errors.outlier * random.standard_normal((count, landmarks, 2), np.float32), 0)
    confidence = 1 - 0.08 * random.exponential(size=(count, landmarks))
    doubtful = hidden_mask | (outlier & chance(0.5, landmarks)) | chance(0.05, landmarks)
    confidence = np.where(doubtful, random.uniform(0.1, 0.95, (count, landmarks)), confidence)
    rays = rays + noise * size[..., None]
    rays, confidence = _cut_by_edge(rays, confidence, size, random, errors.cut)
    # Arms or legs with left and right swapped.
    for group in (_UPPER_LIMBS, _LOWER_LIMBS):
        left = [row for row in group if INPUT_LANDMARKS[row].startswith("left")]
        right = [row for row in group if INPUT_LANDMARKS[row].startswith("right")]
        rows = np.flatnonzero(chance(errors.swapped))[:, None]
        for values in (rays, confidence):
            values[rows, left + right] = values[rows, right + left]
    # Missing landmarks: single ones, limbs, hands and feet, and everything below the hips.
    missing = chance(errors.dropped, landmarks)
    for limb in _LIMBS:
        missing[:, limb] |= chance(errors.limbs / len(_LIMBS) * 2, 1)
    missing[:, _ENDS] |= chance(errors.ends, 1)
    missing[:, _BELOW_HIPS] |= chance(errors.legs, 1)
    confidence = np.where(missing, 0.0, np.clip(confidence, 0.02, 1.0))
    return rays.astype(np.float32), confidence.astype(np.float32)


def _behind_trunk(rays: Array, depth: Array) -> NDArray[np.bool_]:
    """Return (B, 21) whether a limb's landmark lies behind the trunk in the image."""
    scale = depth[:, _SHOULDERS + _HIPS].mean(1)
    top = rays[:, _SHOULDERS].mean(1)
    axis = rays[:, _HIPS].mean(1) - top
    share = ((rays - top[:, None]) * axis[:, None]).sum(-1) / np.maximum((axis**2).sum(-1), 1e-8)[:, None]
    nearest = top[:, None] + np.clip(share, 0, 1)[..., None] * axis[:, None]
    distance = np.linalg.norm(rays - nearest, axis=-1) * scale[:, None]
    hidden = (distance < 0.15) & (depth > scale[:, None] + 0.06)
    hidden[:, _HEAD + _SHOULDERS + _HIPS] = False
    return hidden


def _cut_by_edge(
    rays: Array, confidence: NDArray[np.float64], size: Array, random: np.random.Generator, probability: float
) -> tuple[Array, NDArray[np.float64]]:
    """Cut some people by the image's edge; landmarks outside are guessed near the edge, or missing."""
    count = len(rays)
    side = random.choice(4, count, p=(0.6, 0.1, 0.15, 0.15))  # bottom, top, right, left
    axis = np.where(side < 2, 1, 0)
    sign = np.where(side % 2 == 0, 1.0, -1.0)
    # The edge lies at a quantile of the landmarks' coordinates along the side's normal; without a cut at infinity.
    coordinates = np.take_along_axis(rays, axis[:, None, None], 2)[..., 0] * sign[:, None]
    share = random.uniform(0.45, 0.97, count)
    quantile = (share * (coordinates.shape[1] - 1)).astype(int)[:, None]
    edge = np.take_along_axis(np.sort(coordinates, 1), quantile, 1)
    edge = np.where((random.random(count) < probability)[:, None], edge, np.inf)
    outside = coordinates > edge
    excess = np.where(outside, coordinates - edge, 0)
    # Detectors predict landmarks outside the image too near to the edge, or a little too far.
    pull = random.uniform(0.3, 1.1, (count, 1)) * excess - excess
    points = rays.copy()
    points[np.arange(count), :, axis] += (pull * sign[:, None]).astype(np.float32)
    noise = 0.03 * size[..., None] * random.standard_normal(rays.shape)
    points = points + np.where(outside[..., None], noise, 0).astype(np.float32)
    low_confidence = random.uniform(0.02, 0.5, confidence.shape) * (random.random((count, 1)) < 0.6)
    return points, np.where(outside, low_confidence, confidence)
