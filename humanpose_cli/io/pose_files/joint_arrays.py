"""Joint positions from `.npy`: (J, 3) or (T, J, 3) metres; the skeleton is told by J."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from humanpose_cli.conventions import SKELETONS, Skeleton, skeleton_by_name, skeletons_with
from humanpose_cli.errors import InputError, UsageError
from humanpose_cli.io.npz_files import read_npy
from humanpose_cli.io.pose_files.plausibility import AXIS_ANGLE_WAY_OUT, check_joints, orientation_warnings
from humanpose_cli.io.pose_files.target_pose import TargetPose, axes_to_camera

__all__ = ["read_joint_array"]

_AXIS_ANGLE_WIDTHS = {66, 69, 72, 132, 135, 144, 156, 159, 165}  # 3 per joint of SMPL, SMPL-H, SMPL-X, with or without
_COUNTS = ", ".join(f"{len(skeleton)} ({skeleton.name})" for skeleton in SKELETONS.values())


def read_joint_array(path: Path, skeleton: Skeleton | str | None, axes: str) -> TargetPose:
    """Read and check a `.npy` of joint positions in the named axes.

    InputError for pickles, shapes, counts and values that cannot be joint positions in metres; UsageError where 17
    joints come without the skeleton's name.
    """
    values = read_npy(path)
    if values.dtype.kind not in "fiu":
        raise InputError(path, "holds no numbers", expected="joint positions", got=str(values.dtype))
    if values.ndim == 2:
        values = values[None]
    _check_shape(path, values)
    chosen = _skeleton_for(path, values.shape[1], skeleton)
    joints = values.astype(np.float64)
    check_joints(path, joints, chosen)
    in_camera = axes_to_camera(joints, axes)
    return TargetPose(
        path,
        "joints",
        joints=in_camera.astype(np.float32),
        skeleton=chosen,
        joint_confidence=np.ones(len(chosen), np.float32),
        axes_rotation=np.eye(3, dtype=np.float32),
        warnings=orientation_warnings(in_camera, chosen),
    )


def _check_shape(path: Path, values: np.ndarray) -> None:
    """Refuse all but (T, J, 3) with T and J above 0; names what the usual mix-ups look like."""
    shape = values.shape
    if len(shape) == 3 and shape[2] == 3 and 0 not in shape:
        return
    flat = shape[-1] if shape else 0
    remedy = "save an array of shape (J, 3) for a pose or (T, J, 3) for a motion"
    if len(shape) in (1, 3) and flat in _AXIS_ANGLE_WIDTHS:
        remedy = AXIS_ANGLE_WAY_OUT
    elif len(shape) == 3 and flat == 2:
        remedy = "this looks like 2-D joints: a target pose needs depth"
    elif len(shape) == 3 and flat == 4:
        remedy = "if the fourth column is a confidence, leave it out: pose[..., :3]"
    elif len(shape) == 3 and shape[1] == 3 and skeletons_with(flat):
        remedy = "this looks transposed: numpy.swapaxes(pose, -1, -2)"
    elif len(shape) == 4 and shape[2:] == (3, 3):
        remedy = f"these look like rotation matrices; {AXIS_ANGLE_WAY_OUT}"
    elif len(shape) == 4 and shape[3] == 3:
        remedy = "if it holds several persons, save one of them: pose[:, 0]"
    found = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    raise InputError(path, "has the wrong shape", expected="(J, 3) or (T, J, 3)", got=str(tuple(found)), remedy=remedy)


def _skeleton_for(path: Path, count: int, wanted: Skeleton | str | None) -> Skeleton:
    if isinstance(wanted, str):
        try:
            wanted = skeleton_by_name(wanted)
        except KeyError:
            raise UsageError("--skeleton", "is unknown", expected=", ".join(SKELETONS), got=str(wanted)) from None
    if wanted is not None:
        if len(wanted) != count:
            raise InputError(
                path, "has the wrong number of joints", expected=f"{len(wanted)} for {wanted.name}", got=str(count)
            )
        return wanted
    candidates = skeletons_with(count)
    if len(candidates) > 1:
        names = " or ".join(sorted((skeleton.name for skeleton in candidates), reverse=True))
        raise UsageError(path, f"has {count} joints, which two skeletons have", remedy=f"give --skeleton {names}")
    if not candidates:
        hint = "add the two hands to make smpl24" if count == 22 else "convert it to one of them"
        raise InputError(path, "has the wrong number of joints", expected=_COUNTS, got=str(count), remedy=hint)
    return candidates[0]
