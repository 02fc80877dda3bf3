"""Poses that come with the package: motion capture of eight activities, and hand-made key poses.

The library is derived from the CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu, created with funding from
NSF EIA-0196217) by tools/build_pose_library.py. Two activities (split "held_out": soccer, washwindow) are excluded from
all training, so that priors can be evaluated on them.

Key poses are named joint angles of poses that the library lacks: sitting, kneeling, crouching, bending down, crawling,
lying, crossed arms, hands at the face and on the hips, and the usual reference poses. The angles were set by eye on the
default body; if a hand or foot has to touch something, by inverse kinematics, rounded to five degrees.
"""

from __future__ import annotations

import re
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
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import read_npz
from humanpose_cli.geometry.rotations import axis_angle_to_matrix

# Poses and positions are stored as whole numbers of these steps.
POSE_QUANTUM = 1 / 1024  # radians, 0.06°
PELVIS_QUANTUM = 1e-3  # metres
DATA_FILE = Path(__file__).parent / "data" / "pose_library.npz"
KEY_POSE_FILE = DATA_FILE.with_name("key_poses.txt")
_SCHEMA = 1


@dataclass(frozen=True)
class Motion:
    """One clip.

    Attributes:
        name: Its name.
        activity: The activity that it shows.
        split: "train" or "held_out".
        frame_rate: Frames per second.
        poses: (T, 72) float, radians. Axis-angles relative to the parent; the pelvis maps body axes to world axes
            (metres, y up). The vectors may be longer than π.
        pelvis: (T, 3) float, metres in world axes. The pelvis joint for the default body's mean shape; the floor is
            near y = 0.
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
    """All clips.

    Attributes:
        poses: (N, 72) float. The poses of all clips, frame after frame, as in `Motion`.
        clips: The clips.
    """

    poses: Tensor
    clips: tuple[Motion, ...]

    def __len__(self) -> int:
        return len(self.poses)

    def clip(self, name: str) -> Motion:
        """Return a clip by its name."""
        return next(clip for clip in self.clips if clip.name == name)

    def motions(self, *, activity: str | None = None, split: str | None = None) -> Iterator[Motion]:
        """Yield the clips in order.

        Args:
            activity: Only clips of this activity. None means all.
            split: Only clips of this split. None means all.
        """
        return (c for c in self.clips if activity in (None, c.activity) and split in (None, c.split))

    def frames(self, split: str, activity: str | None = None) -> Tensor:
        """Return the rows (M,) int64 of the frames of a split.

        Args:
            split: "train" or "held_out".
            activity: Only frames of this activity. None means all.
        """
        mask = [c.split == split and activity in (None, c.activity) for c in self.clips]
        return torch.tensor(np.repeat(mask, [len(c) for c in self.clips])).nonzero().squeeze(-1)

    def rotations(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return rotations relative to the parent of some frames: (M, 24, 3, 3)."""
        return axis_angle_to_matrix(self.poses[rows].unflatten(-1, (len(SMPL24), 3)))


def encode_steps(values: np.ndarray, quantum: float) -> np.ndarray:
    """Encode an array by the differences of its rounded rows.

    Differences of neighbouring frames are small, so the planes compress to about a third of the original numbers.

    Args:
        values: (N, C) float. The numbers.
        quantum: The unit that they are rounded to.

    Returns:
        (2, C, N) uint8. Low and high bytes.

    Raises:
        ValueError: If a difference needs more than 16 bits.
    """
    multiples = np.round(values.astype(np.float64) / quantum).astype(np.int64)
    steps = np.diff(multiples, axis=0, prepend=0).T
    if np.abs(steps).max(initial=0) > np.iinfo(np.int16).max:
        raise ValueError("values jump by more than 16 bits hold")
    bits = steps.astype(np.int16).view(np.uint16)
    return np.stack((bits & 255, bits >> 8)).astype(np.uint8)


def decode_steps(planes: np.ndarray, quantum: float) -> np.ndarray:
    """Invert `encode_steps`: (2, C, N) uint8 → (N, C) float32, to half a quantum."""
    low, high = planes.astype(np.uint16)
    steps = (low | high << 8).view(np.int16).astype(np.int64)
    return (steps.cumsum(axis=1).T * quantum).astype(np.float32)


@lru_cache(maxsize=2)
def pose_library(path: Path | None = None) -> PoseLibrary:
    """Read a library, once (about 0.1 s).

    Args:
        path: A file of tools/build_pose_library.py. None means the library that comes with the package.

    Raises:
        InputError: If the file is damaged or of another kind.
    """
    file = read_shipped(DATA_FILE, "pose library", _SCHEMA) if path is None else read_npz(path)
    if "pose_steps" not in file:
        raise InputError(path, "is no pose library", remedy="build one with tools/build_pose_library.py")
    poses = torch.from_numpy(decode_steps(file["pose_steps"], POSE_QUANTUM))
    pelvis = torch.from_numpy(decode_steps(file["pelvis_steps"], PELVIS_QUANTUM))
    names, activities, splits = (file[f"clip_{name}"].tolist() for name in ("name", "activity", "split"))
    rate, lengths = float(file["frame_rate"]), np.diff(file["clip_start"]).tolist()
    clips = zip(names, activities, splits, poses.split(lengths), pelvis.split(lengths), strict=True)
    return PoseLibrary(poses, tuple(Motion(n, a, s, rate, clip, path) for n, a, s, clip, path in clips))


def _read_key_poses() -> dict[str, str]:
    """Read the text of each pose in the data file; lines that begin with spaces continue the previous pose."""
    text = "\n".join(line for line in KEY_POSE_FILE.read_text("utf-8").splitlines() if not line.startswith("#"))
    return {name: " ".join(angles.split()) for name, angles in re.findall(r"^(\w+):(.*(?:\n .*)*)", text, re.MULTILINE)}


KEY_POSES = _read_key_poses()
"""Named joint angles, as data/key_poses.txt explains them, by the pose's name."""


class KeyPoses(NamedTuple):
    """The key poses.

    Attributes:
        names: K names.
        rotations: (K, 24, 3, 3) float. Rotations relative to the parent; the pelvis maps body axes to y-up world axes,
            facing +z.
    """

    names: tuple[str, ...]
    rotations: Tensor

    def __getitem__(self, name: str) -> Tensor:  # type: ignore[override]
        """Return the rotations (24, 3, 3) of one key pose.

        Args:
            name: Its name.

        Raises:
            ValueError: If there is no such pose.
        """
        return self.rotations[self.names.index(name)]


@lru_cache(maxsize=1)
def key_poses() -> KeyPoses:
    """Return all key poses in the order of `KEY_POSES`."""
    entries = [dict(entry.split() for entry in text.split(",") if entry) for text in KEY_POSES.values()]
    angles = torch.stack([angles_from_named({name: float(angle) for name, angle in pose.items()}) for pose in entries])
    return KeyPoses(tuple(KEY_POSES), angles_to_rotations(angles))
