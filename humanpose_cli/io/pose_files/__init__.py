"""Target poses from files: `.npy` joint positions, rotations as `.npz` or pickles, fits and `.bvh`.

`read_pose` distinguishes them by their names and contents.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.core.errors import InputError
from humanpose_cli.files.npz_files import npz_names
from humanpose_cli.files.sniffing import file_kind
from humanpose_cli.io.fit_files import read_fit
from humanpose_cli.io.foreign_fits import files_of_motion, read_object
from humanpose_cli.io.pose_files.joint_arrays import joint_target, joints_of
from humanpose_cli.io.pose_files.target_pose import AXES, JointTarget, RotationTarget, Target, check_axes

__all__ = ["AXES", "POSE_SUFFIXES", "JointTarget", "RotationTarget", "Target", "is_pose", "read_pose"]

POSE_SUFFIXES = frozenset((".npy", ".npz", ".bvh", ".pkl", ".pt", ".pth", ".joblib"))
"""Suffixes of target poses, in lower case."""


def is_fit_file(path: Path | str) -> bool:
    """Return whether a pose file is a fit file. Raises InputError for a damaged archive."""
    return Path(path).suffix.lower() == ".npz" and {"schema_version", "track_id"} <= npz_names(Path(path))


def remedy_for(path: Path) -> str:
    """Say how to make a pose file of a known file that is none; "" for other files."""
    return "save it as BVH: Blender imports FBX and exports BVH" if path.suffix.lower() == ".fbx" else ""


def is_pose(path: Path | str) -> bool:
    """Return whether a path is a pose: a file by its suffix or contents, or a folder or JSON of TRAM or EasyMocap."""
    path = Path(path)
    is_data = path.is_file() and file_kind(path) in ("a Python pickle", "a NumPy array")
    return is_data or path.suffix.lower() in POSE_SUFFIXES or bool(files_of_motion(path))


def read_pose(
    path: Path | str, skeleton: Skeleton | str | None = None, axes: str | None = None, *, track: int | None = None
) -> Target:
    """Read a target pose or motion.

    Args:
        path: `.npy` joint positions (J, 3) or (T, J, 3) metres, MDM's results; rotations of SMPL's joints as
            `.npz`, `.pkl`, `.pt` or `.npy` (AMASS, SMPL-X, AIST++, SLAHMR, Motion-X), EasyMocap's folder; results
            of GVHMR, PromptHMR, WHAM, TRAM, 4D-Humans, VIBE or ROMP; fit file; `.bvh`.
        skeleton: Skeleton of joint positions; None selects it by the number of joints (17 is ambiguous).
        axes: 'camera', 'y-up' or 'z-up'. None uses the format's axes: camera for `.npy`, z-up for rotations, y-up for
            BVH and 22 joints. If the person stands along another axis in most frames of the last three, that axis is
            used, with a warning. Fits are always in camera axes.
        track: The person of a fit, or the motion in a file of several; None for the largest person or first motion.

    Returns:
        Joint positions or rotations in camera axes.

    Raises:
        InputError: If the file is no pose.
        UsageError: If the skeleton is ambiguous, the axes are unknown, or the track is missing.
    """
    path = Path(path)
    if axes is not None:
        check_axes(axes)
    if not is_pose(path):
        expected, got = ", ".join(sorted(POSE_SUFFIXES)), file_kind(path)
        raise InputError(path, "is no pose file", expected=expected, got=got, remedy=remedy_for(path))
    if path.suffix.lower() == ".bvh":
        from humanpose_cli.io.pose_files.bvh import read_bvh

        return read_bvh(path, axes)
    content = read_object(path) if path.suffix.lower() == ".npy" else None
    if (motion := joints_of(content, track, path)) is not None:
        joints, sample = motion
        return replace(joint_target(joints, path, skeleton, axes), person=sample)
    holds_fit = is_fit_file(path)
    # Imported late: rotations need torch, which takes seconds to import.
    from humanpose_cli.io.pose_files.rotation_files import read_rotations, target_of_fit

    if holds_fit:
        return target_of_fit(read_fit(path), track, path)
    return read_rotations(path, axes, track, content)
