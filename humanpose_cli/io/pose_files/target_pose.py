"""Target poses as joint positions or rotations, and the rotation from a file's axes to camera axes."""

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
    """Rotate points (..., 3) from the named axes to camera axes."""
    check_axes(axes)
    return points @ AXES[axes].T


def choose_person(
    path: Path | str, people: Collection[int], default: int, requested: int | None
) -> tuple[int, tuple[str, ...]]:
    """Return the number of the person, and a note if there are several. Raises UsageError for an unknown number."""
    if requested is None:
        note = f"{path} holds {len(people)} people: {default} is taken; `target_person` takes others"
        return default, (note,) if len(people) > 1 else ()
    if requested not in people:
        raise UsageError(path, f"holds no person {requested}", expected=", ".join(map(str, people)))
    return requested, ()


_UPRIGHT = 0.8  # minimum cosine between chest − feet and up if a person stands or sits
_LYING = (0.02, 0.35)  # height of a lying person above the floor, as a share of chest − feet
_FEET_BELOW_MIDDLE = 0.5  # from the middle between chest and feet, as a share of chest − feet
_HIPS_BELOW_MIDDLE = -0.2  # same unit
_ON_FLOOR = 0.15  # maximum height of a standing person's feet, or of the hips if they are the origin; same unit


def standing_axes(
    chest: np.ndarray, feet: np.ndarray, default: str, alternatives: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """Find the axes of a file from the way in which its person stands.

    Other axes are chosen if the median of chest − feet is within 37° of their upward direction, unless the person seems
    to lie on the floor of the default axes and not to stand on the floor of the other axes.

    Args:
        chest: (T, 3) float, the file's axes and unit. Positions of the chest.
        feet: (T, 3) float, the file's axes and unit. Positions between the feet.
        default: The format's axes.
        alternatives: Other possible axes.

    Returns:
        The axes, and a note if the person does not stand as usual in the format.
    """
    body_axis = np.median(chest - feet, axis=0)
    size = max(float(np.linalg.norm(body_axis)), 1e-9)
    middle = np.median(chest + feet, axis=0) / 2

    def height(point: np.ndarray, axes: str) -> float:
        return -float((AXES[axes] @ point)[1]) / size

    best = max((default, *alternatives), key=lambda axes: height(body_axis, axes))
    if best == default or height(body_axis, best) < _UPRIGHT:
        return default, ()
    origins = [middle - share * body_axis for share in (_FEET_BELOW_MIDDLE, _HIPS_BELOW_MIDDLE)]
    on_floor = min(abs(height(point, best)) for point in origins) < _ON_FLOOR
    if _LYING[0] < height(middle, default) < _LYING[1] and not on_floor:
        return default, (f"the person lies in most frames of this file: if they stand, give `axes={best}`",)
    note = f"the person of this file stands as in {best} axes in most frames, and is read so: if they lie, give "
    return best, (f"{note}`axes={default}`",)


@dataclass(frozen=True, eq=False, repr=False)
class JointTarget:
    """A pose or a motion of T frames as joint positions.

    Attributes:
        joints: (T, J, 3) float, metres in camera axes. The joints; values that are not finite are unknown.
        skeleton: The skeleton.
        frame_rate: Frames per second; None if unknown.
        joint_confidence: (J,) float. 1 for joints in the file, less for neighbouring joints, 0 for missing joints,
            which have their parent's position; None stands for 1.
        warnings: Sentences for the user.
        frame_numbers: The frames' rising numbers in the file or its source; () counts from 0.
        person: Number of the motion in a file of several, or None.
    """

    joints: np.ndarray
    skeleton: Skeleton
    frame_rate: float | None = None
    joint_confidence: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    frame_numbers: tuple[int, ...] = ()
    person: int | None = None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.joints)

    def __repr__(self) -> str:
        return _described(self, f"joints of {self.skeleton.name}")


@dataclass(frozen=True, eq=False)
class DetectedKeypoints:
    """The detected keypoints of a fitted person in T frames.

    Attributes:
        keypoints: (T, 33, 3) float, pixels. x, y and confidence (blazepose33).
        focal: (T,) float, pixels. Focal lengths of the camera.
        principal_point: (T, 2) float, pixels. Principal points of the camera.
        body: Name of the fitted body model.
    """

    keypoints: np.ndarray
    focal: np.ndarray
    principal_point: np.ndarray
    body: str

    def rows(self, index: slice | np.ndarray) -> DetectedKeypoints:
        """Restrict the target to these frames."""
        return replace(
            self, keypoints=self.keypoints[index], focal=self.focal[index], principal_point=self.principal_point[index]
        )


@dataclass(frozen=True, eq=False, repr=False)
class RotationTarget:
    """A pose or a motion of T frames as rotations of SMPL's joints.

    Attributes:
        params: T bodies with the betas of the file, or 0. The pelvis is at `axes_rotation` · pelvis of the shaped rest
            body + trans.
        frame_rate: Frames per second; None if unknown.
        axes_rotation: (3, 3) float32. Rotation from the file's axes to camera axes, or (T, 3, 3) if bodies turn about
            the origin; poses and trans already contain it.
        warnings: Sentences for the user.
        frame_numbers: The frames' rising numbers in the file or its source; () counts from 0.
        person: Track number of a fit's person, or None.
        doubt: Why the fit may be wrong; "" if it is not doubtful.
        detected: The keypoints that were fitted, or None.
    """

    params: BodyParams
    frame_rate: float | None = None
    axes_rotation: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    warnings: tuple[str, ...] = ()
    frame_numbers: tuple[int, ...] = ()
    person: int | None = None
    doubt: str = ""
    detected: DetectedKeypoints | None = None

    def rows(self, index: slice | np.ndarray) -> RotationTarget:
        """Restrict the motion to these frames."""
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
    """Restrict a motion to a range of frames. Raises InputError about `name` if the range holds no frame."""
    count, rate = len(target), target.frame_rate
    frames = frames.resolved(count, rate, numbers=target.frame_numbers)
    if frames.start >= count:
        raise InputError(name, "has no frame in the range", expected=f"frames {frames}", got=f"{count} frames")
    numbers = tuple((target.frame_numbers or range(count))[frames.slice])
    target = replace(target, frame_numbers=numbers, frame_rate=rate and rate / frames.step)
    if isinstance(target, JointTarget):
        return replace(target, joints=target.joints[frames.slice])
    return target.rows(frames.slice)
