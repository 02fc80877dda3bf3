"""What every pose file is read into, and the turn from its axes to camera axes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import UsageError

__all__ = ["AXES", "Axes", "TargetPose", "axes_to_camera", "check_axes"]

Axes = Literal["camera", "y-up", "z-up"]

AXES: dict[str, np.ndarray] = {
    "camera": np.eye(3),
    "y-up": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "z-up": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}
"""Rotations from a file's axes to camera axes (x right, y down, z forward).

camera  x right, y down, z forward
y-up    x right, y up, z towards the camera (BVH, most animation files)
z-up    x right, y away from the camera, z up (AMASS, Blender's front view)
"""


def check_axes(axes: str) -> None:
    """UsageError for an unknown name."""
    if axes not in AXES:
        raise UsageError("--target-axes", "is unknown", expected=", ".join(AXES), got=axes)


def axes_to_camera(points: np.ndarray, axes: str) -> np.ndarray:
    """Points (..., 3) in the named axes → (..., 3) in camera axes."""
    check_axes(axes)
    return points @ AXES[axes].T


@dataclass(frozen=True, eq=False)
class TargetPose:
    """A pose or a motion of T frames to put a person into: joint positions, or rotations of the SMPL joints.

    source       'joints' (.npy), 'amass', 'fit' or 'bvh'
    frame_rate   frames a second, None where the file does not tell
    joints       (T, J, 3) float32 metres, camera axes, in the order of `skeleton`; None for rotations
    joint_confidence  (J,) float32: 1 for joints that the file has, less where it holds a near relative only, 0 where
                 it has none (the position is then its parent's, to be ignored); None for rotations
    poses        (T, 72) float32 axis-angle, parent-relative, smpl24; the first three map body to camera axes
    trans        (T, 3) float32 metres: pelvis in camera axes = `axes_rotation` · pelvis of the shaped rest body + trans
    axes_rotation  (3, 3) float32, from the file's axes to camera axes; already contained in poses and trans
    betas        (10,) float32 of the file's person, in units of SMPL (or of the fit's `body`); None where unknown
    gender       'neutral', 'female' or 'male'
    warnings     sentences that the user should see
    """

    path: Path
    source: Literal["joints", "amass", "fit", "bvh"]
    frame_rate: float | None = None
    joints: np.ndarray | None = None
    skeleton: Skeleton | None = None
    joint_confidence: np.ndarray | None = None
    poses: np.ndarray | None = None
    trans: np.ndarray | None = None
    axes_rotation: np.ndarray | None = None
    betas: np.ndarray | None = None
    gender: str = "neutral"
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert (self.joints is None) != (self.poses is None)

    def __len__(self) -> int:
        """Number of frames."""
        frames = self.joints if self.joints is not None else self.poses
        assert frames is not None
        return len(frames)

    @property
    def is_motion(self) -> bool:
        """Whether it has more than one frame."""
        return len(self) > 1
