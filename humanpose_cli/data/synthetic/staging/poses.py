"""Poses by family: key poses and frames of the motion library, varied within the joint limits, by the block.

Every pose belongs to one activity: an activity of the library or the name of a key pose. Whole activities are held
out: those of the library's split 'held_out' and `HELD_OUT_KEY_POSES`; arms and trunks that are mixed into a pose come
from activities of the same split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.bodies.joint_angles import mirror_rotations
from humanpose_cli.bodies.pose_library import KEY_POSES, key_poses, pose_library
from humanpose_cli.bodies.pose_prior import SamplingOptions, face_forward, self_penetration, vary_poses
from humanpose_cli.errors import UsageError

__all__ = ["FAMILIES", "HELD_OUT_KEY_POSES", "SPLITS", "Pose", "PoseBank", "activities", "family_of"]

SPLITS = ("train", "held_out")
LIBRARY = "library"
BLOCK = 64

# Key poses that stand for a family of their own among the held-out ones; about one of eight in each family.
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

# Families of key poses and how often each is drawn; what is not named here stands upright.
_MEMBERS: dict[str, tuple[str, ...]] = {
    "stepping": ("big_step", "lunge", "legs_apart", "kick", "tree", "running_start", "throwing"),
    "bending": ("side_bend", "turning_round", "bow", "bend_forward", "hands_on_knees", "picking_up"),
    "crouching": ("half_squat", "squat", "crouch", "tying_a_shoe"),
    "kneeling": ("kneeling", "kneeling_one_knee", "kneeling_on_heels"),
    "chair": ("sitting_on_chair", "sitting_leaning_back", "sitting_leaning_forward", "sitting_legs_crossed"),
    "floor": (
        "sitting_on_floor",
        "sitting_on_hands",
        "sitting_cross_legged",
        "sitting_side_saddle",
        "one_knee_up_on_floor",
        "hugging_knees",
    ),
    "crawling": ("crawling", "push_up", "propped_on_elbows"),
    "lying": ("lying_on_back", "lying_knees_up", "lying_on_front", "lying_on_side"),
}
FAMILIES: dict[str, float] = {
    LIBRARY: 0.40,
    "upright": 0.24,
    "stepping": 0.06,
    "bending": 0.05,
    "crouching": 0.05,
    "kneeling": 0.03,
    "chair": 0.08,
    "floor": 0.04,
    "crawling": 0.02,
    "lying": 0.03,
}
"""Family → share of the poses drawn."""
_GROUNDED = ("kneeling", "floor", "crawling", "lying")
# Limbs that carry the body keep their place: little is mixed in, and only small noise.
_FREE = SamplingOptions(tumble=0.0)
_HELD = SamplingOptions(mix=0.12, one_armed=0.1, blend=0.15, jitter=0.6, tumble=0.0)
_DEEPEST = 0.03  # metres of self-penetration that pass
_TRIES = 6


@dataclass(frozen=True)
class Pose:
    """One pose: rotations (24, 3, 3) parent-relative, the pelvis body to y-up world, facing +z; its names."""

    rotations: Tensor
    activity: str
    family: str


def family_of(activity: str) -> str:
    """The family of an activity; UsageError for a name that is neither a key pose nor an activity of the library."""
    if activity in KEY_POSES:
        return next((family for family, names in _MEMBERS.items() if activity in names), "upright")
    if activity in pose_library().clip_activities:
        return LIBRARY
    raise UsageError(activity, "is not an activity", expected="a key pose or an activity of the pose library")


@lru_cache(maxsize=4)
def activities(split: str) -> dict[str, tuple[str, ...]]:
    """Family → its activities in one split, 'train' or 'held_out'."""
    if split not in SPLITS:
        raise UsageError(split, "is not a split of the poses", expected=" or ".join(SPLITS))
    names = [name for name in KEY_POSES if (name in HELD_OUT_KEY_POSES) == (split == "held_out")]
    found: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in names:
        found[family_of(name)].append(name)
    found[LIBRARY] = sorted({motion.activity for motion in pose_library().motions(split=split)})
    return {family: tuple(names) for family, names in found.items() if names}


class PoseBank:
    """Poses without end, numbered: the same number is the same pose in every process.

    Drawn in blocks of 64, which costs about 0.3 ms a pose; the last blocks are kept.
    """

    def __init__(self, seed: int, split: str = "train") -> None:
        self.seed, self.split = seed, split
        activities(split)
        self._block: Callable[[int], tuple[Pose, ...]] = lru_cache(maxsize=16)(self._draw)

    def pose(self, number: int) -> Pose:
        """The pose of that number, 0, 1, 2, …"""
        block, row = divmod(number, BLOCK)
        return self._block(block)[row]

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.seed, self.split)

    def _draw(self, block: int) -> tuple[Pose, ...]:
        seeds = np.random.SeedSequence([self.seed, SPLITS.index(self.split), block])
        random = np.random.default_rng(seeds)
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        with torch.no_grad():
            base, names, families = _bases(BLOCK, random, self.split)
            held = torch.tensor([family in _GROUNDED for family in families])
            poses = base.clone()
            missing = torch.ones(BLOCK, dtype=torch.bool)
            for _ in range(_TRIES):
                for rows, options in ((missing & ~held, _FREE), (missing & held, _HELD)):
                    count = int(rows.sum())
                    if not count:
                        continue

                    def source(count: int = count) -> Tensor:
                        return _bases(count, random, self.split)[0]

                    poses[rows] = vary_poses(base[rows], source, generator, options)
                missing &= self_penetration(poses) >= _DEEPEST
                if not missing.any():
                    break
            poses[missing] = base[missing]
        return tuple(map(Pose, poses.unbind(0), names, families))


def _bases(count: int, random: np.random.Generator, split: str) -> tuple[Tensor, list[str], list[str]]:
    """Key poses and library frames as they are, mirrored or not, facing +z: rotations, activities and families."""
    table, library, keys = activities(split), pose_library(), key_poses()
    share = np.array([FAMILIES[family] for family in table])
    families = [list(table)[k] for k in random.choice(len(table), count, p=share / share.sum())]
    names = [table[family][int(random.integers(len(table[family])))] for family in families]
    poses = torch.empty(count, 24, 3, 3)
    rows = torch.zeros(count, dtype=torch.int64)
    from_library = torch.tensor([family == LIBRARY for family in families])
    for i, (family, name) in enumerate(zip(families, names, strict=True)):
        if family == LIBRARY:
            frames = library.frames(split, name)
            rows[i] = frames[int(random.integers(len(frames)))]
        else:
            poses[i] = keys.rotations[keys.names.index(name)]
    poses[from_library] = library.rotations(rows[from_library])
    mirrored = torch.from_numpy(random.random(count) < 0.5)
    poses = torch.where(mirrored[:, None, None, None], mirror_rotations(poses), poses)
    poses[:, 0] = face_forward(poses[:, 0])
    return poses, names, families
