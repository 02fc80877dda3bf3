"""Sampling of plausible poses, and a prior that measures how plausible a pose is.

Samples are library frames and key poses, mirrored, mixed limb by limb, blended and jittered.

The prior consists of Gaussian mixtures over the joint angles of legs, arms and trunk. Each limb has its own
mixture, shared by left and right, and limbs combine freely, which covers combinations that were not recorded.
For a group of limbs with angles x and components k of weight w, mean μ and covariance Σ, the distance is

    m(x) = min_k  ½ (x − μ_k)ᵀ Σ_k⁻¹ (x − μ_k) + c_k,    c_k = ½ log det Σ_k − log w_k − min over k of the same,

and the energy is the sum over groups of τ log(1 + m / τ). It is quadratic for usual poses and grows ever more slowly
for unusual ones, so that strong evidence for an unusual pose wins. The nearest component instead of the sum of
all makes it a sum of squares for least-squares solvers. tools/build_pose_prior.py fits the mixtures to
`sample_poses`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import default_body, read_shipped
from humanpose_cli.body.joint_angles import (
    ANGLE_NAMES,
    angles_to_rotations,
    joint_class,
    joint_limits,
    mirror_rotations,
    rotations_to_angles,
)
from humanpose_cli.body.pose_library import key_poses, pose_library
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

# Groups of joints that are taken from one source together.
LIMB_GROUPS: dict[str, tuple[str, ...]] = {
    "legs": tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot")),
    "trunk": ("spine1", "spine2", "spine3", "neck", "head"),
    "left_arm": tuple(f"left_{joint}" for joint in ("collar", "shoulder", "elbow", "wrist", "hand")),
    "right_arm": tuple(f"right_{joint}" for joint in ("collar", "shoulder", "elbow", "wrist", "hand")),
}

# Standard deviations in degrees of the jitter of (first, second, third) angle per class of joint, at `jitter` 1.
_JITTER: dict[str, tuple[float, float, float]] = {
    "trunk": (4, 3, 4),
    "hip": (7, 5, 5),
    "knee": (8, 0, 2),
    "ankle": (6, 3, 4),
    "foot": (4, 0, 0),
    "collar": (4, 4, 3),
    "shoulder": (9, 9, 9),
    "elbow": (10, 0, 12),
    "wrist": (10, 6, 4),
    "hand": (12, 2, 0),
}
# The recordings lack turns of forearm and head and curls of fingers: spread (degrees) that is added to theirs.
_EXTRA_SPREAD = {"elbow.pronation": 35.0, "neck.turn": 14.0, "head.turn": 16.0, "head.flexion": 8.0}
ROBUST = 20.0
"""τ, in units of the energy."""
_FINGER_CURL = 35.0  # degrees, mean of the flexion that resting fingers have


@dataclass(frozen=True)
class SamplingOptions:
    """The variation of samples.

    Attributes:
        key_pose_share: Probability that a source is a key pose; otherwise it is a frame of the library, with equal
            probability for each activity.
        mix: Probability that trunk and arms come from another source than the legs.
        one_armed: Probability that the two arms come from different sources.
        blend: Probability that a group of limbs is interpolated between two sources.
        jitter: Scale of the Gaussian noise on the joint angles.
        tumble: Probability that the body is tilted by up to 30° (leaning, slopes, turned cameras).
    """

    key_pose_share: float = 0.4
    mix: float = 0.45
    one_armed: float = 0.35
    blend: float = 0.4
    jitter: float = 1.0
    tumble: float = 0.1


def sample_poses(
    count: int, generator: torch.Generator, options: SamplingOptions | None = None, *, split: str = "train"
) -> Tensor:
    """Draw random plausible poses.

    All joint angles are within the joint limits. Poses whose limbs pass through trunk or head are drawn again.

    Args:
        count: The number of poses.
        generator: The source of all randomness.
        options: The variation. None means the defaults.
        split: Split of the library: "train" or "held_out".

    Returns:
        (count, 24, 3, 3) float. Rotations relative to the parent; the pelvis maps body axes to y-up world axes, facing
        +z.
    """
    options = options or SamplingOptions()
    batches: list[Tensor] = []
    missing = count
    while missing > 0:
        number = missing + missing // 4 + 8

        def source(number: int = number) -> Tensor:
            return _sources(number, generator, options.key_pose_share, split)

        poses = vary_poses(source(), source, RowGenerators([(number, generator)]), options)
        poses = poses[self_penetration(poses) < 0.03][:missing]
        batches.append(poses)
        missing -= len(poses)
    return torch.cat(batches) if batches else torch.zeros(0, len(SMPL24), 3, 3)


@dataclass(frozen=True)
class RowGenerators:
    """Random numbers for B rows from several generators, each of which gives the numbers of its rows alone.

    Attributes:
        parts: The number of rows and the generator of each part, in the order of the rows.
    """

    parts: Sequence[tuple[int, torch.Generator]]

    def uniform(self, *shape: int) -> Tensor:
        """Draw (B, *shape) numbers in 0…1."""
        return torch.cat([torch.rand(count, *shape, generator=generator) for count, generator in self.parts])

    def normal(self, *shape: int) -> Tensor:
        """Draw (B, *shape) normally distributed numbers of variance 1."""
        return torch.cat([torch.randn(count, *shape, generator=generator) for count, generator in self.parts])


def vary_poses(
    poses: Tensor, source: Callable[[], Tensor], generators: RowGenerators, options: SamplingOptions | None = None
) -> Tensor:
    """Vary poses, which keep their legs and, except for a tumble, their pelvis.

    All joint angles are within the joint limits. Limbs may pass through trunk or head (see `self_penetration`).

    Args:
        poses: (B, 24, 3, 3) float. Rotations relative to the parent.
        source: Returns (B, 24, 3, 3) poses at each call, for trunks and arms.
        generators: The source of all randomness.
        options: The variation. None means the defaults.

    Returns:
        (B, 24, 3, 3) float. The poses.
    """
    options = options or SamplingOptions()

    def chance(probability: float) -> Tensor:
        return (generators.uniform() < probability)[:, None, None, None]

    second = source()
    third = source()
    mixing = chance(options.mix)
    swaps = {
        "legs": (poses, torch.zeros_like(mixing)),
        "trunk": (second, mixing & chance(0.6)),
        "left_arm": (second, mixing),
        "right_arm": (torch.where(chance(options.one_armed), third, second), mixing | chance(options.one_armed / 2)),
    }
    result = poses.clone()
    for group, joints in LIMB_GROUPS.items():
        rows = SMPL24.indices(joints)
        replacement, mask = swaps[group]
        current = torch.where(mask, replacement[:, rows], poses[:, rows])
        towards = generators.uniform(1, 1) * 0.6
        step = matrix_to_axis_angle(current.mT @ source()[:, rows]) * towards
        result[:, rows] = torch.where(chance(options.blend), current @ axis_angle_to_matrix(step), current)
    result[:, 0] = _tumble(result[:, 0], generators, options.tumble)
    return _jitter(result, generators, options.jitter)


def _sources(count: int, generator: torch.Generator, key_pose_share: float, split: str) -> Tensor:
    """Draw library frames and key poses, half of them mirrored, all facing +z."""
    library, keys = pose_library(), key_poses().rotations
    activities = sorted({motion.activity for motion in library.motions(split=split)})
    frames = {activity: library.frames(split, activity) for activity in activities}
    choices = torch.randint(len(activities), (count,), generator=generator).tolist()
    draws = torch.rand(count, generator=generator).tolist()
    pools = [frames[activities[choice]] for choice in choices]
    rows = torch.stack([pool[int(draw * len(pool))] for pool, draw in zip(pools, draws, strict=True)])
    poses = library.rotations(rows)
    from_keys = torch.rand(count, generator=generator) < key_pose_share
    key_rows = torch.randint(len(keys), (count,), generator=generator)
    poses = torch.where(from_keys[:, None, None, None], keys[key_rows], poses)
    mirroring = torch.rand(count, generator=generator) < 0.5
    poses = torch.where(mirroring[:, None, None, None], mirror_rotations(poses), poses)
    poses[:, 0] = face_forward(poses[:, 0])
    return poses


def face_forward(pelvis: Tensor) -> Tensor:
    """Turn pelvis rotations (B, 3, 3) about the y axis until the body, or the head of a lying one, points to +z."""
    forward, up = pelvis[..., 2], pelvis[..., 1]
    along = torch.where(forward[:, 1:2].abs() < 0.9, forward, up)
    heading = torch.atan2(along[:, 0], along[:, 2])
    zero = torch.zeros_like(heading)
    return axis_angle_to_matrix(torch.stack((zero, -heading, zero), -1)) @ pelvis


def _tumble(pelvis: Tensor, generators: RowGenerators, probability: float) -> Tensor:
    tilt = (generators.uniform(3) - 0.5) * torch.deg2rad(torch.tensor([60.0, 0.0, 60.0]))
    tilt = tilt * (generators.uniform(1) < probability)
    return axis_angle_to_matrix(tilt) @ pelvis


def _jitter(poses: Tensor, generators: RowGenerators, scale: float) -> Tensor:
    """Add noise to the joint angles and clamp them to the limits; the pelvis gets only a little."""
    angles = rotations_to_angles(poses)
    low, high = (limit.float() for limit in joint_limits())
    spread, extra, curl = (torch.zeros(len(SMPL24), 3) for _ in range(3))
    for joint, names in ANGLE_NAMES.items():
        kind = joint_class(joint)
        for column, name in enumerate(names):
            angle = SMPL24.index(joint), column
            spread[angle] = _JITTER[kind][column]
            extra[angle] = _EXTRA_SPREAD.get(f"{kind if kind != 'trunk' else joint}.{name}", 0.0)
            curl[angle] = _FINGER_CURL if (kind, name) == ("hand", "flexion") else 0.0
    # Some people are drawn almost as the source has them, others far from it.
    amount = scale * 1.5 * generators.uniform(1, 1)
    noise = spread * amount * generators.normal(*angles.shape[1:])
    noise = noise + scale * extra * generators.normal(*angles.shape[1:])
    noise = noise + scale * curl * generators.uniform(*angles.shape[1:]) * 2
    return angles_to_rotations(torch.minimum(torch.maximum(angles + torch.deg2rad(noise), low), high))


# Capsules of the default body that limbs must not enter: (from, to, radius in metres).
_SOLID = (("pelvis", "spine3", 0.095), ("spine2", "neck", 0.085), ("neck", "head", 0.05))
_HEAD_RADIUS, _HEAD_CENTRE = 0.085, (0.0, 0.08, 0.02)  # metres, above the head joint in the head's axes
_PROBES = ("left_elbow", "left_wrist", "left_hand", "left_knee", "left_ankle")
_HAND_TO_LEG = (("hip", "knee", 0.06), ("knee", "ankle", 0.045))


def self_penetration(rotations: Tensor) -> Tensor:
    """Measure roughly how deep limbs of the default body pass through trunk, head or legs.

    It compares distances between joints and points between them with capsules inside the body; touching counts as 0.

    Args:
        rotations: (B, 24, 3, 3) float. Rotations relative to the parent.

    Returns:
        (B,) float, metres. The depth.
    """
    body = default_body(learned_landmarks=False)
    zeros = torch.zeros(1, body.shape_count)
    with torch.no_grad():
        body_at_pose = body.pose(rotations, zeros, vertices=False)
    joints = body_at_pose.joints

    def joint(name: str) -> Tensor:
        return joints[:, SMPL24.index(name)]

    head = joint("head") + body_at_pose.rotations[:, SMPL24.index("head")] @ rotations.new_tensor(_HEAD_CENTRE)
    depth = joints.new_zeros(len(joints))
    for side, opposite in (("left", "right"), ("right", "left")):
        probes = [joint(name.replace("left", side)) for name in _PROBES]
        probes.append((joint(f"{side}_elbow") + joint(f"{side}_wrist")) / 2)
        points = torch.stack(probes, 1)
        for start, end, radius in _SOLID:
            depth = torch.maximum(depth, (radius - _distance(points, joint(start), joint(end))).amax(1))
        depth = torch.maximum(depth, (_HEAD_RADIUS - (points - head[:, None]).norm(dim=-1)).amax(1))
        hands = torch.stack((joint(f"{side}_wrist"), joint(f"{side}_hand")), 1)
        for leg in (side, opposite):
            for start, end, radius in _HAND_TO_LEG:
                distance = _distance(hands, joint(f"{leg}_{start}"), joint(f"{leg}_{end}"))
                depth = torch.maximum(depth, (radius - distance).amax(1))
        forearm = torch.stack((joint(f"{side}_wrist"), probes[-1]), 1)
        distance = _distance(forearm, joint(f"{opposite}_elbow"), joint(f"{opposite}_wrist"))
        depth = torch.maximum(depth, (0.05 - distance).amax(1))
        shank = torch.stack((joint(f"{side}_ankle"), (joint(f"{side}_knee") + joint(f"{side}_ankle")) / 2), 1)
        distance = _distance(shank, joint(f"{opposite}_knee"), joint(f"{opposite}_ankle"))
        depth = torch.maximum(depth, (0.08 - distance).amax(1))
    return depth.clamp_min(0)


def _distance(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return distances (B, P) of points (B, P, 3) to the segments from start to end (B, 3)."""
    along = (end - start)[:, None]
    t = ((points - start[:, None]) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-9)
    return (points - start[:, None] - t.clamp(0, 1)[..., None] * along).norm(dim=-1)


# Joints by mixture; a group that names sides of a limb stands for both, which share the mixture.
PRIOR_GROUPS: dict[str, tuple[str, ...]] = {
    "leg": ("hip", "knee", "ankle"),
    "arm": ("collar", "shoulder", "elbow", "wrist"),
    "ends": ("foot", "hand"),
    "trunk": ("spine1", "spine2", "spine3", "neck", "head"),
}
DATA_FILE = Path(__file__).parent / "data" / "pose_prior.npz"
_SCHEMA = 1
_ANGLES = 3 * len(SMPL24)


class PriorQuadratic(NamedTuple):
    """The energy around a pose, for Gauss–Newton, in the 72 coordinates of the prior, joint by joint.

    Attributes:
        energy: (B,) float. The energy.
        gradient: (B, 72) float. Its gradient.
        curvature: (B, 72, 72) float. Its curvature, positive semidefinite.
    """

    energy: Tensor
    gradient: Tensor
    curvature: Tensor


class JointPrior(Protocol):
    """The interface of pose priors: the implausibility of a pose, in the unit of a negative log-likelihood."""

    def quadratic(self, joints: Tensor) -> PriorQuadratic:
        """Compute energy, gradient and Gauss–Newton curvature without autograd.

        The arguments are (B, 24, 3) radians: for a `PosePrior` angles as from `rotations_to_angles`, for others
        axis-angles of rotations relative to the parent.
        """


class _Mixture(NamedTuple):
    mean: Tensor  # (C, D)
    whitening: Tensor  # (C, D, D): upper triangular U with UᵀU = Σ⁻¹
    offset: Tensor  # (C,): c_k ≥ 0, the least is 0


class PosePrior(torch.nn.Module):
    """The prior in the module's docstring; the pelvis is free.

    Args:
        mixtures: The mixture of each group.
    """

    columns: Tensor
    mean: Tensor
    whitening: Tensor
    offset: Tensor

    def __init__(self, mixtures: dict[str, _Mixture]) -> None:
        super().__init__()
        limbs = [
            (mixtures[name], SMPL24.indices(f"{side}{joint}" for joint in joints))
            for name, joints in PRIOR_GROUPS.items()
            for side in (("left_", "right_") if f"left_{joints[0]}" in SMPL24 else ("",))
        ]
        # The mixtures of all limbs as one, padded by components that are never near and angles without weight.
        count, width = (max(mixture.mean.shape[axis] for mixture, _ in limbs) for axis in (0, 1))
        self.register_buffer("columns", torch.full((len(limbs), width), _ANGLES, dtype=torch.int32))
        self.register_buffer("mean", torch.zeros(len(limbs), count, width))
        self.register_buffer("whitening", torch.zeros(len(limbs), count, width, width))
        self.register_buffer("offset", torch.full((len(limbs), count), torch.inf))
        for limb, (mixture, rows) in enumerate(limbs):
            components, angles = map(slice, mixture.mean.shape)
            self.columns[limb, angles] = (3 * torch.tensor(rows)[:, None] + torch.arange(3)).flatten().int()
            self.mean[limb, components, angles] = mixture.mean
            self.whitening[limb, components, angles, angles] = mixture.whitening
            self.offset[limb, components] = mixture.offset

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """Of each limb, columns (G, D) int32 among the 72 angles, and means, whitening and offsets of components."""
        return self.columns, self.mean, self.whitening, self.offset

    def energy(self, rotations: Tensor) -> Tensor:
        """Compute the implausibility of poses; differentiable.

        Args:
            rotations: (B, 24, 3, 3) float. Rotations relative to the parent.

        Returns:
            (B,) float. The energy, 0 or more.
        """
        distances = self._nearest(rotations_to_angles(rotations).flatten(-2))[1]
        return (ROBUST * torch.log1p(distances / ROBUST)).sum(-1)

    def quadratic(self, joints: Tensor) -> PriorQuadratic:
        """Compute energy, gradient and Gauss–Newton curvature in the angles (B, 24, 3) in radians, without autograd."""
        with torch.no_grad():
            white, m, U = self._nearest(joints.flatten(-2))
            weight = 1 / (1 + m / ROBUST)
            gradient = joints.new_zeros(len(joints), _ANGLES + 1)  # with a column for the padding
            curvature = joints.new_zeros(len(joints), _ANGLES + 1, _ANGLES + 1)
            gradient[:, self.columns] = weight[..., None] * (U.mT @ white[..., None]).squeeze(-1)
            curvature[:, self.columns[..., None], self.columns[:, None]] = weight[..., None, None] * (U.mT @ U)
        energy = (ROBUST * torch.log1p(m / ROBUST)).sum(-1)
        return PriorQuadratic(energy, gradient[:, :_ANGLES], curvature[:, :_ANGLES, :_ANGLES])

    def _nearest(self, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each limb's nearest component to angles (B, 72): whitened differences, distances m, and whitening."""
        mean, whitening, offset = (values.to(angles) for values in (self.mean, self.whitening, self.offset))
        x = torch.nn.functional.pad(angles, (0, 1))[..., self.columns]  # (B, limbs, D)
        offsets = torch.einsum("gcde,bgce->bgcd", whitening, x.detach()[:, :, None] - mean)
        nearest = torch.arange(len(mean)), (0.5 * offsets.square().sum(-1) + offset).argmin(-1)
        white = (whitening[nearest] @ (x - mean[nearest])[..., None]).squeeze(-1)
        return white, 0.5 * white.square().sum(-1) + offset[nearest], whitening[nearest]


def mixture_from(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> _Mixture:
    """Convert a Gaussian mixture to the form that `PosePrior` stores.

    Args:
        weights: (C,) float. The weights.
        means: (C, D) float. The means.
        covariances: (C, D, D) float. The covariances.
    """
    whitening = np.linalg.cholesky(np.linalg.inv(covariances)).swapaxes(-1, -2)
    offset = -np.log(np.diagonal(whitening, axis1=-2, axis2=-1)).sum(-1) - np.log(weights)
    arrays = (means, whitening, offset - offset.min())
    return _Mixture(*(torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in arrays))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, _Mixture]:
    file = read_shipped(DATA_FILE, "pose prior", _SCHEMA)
    return {
        name: mixture_from(*(file[f"{name}.{field}"] for field in ("weights", "means", "covariances")))
        for name in PRIOR_GROUPS
    }


def pose_prior() -> PosePrior:
    """Build the prior that comes with the package: a new module at every call, over data that is read once."""
    return PosePrior(_shipped())
