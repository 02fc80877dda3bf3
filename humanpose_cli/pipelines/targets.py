"""Target poses in all their forms: pose files, fit files, other pictures, driving videos."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from humanpose_cli.bodies.body import RiggedBody
from humanpose_cli.conventions import SMPL24, Skeleton
from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.geometry.rotations import axis_angle_to_matrix
from humanpose_cli.io.fit_files import FitRecord
from humanpose_cli.io.frame_range import ALL_FRAMES, FrameRange
from humanpose_cli.io.inputs import InputItem, open_inputs
from humanpose_cli.io.pose_files import POSE_SUFFIXES, TargetPose, read_target_pose
from humanpose_cli.pipelines.fit import BodyFitter
from humanpose_cli.pipelines.steps import StepListener
from humanpose_cli.reposing.retarget import TargetMotion, retarget_joints

__all__ = [
    "JointTarget",
    "RotationTarget",
    "Target",
    "read_target",
    "target_of_pose",
    "target_of_record",
]


@dataclass(frozen=True, eq=False)
class JointTarget:
    """Joint positions (T, J, 3) metres, camera axes; frame_rate frames a second, or None."""

    joints: np.ndarray
    skeleton: Skeleton
    frame_rate: float | None = None

    def __len__(self) -> int:
        return len(self.joints)

    def motion(self, body: RiggedBody, betas: np.ndarray) -> TargetMotion:
        """The pose on a person's own body of shape betas (S,)."""
        return retarget_joints(body, self.joints, self.skeleton, betas)


@dataclass(frozen=True, eq=False)
class RotationTarget:
    """Rotations of SMPL's joints: poses (T, 72) axis-angle, relative, the pelvis maps body to camera axes.

    trans          (T, 3) metres, camera axes: the pelvis is at `axes_rotation` · pelvis of the rest body + trans
    axes_rotation  (3, 3) from the file's axes to camera axes
    """

    poses: np.ndarray
    trans: np.ndarray
    axes_rotation: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    frame_rate: float | None = None

    def __len__(self) -> int:
        return len(self.poses)

    def motion(self, body: RiggedBody, betas: np.ndarray) -> TargetMotion:
        """The same rotations: bodies share a skeleton and the T pose, so none depends on the shape."""
        arrays = (self.poses, self.trans, self.axes_rotation, betas)
        poses, trans, axes, shape = (torch.from_numpy(np.array(array, np.float32)) for array in arrays)
        rotations = axis_angle_to_matrix(poses.unflatten(-1, (len(SMPL24), 3)))
        pelvis = body.rest(shape[None]).joints[0, SMPL24.index("pelvis")]
        return TargetMotion(rotations, trans + axes @ pelvis)


Target = JointTarget | RotationTarget


def target_of_record(record: FitRecord, track: int | None = None) -> RotationTarget:
    """One person of a record as a target, from the first frame that shows them to the last.

    track  None: the largest person. Frames between that do not show them hold the last pose seen.
    """
    chosen = record.largest_track if track is None else track
    rows = record.rows_of(chosen)
    if not len(rows):
        tracks = ", ".join(map(str, record.tracks)) or "nobody"
        raise InputError("target pose", f"has no person {chosen}", expected=tracks)
    frames = record.frame_index[rows]
    held = rows[np.searchsorted(frames, np.arange(frames[0], frames[-1] + 1), side="right") - 1]
    return RotationTarget(record.poses[held], record.trans[held], frame_rate=record.frame_rate or None)


def target_of_pose(pose: TargetPose) -> Target:
    """A pose file's contents as a target; joints that the file does not have are left out."""
    if pose.joints is None:
        assert pose.poses is not None
        assert pose.trans is not None
        assert pose.axes_rotation is not None
        return RotationTarget(pose.poses, pose.trans, pose.axes_rotation, pose.frame_rate)
    assert pose.skeleton is not None
    joints = pose.joints.copy()
    if pose.joint_confidence is not None:
        joints[:, pose.joint_confidence <= 0] = np.nan
    return JointTarget(joints, pose.skeleton, pose.frame_rate)


def read_target(
    path: Path | str,
    fitter: BodyFitter,
    *,
    skeleton: str | None = None,
    axes: str | None = None,
    frames: FrameRange = ALL_FRAMES,
    on_step: StepListener | None = None,
) -> tuple[Target, tuple[str, ...]]:
    """A target in any of its forms, and what the user should know about it.

    path  a pose file (`.npy`, AMASS `.npz`, fit file, `.bvh`), or a picture, a video or a folder of frames, whose
          largest person is fitted
    InputError for what is none of these, or shows nobody; UsageError for a range of a pose file.
    """
    if Path(path).suffix.lower() in POSE_SUFFIXES:
        if frames != ALL_FRAMES:
            raise UsageError("--frames", "is only for a driving video or folder of frames", got=str(path))
        pose = read_target_pose(path, skeleton, axes)
        return target_of_pose(pose), pose.warnings
    item = _one_item(path, frames)
    fitter = fitter.for_another_camera()
    with closing(item.frames()) as decoded:
        if item.is_sequence:
            record = fitter.fit_sequence(
                decoded, frame_rate=item.frame_rate, frame_count=item.frame_count, on_step=on_step
            )
        else:
            frame = next(decoded)
            record = fitter.fit_picture(frame.pixels, name=frame.name, focal=frame.focal).record
    if not len(record):
        raise InputError(path, "shows nobody whose pose could be taken", remedy="choose another target")
    return target_of_record(record), ()


def _one_item(path: Path | str, frames: FrameRange) -> InputItem:
    """The one picture or sequence that a path names; InputError if there is none, or several."""
    if not Path(path).exists():
        raise InputError(path, "does not exist", expected="a pose file, a picture or a video")
    items = list(open_inputs([path], frames=frames))
    if len(items) != 1:
        raise InputError(
            path,
            "is not one pose",
            expected="a pose file, a picture, a video or the frames of one sequence",
            got=f"{len(items)} independent pictures",
        )
    return items[0]
