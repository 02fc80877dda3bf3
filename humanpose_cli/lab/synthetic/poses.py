"""Poses by family, and motions for clips: key poses and the pose library, varied within the joint limits.

Every pose belongs to an activity of the library or is a key pose. Complete activities are held out: the library's split
'held_out' and `HELD_OUT_KEY_POSES`; arms and trunks that are mixed into a pose come from activities of the same split.
Motions are smoothly varied recordings of the library at any frame rate, and key poses held with a sway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.joint_angles import (
    ANGLE_NAMES,
    angles_to_rotations,
    joint_class,
    joint_limits,
    mirror_rotations,
    rotations_to_angles,
)
from humanpose_cli.body.pose_library import KEY_POSES, Motion, key_poses, pose_library
from humanpose_cli.body.pose_prior import RowGenerators, SamplingOptions, face_forward, self_penetration, vary_poses
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

SPLITS = ("train", "held_out")
LIBRARY = "library"
BLOCK = 64

# About one key pose in eight of each family.
HELD_OUT_KEY_POSES = (
    "hand_to_cheek",
    "drinking",
    "arms_wide_up",
    "throwing",
    "tree",
    "side_bend",
    "tying_a_shoe",
    "kneeling_one_knee",
    "sitting_leaning_back",
    "sitting_side_saddle",
    "propped_on_elbows",
    "lying_on_side",
)

# Family → share of the poses, and its key poses; the other key poses are upright.
_FAMILIES: dict[str, tuple[float, str]] = {
    LIBRARY: (0.40, ""),
    "upright": (0.24, ""),
    "stepping": (0.06, "big_step lunge legs_apart kick tree running_start throwing"),
    "bending": (0.05, "side_bend turning_round bow bend_forward hands_on_knees picking_up"),
    "crouching": (0.05, "half_squat squat crouch tying_a_shoe"),
    "kneeling": (0.03, "kneeling kneeling_one_knee kneeling_on_heels"),
    "chair": (0.08, "sitting_on_chair sitting_leaning_back sitting_leaning_forward sitting_legs_crossed"),
    "floor": (
        0.04,
        "sitting_on_floor sitting_on_hands sitting_cross_legged sitting_side_saddle one_knee_up_on_floor hugging_knees",
    ),
    "crawling": (0.02, "crawling push_up propped_on_elbows"),
    "lying": (0.03, "lying_on_back lying_knees_up lying_on_front lying_on_side"),
}
FAMILIES = {family: share for family, (share, _) in _FAMILIES.items()}
"""Family → share of the poses."""
_GROUND_FAMILIES = ("kneeling", "floor", "crawling", "lying")
_STANDING_OPTIONS = SamplingOptions(tumble=0.0)
# Poses on the ground are varied less, so that limbs that carry the body keep their position.
_GROUND_OPTIONS = SamplingOptions(mix=0.12, one_armed=0.1, blend=0.15, jitter=0.6, tumble=0.0)
_MAX_PENETRATION = 0.03  # metres
_TRIES = 6
_NO_FRAMES = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Pose:
    """A pose.

    Attributes:
        rotations: (24, 3, 3) float32. Parent-relative rotations, the pelvis to the y-up world, facing +z.
        activity: Activity of the library, or name of a key pose.
        family: Family.
    """

    rotations: Tensor
    activity: str
    family: str


@lru_cache(maxsize=4)
def activities(split: str, library: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Return the activities of each family in a split.

    Args:
        split: "train" or "held_out".
        library: File of the pose library. None means the library that comes with the package.
    """
    names = [name for name in KEY_POSES if (name in HELD_OUT_KEY_POSES) == (split == "held_out")]
    by_family: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in names:
        families = (family for family, (_, members) in _FAMILIES.items() if name in members.split())
        by_family[next(families, "upright")].append(name)
    by_family[LIBRARY] = sorted({motion.activity for motion in pose_library(library).motions(split=split)})
    return {family: tuple(names) for family, names in by_family.items() if names}


_HEEL_GAP = 0.045  # metres between an ankle and the middle if the legs are together


def with_legs_together(body: Body, pose: Pose, random: np.random.Generator) -> Pose:
    """Return an upright pose with the trunk and arms of another one and straight legs side by side."""
    joints = body.rest_joints(torch.zeros(1, body.shape_count))[0].numpy()
    rotations = pose.rotations.clone()
    rotations[0] = torch.eye(3)
    bend = float(random.uniform(0, 0.12))  # radians
    for side, sign in (("left", 1), ("right", -1)):
        hip, knee, ankle = (SMPL24.index(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        gap = _HEEL_GAP + random.uniform(-0.02, 0.02)
        turn = sign * float(np.arctan2(abs(joints[hip, 0]) - gap, joints[hip, 1] - joints[ankle, 1]))
        angles = torch.tensor([[-bend, 0.0, -turn], [2 * bend, 0.0, 0.0], [-bend, 0.0, turn]])
        rotations[[hip, knee, ankle]] = axis_angle_to_matrix(angles.float())
    return replace(pose, rotations=rotations, family="upright")


class PoseBank:
    """An unlimited sequence of random poses, the same in every process.

    Poses are drawn in blocks of 64, of which the last ones are cached; drawing many at once (`poses`) is much faster.

    Args:
        seed: Seed of the poses.
        split: "train" or "held_out".
        library: File of the pose library. None means the library that comes with the package.
    """

    def __init__(self, seed: int, split: str = "train", library: Path | None = None) -> None:
        self.seed, self.split, self.library = seed, split, library
        activities(split, library)
        self._block: Callable[[int], tuple[Pose, ...]] = lru_cache(maxsize=16)(lambda block: self._draw([block]))

    def pose(self, number: int) -> Pose:
        """Return the pose with a number from 0."""
        block, row = divmod(number, BLOCK)
        return self._block(block)[row]

    def __reduce__(self) -> tuple[type, tuple[int, str, Path | None]]:
        return type(self), (self.seed, self.split, self.library)

    def poses(self, start: int, stop: int) -> tuple[Pose, ...]:
        """Return the poses start … stop − 1, drawn together."""
        first, last = start // BLOCK, -(-stop // BLOCK)
        return self._draw(range(first, last))[start - first * BLOCK : stop - first * BLOCK]

    def _draw(self, blocks: Sequence[int]) -> tuple[Pose, ...]:
        """Draw the poses of some blocks, which do not depend on each other."""
        streams = [_Stream.of(self.seed, self.split, block) for block in blocks]
        with torch.no_grad():
            base, names, families = self._bases([BLOCK] * len(streams), streams)
            is_ground = torch.tensor([family in _GROUND_FAMILIES for family in families])
            poses = base.clone()
            missing = torch.ones(len(base), dtype=torch.bool)
            for _ in range(_TRIES):
                for mask, options in ((~is_ground, _STANDING_OPTIONS), (is_ground, _GROUND_OPTIONS)):
                    rows = missing & mask
                    counts = rows.view(-1, BLOCK).sum(1).tolist()
                    sources = [stream for count, stream in zip(counts, streams, strict=True) if count]
                    counts = [count for count in counts if count]
                    if not counts:
                        continue

                    def draw_bases(counts: Sequence[int] = counts, sources: Sequence[_Stream] = sources) -> Tensor:
                        return self._bases(counts, sources)[0]

                    generators = RowGenerators([(n, s.generator) for n, s in zip(counts, sources, strict=True)])
                    poses[rows] = vary_poses(base[rows], draw_bases, generators, options)
                missing[missing.clone()] = self_penetration(poses[missing]) >= _MAX_PENETRATION
                if not missing.any():
                    break
            poses[missing] = base[missing]
        return tuple(map(Pose, poses.unbind(0), names, families))

    def _bases(self, counts: Sequence[int], streams: Sequence[_Stream]) -> tuple[Tensor, list[str], list[str]]:
        """Draw key poses and library frames, facing +z: rotations (B, 24, 3, 3), activities and families."""
        sources = _sources(self.split, self.library)
        library = pose_library(self.library)
        draws = [sources.draw(count, stream.numbers) for count, stream in zip(counts, streams, strict=True)]
        families, activities, frames, flips = (np.concatenate(values) for values in zip(*draws, strict=True))
        poses = key_poses().rotations[sources.key_row[activities]]
        poses[torch.from_numpy(families == sources.library)] = library.rotations(torch.from_numpy(frames))
        poses = torch.where(torch.from_numpy(flips)[:, None, None, None], mirror_rotations(poses), poses)
        poses[:, 0] = face_forward(poses[:, 0])
        return poses, [sources.names[row] for row in activities], [sources.families[row] for row in families]


class _Stream(NamedTuple):
    """The random numbers of a block."""

    numbers: np.random.Generator
    generator: torch.Generator

    @classmethod
    def of(cls, seed: int, split: str, block: int) -> _Stream:
        seeds = np.random.SeedSequence([seed, SPLITS.index(split), block])
        numbers = np.random.default_rng(seeds)
        return cls(numbers, torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> np.uint64(1))))


class _Sources(NamedTuple):
    """The F families and A activities of a split as tables.

    Attributes:
        families: F names.
        share: (F,) float64. Share of the poses of each family.
        library: Index of the family that comes from the library.
        first: (F,) int64. First activity of each family.
        counts: (F,) int64. Number of its activities.
        names: A names.
        key_row: (A,) int64. Row of the key pose; 0 for activities of the library.
        frame_start: (A,) int64. First index of each activity in `frames`.
        frame_count: (A,) int64. Number of its frames.
        frames: Rows of the library.
    """

    families: tuple[str, ...]
    share: NDArray[np.float64]
    library: int
    first: NDArray[np.int64]
    counts: NDArray[np.int64]
    names: tuple[str, ...]
    key_row: NDArray[np.int64]
    frame_start: NDArray[np.int64]
    frame_count: NDArray[np.int64]
    frames: NDArray[np.int64]

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[Any], ...]:
        """Draw indices of families and activities (B,), rows of the library's frames, and whether to mirror (B,)."""
        families = random.choice(len(self.families), count, p=self.share)
        activities = self.first[families] + random.integers(self.counts[families])
        of_library = activities[families == self.library]
        frames = self.frames[self.frame_start[of_library] + random.integers(self.frame_count[of_library])]
        return families, activities, frames, random.random(count) < 0.5


@lru_cache(maxsize=4)
def _sources(split: str, file: Path | None) -> _Sources:
    table = activities(split, file)
    library = pose_library(file)
    share = np.array([FAMILIES[family] for family in table])
    counts = np.array([len(names) for names in table.values()])
    pairs = [(family, name) for family, names in table.items() for name in names]
    frames = [library.frames(split, name).numpy() if family == LIBRARY else _NO_FRAMES for family, name in pairs]
    lengths = np.array([len(rows) for rows in frames])
    return _Sources(
        families=tuple(table),
        share=share / share.sum(),
        library=list(table).index(LIBRARY),
        first=np.cumsum(counts) - counts,
        counts=counts,
        names=tuple(name for _, name in pairs),
        key_row=np.array([0 if family == LIBRARY else key_poses().names.index(name) for family, name in pairs]),
        frame_start=np.cumsum(lengths) - lengths,
        frame_count=lengths,
        frames=np.concatenate(frames),
    )


PELVIS_HEIGHT = 0.95  # metres, of single poses before they are put on the floor

# Degrees, standard deviation of the offset of a clip and of its slow waves from the recording.
_WIDENING: dict[str, float] = {"trunk": 3, "collar": 3, "shoulder": 9, "elbow": 10, "wrist": 10, "hand": 14}
_TRAVEL = 2.5  # metres, min distance between start and end of a motion that travels
_MAX_MOTION_PENETRATION = 0.04  # metres, in the worst frame


@dataclass(frozen=True)
class Performance:
    """T frames of one person in a y-up world with the floor at y = 0.

    Attributes:
        rotations: (T, 24, 3, 3) float32. Parent-relative rotations, the pelvis to the world.
        pelvis: (T, 3) float32, metres. Position of the pelvis.
        activities: Activity of each frame, as in `Pose`.
        family: Family of the first frame.
        is_joined: True for frames of one recording; False for separate poses.
    """

    rotations: Tensor
    pelvis: Tensor
    activities: tuple[str, ...]
    family: str
    is_joined: bool = True

    def __len__(self) -> int:
        return len(self.rotations)


def held_pose(*poses: Pose) -> Performance:
    """Return separate poses as frames at the same position."""
    pelvis = torch.tensor([[0.0, PELVIS_HEIGHT, 0.0]]).repeat(len(poses), 1)
    rotations = torch.stack([pose.rotations for pose in poses])
    return Performance(rotations, pelvis, tuple(pose.activity for pose in poses), poses[0].family, is_joined=False)


def sample_motion(
    random: np.random.Generator,
    length: int,
    frame_rate: float,
    *,
    split: str = "train",
    pose: Pose | None = None,
    travels: bool = False,
) -> Performance:
    """Draw a motion that starts at x = z = 0, facing +z.

    Trunk and arms are varied smoothly, less if limbs would intersect the body. Too short recordings run back and forth.

    Args:
        random: Source of the random numbers.
        length: Number of frames.
        frame_rate: Frames per second.
        split: "train" or "held_out".
        pose: A pose to hold with a slow sway instead of a motion of the library.
        travels: Prefer a motion whose person moves forward by some metres.
    """
    if pose is not None:
        motion = replace(held_pose(*[pose] * length), is_joined=True)
    else:
        clip = _sample_clip(random, split, (length - 1) / frame_rate, travels=travels)
        motion = _resample(clip, length, frame_rate, random)
    if random.random() < 0.5:
        flip = torch.tensor([-1.0, 1.0, 1.0])
        motion = replace(motion, rotations=mirror_rotations(motion.rotations), pelvis=motion.pelvis * flip)
    for scale in (1.0, 0.5, 0.25, 0.125):
        new_rotations = _widen(motion.rotations, random, scale, frame_rate)
        if bool((self_penetration(new_rotations) < _MAX_MOTION_PENETRATION).all()):
            motion = replace(motion, rotations=new_rotations)
            break
    # Face +z in the first frame, and start at x = z = 0.
    forward = motion.rotations[0, 0, :, 2]
    motion = turn_motion(motion, -float(torch.atan2(forward[0], forward[2])))
    return replace(motion, pelvis=motion.pelvis - motion.pelvis[0] * torch.tensor([1.0, 0.0, 1.0]))


def _sample_clip(random: np.random.Generator, split: str, seconds: float, *, travels: bool) -> Motion:
    """Draw a clip of the library that is long enough, if there is one; all activities are equally likely."""
    clips = list(pose_library().motions(split=split))
    if travels:
        clips = [clip for clip in clips if _travels(clip)] or clips
    clips = [clip for clip in clips if (len(clip) - 1) / clip.frame_rate >= seconds] or clips
    names = sorted({clip.activity for clip in clips})
    activity = names[int(random.integers(len(names)))]
    clips = [clip for clip in clips if clip.activity == activity]
    return clips[int(random.integers(len(clips)))]


def _travels(clip: Motion) -> bool:
    """Return whether the person of a clip moves forward by some metres."""
    path = clip.pelvis[-1] - clip.pelvis[0]
    forward = axis_angle_to_matrix(clip.poses[:, :3])[..., 2].mean(0)
    return bool(path.norm() > _TRAVEL and path @ forward > 0.5 * path.norm())


def _resample(clip: Motion, length: int, frame_rate: float, random: np.random.Generator) -> Performance:
    step = clip.frame_rate / frame_rate
    last = len(clip) - 1
    # Times in frames of the recording, which runs back and forth if it is too short.
    start = random.uniform(0, max(0.0, last - step * (length - 1)))
    time = start + step * np.arange(length)
    time = np.abs((time + last) % (2 * last) - last) if last > 0 else np.zeros(length)
    left = torch.from_numpy(np.minimum(np.floor(time), max(last - 1, 0)).astype(np.int64))
    right = (left + 1).clamp(max=last)
    share = torch.from_numpy(time.astype(np.float32)) - left
    # Rotations are interpolated along the shortest rotation.
    matrices = axis_angle_to_matrix(clip.poses.unflatten(-1, (len(SMPL24), 3)))
    turn = matrix_to_axis_angle(matrices[left].mT @ matrices[right]) * share[:, None, None]
    rotations = matrices[left] @ axis_angle_to_matrix(turn)
    pelvis = torch.lerp(clip.pelvis[left], clip.pelvis[right], share[:, None])
    return Performance(rotations, pelvis, (clip.activity,) * length, LIBRARY)


def _widen(rotations: Tensor, random: np.random.Generator, scale: float, frame_rate: float) -> Tensor:
    """Change joint angles of trunk and arms by an offset and two slow waves, within the joint limits."""
    angles, (lowest, highest) = rotations_to_angles(rotations), joint_limits()
    seconds = np.arange(len(rotations)) / frame_rate
    for joint, names in ANGLE_NAMES.items():
        spread = _WIDENING.get(joint_class(joint), 0.0) * scale
        if spread == 0 or joint == "pelvis":
            continue
        for column in range(len(names)):
            offset = spread * random.normal() + np.zeros(len(seconds))
            for speed in random.uniform(0.1, 0.8, 2):
                offset += 0.5 * spread * np.sin(2 * np.pi * (speed * seconds + random.random()))
            row = SMPL24.index(joint)
            recorded = angles[:, row, column]
            changed = recorded + torch.from_numpy(np.deg2rad(offset).astype(np.float32))
            # Recorded angles beyond the limits stay possible.
            low = recorded.clamp(max=float(lowest[row, column]))
            high = recorded.clamp(min=float(highest[row, column]))
            angles[:, row, column] = torch.minimum(torch.maximum(changed, low), high)
    return angles_to_rotations(angles)


def turn_motion(motion: Performance, heading: float | Tensor) -> Performance:
    """Rotate a motion about the world's y axis.

    Args:
        motion: T frames. Separate poses are rotated at their position.
        heading: Radians. One angle, or (T,) an angle per frame.
    """
    angle = torch.as_tensor(heading, dtype=torch.float32).expand(len(motion))
    zero = torch.zeros_like(angle)
    turn = axis_angle_to_matrix(torch.stack((zero, angle, zero), -1))
    rotations = motion.rotations.clone()
    rotations[:, 0] = turn @ rotations[:, 0]
    pelvis = motion.pelvis if not motion.is_joined else (turn @ motion.pelvis[..., None])[..., 0]
    return replace(motion, rotations=rotations, pelvis=pelvis)


def on_floor(body: Body, motion: Performance, betas: Tensor) -> Performance:
    """Put a motion on the floor by its lowest point, mostly the feet.

    Movements scale with the length of the legs. Joined frames are moved together, so that people can leave the ground;
    separate poses are moved one by one.

    Args:
        body: The body.
        motion: The motion.
        betas: (10,) float32. Shape of the body.
    """
    with torch.no_grad():
        legs = _leg_length(body, betas[None]) / _leg_length(body, torch.zeros(1, body.shape_count))
        pelvis = motion.pelvis * legs
        trans = body.translation_of_root(pelvis, betas[None])
        lowest = torch.empty(len(motion))
        for start in range(0, len(motion), 16):
            rows = slice(start, start + 16)
            body_pose = body.pose(motion.rotations[rows], betas[None], trans[rows])
            lowest[rows] = body_pose.surface[..., 1].amin(1)
        drop = lowest.amin().expand(len(motion)) if motion.is_joined else lowest
    return replace(motion, pelvis=pelvis - drop[:, None] * torch.tensor([0.0, 1.0, 0.0]))


def _leg_length(body: Body, betas: Tensor) -> float:
    joints = body.rest_joints(betas)[0]
    hip, knee, ankle = (joints[SMPL24.index(f"left_{name}")] for name in ("hip", "knee", "ankle"))
    return float((hip - knee).norm() + (knee - ankle).norm())
