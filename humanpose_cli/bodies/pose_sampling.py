"""Plausible poses by the thousand: library frames and key poses, mirrored, mixed limb by limb, blended and jittered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from humanpose_cli.bodies.default_body import default_body
from humanpose_cli.bodies.joint_angles import (
    ANGLE_NAMES,
    angles_to_rotations,
    joint_class,
    mirror_rotations,
    rotations_to_angles,
)
from humanpose_cli.bodies.joint_limits import joint_limits
from humanpose_cli.bodies.key_poses import key_poses
from humanpose_cli.bodies.pose_library import pose_library
from humanpose_cli.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

__all__ = ["LIMB_GROUPS", "SamplingOptions", "face_forward", "sample_poses", "self_penetration", "vary_poses"]

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
# The recordings do not tell how forearm and head turn and fingers curl: spread (degrees) that is added to theirs.
_UNRECORDED = {"elbow.pronation": 35.0, "neck.turn": 14.0, "head.turn": 16.0, "head.flexion": 8.0}
_FINGER_CURL = 35.0  # degrees, mean of the flexion that resting fingers have


@dataclass(frozen=True)
class SamplingOptions:
    """How far sampling strays from its sources.

    key_pose_share   probability that a source is a key pose; else it is a frame of the library, each activity alike
    mix              probability that trunk and arms come from another source than the legs
    one_armed        probability that the two arms come from different sources
    blend            probability that a group of limbs lies between two sources
    jitter           scale of the Gaussian noise on the joint angles
    tumble           probability that the whole body is tilted by up to 30° (leaning, slopes, turned cameras)
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
    """Random plausible poses (count, 24, 3, 3): parent-relative rotations, the pelvis body to y-up world, facing +z.

    generator  decides everything
    split      of the library: 'train' leaves the held-out activities out; 'held_out' takes them alone

    All joint angles lie within the joint limits; poses whose limbs pass through trunk or head are drawn again.
    """
    options = options or SamplingOptions()
    accepted: list[Tensor] = []
    missing = count
    while missing > 0:
        number = missing + missing // 4 + 8

        def source(number: int = number) -> Tensor:
            return _sources(number, generator, options.key_pose_share, split)

        poses = vary_poses(source(), source, generator, options)
        poses = poses[self_penetration(poses) < 0.03][:missing]
        accepted.append(poses)
        missing -= len(poses)
    return torch.cat(accepted) if accepted else torch.zeros(0, len(SMPL24), 3, 3)


def vary_poses(
    poses: Tensor, source: Callable[[], Tensor], generator: torch.Generator, options: SamplingOptions | None = None
) -> Tensor:
    """Relatives of some poses (B, 24, 3, 3), which keep their legs and, but for a tumble, their pelvis.

    source     gives (B, 24, 3, 3) poses at each call, of which trunks and arms are taken
    generator  decides everything

    All joint angles lie within the joint limits; limbs may pass through trunk or head (`self_penetration` tells).
    """
    options, count = options or SamplingOptions(), len(poses)

    def chance(probability: float) -> Tensor:
        return (torch.rand(count, generator=generator) < probability)[:, None, None, None]

    other, third = source(), source()
    mixed = chance(options.mix)
    swaps = {
        "legs": (poses, torch.zeros_like(mixed)),
        "trunk": (other, mixed & chance(0.6)),
        "left_arm": (other, mixed),
        "right_arm": (torch.where(chance(options.one_armed), third, other), mixed | chance(options.one_armed / 2)),
    }
    result = poses.clone()
    for group, joints in LIMB_GROUPS.items():
        rows = SMPL24.indices(joints)
        replacement, where = swaps[group]
        chosen = torch.where(where, replacement[:, rows], poses[:, rows])
        towards = torch.rand(count, 1, 1, generator=generator) * 0.6
        step = matrix_to_axis_angle(chosen.mT @ source()[:, rows]) * towards
        result[:, rows] = torch.where(chance(options.blend), chosen @ axis_angle_to_matrix(step), chosen)
    result[:, 0] = _tumbled(result[:, 0], generator, options.tumble)
    return _jittered(result, generator, options.jitter)


def _sources(count: int, generator: torch.Generator, key_pose_share: float, split: str) -> Tensor:
    """Library frames and key poses, half of them mirrored, all facing +z."""
    library, keys = pose_library(), key_poses().rotations
    activities = sorted({motion.activity for motion in library.motions(split=split)})
    frames = {activity: library.frames(split, activity) for activity in activities}
    which = torch.randint(len(activities), (count,), generator=generator).tolist()
    draws = torch.rand(count, generator=generator).tolist()
    picked = [frames[activities[w]] for w in which]
    rows = torch.stack([its[int(draw * len(its))] for its, draw in zip(picked, draws, strict=True)])
    poses = library.rotations(rows)
    from_keys = torch.rand(count, generator=generator) < key_pose_share
    key_rows = torch.randint(len(keys), (count,), generator=generator)
    poses = torch.where(from_keys[:, None, None, None], keys[key_rows], poses)
    mirrored = torch.rand(count, generator=generator) < 0.5
    poses = torch.where(mirrored[:, None, None, None], mirror_rotations(poses), poses)
    poses[:, 0] = face_forward(poses[:, 0])
    return poses


def face_forward(pelvis: Tensor) -> Tensor:
    """Turn pelvis rotations (B, 3, 3) about the y axis: the body looks, or if it lies its head points, to +z."""
    forward, up = pelvis[..., 2], pelvis[..., 1]
    along = torch.where(forward[:, 1:2].abs() < 0.9, forward, up)
    heading = torch.atan2(along[:, 0], along[:, 2])
    zero = torch.zeros_like(heading)
    return axis_angle_to_matrix(torch.stack((zero, -heading, zero), -1)) @ pelvis


def _tumbled(pelvis: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    count = len(pelvis)
    tilt = (torch.rand(count, 3, generator=generator) - 0.5) * torch.deg2rad(torch.tensor([60.0, 0.0, 60.0]))
    tilt = tilt * (torch.rand(count, 1, generator=generator) < probability)
    return axis_angle_to_matrix(tilt) @ pelvis


def _jittered(poses: Tensor, generator: torch.Generator, scale: float) -> Tensor:
    """Noise on the joint angles, then held inside the limits; the pelvis gets only a little."""
    angles, limits = rotations_to_angles(poses), joint_limits()
    spread, extra, low, high, curl = (torch.zeros(len(SMPL24), 3) for _ in range(5))
    for joint, names in ANGLE_NAMES.items():
        kind = joint_class(joint)
        for column, name in enumerate(names):
            place = SMPL24.index(joint), column
            spread[place] = _JITTER[kind][column]
            extra[place] = _UNRECORDED.get(f"{kind if kind != 'trunk' else joint}.{name}", 0.0)
            low[place], high[place] = limits.get(f"{joint}.{name}", (-torch.inf, torch.inf))
            curl[place] = _FINGER_CURL if (kind, name) == ("hand", "flexion") else 0.0
    # Some people are drawn almost as the source has them, others far from it.
    amount = scale * 1.5 * torch.rand(len(poses), 1, 1, generator=generator)
    noise = spread * amount * torch.randn(angles.shape, generator=generator)
    noise = noise + scale * extra * torch.randn(angles.shape, generator=generator)
    noise = noise + scale * curl * torch.rand(angles.shape, generator=generator) * 2
    return angles_to_rotations(torch.minimum(torch.maximum(angles + torch.deg2rad(noise), low), high))


# Capsules of the default body that limbs must not enter: (from, to, radius in metres).
_SOLID = (("pelvis", "spine3", 0.095), ("spine2", "neck", 0.085), ("neck", "head", 0.05))
_HEAD_RADIUS, _HEAD_CENTRE = 0.085, (0.0, 0.08, 0.02)  # metres, above the head joint in the head's axes
_PROBES = ("left_elbow", "left_wrist", "left_hand", "left_knee", "left_ankle")
_HAND_TO_LEG = (("hip", "knee", 0.06), ("knee", "ankle", 0.045))


def self_penetration(rotations: Tensor) -> Tensor:
    """How deep limbs pass through trunk, head or legs, roughly, on the default body: (B, 24, 3, 3) → (B,) metres.

    Distances between joints, points between them and capsules inside the body; touching counts as zero.
    """
    body = default_body(learned_landmarks=False)
    zeros = torch.zeros(1, body.shape_count)
    with torch.no_grad():
        posed = body.pose(rotations, zeros, vertices=False)
    joints = posed.joints

    def at(name: str) -> Tensor:
        return joints[:, SMPL24.index(name)]

    head = at("head") + posed.rotations[:, SMPL24.index("head")] @ rotations.new_tensor(_HEAD_CENTRE)
    depth = joints.new_zeros(len(joints))
    for side, other in (("left", "right"), ("right", "left")):
        probes = [at(name.replace("left", side)) for name in _PROBES]
        probes.append((at(f"{side}_elbow") + at(f"{side}_wrist")) / 2)
        points = torch.stack(probes, 1)
        for start, end, radius in _SOLID:
            depth = torch.maximum(depth, (radius - _distance(points, at(start), at(end))).amax(1))
        depth = torch.maximum(depth, (_HEAD_RADIUS - (points - head[:, None]).norm(dim=-1)).amax(1))
        hands = torch.stack((at(f"{side}_wrist"), at(f"{side}_hand")), 1)
        for leg in (side, other):
            for start, end, radius in _HAND_TO_LEG:
                distance = _distance(hands, at(f"{leg}_{start}"), at(f"{leg}_{end}"))
                depth = torch.maximum(depth, (radius - distance).amax(1))
        forearm = torch.stack((at(f"{side}_wrist"), probes[-1]), 1)
        depth = torch.maximum(depth, (0.05 - _distance(forearm, at(f"{other}_elbow"), at(f"{other}_wrist"))).amax(1))
        shank = torch.stack((at(f"{side}_ankle"), (at(f"{side}_knee") + at(f"{side}_ankle")) / 2), 1)
        depth = torch.maximum(depth, (0.08 - _distance(shank, at(f"{other}_knee"), at(f"{other}_ankle"))).amax(1))
    return depth.clamp_min(0)


def _distance(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Points (B, P, 3) to the segments from start to end (B, 3): (B, P)."""
    along = (end - start)[:, None]
    t = ((points - start[:, None]) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-9)
    return (points - start[:, None] - t.clamp(0, 1)[..., None] * along).norm(dim=-1)
