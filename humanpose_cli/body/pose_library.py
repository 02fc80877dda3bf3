"""Poses that come with the package: real ones, motion capture of eight activities, and hand-made key poses.

The library is derived from the CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu, created with funding from
NSF EIA-0196217) by tools/build_pose_library.py. Whole activities are held out from everything that learns
(split 'held_out': soccer, washwindow), so that priors can be evaluated on them.

Key poses are what the library lacks, as named joint angles: sitting, kneeling, crouching, bending down, crawling,
lying, crossed arms, hands at the face and on the hips, and the usual reference poses. The angles were set by eye on the
default body; where a hand or foot has to touch something, by inverse kinematics on it, rounded to five degrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from humanpose_cli.body.body import read_shipped
from humanpose_cli.body.joint_angles import angles_from_named, angles_to_rotations
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

__all__ = [
    "KEY_POSES",
    "KeyPoses",
    "Motion",
    "PoseLibrary",
    "decode_steps",
    "encode_steps",
    "key_poses",
    "pose_library",
]

# Poses and positions are stored as whole numbers of these steps.
POSE_QUANTUM = 1 / 1024  # radians, 0.06°
PELVIS_QUANTUM = 1e-3  # metres
DATA_FILE = Path(__file__).parent / "data" / "pose_library.npz"
_SCHEMA = 1


@dataclass(frozen=True)
class Motion:
    """One clip.

    poses   (T, 72) axis-angle, parent-relative; the pelvis maps body axes to world axes (metres, y up); the
            vectors may be longer than π
    pelvis  (T, 3) position of the pelvis joint for the default body's mean shape, metres, world axes, floor near y = 0
    """

    name: str
    activity: str
    split: str
    frame_rate: float
    poses: Tensor
    pelvis: Tensor

    def __len__(self) -> int:
        return len(self.poses)


@dataclass(frozen=True)
class PoseLibrary:
    """All clips, frame after frame.

    poses (N, 72), pelvis (N, 3) as in `Motion`; clip_start (C + 1,) first frame of each clip and N;
    clip_names, clip_activities, clip_splits (C,); frame_rate frames a second.
    """

    poses: Tensor
    pelvis: Tensor
    clip_start: tuple[int, ...]
    clip_names: tuple[str, ...]
    clip_activities: tuple[str, ...]
    clip_splits: tuple[str, ...]
    frame_rate: float

    def __len__(self) -> int:
        return len(self.poses)

    def clip(self, name: str) -> Motion:
        """The clip of that name; UsageError where there is none."""
        if name not in self.clip_names:
            raise UsageError(name, "is not a clip of the pose library", expected=f"one like {self.clip_names[0]}")
        index = self.clip_names.index(name)
        rows = slice(self.clip_start[index], self.clip_start[index + 1])
        return Motion(
            name=name,
            activity=self.clip_activities[index],
            split=self.clip_splits[index],
            frame_rate=self.frame_rate,
            poses=self.poses[rows],
            pelvis=self.pelvis[rows],
        )

    def motions(self, *, activity: str | None = None, split: str | None = None) -> Iterator[Motion]:
        """The clips in order, optionally of one activity or split."""
        for name, its_activity, its_split in zip(self.clip_names, self.clip_activities, self.clip_splits, strict=True):
            if activity in (None, its_activity) and split in (None, its_split):
                yield self.clip(name)

    def frames(self, split: str, activity: str | None = None) -> Tensor:
        """Rows of the frames of one split, 'train' or 'held_out', optionally of one activity: (M,) int64."""
        clips = zip(self.clip_start[:-1], self.clip_start[1:], self.clip_splits, self.clip_activities, strict=True)
        rows = [
            torch.arange(start, end)
            for start, end, its_split, its_activity in clips
            if its_split == split and activity in (None, its_activity)
        ]
        return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int64)

    def rotations(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Parent-relative matrices of some frames: (M, 24, 3, 3)."""
        return axis_angle_to_matrix(self.poses[rows].unflatten(-1, (len(SMPL24), 3)))


def encode_steps(values: np.ndarray, quantum: float) -> np.ndarray:
    """(N, C) floats → (2, C, N) uint8: low and high bytes of the differences between rounded rows.

    Differences of neighbouring frames are small, so these planes deflate to about a third of the plain numbers.
    ValueError where a difference needs more than 16 bits.
    """
    whole = np.round(values.astype(np.float64) / quantum).astype(np.int64)
    steps = np.diff(whole, axis=0, prepend=0).T
    if np.abs(steps).max(initial=0) > np.iinfo(np.int16).max:
        raise ValueError("values jump by more than 16 bits hold")
    unsigned = steps.astype(np.int16).view(np.uint16)
    return np.stack((unsigned & 255, unsigned >> 8)).astype(np.uint8)


def decode_steps(planes: np.ndarray, quantum: float) -> np.ndarray:
    """The inverse of `encode_steps`: (2, C, N) uint8 → (N, C) float32, to half a quantum."""
    low, high = planes.astype(np.uint16)
    steps = (low | high << 8).view(np.int16).astype(np.int64)
    return (steps.cumsum(axis=1).T * quantum).astype(np.float32)


@lru_cache(maxsize=1)
def pose_library() -> PoseLibrary:
    """The library shipped with the package, read once (about 0.1 s)."""
    file = read_shipped(DATA_FILE, "pose library", _SCHEMA)
    return PoseLibrary(
        poses=torch.from_numpy(decode_steps(file["pose_steps"], POSE_QUANTUM)),
        pelvis=torch.from_numpy(decode_steps(file["pelvis_steps"], PELVIS_QUANTUM)),
        clip_start=tuple(file["clip_start"].tolist()),
        clip_names=tuple(file["clip_name"].tolist()),
        clip_activities=tuple(file["clip_activity"].tolist()),
        clip_splits=tuple(file["clip_split"].tolist()),
        frame_rate=float(file["frame_rate"]),
    )


# "joint.angle degrees, …" with the names of joint_angles.py, zero where not named; without a side both sides get the
# angle. The pelvis turns the body in a world whose y axis is up, facing +z.
KEY_POSES: dict[str, str] = {
    # Standing, what the arms do.
    "t_pose": "",
    "a_pose": "hip.abduction 8, shoulder.elevation -45",
    "standing": "shoulder.elevation -72, elbow.flexion 12",
    "attention": "shoulder.elevation -82",
    "hands_on_hips": (
        "hip.abduction 10, shoulder.elevation -40, shoulder.forward -25, shoulder.rotation 75, "
        "elbow.flexion 85, elbow.pronation 25, wrist.flexion -35"
    ),
    "arms_crossed": (
        "left_shoulder.elevation -65, left_shoulder.forward 65, left_shoulder.rotation 45, "
        "right_shoulder.elevation -75, right_shoulder.forward 50, right_shoulder.rotation 55, "
        "elbow.flexion 105"
    ),
    "hands_clasped_in_front": ("shoulder.elevation -85, shoulder.forward 20, shoulder.rotation 55, elbow.flexion 35"),
    "hands_behind_back": ("shoulder.elevation -70, shoulder.forward -40, shoulder.rotation 110, elbow.flexion 55"),
    "hands_behind_head": ("shoulder.elevation 60, shoulder.forward 20, shoulder.rotation -110, elbow.flexion 120"),
    "hand_on_head": (
        "left_shoulder.elevation 55, left_shoulder.forward 15, left_shoulder.rotation -85, "
        "right_shoulder.elevation -70, left_elbow.flexion 95, right_elbow.flexion 10"
    ),
    "hand_on_chest": (
        "left_shoulder.elevation -80, left_shoulder.forward 15, left_shoulder.rotation 50, "
        "right_shoulder.elevation -70, left_elbow.flexion 135, right_elbow.flexion 10"
    ),
    "hand_in_pocket": (
        "left_shoulder.elevation -55, left_shoulder.forward -25, left_shoulder.rotation 55, "
        "right_shoulder.elevation -70, left_elbow.flexion 65, right_elbow.flexion 10"
    ),
    "hand_to_cheek": (
        "left_shoulder.elevation -75, left_shoulder.forward 45, right_shoulder.elevation -70, "
        "left_elbow.flexion 145, right_elbow.flexion 10"
    ),
    "hand_to_chin": (
        "left_shoulder.elevation -100, left_shoulder.forward 35, left_shoulder.rotation 30, "
        "right_shoulder.elevation -95, right_shoulder.rotation 65, left_elbow.flexion 140, "
        "right_elbow.flexion 85"
    ),
    "hands_to_face": "shoulder.elevation -70, shoulder.forward 65, shoulder.rotation -10, elbow.flexion 135",
    "phone_at_ear": (
        "left_shoulder.elevation -65, left_shoulder.forward 25, left_shoulder.rotation -20, "
        "right_shoulder.elevation -70, left_elbow.flexion 155, right_elbow.flexion 10"
    ),
    "taking_a_photo": "shoulder.elevation -50, shoulder.forward 70, shoulder.rotation -30, elbow.flexion 120",
    "drinking": (
        "left_shoulder.elevation -60, left_shoulder.forward 50, left_shoulder.rotation -10, "
        "right_shoulder.elevation -70, left_elbow.flexion 130, right_elbow.flexion 10"
    ),
    "reading": (
        "neck.flexion 15, head.flexion 15, shoulder.elevation -85, shoulder.forward 10, "
        "shoulder.rotation 15, elbow.flexion 110"
    ),
    "carrying": "shoulder.elevation -65, shoulder.forward 20, elbow.flexion 85",
    "holding_a_leash": (
        "left_shoulder.elevation -80, left_shoulder.forward -10, left_shoulder.rotation 10, "
        "right_shoulder.elevation -70, left_elbow.flexion 90, right_elbow.flexion 10"
    ),
    "arms_forward": "collar.protraction 10, shoulder.forward 88",
    "pointing": (
        "shoulder.elevation -72, left_shoulder.elevation 5, left_shoulder.forward 75, elbow.flexion 12, "
        "left_elbow.flexion 5"
    ),
    "wave": (
        "shoulder.elevation -72, left_shoulder.elevation 10, left_shoulder.forward 20, "
        "left_shoulder.rotation -85, elbow.flexion 12, left_elbow.flexion 80"
    ),
    "arms_up": "collar.elevation 25, shoulder.elevation 60, elbow.flexion 10",
    "arms_wide_up": "collar.elevation 12, shoulder.elevation 35",
    "reaching_up": (
        "spine1.side_bend -8, left_collar.elevation 25, shoulder.elevation -72, "
        "left_shoulder.elevation 70, left_shoulder.forward 20, elbow.flexion 12"
    ),
    "throwing": (
        "spine1.turn -10, spine2.turn -10, spine3.turn -8, left_hip.flexion 35, right_hip.flexion -15, "
        "left_knee.flexion 20, left_shoulder.elevation 0, left_shoulder.forward 55, "
        "right_shoulder.elevation 15, right_shoulder.forward -20, right_shoulder.rotation -75, "
        "right_elbow.flexion 90"
    ),
    # On the feet, what legs and trunk do.
    "big_step": (
        "left_hip.flexion 45, right_hip.flexion -25, left_knee.flexion 20, right_knee.flexion 25, "
        "right_ankle.flexion -10, shoulder.elevation -72, left_shoulder.forward -25, "
        "right_shoulder.forward 25, elbow.flexion 12"
    ),
    "lunge": (
        "left_hip.flexion 85, right_hip.flexion -20, left_knee.flexion 90, right_knee.flexion 55, "
        "right_ankle.flexion 0, right_foot.flexion 40, shoulder.elevation -72, left_shoulder.forward 25, "
        "right_shoulder.forward -15, elbow.flexion 60"
    ),
    "legs_apart": "hip.abduction 28, ankle.inversion 20, shoulder.elevation -72, elbow.flexion 12",
    "kick": (
        "pelvis.flexion -10, left_hip.flexion 75, right_hip.flexion -10, left_knee.flexion 25, "
        "right_knee.flexion 10, shoulder.elevation -40, left_shoulder.forward -20, "
        "right_shoulder.forward 40, elbow.flexion 12"
    ),
    "tree": (
        "left_hip.abduction 50, left_hip.flexion 50, left_hip.rotation -40, left_knee.flexion 125, "
        "collar.elevation 25, shoulder.elevation 65, elbow.flexion 20"
    ),
    "running_start": (
        "pelvis.flexion 50, neck.flexion -20, left_hip.flexion 120, right_hip.flexion 45, "
        "left_knee.flexion 95, right_knee.flexion 45, ankle.flexion 10, right_foot.flexion 40, "
        "shoulder.elevation -20, shoulder.forward 75"
    ),
    "side_bend": (
        "spine1.side_bend 15, spine2.side_bend 15, spine3.side_bend 12, hip.abduction 8, "
        "right_collar.elevation 20, left_shoulder.elevation -70, right_shoulder.elevation 70"
    ),
    "turning_round": (
        "spine1.turn 12, spine2.turn 14, spine3.turn 14, neck.turn 25, head.turn 25, "
        "shoulder.elevation -72, elbow.flexion 12"
    ),
    "bow": (
        "pelvis.flexion 25, spine1.flexion 10, spine2.flexion 10, neck.flexion 10, hip.flexion 25, "
        "shoulder.elevation -72, elbow.flexion 12"
    ),
    "bend_forward": (
        "pelvis.flexion 65, spine1.flexion 20, spine2.flexion 15, spine3.flexion 10, head.flexion 10, "
        "hip.flexion 75, knee.flexion 12, shoulder.elevation -20, shoulder.forward 80"
    ),
    "hands_on_knees": (
        "pelvis.flexion 45, spine1.flexion 10, spine2.flexion 10, neck.flexion -20, hip.flexion 65, "
        "knee.flexion 30, ankle.flexion 10, shoulder.elevation -65, shoulder.forward 70"
    ),
    "picking_up": (
        "pelvis.flexion 45, spine1.flexion 20, spine2.flexion 10, hip.flexion 100, knee.flexion 85, "
        "ankle.flexion 20, shoulder.elevation -30, shoulder.forward 75, left_shoulder.forward 85"
    ),
    "half_squat": (
        "pelvis.flexion 30, hip.flexion 70, knee.flexion 85, ankle.flexion 25, shoulder.elevation -10, "
        "shoulder.forward 80, elbow.flexion 20"
    ),
    "squat": (
        "pelvis.flexion 25, hip.abduction 20, hip.flexion 125, knee.flexion 145, ankle.flexion 30, "
        "shoulder.elevation -30, shoulder.forward 70, elbow.flexion 60"
    ),
    "crouch": (
        "pelvis.flexion 40, spine1.flexion 15, spine2.flexion 10, hip.flexion 120, knee.flexion 140, "
        "ankle.flexion -10, foot.flexion 45, shoulder.elevation -60, shoulder.forward 45, "
        "elbow.flexion 70"
    ),
    "tying_a_shoe": (
        "pelvis.flexion 35, spine1.flexion 20, spine2.flexion 15, left_hip.flexion 120, "
        "right_hip.flexion 35, left_knee.flexion 95, right_knee.flexion 90, right_ankle.flexion -10, "
        "right_foot.flexion 50, left_shoulder.elevation -25, left_shoulder.forward 85, "
        "right_shoulder.elevation -30, right_shoulder.forward 105"
    ),
    # Kneeling and sitting.
    "kneeling": "knee.flexion 90, ankle.flexion -40, shoulder.elevation -72, elbow.flexion 12",
    "kneeling_one_knee": (
        "left_hip.flexion 90, left_knee.flexion 90, right_knee.flexion 90, right_ankle.flexion -10, "
        "right_foot.flexion 50, shoulder.elevation -72, left_shoulder.forward 30, elbow.flexion 12, "
        "left_elbow.flexion 60"
    ),
    "kneeling_on_heels": (
        "hip.flexion 75, knee.flexion 155, ankle.flexion -60, shoulder.elevation -65, "
        "shoulder.forward 20, shoulder.rotation 25, elbow.flexion 50"
    ),
    "sitting_on_chair": (
        "hip.abduction 10, hip.flexion 90, knee.flexion 90, shoulder.elevation -80, shoulder.forward 15, "
        "shoulder.rotation 25, elbow.flexion 55"
    ),
    "sitting_leaning_back": (
        "pelvis.flexion -20, spine1.flexion 10, spine2.flexion 8, neck.flexion 12, hip.abduction 12, "
        "hip.flexion 65, knee.flexion 70, shoulder.elevation -70, shoulder.forward 15, elbow.flexion 50"
    ),
    "sitting_leaning_forward": (
        "pelvis.flexion 25, spine1.flexion 15, spine2.flexion 10, neck.flexion -10, hip.abduction 15, "
        "hip.flexion 110, knee.flexion 95, shoulder.elevation -75, shoulder.forward 75, "
        "shoulder.rotation -35, elbow.flexion 70"
    ),
    "sitting_legs_crossed": (
        "left_hip.flexion 85, right_hip.abduction -40, right_hip.flexion 95, right_hip.rotation 5, "
        "left_knee.flexion 85, right_knee.flexion 60, left_shoulder.elevation -70, "
        "left_shoulder.forward 10, left_shoulder.rotation 45, right_shoulder.elevation -80, "
        "right_shoulder.forward 20, right_shoulder.rotation 50, left_elbow.flexion 90, "
        "right_elbow.flexion 85"
    ),
    "sitting_on_floor": (
        "pelvis.flexion -5, spine1.flexion 10, hip.abduction 10, hip.flexion 90, knee.flexion 5, "
        "shoulder.elevation -85, shoulder.forward 10, shoulder.rotation 15, elbow.flexion 70"
    ),
    "sitting_on_hands": (
        "pelvis.flexion -30, neck.flexion 15, hip.abduction 8, hip.flexion 60, knee.flexion 15, "
        "shoulder.elevation -70, shoulder.forward -35, elbow.flexion 0"
    ),
    "sitting_cross_legged": (
        "pelvis.flexion -10, spine1.flexion 10, spine2.flexion 10, hip.abduction 50, hip.flexion 80, "
        "hip.rotation -95, knee.flexion 125, shoulder.elevation -65, shoulder.forward 10, "
        "elbow.flexion 85"
    ),
    "sitting_side_saddle": (
        "left_hip.abduction 55, left_hip.flexion 75, left_hip.rotation -95, right_hip.abduction 15, "
        "right_hip.flexion 85, right_hip.rotation 65, left_knee.flexion 120, right_knee.flexion 135, "
        "left_shoulder.elevation -70, left_shoulder.forward 5, left_shoulder.rotation 5, "
        "right_shoulder.elevation -65, right_shoulder.forward -15, left_elbow.flexion 65"
    ),
    "one_knee_up_on_floor": (
        "spine1.flexion 10, left_hip.abduction 25, left_hip.flexion 140, left_hip.rotation -15, "
        "right_hip.abduction 50, right_hip.flexion 75, right_hip.rotation -95, left_knee.flexion 120, "
        "right_knee.flexion 125, shoulder.elevation -55, left_shoulder.forward 40, "
        "left_shoulder.rotation -5, right_shoulder.forward 55, left_elbow.flexion 125"
    ),
    "hugging_knees": (
        "pelvis.flexion -5, spine1.flexion 20, spine2.flexion 15, neck.flexion 10, hip.flexion 120, "
        "knee.flexion 120, shoulder.elevation -40, shoulder.forward 70, shoulder.rotation 5, "
        "elbow.flexion 55"
    ),
    # On the ground.
    "crawling": (
        "pelvis.flexion 85, neck.flexion -25, head.flexion -20, hip.flexion 85, knee.flexion 85, "
        "ankle.flexion -45, shoulder.forward 80, wrist.flexion -70"
    ),
    "push_up": (
        "pelvis.flexion 70, neck.flexion -10, ankle.flexion 5, foot.flexion 60, shoulder.forward 85, wrist.flexion -60"
    ),
    "propped_on_elbows": (
        "pelvis.flexion 80, spine1.flexion -18, spine2.flexion -10, neck.flexion -20, ankle.flexion -45, "
        "shoulder.elevation -45, shoulder.forward 70, elbow.flexion 90"
    ),
    "lying_on_back": (
        "pelvis.flexion -90, hip.abduction 8, ankle.flexion -25, shoulder.elevation -65, elbow.flexion 15"
    ),
    "lying_knees_up": ("pelvis.flexion -90, hip.flexion 60, knee.flexion 95, shoulder.elevation -50, elbow.flexion 60"),
    "lying_on_front": (
        "pelvis.flexion 90, neck.turn 25, head.turn 40, ankle.flexion -45, shoulder.elevation 20, "
        "shoulder.rotation -70, elbow.flexion 90"
    ),
    "lying_on_side": (
        "pelvis.side_bend 90, neck.flexion 15, hip.flexion 50, knee.flexion 70, shoulder.elevation -20, "
        "shoulder.forward 70, elbow.flexion 80"
    ),
}


class KeyPoses(NamedTuple):
    """names (K,); rotations (K, 24, 3, 3) parent-relative, the pelvis body to y-up world axes, facing +z."""

    names: tuple[str, ...]
    rotations: Tensor

    def __getitem__(self, name: str) -> Tensor:  # type: ignore[override]
        """Rotations (24, 3, 3) of one key pose; ValueError where there is none of that name."""
        return self.rotations[self.names.index(name)]


def _parse(text: str) -> dict[str, float]:
    entries = (entry.split() for entry in text.split(",") if entry.strip())
    return {name: float(degrees) for name, degrees in entries}


@lru_cache(maxsize=1)
def key_poses() -> KeyPoses:
    """All key poses in the order of `KEY_POSES`."""
    angles = torch.stack([angles_from_named(_parse(text)) for text in KEY_POSES.values()])
    return KeyPoses(tuple(KEY_POSES), angles_to_rotations(angles))
