"""What every pose file is read into, and the turn from its axes to camera axes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.geometry.body_params import BodyParams
from humanpose_cli.io.frame_range import FrameRange

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
    """Raise UsageError for an unknown name."""
    if axes not in AXES:
        raise UsageError("axes", "is unknown", expected=", ".join(AXES), got=axes)


def axes_to_camera(points: np.ndarray, axes: str) -> np.ndarray:
    """Turn points (..., 3) in the named axes to (..., 3) in camera axes."""
    check_axes(axes)
    return points @ AXES[axes].T


def choose_person(
    path: Path | str, people: Collection[int], default: int, requested: int | None
) -> tuple[int, tuple[str, ...]]:
    """Return the number of the person to take, with a sentence if others could be. Raises UsageError otherwise."""
    if requested is None:
        others = f"{path} holds {len(people)} people: {default} is taken; `target_person` takes others"
        return default, (others,) if len(people) > 1 else ()
    if requested not in people:
        raise UsageError(path, f"holds no person {requested}", expected=", ".join(map(str, people)))
    return requested, ()


_UPRIGHT = 0.8  # cosine between chest − feet and the way up, at least, of a person who stands or sits
_LYING = (0.02, 0.35)  # height of a person above the floor where they lie on it, as a share of chest − feet
_ON_FLOOR = 0.15  # the same of the feet where a person stands on it, or of the hips if they are the origin


def standing_axes(
    chest: np.ndarray, feet: np.ndarray, default: str, others: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """Find the axes of a file by the way in which its person stands: one of `others`, else `default`.

    The median of chest − feet decides where it is within 37° of the way up in other axes. It does not if the person
    seems to lie on the floor of the default axes and to stand on none of the others'. A sentence says what is not as
    the format has it.

    Args:
        chest, feet: (T, 3) in the file's axes and unit of length.
    """
    trunk = np.median(chest - feet, axis=0)
    size = max(float(np.linalg.norm(trunk)), 1e-9)
    middle = np.median(chest + feet, axis=0) / 2

    def height(point: np.ndarray, axes: str) -> float:
        return -float((AXES[axes] @ point)[1]) / size

    best = max((default, *others), key=lambda axes: height(trunk, axes))
    if best == default or height(trunk, best) < _UPRIGHT:
        return default, ()
    on_floor = min(abs(height(middle - share * trunk, best)) for share in (0.5, -0.2)) < _ON_FLOOR
    if _LYING[0] < height(middle, default) < _LYING[1] and not on_floor:
        return default, (f"the person lies in most frames of this file: if they stand, give `axes={best}`",)
    return best, (
        f"the person of this file stands as in {best} axes in most frames, and is read so: if they lie, give "
        f"`axes={default}`",
    )


@dataclass(frozen=True, eq=False, repr=False)
class JointTarget:
    """A pose or a motion of T frames as joint positions.

    Attributes:
        joints: (T, J, 3) metres, camera axes, in the order of `skeleton`; joints that are not finite are unknown.
        frame_rate: Frames a second, None where the file does not say.
        joint_confidence: (J,): 1 for joints that the file has, less where it holds a near relative only, 0 where it
            has none (the position is then its parent's, to be ignored); None for 1.
        warnings: Sentences that the user should see.
        first_frame: Number of the first of these frames, as `frames_of` counts them; frame_step: to the next.
        person: Number of the motion in a file of several; None for a file of one.
    """

    joints: np.ndarray
    skeleton: Skeleton
    frame_rate: float | None = None
    joint_confidence: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    first_frame: int = 0
    frame_step: int = 1
    person: int | None = None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.joints)

    def __repr__(self) -> str:
        return _described(self, f"joints of {self.skeleton.name}")


@dataclass(frozen=True, eq=False)
class DetectedKeypoints:
    """What a detector found of a fitted person in T frames.

    Attributes:
        keypoints: (T, 33, 3) x, y pixels and confidence (blazepose33).
        focal: (T,) pixels; principal_point (T, 2) pixels: of the camera.
        body: Name of the body model that was fitted.
    """

    keypoints: np.ndarray
    focal: np.ndarray
    principal_point: np.ndarray
    body: str

    def rows(self, index: slice | np.ndarray) -> DetectedKeypoints:
        """Restrict the target to these frames."""
        return replace(
            self,
            keypoints=self.keypoints[index],
            focal=self.focal[index],
            principal_point=self.principal_point[index],
        )


@dataclass(frozen=True, eq=False, repr=False)
class RotationTarget:
    """A pose or a motion of T frames as rotations of SMPL's joints.

    Attributes:
        params: T bodies; their betas are the file's person's, 0 where it names none. Their pelvis is at
            `axes_rotation` · pelvis of the shaped rest body + trans.
        frame_rate: Frames a second, None where the file does not say.
        axes_rotation: (3, 3) float32 from the file's axes to camera axes, or (T, 3, 3) where bodies turn about the
            origin; poses and trans already contain it.
        warnings: Sentences that the user should see.
        first_frame: Number of the first of these frames, as `frames_of` counts them; frame_step: to the next.
        person: Track id of a fit's person; None for a file that has no people.
        doubt: Why that fit may be wrong; "" where it is not doubtful.
        detected: The keypoints that were fitted; None for a file that has none.
    """

    params: BodyParams
    frame_rate: float | None = None
    axes_rotation: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    warnings: tuple[str, ...] = ()
    first_frame: int = 0
    frame_step: int = 1
    person: int | None = None
    doubt: str = ""
    detected: DetectedKeypoints | None = None

    def rows(self, index: slice | np.ndarray) -> RotationTarget:
        """Restrict the motion to these frames; everything else stays."""
        detections = None if self.detected is None else self.detected.rows(index)
        turns = self.axes_rotation if self.axes_rotation.ndim == 2 else self.axes_rotation[index]
        return replace(self, params=self.params.rows(index), axes_rotation=turns, detected=detections)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.params)

    def __repr__(self) -> str:
        return _described(self, "rotations of smpl24")


def _described(target: Target, what: str) -> str:
    frames = "1 frame" if len(target) == 1 else f"{len(target)} frames"
    rate = f", {target.frame_rate:g} frames a second" if target.frame_rate else ""
    return f"<{type(target).__name__}: {frames}, {what}{rate}>"


Target = JointTarget | RotationTarget


def frames_of(target: Target, frames: FrameRange, name: Path | str = "target") -> Target:
    """Return the frames of a motion that are in a range. Raises InputError, which calls it `name`, if there is none."""
    count, rate = len(target), target.frame_rate
    frames = frames.resolved(count, rate)
    if frames.start >= count:
        raise InputError(name, "has no frame in the range", expected=f"frames {frames}", got=f"{count} frames")
    first, step = target.first_frame + frames.start * target.frame_step, target.frame_step * frames.step
    rate = rate and rate / frames.step
    if isinstance(target, JointTarget):
        joints = target.joints[frames.slice]
        return replace(target, joints=joints, first_frame=first, frame_step=step, frame_rate=rate)
    return replace(target.rows(frames.slice), first_frame=first, frame_step=step, frame_rate=rate)
